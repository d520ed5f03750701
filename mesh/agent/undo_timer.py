"""Who undoes a change that nobody has confirmed where the agent does not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from mesh.agent import file_paths
from mesh.agent.host import Host

UNCONFIRMED = f"{file_paths.STATE}/unconfirmed.json"
"""The change that waits."""
_TIMER = "anycast-mesh-undo"
_UNIT = "anycast-mesh-undo-at-start.service"
_FOLDER = "/etc/systemd/system"
_WANTED = f"{_FOLDER}/sysinit.target.wants/{_UNIT}"
_AT_START = f"""\
[Unit]
Description=Anycast Mesh: undo a change that nobody has confirmed
ConditionPathExists={UNCONFIRMED}
DefaultDependencies=no
RequiresMountsFor={file_paths.HOME}
After=local-fs.target
Before=sysinit.target network-pre.target nftables.service ssh.service ssh.socket bird.service
Before=anycast-mesh-agent.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {file_paths.BUNDLE} undo-at-start
"""


class UndoTimer(Protocol):
    """Undoes the change that waits, without the agent."""

    def prepare(self) -> None:
        """From here on it is undone after a boot too."""
        ...

    def arm(self, seconds: float) -> None:
        """Starts one more timer. Earlier ones stay, so that there is always one; one that fires too
        early finds that there is time left. Raises CommandFailed."""
        ...

    def end(self) -> None:
        """Nothing waits any more."""
        ...

    def boot(self) -> str:
        """Identifies this start of the machine."""
        ...

    def clock(self) -> int:
        """Microseconds since it."""
        ...


@dataclass(frozen=True, slots=True)
class SystemdTimer:
    """Timers of systemd, and a unit that restores the files at boot before the daemons read
    them."""

    host: Host

    def prepare(self) -> None:
        """Writes and enables the unit."""
        self.host.write(f"{_FOLDER}/{_UNIT}", _AT_START.encode(), 0o644)
        link = self.host.path(_WANTED)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{_UNIT}")
        self.host.flush(_FOLDER, file_paths.STATE)

    def arm(self, seconds: float) -> None:
        """A transient timer."""
        self.host.must(
            "systemd-run",
            "--collect",
            f"--unit={_TIMER}-{self.clock()}",
            f"--on-active={seconds:.1f}",
            "--timer-property=AccuracySec=100ms",
            "/usr/bin/python3",
            file_paths.BUNDLE,
            "undo",
        )

    def end(self) -> None:
        """Removes the unit, and stops all timers."""
        self.host.path(_WANTED).unlink(missing_ok=True)
        self.host.path(f"{_FOLDER}/{_UNIT}").unlink(missing_ok=True)
        self.host.run("systemctl", "stop", f"{_TIMER}-*.timer")

    def boot(self) -> str:
        """The kernel's id of this boot."""
        return self.host.run("cat", "/proc/sys/kernel/random/boot_id").out.strip()

    def clock(self) -> int:
        """The time since the boot, sleep included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
