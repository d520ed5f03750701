"""The agent's machine: its files and its commands.

On a node the root is ``/``. Paths are written as Debian has them: OpenBSD has ``/var/run`` for
``/run``, and all others alike. Tests use a tree of Debian and run its daemons with chroot.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SYNCFS = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
"""syncfs(2), which Linux alone has."""


class CommandFailed(Exception):
    """A command failed; the message is its output."""


@dataclass(frozen=True, slots=True)
class Result:
    """A command's exit code and output."""

    code: int
    out: str
    err: str

    def why(self) -> str:
        """The command's output, short enough for a report."""
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines()]
        return "; ".join(line for line in lines if line)[:500] or f"exit code {self.code}"


@dataclass(frozen=True, slots=True)
class Host:
    """Files under ``root``; commands run with ``prefix`` in front of them. ``run_folder`` is the
    system's folder that is empty after a boot, which this code calls ``/run``."""

    root: Path = Path("/")
    prefix: tuple[str, ...] = ()
    run_folder: str = "/run"

    def path(self, absolute: str) -> Path:
        """A path of the node below ``root``."""
        if absolute.startswith("/run/"):
            absolute = self.run_folder + absolute.removeprefix("/run")
        return self.root / absolute.lstrip("/")

    def read(self, absolute: str) -> bytes | None:
        """A file's content, or None if it does not exist. Raises OSError if it is no regular file:
        reading a pipe or a device might never end."""
        try:
            descriptor = os.open(self.path(absolute), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "is not a file", absolute)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def write(
        self, absolute: str, content: bytes, mode: int, gid: int = 0, *, flush: bool = True
    ) -> None:
        """Replaces a file atomically. A power cut leaves the old one or the new one. With
        ``flush=False`` the caller flushes many at once."""
        target = self.path(absolute)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.mesh-new")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchown(descriptor, os.geteuid(), gid if os.geteuid() == 0 else -1)
                os.fchmod(descriptor, mode)
                if flush:
                    os.fsync(descriptor)
            beside.replace(target)
        except OSError:
            # On a full disk its space is needed to restore other files.
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        if flush:
            _sync_folder(target.parent)

    def flush(self, *folders: str) -> None:
        """Flushes the file systems of these folders: one wait instead of two per file."""
        for folder in folders:
            descriptor = os.open(self.path(folder), os.O_RDONLY | os.O_DIRECTORY)
            try:
                _sync_file_system(descriptor, folder)
            finally:
                os.close(descriptor)

    def remove(self, absolute: str) -> None:
        """Removes a file, if it is there."""
        target = self.path(absolute)
        target.unlink(missing_ok=True)
        _sync_folder(target.parent)

    def run(self, *command: str, given: str | None = None, timeout: float = 30.0) -> Result:
        """Runs a command, never through a shell."""
        return execute((*self.prefix, *command), given, timeout)

    def must(self, *command: str, given: str | None = None, timeout: float = 30.0) -> str:
        """The output of a command. Raises :class:`CommandFailed`."""
        result = self.run(*command, given=given, timeout=timeout)
        if result.code != 0:
            raise CommandFailed(f"{command[0]}: {result.why()}")
        return result.out

    def group(self, name: str) -> int:
        """The id of a group on the node."""
        content = self.read("/etc/group") or b""
        for line in content.decode("utf-8", "replace").splitlines():
            fields = line.split(":")
            if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
                return int(fields[2])
        raise CommandFailed(f"group {name}: not on this node")


def execute(command: Sequence[str], given: str | None, timeout: float) -> Result:
    """Runs a command with its input; a missing command or a timeout is a failure like any other."""
    try:
        done = subprocess.run(
            command,
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(124, "", f"no end after {timeout:g} s")
    except OSError as error:
        return Result(127, "", str(error))
    return Result(done.returncode, done.stdout, done.stderr)


def _sync_file_system(descriptor: int, folder: str) -> None:
    """Flushes the file system of an open folder, or all of them."""
    if _SYNCFS is None:
        os.sync()
    elif _SYNCFS(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), folder)


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
