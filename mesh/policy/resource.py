"""A resource as a rule sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from mesh.infra.dynamic.documents import read_plan
from mesh.infra.urns import node_of
from mesh.plan import Network, Plan
from mesh.plan.document import read_plan
from mesh.preview.kinds import GENERATION, Kind, kind_of
from mesh.preview.steps import node_of
from mesh.spec.checks.admin import WORLD
from mesh.spec.meaning import WORLD

UNKNOWN = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""What a value is that is not known yet: string, boolean, number, list, map
(pulumi_policy.proxy)."""


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
    def kind(self) -> Kind:
        """What it is to the network."""
        return kind_of(self.type)

    @property
    def node(self) -> str | None:
        """The node that it belongs to."""
        return node_of(self.parent)

    def known(self, key: str) -> Any:
        """An input; None where it is not given or not known yet."""
        value = self.props.get(key)
        return None if is_unknown(value) else value

    def plan(self) -> Plan | None:
        """The plan that the publication carries; None for everything else."""
        text = self.known("plan")
        if self.type != GENERATION or not isinstance(text, str):
            return None
        try:
            return read_plan(text)
        except ValueError:
            return None  # the pack is of another version than the program


def is_unknown(value: object) -> bool:
    """Whether that is the engine's sign for a value that is not known yet."""
    return isinstance(value, str) and value in UNKNOWN


def worlds(networks: Iterable[str]) -> Iterator[Network]:
    """What of these networks is everybody, or so large a part that it makes no difference; halves
    of the world are the world again. What is no network is passed over."""
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


def strings(value: Any) -> Iterator[str]:
    """The texts of a list that may be missing or unknown."""
    if isinstance(value, list | tuple):
        yield from (each for each in value if isinstance(each, str) and not is_unknown(each))
