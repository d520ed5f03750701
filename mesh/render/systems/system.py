"""What rendering asks of an operating system, in one protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address
from typing import Protocol

from mesh.facts import Facts
from mesh.plan import Link, Node, Plan
from mesh.render.files import File
from mesh.render.seed import Seed, Sign
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


@cache
def fixed(template: Template) -> File:
    """The file of a ``fixed`` template."""
    return File(template.path, rendered(template.template), template.mode, template.group)


@dataclass(frozen=True, slots=True)
class Names:
    """Names that BIRD's configuration and the agent's have, and what BIRD can do there."""

    interface: str
    """Holds the node's own addresses."""
    tunnels: str
    """The tunnels' interfaces, as a pattern of BIRD."""
    run: str
    """The folder of volatile files."""
    group: str
    """Group of files that everybody may read."""
    bird_group: str
    """Group of files that BIRD alone may read."""
    discards: str
    """Where the firewall keeps the addresses that are discarded."""
    services_table: int
    """The kernel's routing table with what other nodes serve."""
    preferred_source: bool
    """Whether a route in the kernel can name the source of what the node sends by itself."""
    link_local_gateway4: bool
    """Whether a route of IPv4 in the kernel can have a link-local next hop (RFC 8950)."""
    binds_services: bool
    """Whether the node has the addresses of its services at all times, on the interface of its own
    addresses: constants say then which of them it serves."""


class System(Protocol):
    """The files and units of a node that runs one operating system."""

    @property
    def names(self) -> Names:
        """What things are called there."""

    def templates(self, plan: Plan, node: Node) -> Iterator[Template]:
        """The templates of a node's files."""

    def tunnel(self, node: Node, link: Link, peer: Facts, endpoint: IPv4Address) -> File:
        """The file of a tunnel."""

    def user_data(self, plan: Plan, node: Node, seed: Seed, sign: Sign) -> str:
        """What a server of the node is given for its first boot."""

    def further(self, plan: Plan, node: Node, present: Iterable[Node]) -> Iterator[File]:
        """Files that are not made of a template of :meth:`templates`; ``present`` are the nodes of
        the network that there are."""

    def rules(self, plan: Plan, node: Node) -> dict[str, list[str]]:
        """The plan's firewall rules of each zone that apply to a node, as lines of its firewall."""

    def units(self, plan: Plan, node: Node, links: Sequence[Link]) -> Iterator[str]:
        """The units that run on a node, in the order of their start."""
