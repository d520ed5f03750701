"""A resource as a rule sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from mesh.infra.providers import inputs
from mesh.infra.providers.resources import PortRange, ResourceType
from mesh.infra.urns import node_of
from mesh.plan import Network, Plan
from mesh.plan.document import read_plan
from mesh.preview.kinds import GENERATION, described
from mesh.spec.checks.admin import WORLD


@dataclass(frozen=True)
class Resource:
    """Type, name and inputs (``props``, in the provider's own camel case), whether it is protected,
    and the URN of its parent."""

    type: str
    name: str
    props: Mapping[str, Any] = field(repr=False)
    urn: str = ""
    protect: bool = False
    parent: str | None = None

    @property
    def described(self) -> ResourceType:
        """Its driver's description of its type."""
        return described(self.type)

    @property
    def node(self) -> str | None:
        """The node that it belongs to."""
        return node_of(self.parent)

    def known(self, key: str) -> Any:
        """An input; None where it is not given or not known yet."""
        return inputs.known(self.props, key)

    def lets_in(self) -> Iterator[tuple[str, PortRange]]:
        """The networks that a rule of a provider's firewall lets in by TCP, and their ports;
        nothing where it is none."""
        read = self.described.lets_in
        if read is not None:
            yield from read(self.props)

    def plan(self) -> Plan | None:
        """The plan that the publication carries; None for everything else."""
        text = self.known("plan")
        if self.type != GENERATION or not isinstance(text, str):
            return None
        try:
            return read_plan(text)
        except ValueError:
            return None  # the pack is of another version than the program


def worlds(networks: Iterable[str]) -> Iterator[Network]:
    """The networks that are all addresses, or too large a part of them; adjacent ones are combined
    first, so two halves count. What is no network is skipped."""
    known = [found for text in networks if (found := _network(text)) is not None]
    together: tuple[Network, ...] = (
        *collapse_addresses(each for each in known if isinstance(each, IPv4Network)),
        *collapse_addresses(each for each in known if isinstance(each, IPv6Network)),
    )
    yield from (each for each in together if each.prefixlen < WORLD[each.version])


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
