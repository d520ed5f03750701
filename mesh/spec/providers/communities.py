"""A provider's BGP action communities, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Community = tuple[int, int] | tuple[int, int, int]
"""A community as its numbers: two of a standard one (RFC 1997), three of a large one (RFC 8092)."""

Scope = Literal["all", "noIxp", "routeServersOnly", "ixpOnly", "providerOnly"]
"""To whom a provider announces an aggregate: all ASes; all but peers at exchanges; only route
servers of exchanges; only route servers and peers at exchanges; no other AS."""


@dataclass(frozen=True, slots=True)
class Towards:
    """An action towards one AS: ``standard`` followed by its ASN, or ``large`` followed by it where
    the ASN does not fit into 16 bits."""

    standard: int
    large: tuple[int, int]

    def of(self, asn: int) -> Community:
        """The community that asks for it."""
        return (self.standard, asn) if asn < 1 << 16 else (*self.large, asn)


@dataclass(frozen=True, slots=True)
class Communities:
    """A provider's action communities.

    ``asn`` defines them, and ``peers`` are the ASNs of its sessions with customers. The first of
    ``prepend`` and ``prepend_to`` prepends once, the second twice, and so on. ``export_to`` allows
    for one AS what ``scopes["providerOnly"]`` forbids.
    """

    asn: int
    peers: tuple[int, ...]
    prepend: tuple[Community, ...]
    prepend_to: tuple[Towards, ...]
    scopes: Mapping[Scope, tuple[Community, ...]]
    zero_med: Community
    zero_med_to: Towards
    withhold_from: Towards
    export_to: Towards
    blackhole: Community
    tags: Mapping[Community, str]
    """Informational communities that the provider itself sets, and their meaning."""

    def restrains(self, scope: Scope) -> bool:
        """Whether ``export_to`` has an effect with this scope."""
        return set(self.scopes["providerOnly"]) <= set(self.scopes[scope])

    def towards(self) -> dict[str, Towards]:
        """The actions towards one AS, by the options of ``toAs``."""
        times = {f"prepend: {n}": one for n, one in enumerate(self.prepend_to, start=1)}
        rest = {"export: false": self.withhold_from, "export: true": self.export_to}
        return times | rest | {"zeroMed: true": self.zero_med_to}

    def claims(self, community: Community) -> bool:
        """Whether a community begins with a number of this provider's actions."""
        if len(community) == 3:
            return community[0] == self.asn
        return community[0] in {self.asn, *(one.standard for one in self.towards().values())}

    def knows(self, community: Community) -> bool:
        """Whether it is a documented action of the provider, in either form."""
        forms = {form for one in self.towards().values() for form in ((one.standard,), one.large)}
        return community[:-1] in forms or self.option(community) is not None

    def option(self, community: Community) -> str | None:
        """The option of a rule that sends a community; None where it has to be written raw, as the
        large form for a 16-bit ASN (which Vultr's page asks for at route servers)."""
        asn = community[-1]
        for option, action in self.towards().items():
            if action.of(asn) == community:
                return f"toAs: [{{asn: {asn}, {option}}}]"
        if community in self.prepend:
            return f"prepend: {self.prepend.index(community) + 1}"
        if community == self.zero_med:
            return "zeroMed: true"
        # Only the last community of a scope is its own.
        lasts = {them[-1]: scope for scope, them in self.scopes.items() if them}
        return f"scope: {lasts[community]}" if community in lasts else None
