"""The files and units of a node, and the templates of its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from mesh.plan import Link, Node, Plan, Role
from mesh.render import kinds, monitors, replies, services
from mesh.render.files import File
from mesh.render.templates import rendered


@dataclass(frozen=True, slots=True)
class Template:
    """A file's path, template, mode and group. A ``fixed`` one has no variables: it is the same on
    all nodes, and rendered once. Of a ``shared`` one nodes have few different ones, and each is
    stored once."""

    path: str
    template: str
    mode: int = 0o644
    group: str = "root"
    fixed: bool = False
    shared: bool = False


# sshd takes the first value and sysctl the last one: both names take precedence over an image's.
_UNITS = "/etc/systemd/system"
FILES: tuple[Template, ...] = (
    Template("/etc/bird/bird.conf", "bird/bird.conf.j2", 0o640, "bird"),
    Template("/etc/nftables.conf", "network/nftables.conf.j2", 0o755),
    Template("/etc/ssh/sshd_config.d/00-anycast-mesh.conf", "network/sshd.conf.j2", shared=True),
    Template("/etc/sysctl.d/99-anycast-mesh.conf", "network/sysctl.conf.j2"),
    Template(
        "/etc/systemd/networkd.conf.d/anycast-mesh.conf", "network/networkd.conf.j2", fixed=True
    ),
    Template(f"{_UNITS}/anycast-mesh-dummy.service", "systemd/dummy.service.j2"),
    Template(f"{_UNITS}/anycast-mesh-tunnel@.service", "systemd/tunnel.service.j2", fixed=True),
    Template(f"{_UNITS}/bird.service.d/anycast-mesh.conf", "systemd/bird.conf.j2", fixed=True),
    Template(
        f"{_UNITS}/nftables.service.d/anycast-mesh.conf", "systemd/nftables.conf.j2", fixed=True
    ),
)
"""Templates of all nodes' files: a new file is a line here and a template."""

OUT_OF_SERVICE = Template(
    "/etc/bird/mesh/out-of-service.conf", "bird/out-of-service.conf.j2", fixed=True
)
REPLIES = Template(f"{_UNITS}/anycast-mesh-replies.service", "systemd/replies.service.j2")
SERVICES = Template(f"{_UNITS}/anycast-mesh-services.service", "systemd/services.service.j2")
WHOAMI = Template(f"{_UNITS}/anycast-mesh-whoami.service", "systemd/whoami.service.j2", fixed=True)
GLASS: tuple[Template, ...] = (
    Template(f"{_UNITS}/anycast-mesh-glass.service", "systemd/glass.service.j2", shared=True),
    Template("/etc/sysusers.d/anycast-mesh.conf", "accounts/sysusers.conf.j2", fixed=True),
    Template("/etc/tmpfiles.d/anycast-mesh.conf", "accounts/tmpfiles.conf.j2", fixed=True),
)
"""The looking glass's unit, its user, and its folders."""

DAEMONS = {
    kind: Template(
        f"{_UNITS}/anycast-mesh-{kind}@.service", f"systemd/{kind}.service.j2", fixed=True
    )
    for kind in kinds.SET_UP
}
"""The units of services' daemons, by kind."""


def _validator(unit: str, template: str) -> Template:
    return Template(f"{_UNITS}/{unit}", f"systemd/{template}.j2", fixed=True)


VALIDATOR: tuple[Template, ...] = (
    _validator("anycast-mesh-validator.service", "validator.service"),
    _validator("anycast-mesh-validator.timer", "validator.timer"),
    Template(f"{_UNITS}/anycast-mesh-rtr.service", "systemd/rtr.service.j2"),
    _validator("anycast-mesh-rtr.timer", "rtr.timer"),
    _validator("rpki-client.service.d/anycast-mesh.conf", "instead.conf"),
    _validator("stayrtr.service.d/anycast-mesh.conf", "instead.conf"),
)


MONITORING = tuple(
    Template(f"{_UNITS}/{unit}", f"systemd/{unit.removeprefix('anycast-mesh-')}.j2")
    for unit in monitors.UNITS
)
"""The units of Prometheus and Alertmanager."""


@cache
def fixed(template: Template) -> File:
    """The file of a ``fixed`` template."""
    return File(template.path, rendered(template.template), template.mode, template.group)


def templates(plan: Plan, node: Node) -> Iterator[Template]:
    """The templates of a node's files."""
    yield from FILES
    yield replace(OUT_OF_SERVICE, fixed=not plan.announces_apart)
    if services.served(plan, node):
        yield SERVICES
    if kinds.has_whoami(plan, node):
        yield WHOAMI
    if plan.glass is not None:
        yield from GLASS
    yield from (DAEMONS[kind] for kind in kinds.used(plan, node))
    if replies.tables(plan, node):
        yield REPLIES
    if _validates(plan, node):
        yield from VALIDATOR
    if monitors.does(plan, node):
        yield from MONITORING


def units(plan: Plan, node: Node, links: Iterable[Link]) -> Iterator[str]:
    """The units that run on a node, in the order of their start."""
    yield from ("nftables.service", "anycast-mesh-dummy.service")
    if services.served(plan, node):
        yield "anycast-mesh-services.service"
    yield from (f"anycast-mesh-tunnel@{link.interface}.service" for link in links)
    if replies.tables(plan, node):
        yield "anycast-mesh-replies.service"
    yield "bird.service"
    if kinds.has_whoami(plan, node):
        yield "anycast-mesh-whoami.service"
    if plan.glass is not None:
        yield "anycast-mesh-glass.service"
    yield from kinds.units(plan, node)
    if _validates(plan, node):
        # Timers run without the packages as well: a node may be older than ``mesh:rpki.local``.
        yield from ("anycast-mesh-validator.timer", "anycast-mesh-rtr.timer")
    if monitors.does(plan, node):
        yield from monitors.UNITS


def _validates(plan: Plan, node: Node) -> bool:
    return plan.validates and Role.REFLECTOR in node.roles
