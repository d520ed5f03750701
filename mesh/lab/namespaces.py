"""Network namespaces: made, configured, searched for processes, removed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mesh import netns
from mesh.lab.errors import LabError


def run(command: Sequence[str | Path], stdin: str | None = None) -> str:
    """Standard output of a command; LabError with its error output when it fails."""
    arguments = [str(argument) for argument in command]
    try:
        done = subprocess.run(
            arguments,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{arguments[0]} is not installed; `make up` installs it") from None
    if done.returncode:
        raise LabError(f"{' '.join(arguments[:6])}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def ip(lines: Iterable[str], namespace: str | None = None) -> None:
    """Run lines of iproute2 in one process, in a namespace (without one: only `netns` commands)."""
    batch = "\n".join(lines)
    if batch:
        inside = ["-n", namespace] if namespace else []
        run(["ip", *inside, "-batch", "-"], stdin=batch + "\n")


def nft(rules: str, namespace: str) -> None:
    """Load nftables rules in a namespace, atomically."""
    run([*netns.entering(namespace), "nft", "-f", "-"], stdin=rules)


def create(namespaces: Iterable[str]) -> None:
    """Make the namespaces that do not exist yet."""
    missing = [name for name in namespaces if not netns.exists(name)]
    for name in missing:
        # A killed `ip netns add` may leave a file without a namespace.
        (netns.FOLDER / name).unlink(missing_ok=True)
    ip([f"netns add {name}" for name in missing])


def delete(namespaces: Iterable[str]) -> None:
    """Remove namespaces, not their processes; no error for missing ones."""
    names = tuple(namespaces)
    ip([f"netns delete {name}" for name in names if netns.exists(name)])
    for name in names:
        (netns.FOLDER / name).unlink(missing_ok=True)


def sysctl(namespace: str, values: Mapping[str, str]) -> None:
    """Set network sysctls of a namespace."""

    def write() -> None:
        for key, value in values.items():
            # "/" separates, as in sysctl.d: interface names may hold dots.
            Path("/proc/sys/net", key).write_text(value)

    netns.inside(namespace, write)


def spawn(command: Sequence[str | Path], log: Path, namespace: str | None = None) -> None:
    """Start a process that outlives this one, in its own session, with its output in ``log``.

    ``setsid --fork`` makes it a child of init, so that the caller neither waits for it nor has a
    zombie.
    """
    entered = netns.entering(namespace) if namespace else []
    with log.open("ab") as stream:
        subprocess.run(
            ["setsid", "--fork", *entered, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd="/",
            check=True,
        )


def processes(namespaces: Iterable[str]) -> dict[str, list[int]]:
    """Process ids by namespace."""
    inodes: dict[int, str] = {}
    found: dict[str, list[int]] = {}
    for name in namespaces:
        found[name] = []
        if netns.exists(name):
            inodes[(netns.FOLDER / name).stat().st_ino] = name
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            owner = inodes.get((entry / "ns/net").stat().st_ino)
        except OSError:
            continue  # it has ended meanwhile
        if owner is not None and int(entry.name) != os.getpid():
            found[owner].append(int(entry.name))
    return found


def command_line(pid: int) -> list[str]:
    """A process's arguments; empty when it has ended."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [argument.decode(errors="replace") for argument in arguments[:-1]]


def kill_inside(namespaces: Iterable[str], deadline: float = 10.0) -> None:
    """Kill every process in the namespaces, and wait until they are gone."""
    names = tuple(namespaces)

    def none_left() -> bool:
        left = [pid for pids in processes(names).values() for pid in pids]
        for pid in left:
            kill(pid, signal.SIGKILL)
        return not left

    wait_until(none_left, deadline, "the lab's processes to end")


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal; no error where the process has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_until(holds: Callable[[], bool], deadline: float, what: str) -> None:
    """Return as soon as a condition holds; LabError after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"timeout after {deadline:g} s while waiting for {what}")
        time.sleep(0.01)
