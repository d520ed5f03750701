"""Admits planned nodes in the firewall of a registry's node, before a generation contains them.

A new node has to reach a registry to become part of a generation, and the firewall in force does
not name it. A registry that is open to some networks only has a set for such nodes in its rules. It
is empty until the operator has sent the planned nodes to the node's own registry.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address

from mesh.agent.daemons.nftables import RULESET
from mesh.agent.host import Host
from mesh.agent.ruleset_id import ruleset_id
from mesh.registry import paths
from mesh.registry.client import Client, Unreachable
from mesh.trust.encoding import Malformed, parse
from mesh.trust.requests import Signer

SET = "planned4"
"""Nodes reach their registries over IPv4 (mesh/infra/mesh.py)."""


class PlannedNodes:
    """Keeps the set equal to the registry's planned nodes. ``signer`` is any that it accepts."""

    def __init__(self, host: Host, port: int, signer: Signer) -> None:
        self._host = host
        self._registry = Client(f"https://127.0.0.1:{port}", signer)
        self._done: tuple[frozenset[IPv4Address], int | None] = (frozenset(), None)

    def tend(self) -> None:
        """Fills the set after a change of the planned nodes or of the ruleset, which empties it."""
        if f"@{SET}".encode() not in (self._host.read(RULESET) or b""):
            return
        planned = self._planned()
        if not planned or self._done == (planned, ruleset_id()):
            return
        elements = ", ".join(map(str, sorted(planned)))
        rules = f"flush set inet mesh {SET}\nadd element inet mesh {SET} {{ {elements} }}\n"
        if self._host.run("nft", "-f", "-", given=rules).code == 0:
            self._done = (planned, ruleset_id())

    def _planned(self) -> frozenset[IPv4Address]:
        try:
            answer = self._registry.ask("GET", paths.PLANNED, signed=True, limit=paths.MAX_MANIFEST)
            stated = parse(tuple[str, ...], answer.body) if answer.ok else ()
            return frozenset(IPv4Address(one) for one in stated if ":" not in one)
        except (Unreachable, Malformed, AddressValueError):
            return frozenset()
