"""The files and units of a node that runs OpenBSD."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from mesh.facts import Facts
from mesh.plan import Link, Node, Plan
from mesh.render import kinds, pf
from mesh.render.files import File
from mesh.render.openbsd_boot import signed_script
from mesh.render.seed import Seed, Sign
from mesh.render.systems.system import Names, Template
from mesh.render.templates import rendered

BIRD = "anycast_mesh_bird"
"""The rc.d script by which BIRD runs: the package's own runs it without these files."""
WHOAMI = "anycast_mesh_whoami"
SERVICES_TABLE = 1
"""The routing table with what other nodes serve: pf leads packets there. It is in the same routing
domain as the main one."""
_GROUP = "wheel"


def _template(path: str, name: str, mode: int = 0o644, fixed: bool = False) -> Template:
    return Template(path, f"openbsd/{name}.j2", mode, _GROUP, fixed=fixed)


FILES: tuple[Template, ...] = (
    Template("/etc/bird/bird.conf", "bird/bird.conf.j2", 0o640, _GROUP),
    Template("/etc/bird/mesh/not-served.conf", "bird/not-served.conf.j2", group=_GROUP, fixed=True),
    _template("/etc/pf.conf", "network/pf.conf", 0o600),
    _template("/etc/hostname.lo1", "network/hostname.lo1", 0o640),
    _template("/etc/anycast-mesh/sysctl.conf", "network/sysctl.conf", fixed=True),
    _template(f"/etc/rc.d/{BIRD}", "rc.d/bird", 0o755, fixed=True),
    _template(f"/etc/login.conf.d/{BIRD}", "rc.d/bird.class", fixed=True),
)
"""Templates of all nodes' files: a new file is a line here and a template."""
OUT_OF_SERVICE = Template(
    "/etc/bird/mesh/out-of-service.conf", "bird/out-of-service.conf.j2", group=_GROUP, fixed=True
)
WHOAMI_SCRIPT = _template(f"/etc/rc.d/{WHOAMI}", "rc.d/whoami", 0o755, fixed=True)


class OpenBsd:
    """Nodes with rc.d, hostname.if and pf."""

    names = Names(
        interface="lo1",
        tunnels="wg*",
        run="/var/run",
        group=_GROUP,
        # BIRD keeps root's rights: it cannot give them up there (drop_uid in BIRD's main.c).
        bird_group=_GROUP,
        discards="pf's tables mesh_discard4 and mesh_discard6",
        services_table=SERVICES_TABLE,
        preferred_source=False,
        link_local_gateway4=False,
        binds_services=True,
    )

    def templates(self, plan: Plan, node: Node) -> Iterator[Template]:
        """The templates of a node's files."""
        yield from FILES
        yield replace(OUT_OF_SERVICE, fixed=not plan.announces_apart)
        if kinds.has_whoami(plan, node):
            yield WHOAMI_SCRIPT

    def tunnel(self, node: Node, link: Link, peer: Facts, endpoint: IPv4Address) -> File:
        """The file of a tunnel's interface."""
        content = rendered(
            "openbsd/network/hostname.wg.j2",
            node=node,
            link=link,
            peer=peer,
            endpoint=endpoint,
        )
        return File(f"/etc/hostname.{link.interface}", content, 0o640, group=_GROUP)

    def user_data(self, plan: Plan, node: Node, seed: Seed, sign: Sign) -> str:
        """A script below the operator's signature."""
        return signed_script(plan, node, seed, sign)

    def further(self, plan: Plan, node: Node, present: Iterable[Node]) -> Iterator[File]:
        """Nothing: daemons of services are the operator's own there."""
        yield from ()

    def rules(self, plan: Plan, node: Node) -> dict[str, list[str]]:
        """Lines of pf.conf."""
        return pf.rules(plan, node)

    def units(self, plan: Plan, node: Node, links: Sequence[Link]) -> Iterator[str]:
        """The services of rc.d that run on a node, in the order of their start. Interfaces and pf
        are none: the daemon kinds of the agent bring them up."""
        yield BIRD
        if kinds.has_whoami(plan, node):
            yield WHOAMI
