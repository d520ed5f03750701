"""Updates the bundle: fetches it by its hash from any registry, tests it, and starts it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

from mesh.agent import file_paths, log
from mesh.agent.apply import NotApplied
from mesh.agent.daemons import agent_config, glass
from mesh.agent.host import CommandFailed, Host
from mesh.agent.seed import Seed
from mesh.agent.units import Units
from mesh.registry import paths
from mesh.registry.client import Client, Unreachable
from mesh.trust.encoding import sha256

_NAME = re.compile(r"([0-9a-f]{64})\.pyz")
KEPT = 3


class BundleUpdate:
    """Keeps a node on the bundle that the manifest names."""

    def __init__(self, host: Host, manager: Units, seed: Seed) -> None:
        self._host, self._manager, self._seed = host, manager, seed
        self.running = running(host) or seed.bundle
        """SHA-256 of the bundle that we run."""

    def needed(self, digest: str) -> bool:
        """Whether the manifest names another bundle than the one we run."""
        return digest != self.running

    def renew(self, digest: str, urls: Sequence[str], stop: threading.Event) -> None:
        """Fetches the bundle, checks that it starts here, puts it in place and restarts into it.
        Raises :class:`NotApplied` if it does not start; the old one continues then."""
        path = f"{file_paths.BUNDLES}/{digest}.pyz"
        content = self._host.read(path)
        if content is None or sha256(content) != digest:
            self._host.write(path, self._fetched(digest, urls), 0o644)
        try:
            self._host.must("python3", path, "check", timeout=60)
        except CommandFailed as error:
            self._host.remove(path)
            raise NotApplied(f"bundle {digest[:12]}: does not start here: {error}") from None
        self._point_to(digest)
        log.info("bundle", sha256=digest)
        self._restart(stop)

    def _fetched(self, digest: str, urls: Sequence[str]) -> bytes:
        reasons: list[str] = []
        for url in urls:
            try:
                with Client(url, timeout=10.0) as client:
                    answer = client.ask("GET", f"{paths.BUNDLE}/{digest}", limit=paths.MAX_BUNDLE)
            except Unreachable as error:
                reasons.append(str(error))
                continue
            if answer.ok and sha256(answer.body) == digest:
                return answer.body
            reasons.append(f"{url}: {answer.why() if not answer.ok else 'another bundle'}")
        raise Unreachable("; ".join(reasons) or "no registry")

    def _point_to(self, digest: str) -> None:
        link = self._host.path(file_paths.BUNDLE)
        beside = link.with_name("bundle.part")
        beside.unlink(missing_ok=True)
        beside.symlink_to(f"bundles/{digest}.pyz")
        beside.replace(link)
        folder = self._host.path(file_paths.BUNDLES)
        held = sorted(folder.glob("*.pyz"), key=lambda file: file.stat().st_mtime)
        for old in held[:-KEPT]:
            if old.stem not in (digest, self.running):
                old.unlink(missing_ok=True)

    def _restart(self, stop: threading.Event) -> None:
        """Restarts the other units, then ends this agent: systemd starts the new one."""
        units = [agent_config.WHOAMI, glass.UNIT]
        if self._seed.registry:
            units.append("anycast-mesh-registry.service")
        try:
            for unit in sorted(self._manager.active(units)):
                self._manager.restart(unit)
        except CommandFailed as error:
            # The bundle is in place, and systemd keeps trying to start that unit.
            log.warning("not-restarted", reason=error)
        finally:
            stop.set()


def running(host: Host) -> str | None:
    """SHA-256 of the bundle in place, from the name that its link points to."""
    try:
        match = _NAME.fullmatch(host.path(file_paths.BUNDLE).readlink().name)
    except OSError:
        return None
    return match[1] if match else None
