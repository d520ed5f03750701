"""Contents of services, sent to the registries before the generation that names them.

They go in chunks: what a registry has of a content already is not sent again. A registry of an
earlier version takes them once it runs from the new bundle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from mesh.content import Artefact, NotPacked, artefact, chunks
from mesh.plan import Plan
from mesh.publish.order import PublishError
from mesh.publish.progress import ProgressLines
from mesh.publish.registry_pool import decoded, takes
from mesh.registry import paths
from mesh.registry.client import Answer, Client, Unreachable
from mesh.trust.documents import Report
from mesh.trust.encoding import Malformed

SECONDS = 30.0
"""For one chunk, beyond what an answer may take anyway."""
AGAIN = 1.0
"""Seconds between two tries at a registry."""
TURN = 30.0
"""Seconds that a registry takes chunks for while another one lacks some; then it is the other's
turn."""


class NotTaken(Exception):
    """A registry does not have a content, and why. ``earlier``: since it is of a version without
    contents; ``slow``: since its turn was over."""

    def __init__(self, reason: str, *, earlier: bool = False, slow: bool = False) -> None:
        super().__init__(reason)
        self.earlier, self.slow = earlier, slow


def packed(plan: Plan, folders: Mapping[str, Path]) -> dict[str, Artefact]:
    """The artefacts of a plan by their hashes. Raises PublishError where a directory is not what
    the plan was made of."""
    found: dict[str, Artefact] = {}
    for service in plan.services:
        if service.content is None:
            continue
        key = f"mesh:services.{service.name}.content"
        try:
            if service.name not in folders:
                raise NotPacked(service.name, "its directory is not known", "run `pulumi up` again")
            one = artefact(folders[service.name])
            digest = one.sha256
        except NotPacked as error:
            raise PublishError(f"{key}: {error}") from None
        if digest != service.content.sha256:
            raise PublishError(
                f"{key}: {one.folder} changed while this update ran, so it is not what was "
                "planned; run `pulumi up` again"
            )
        found[digest] = one
    return found


class ContentDelivery:
    """Brings the contents of one publication to the registries. ``over`` is whether its time is
    up."""

    def __init__(
        self,
        contents: Mapping[str, Artefact],
        clients: Mapping[str, Client],
        progress: ProgressLines,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._contents, self._clients, self._progress = contents, clients, progress
        self._over = over
        self._missing = set(clients) if contents else set[str]()
        self._reasons: dict[str, NotTaken] = {}
        self._next = 0.0

    @property
    def reasons(self) -> dict[str, str]:
        """Why a registry does not have all contents."""
        return {node: str(why) for node, why in sorted(self._reasons.items())}

    @property
    def held(self) -> bool:
        """Whether some registry has all of them."""
        return not self._contents or len(self._missing) < len(self._clients)

    @property
    def refused(self) -> bool:
        """Whether none has them, although one might: not all are of an earlier version."""
        return not self.held and not any(why.earlier for why in self._reasons.values())

    def deliver(self) -> None:
        """Tries each registry that does not have all of them, at most once in a while; again those
        that are slow, until some registry has all."""
        if not self._missing or time.monotonic() < self._next:
            return
        self._pass()
        while not self.held and any(why.slow for why in self._reasons.values()):
            if self._over():
                break
            self._pass()
        self._next = time.monotonic() + AGAIN

    def _pass(self) -> None:
        for node in sorted(self._missing):
            end = time.monotonic() + (TURN if len(self._missing) > 1 else math.inf)
            try:
                for digest, one in self._contents.items():
                    self._send(node, self._clients[node], digest, one, end)
            except Unreachable as error:
                self._reasons[node] = NotTaken(str(error))
            except NotTaken as error:
                self._reasons[node] = error
            except NotPacked as error:
                raise PublishError(str(error)) from None
            else:
                self._missing.discard(node)
                self._reasons.pop(node, None)

    def _send(self, node: str, client: Client, digest: str, one: Artefact, end: float) -> None:
        place = f"{paths.CONTENT}/{digest}"
        status = client.ask("GET", f"{paths.API}/status", signed=True, timeout=SECONDS)
        if status.ok and not takes(status, paths.CONTENT):
            raise NotTaken("it is of an earlier version, which takes no contents", earlier=True)
        held = _held(client.ask("GET", place, signed=True, timeout=SECONDS))
        if held is None:
            return
        total = -(-one.size // paths.CHUNK)
        for number, chunk in enumerate(chunks(one, paths.CHUNK)):
            if number < held:
                continue
            if time.monotonic() >= end:
                why = f"content {digest[:12]}: it has taken {number} of {total} chunks so far"
                raise NotTaken(why, slow=True)
            self._progress.waiting(f"{node}: gets content {digest[:12]}, {_size(one.size)}")
            put = client.ask("PUT", f"{place}/{number}", chunk, signed=True, timeout=SECONDS)
            if not put.ok:
                raise NotTaken(f"content {digest[:12]}, chunk {number + 1} of {total}: {put.why()}")
        done = client.ask("PUT", place, signed=True, timeout=SECONDS)
        if not done.ok:
            raise NotTaken(f"content {digest[:12]}: {done.why()}")
        self._progress(f"{node}: has content {digest[:12]}, {_size(one.size)}")


def _held(answer: Answer) -> int | None:
    """How many chunks of a content a registry has; None where it has it whole."""
    if not answer.ok:
        return 0
    # OverflowError: JSON's Infinity.
    with suppress(Malformed, TypeError, ValueError, OverflowError):
        state = decoded(dict, answer.body)
        return None if state.get("complete") is True else int(state.get("chunks", 0))
    return 0


def _size(octets: int) -> str:
    return f"{octets / 2**20:.1f} MiB" if octets >= 2**20 else f"{-(-octets // 2**10)} KiB"


def lagging(plan: Plan, reports: Mapping[str, Report]) -> dict[str, str]:
    """The nodes whose last report says that they serve another content than the plan's, each with
    why; ``reports`` by node."""
    found: dict[str, str] = {}
    for service in plan.services:
        if service.content is None:
            continue
        for node in service.nodes:
            health = None if node not in reports else reports[node].health
            if health is not None and health.contents.get(service.name) != service.content.sha256:
                why = health.warnings.get(service.name) or "it does not have the new content yet"
                found[node] = f"{service.name}: {why}"
    return found
