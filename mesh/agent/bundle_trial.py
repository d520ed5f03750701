"""The trial of a new bundle: the node returns to the bundle before unless the new one works.

    trial on the disk ──► link to the new bundle ──► its agent shows that it works ──► trial over
            │
            └──► a watch of its own: the agent ends too often, or shows nothing in time
                     ──► link to the bundle before, and that bundle is not tried again

What goes back is a process of its own: the new bundle may crash or hang at any place. A machine
that starts anew in the middle goes on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pydantic import ConfigDict

from mesh.agent import disk, file_paths, log
from mesh.agent.host import CommandFailed, Host
from mesh.agent.notify import WITHDRAW
from mesh.agent.units import Systemd
from mesh.trust.encoding import Malformed, dump, parse

CAPABILITY = "trial"
"""What ``check`` prints: an agent of this bundle ends its trial. Earlier versions do not."""
AGENT = "anycast-mesh-agent.service"
PATIENCE = 15.0
"""Seconds within which an agent has to show that it works: well within the time after which a node
without an agent withdraws."""
ENDS = 3
"""How often it may end in that time."""
LOOK = 0.3
"""Seconds between two looks."""
_TRIAL = f"{file_paths.STATE}/bundle-trial.json"
_REFUSED = f"{file_paths.STATE}/bundle-refused.json"
_UNIT = "anycast-mesh-bundle-trial.service"
_FOLDER = "/etc/systemd/system"
_WANTED = f"{_FOLDER}/multi-user.target.wants/{_UNIT}"
_STRICT = ConfigDict(extra="forbid")
_NAME = re.compile(r"([0-9a-f]{64})\.pyz")


@dataclass(frozen=True, slots=True)
class Trial:
    """A bundle on trial for a manifest (its digest), the bundle ``before``, and the other units
    that ran; ``starts`` is how often systemd had restarted the agent until then, and 0 where
    systemd is not."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    bundle: str
    before: str
    manifest: str
    units: tuple[str, ...]
    starts: int


@dataclass(frozen=True, slots=True)
class RefusedBundle:
    """A bundle that did not work, and why: it is not tried again for that manifest."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    bundle: str
    manifest: str
    reason: str


class TrialWatch(Protocol):
    """Who returns to the bundle before, as the agent sees them."""

    def starts(self) -> int:
        """How often the agent was restarted."""
        ...

    def begin(self, trial: Trial) -> None:
        """Begins to watch. Raises :class:`CommandFailed`."""
        ...

    def end(self) -> None:
        """Ends it."""
        ...

    def went_back(self) -> tuple[str, str] | None:
        """The bundle from which it has returned, and why, where it does not store that itself."""
        ...


class BundleTrials:
    """The trials of one node."""

    def __init__(self, host: Host, watch: TrialWatch) -> None:
        self._host, self._watch = host, watch
        self._take_note()

    @property
    def current(self) -> Trial | None:
        """The trial that goes on; None if there is none. A damaged one has no end of its own."""
        content = self._host.read(_TRIAL)
        try:
            return None if content is None else parse(Trial, content)
        except Malformed:
            return None

    def refused(self, manifest: str) -> str:
        """Why the bundle of a manifest did not work here; empty if it was not tried."""
        content = self._host.read(_REFUSED)
        try:
            found = None if content is None else parse(RefusedBundle, content)
        except Malformed:
            return ""
        return found.reason if found is not None and found.manifest == manifest else ""

    def begin(self, bundle: str, before: str, manifest: str, units: frozenset[str]) -> None:
        """From here on the node returns to the bundle before. Raises :class:`CommandFailed`."""
        trial = Trial(bundle, before, manifest, tuple(sorted(units)), self._watch.starts())
        self._host.write(_TRIAL, dump(trial), 0o600)
        self._watch.begin(trial)

    def end(self) -> None:
        """The bundle works, or is not tried after all. The watch ends by itself."""
        self._host.remove(_TRIAL)
        self._watch.end()

    def _take_note(self) -> None:
        """Stores what the watch has found, once it has returned to the bundle before."""
        found, trial = self._watch.went_back(), self.current
        if found is None or trial is None:
            return
        if found[0] == trial.bundle != running(self._host):
            reason = f"bundle {trial.bundle[:12]}: {found[1]}"
            log.warning("bundle-refused", sha256=trial.bundle, reason=reason)
            self.refuse(trial, reason)
            self.end()

    def refuse(self, trial: Trial, reason: str) -> None:
        """Stores why a bundle does not work. If the disk refuses that, it may be tried again."""
        try:
            refused = RefusedBundle(trial.bundle, trial.manifest, reason)
            self._host.write(_REFUSED, dump(refused), 0o600)
        except OSError as error:
            log.warning("state", fault=disk.fault(error), reason=error)


def running(host: Host) -> str | None:
    """SHA-256 of the bundle in place, from the name that its link points to."""
    try:
        match = _NAME.fullmatch(host.path(file_paths.BUNDLE).readlink().name)
    except OSError:
        return None
    return match[1] if match else None


def point_to(host: Host, digest: str) -> None:
    """Makes a bundle the one that units start."""
    link = host.path(file_paths.BUNDLE)
    beside = link.with_name("bundle.part")
    beside.unlink(missing_ok=True)
    beside.symlink_to(f"bundles/{digest}.pyz")
    beside.replace(link)


def settle(host: Host, clock: Callable[[], float] = time.monotonic) -> None:
    """Waits for the end of the trial, and returns to the bundle before if it does not end. Runs in
    a process of that bundle."""
    watch, began = TrialUnit(host), clock()
    trials = BundleTrials(host, watch)
    while (trial := trials.current) is not None:
        # The first start is that of the new bundle.
        ended = watch.starts() - trial.starts - 1
        name, reason = trial.bundle[:12], ""
        if ended >= ENDS:
            reason = f"bundle {name}: its agent ended {ended} times: {Systemd(host).said(AGENT)}"
        elif clock() - began >= PATIENCE:
            reason = f"bundle {name}: has not shown within {PATIENCE:g} s that it works"
        if reason:
            _go_back(host, trials, trial, reason)
            return
        time.sleep(LOOK)


def _go_back(host: Host, trials: BundleTrials, trial: Trial, reason: str) -> None:
    log.warning("bundle-refused", sha256=trial.bundle, reason=reason)
    trials.refuse(trial, reason)
    point_to(host, trial.before)
    trials.end()
    # The time until a node without an agent withdraws begins anew, with an agent that works.
    host.run("systemctl", "stop", f"{WITHDRAW}.timer")
    # It may hang, and systemd starts it again at once.
    host.run("systemctl", "kill", "--signal=KILL", AGENT)
    for unit in trial.units:
        try:
            host.must("systemctl", "--no-block", "restart", unit)
        except CommandFailed as error:
            log.warning("not-restarted", reason=error)


@dataclass(frozen=True, slots=True)
class TrialUnit:
    """The watch of systemd: a unit of the bundle before, which :func:`settle` runs in."""

    host: Host

    def starts(self) -> int:
        """How often systemd has restarted the agent; 0 if that is unknown."""
        shown = self.host.run("systemctl", "show", "-P", "NRestarts", AGENT).out.strip()
        return int(shown) if shown.isdigit() else 0

    def begin(self, trial: Trial) -> None:
        """Enables the unit, and starts it."""
        self.host.write(f"{_FOLDER}/{_UNIT}", _unit(trial.before).encode(), 0o644)
        link = self.host.path(_WANTED)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{_UNIT}")
        self.host.must("systemctl", "daemon-reload")
        self.host.must("systemctl", "--no-block", "restart", _UNIT)

    def end(self) -> None:
        """Removes the unit. Its process ends by itself."""
        self.host.path(_WANTED).unlink(missing_ok=True)
        self.host.path(f"{_FOLDER}/{_UNIT}").unlink(missing_ok=True)

    def went_back(self) -> None:
        """Nothing: :func:`settle` stores it."""


def _unit(before: str) -> str:
    return f"""\
[Unit]
Description=Anycast Mesh: trial of a new bundle
ConditionPathExists={_TRIAL}
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 {file_paths.BUNDLES}/{before}.pyz settle-bundle
Restart=on-failure
RestartSec=1
"""
