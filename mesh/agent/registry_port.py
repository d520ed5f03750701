"""Keeps this node's registry port open for the other nodes: a generation that blocks them is
refused, and a ruleset in force that blocks them is opened.

Nodes that no registry admits receive no generation and no order, including the one that would
open the port again.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from mesh.agent import log
from mesh.agent.admission import NotTried, shut_out
from mesh.agent.apply import NotApplied
from mesh.agent.daemons import nftables, wireguard
from mesh.agent.facts import certificate
from mesh.agent.host import CommandFailed, Host
from mesh.agent.iproute import IpRoute
from mesh.agent.planned import PlannedNodes
from mesh.agent.ruleset_id import ruleset_id
from mesh.trust.documents import Manifest, Part

LOOK = 5.0
"""Seconds between two looks at the rules in force."""
PATIENCE = 7.0
"""Seconds until a blocked port is opened: the repair of the generation's rules comes first. With
the tests, three seconds each, the port is open within half a minute."""
REPORTED = 300.0
"""Seconds for which a repair by the generation's own rules is reported."""
_TABLE = ("inet", "mesh")
_OWN = f'comment "{nftables.OPENED}"'
_PASSERS = re.compile(r"(\n\t\tflags dynamic.*(?:\n\t\t.*)*?)\n\t\telements = \{[^}]*\}")


class RegistryPort:
    """Watches the port while this node is a registry. ``changed`` is called when the report
    changes; ``held`` returns whether the node is on hold."""

    def __init__(
        self,
        host: Host,
        planned: PlannedNodes,
        changed: Callable[[], None],
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        self._host, self._planned, self._changed, self._held = host, planned, changed, held
        self._port: int | None = None
        self._seen: int | None = None
        self._shut_since: float | None = None
        self._reported: tuple[str, float] = ("", -math.inf)

    @property
    def fault(self) -> str:
        """What was wrong with the port lately; empty for nothing."""
        reason, until = self._reported
        return reason if time.monotonic() < until else ""

    def judge(self, manifest: Manifest, part: Part) -> None:
        """Raises :class:`NotApplied` for a part whose firewall blocks nodes that this node has
        tunnels to."""
        files = {file.path: file.content for file in part.files}
        ruleset, port = files.get(nftables.RULESET, ""), self._of(manifest)
        if port is None or self._host.read(nftables.RULESET) == ruleset.encode():
            return
        shut = self._shut_out(ruleset, _addresses(files), port)
        if shut:
            raise NotApplied(
                f"{nftables.RULESET}: shuts the registry's port {port} to the nodes at "
                f"{', '.join(shut)}"
            )

    def watch(self, manifest: Manifest) -> None:
        """Called when this generation is in force."""
        self._port, self._seen, self._shut_since = self._of(manifest), None, None
        self._reported = ("", -math.inf)

    def run(self, stop: threading.Event) -> None:
        """Tests the rules in force after each change, until ``stop`` is set."""
        while not stop.wait(LOOK):
            self._planned.tend()
            port = self._port
            if port is not None and not self._held():
                self._look(port)

    def _look(self, port: int) -> None:
        state = ruleset_id()
        if state is not None and state == self._seen:
            return
        listed = self._host.run("nft", "list", "table", *_TABLE)
        files = self._tunnels()
        # Without dynamic elements: in a flood there are a hundred thousand.
        ruleset = _PASSERS.sub(r"\1", listed.out) if listed.code == 0 else ""
        shut = self._shut_out(ruleset, _addresses(files), port)
        if not shut:
            self._seen, self._shut_since = state, None
            return
        now = time.monotonic()
        if self._shut_since is None:
            self._shut_since = now
            log.warning("registry-shut", port=port, nodes=", ".join(shut))
        elif now - self._shut_since >= PATIENCE:
            self._open(port, shut)
            self._shut_since = None

    def _open(self, port: int, shut: tuple[str, ...]) -> None:
        """Loads the generation's own rules if they admit the nodes; otherwise with a rule in front:
        the missing jump to the registry's chain, which admits the operator too, or one for these
        nodes."""
        file = self._host.read(nftables.RULESET) or b""
        own = file.decode("utf-8", "replace")
        if not own:
            return  # the generation's rules are missing
        nodes = ", ".join(shut)
        before = (
            "",
            f"insert rule inet mesh input tcp dport {port} jump registry {_OWN}\n",
            f"insert rule inet mesh input ip saddr {{ {nodes} }} tcp dport {port} accept {_OWN}\n",
        )
        outcome, until = "it does not open", time.monotonic() + REPORTED
        for rule in before:
            try:
                still = self._tried(f"{own}\n{rule}", shut, port)
                if self._host.read(nftables.RULESET) != file:
                    return  # another generation was applied meanwhile, or this one undone
                if not still:
                    self._host.must("nft", "-f", "-", given=f"{own}\n{rule}")
                    outcome, until = "opened again by the agent", math.inf if rule else until
                    break
            except (NotTried, CommandFailed) as error:
                log.warning("registry-shut", port=port, reason=error)
        log.warning("registry-opened", port=port, nodes=nodes, outcome=outcome)
        self._reported = (f"{outcome}: port {port}, which was shut to the nodes at {nodes}", until)
        self._changed()

    def _tried(self, ruleset: str, callers: Sequence[str], port: int) -> tuple[str, ...]:
        own = IpRoute(self._host).uplink(4)
        return () if own is None else shut_out(self._host, ruleset, own, callers, port)

    def _shut_out(self, ruleset: str, callers: Sequence[str], port: int) -> tuple[str, ...]:
        if not callers or not ruleset:
            return ()
        try:
            return self._tried(ruleset, callers, port)
        except NotTried as error:
            log.warning("firewall-not-tried", reason=error)
            return ()

    def _of(self, manifest: Manifest) -> int | None:
        """The port of this node's registry; None if that generation has none here."""
        try:
            digest = certificate(self._host)
        except (OSError, ValueError) as error:
            log.warning("certificate", reason=error)
            return None
        if digest is None:
            return None
        own = IpRoute(self._host).uplink(4)
        for entry in manifest.registries:
            where = urlsplit(entry.url)
            if entry.tls_sha256 == digest or (own is not None and where.hostname == own.address):
                return where.port
        return None

    def _tunnels(self) -> dict[str, str]:
        folder = self._host.path("/etc/wireguard")
        files = sorted(folder.glob("wg-*.conf")) if folder.is_dir() else []
        return {file.name: file.read_text("utf-8", "replace") for file in files}


def _addresses(files: Mapping[str, str]) -> list[str]:
    """The endpoints of the peers in the tunnels' files."""
    return sorted(set(_endpoints(files)))


def _endpoints(files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        if path.rpartition("/")[2].startswith("wg-"):
            yield from (one for one in wireguard.endpoints(path, text) if ":" not in one)
