"""This node's parts: fetched from registries, unsealed, and the one in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mesh.agent import log
from mesh.agent.apply import Applier, Content
from mesh.agent.host import CommandFailed
from mesh.agent.keys import NodeKeys
from mesh.agent.repair import InForce
from mesh.agent.state import Applied, HighestManifest, Rejected, verified_part
from mesh.registry import paths
from mesh.registry.client import Client, Unreachable
from mesh.trust.documents import Part
from mesh.trust.encoding import Malformed
from mesh.trust.requests import Signer
from mesh.trust.sealing import NotForUs, unseal


class Parts:
    """Parts of one node. ``urls`` returns the registries."""

    def __init__(
        self, signer: Signer, node: str, own: NodeKeys, urls: Callable[[], Sequence[str]]
    ) -> None:
        self._signer, self._node, self._keys, self._urls = signer, node, own, urls

    def fetched(self, known: HighestManifest) -> tuple[str, Part]:
        """Our part and its text, from any registry that has it. Raises :class:`Unreachable`."""
        target = f"{paths.PARTS}/{self._node}"
        reasons: list[str] = []
        for url in self._urls():
            try:
                with Client(url, self._signer) as client:
                    answer = client.ask("GET", target, signed=True)
            except Unreachable as error:
                reasons.append(str(error))
                continue
            if answer.ok:
                text = answer.body.decode("utf-8", "replace")
                try:
                    return text, verified_part(known, self._node, text)
                except Rejected as error:
                    reasons.append(f"{url}: {error}")
                    continue
            reasons.append(f"{url}: {answer.why()}")
        raise Unreachable("; ".join(reasons) or "no registry")

    def secrets(self, part: Part, applied: Applied) -> dict[str, bytes]:
        """The contents of a part's sealed files by path. Raises :class:`NotForUs`."""
        sealed_in = applied.sealed_in or applied.generation
        return {
            file.path: unseal(self._keys.sealing, self._node, sealed_in, file.path, file.box)
            for file in part.sealed
        }

    def in_force(self, applied: Applied, applier: Applier) -> InForce | None:
        """A generation that was applied; None if this version cannot read it."""

        def contents() -> Mapping[str, Content]:
            part = applied.parsed()
            return applier.contents(part, self.secrets(part, applied))

        try:
            return InForce.of(applied.generation, applied.parsed().units, contents)
        except (Malformed, NotForUs, CommandFailed) as error:
            log.warning("not-repaired", generation=applied.generation, reason=error)
            return None
