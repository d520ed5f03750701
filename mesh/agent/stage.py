"""The stage: a generation's files, for the daemons to validate before they are in place.

Daemons read absolute paths (`Include /etc/ssh/sshd_config.d/*.conf`), so the staged folders are
bind-mounted over the real ones in the validator's own mount namespace.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mesh.agent import file_paths
from mesh.agent.host import CommandFailed, Host, Result, execute

_STAGE = f"{file_paths.STATE}/stage"
# Constant; its arguments are pairs of folders, `--`, and the command.
_BIND = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'


@dataclass(slots=True)
class Stage:
    """Copies of the folders under ``/etc`` that change, with the changes."""

    host: Host
    folders: set[str] = field(default_factory=set)

    def fill(self, wanted: Mapping[str, bytes | None]) -> None:
        """Stages the new contents; None removes a file."""
        self.clear()
        top = self.host.path(_STAGE)
        top.mkdir(parents=True, mode=0o700)
        for path, content in wanted.items():
            self._copy_folder(path)
            target = self.host.path(self.path(path))
            if content is None:
                target.unlink(missing_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.write_bytes(content)

    def path(self, absolute: str) -> str:
        """The staged path of a file."""
        return _STAGE + absolute

    def run(self, *command: str, reads: str, timeout: float = 30.0) -> Result:
        """Runs a validator that sees the staged folder in place of the folder that it reads."""
        pairs: list[str] = []
        for folder in sorted(self.folders & {reads}):
            staged, real = self.host.path(self.path(folder)), self.host.path(folder)
            real.mkdir(parents=True, exist_ok=True)
            pairs += [str(staged), str(real)]
        own = (*self.host.prefix, *command)
        if not pairs:
            return execute(own, None, timeout)
        private = ("unshare", "--mount", "--propagation", "private", "--")
        return execute((*private, "sh", "-ec", _BIND, "sh", *pairs, "--", *own), None, timeout)

    def must(self, *command: str, reads: str, timeout: float = 30.0, called: str = "") -> None:
        """Runs a validator, ``called`` so where that is not its first word. Raises CommandFailed if
        it refuses."""
        result = self.run(*command, reads=reads, timeout=timeout)
        if result.code != 0:
            raise CommandFailed(f"{called or command[0]} refuses: {result.why()}")

    def clear(self) -> None:
        """Removes all staged files."""
        self.folders.clear()
        top = self.host.path(_STAGE)
        if top.exists():
            shutil.rmtree(top)

    def _copy_folder(self, path: str) -> None:
        """Copies `/etc/<folder>` once; a file directly in `/etc` is staged alone."""
        steps = PurePosixPath(path).parts
        if len(steps) < 4:
            self.host.path(self.path(path)).parent.mkdir(parents=True, exist_ok=True)
            return
        folder = str(PurePosixPath(*steps[:3]))
        if folder in self.folders:
            return
        real, staged = self.host.path(folder), self.host.path(self.path(folder))
        staged.parent.mkdir(parents=True, exist_ok=True)
        if real.is_dir():
            shutil.copytree(real, staged, symlinks=True, copy_function=_copy)
            shutil.copystat(real, staged)
        else:
            staged.mkdir()
        self.folders.add(folder)


def _copy(source: str, target: str) -> None:
    """Copies a file with its owner: sshd refuses keys that others can read."""
    shutil.copy2(source, target, follow_symlinks=False)
    status = os.lstat(source)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
