"""The files and units of a node that runs Debian."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from mesh.facts import Facts
from mesh.plan import Link, Node, Plan, Role
from mesh.render import firewall, kinds, monitors, replies, services
from mesh.render.debian_boot import cloud_config
from mesh.render.files import File
from mesh.render.seed import Seed, Sign
from mesh.render.systems.system import Names, Template
from mesh.render.templates import rendered

# sshd takes the first value and sysctl the last one: both names take precedence over an image's.
_UNITS = "/etc/systemd/system"
FILES: tuple[Template, ...] = (
    Template("/etc/bird/bird.conf", "bird/bird.conf.j2", 0o640, "bird"),
    Template("/etc/nftables.conf", "debian/network/nftables.conf.j2", 0o755),
    Template(
        "/etc/ssh/sshd_config.d/00-anycast-mesh.conf", "debian/network/sshd.conf.j2", shared=True
    ),
    Template("/etc/sysctl.d/99-anycast-mesh.conf", "debian/network/sysctl.conf.j2"),
    Template(
        "/etc/systemd/networkd.conf.d/anycast-mesh.conf",
        "debian/network/networkd.conf.j2",
        fixed=True,
    ),
    Template(f"{_UNITS}/anycast-mesh-dummy.service", "debian/systemd/dummy.service.j2"),
    Template(
        f"{_UNITS}/anycast-mesh-tunnel@.service", "debian/systemd/tunnel.service.j2", fixed=True
    ),
    Template(
        f"{_UNITS}/bird.service.d/anycast-mesh.conf", "debian/systemd/bird.conf.j2", fixed=True
    ),
    Template(
        f"{_UNITS}/nftables.service.d/anycast-mesh.conf",
        "debian/systemd/nftables.conf.j2",
        fixed=True,
    ),
)
"""Templates of all nodes' files: a new file is a line here and a template."""

OUT_OF_SERVICE = Template(
    "/etc/bird/mesh/out-of-service.conf", "bird/out-of-service.conf.j2", fixed=True
)
REPLIES = Template(f"{_UNITS}/anycast-mesh-replies.service", "debian/systemd/replies.service.j2")
SERVICES = Template(f"{_UNITS}/anycast-mesh-services.service", "debian/systemd/services.service.j2")
WHOAMI = Template(
    f"{_UNITS}/anycast-mesh-whoami.service", "debian/systemd/whoami.service.j2", fixed=True
)
GLASS: tuple[Template, ...] = (
    Template(
        f"{_UNITS}/anycast-mesh-glass.service", "debian/systemd/glass.service.j2", shared=True
    ),
    Template("/etc/sysusers.d/anycast-mesh.conf", "debian/accounts/sysusers.conf.j2", fixed=True),
    Template("/etc/tmpfiles.d/anycast-mesh.conf", "debian/accounts/tmpfiles.conf.j2", fixed=True),
)
"""The looking glass's unit, its user, and its folders."""

DAEMONS = {
    kind: Template(
        f"{_UNITS}/anycast-mesh-{kind}@.service", f"debian/systemd/{kind}.service.j2", fixed=True
    )
    for kind in kinds.SET_UP
}
"""The units of services' daemons, by kind."""


def _validator(unit: str, template: str) -> Template:
    return Template(f"{_UNITS}/{unit}", f"debian/systemd/{template}.j2", fixed=True)


VALIDATOR: tuple[Template, ...] = (
    _validator("anycast-mesh-validator.service", "validator.service"),
    _validator("anycast-mesh-validator.timer", "validator.timer"),
    Template(f"{_UNITS}/anycast-mesh-rtr.service", "debian/systemd/rtr.service.j2"),
    _validator("anycast-mesh-rtr.timer", "rtr.timer"),
    _validator("rpki-client.service.d/anycast-mesh.conf", "instead.conf"),
    _validator("stayrtr.service.d/anycast-mesh.conf", "instead.conf"),
)


MONITORING = tuple(
    Template(f"{_UNITS}/{unit}", f"debian/systemd/{unit.removeprefix('anycast-mesh-')}.j2")
    for unit in monitors.UNITS
)
"""The units of Prometheus and Alertmanager."""


class Debian:
    """Nodes with systemd, networkd, nftables and iproute2."""

    names = Names(
        interface="dummy0",
        tunnels="wg-*",
        run="/run",
        group="root",
        bird_group="bird",
        discards="inet mesh_discard",
        services_table=services.SERVICES_TABLE,
        preferred_source=True,
        link_local_gateway4=True,
        binds_services=False,
    )

    def templates(self, plan: Plan, node: Node) -> Iterator[Template]:
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

    def tunnel(self, node: Node, link: Link, peer: Facts, endpoint: IPv4Address) -> File:
        """The tunnel's file of wg-quick."""
        content = rendered(
            "debian/network/wireguard.conf.j2", node=node, link=link, peer=peer, endpoint=endpoint
        )
        return File(f"/etc/wireguard/{link.interface}.conf", content, 0o600)

    def user_data(self, plan: Plan, node: Node, seed: Seed, _: Sign) -> str:
        """Cloud-config, which the hash of the bundle in it makes good: nothing is signed."""
        return cloud_config(plan, node, seed)

    def further(self, plan: Plan, node: Node, present: Iterable[Node]) -> Iterator[File]:
        """What daemons of services, and those of monitoring, are configured with."""
        yield from kinds.files(plan, node)
        yield from monitors.files(plan, node, present)

    def rules(self, plan: Plan, node: Node) -> dict[str, list[str]]:
        """Lines of nftables."""
        return firewall.rules(plan, node)

    def units(self, plan: Plan, node: Node, links: Sequence[Link]) -> Iterator[str]:
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
