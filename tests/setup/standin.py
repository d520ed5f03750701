"""A Debian mirror of the test's own, signed with its own key, and set-up run against it.

The set-up is the real one, ``setup/all``, in a mount namespace in which apt's sources, the keyring
and ``.mesh`` of the checkout are the test's.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from setup.image import mirror
from tests.kit import needs
from tests.kit.stacks import ROOT
from tests.kit.wait import patience

# Positional parameters only: nothing is interpolated into it.
_ENTER = """
set -eu
mount --bind "$1/apt" /etc/apt
mount --bind "$1/keyrings" /usr/share/keyrings
mount --bind "$1/mesh" "$2/.mesh"
shift 2
exec "$@"
"""


@dataclass
class Archive:
    """A folder that apt takes for a mirror: packages, lists and releases, signed."""

    folder: Path
    home: Path
    """GnuPG's, with the key."""
    stanzas: dict[str, list[str]] = field(default_factory=dict)
    """What the list of each release says, package by package."""

    def add(self, suite: str, name: str, version: str, files: Mapping[str, str] = {}) -> None:
        """Build a package, its files by path, and list it."""
        tree = self.folder / "build" / suite / name
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: nobody <nobody@example.net>\nDescription: stands in\n"
        )
        for path, text in {"DEBIAN/control": control, **files}.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
        self.pack(suite, name, version, tree)

    def pack(self, suite: str, name: str, version: str, tree: Path) -> None:
        """Build a package of a tree that has its DEBIAN/control, and list it."""
        package = self.folder / "pool" / f"{name}_{version.replace(':', '%3a')}_{suite}.deb"
        package.parent.mkdir(exist_ok=True)
        build = ("dpkg-deb", "--build", "--root-owner-group", "-Znone")
        subprocess.run([*build, str(tree), str(package)], check=True, capture_output=True)
        control = (tree / "DEBIAN/control").read_text()
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        self.stanzas.setdefault(suite, []).append(
            f"{control}Filename: pool/{package.name}\nSize: {package.stat().st_size}\n"
            f"SHA256: {digest}\n"
        )

    def publish(self) -> None:
        """Write the lists and sign the releases."""
        for suite, stanzas in self.stanzas.items():
            self.write(suite, "\n".join(stanzas).encode())

    def write(self, suite: str, packages: bytes) -> None:
        """Write one release with this list of packages."""
        architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        dists = self.folder / "dists" / suite
        listed = dists / f"main/binary-{architecture}/Packages"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_bytes(packages)
        digest = hashlib.sha256(packages).hexdigest()
        (dists / "Release").write_text(
            f"Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {suite}\n"
            f"Date: {format_datetime(datetime.now(UTC), usegmt=True)}\n"
            f"Architectures: {architecture}\nComponents: main\nSHA256:\n"
            f" {digest} {len(packages)} {listed.relative_to(dists)}\n"
        )
        self.gpg("--clear-sign", "--output", str(dists / "InRelease"), str(dists / "Release"))

    def gpg(self, *words: str) -> None:
        """Run GnuPG with the mirror's own home."""
        quiet = ("--batch", "--yes", "--quiet", "--passphrase", "")
        command = ["gpg", "--homedir", str(self.home), *quiet, *words]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    """An empty archive with a key of its own."""
    home = folder / "gpg"
    home.mkdir(mode=0o700)
    made = Archive(folder / "debian", home)
    made.folder.mkdir()
    try:
        made.gpg("--quick-generate-key", "stand-in mirror", "ed25519", "sign", "never")
        yield made
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@dataclass(frozen=True)
class Machine:
    """This machine, but for its mirror, and for the cache and ``.mesh``, which are empty."""

    folder: Path

    def set_up(self, *parts: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``setup/all`` with these parts."""
        return self.run(str(ROOT / "setup/all"), *parts, timeout=timeout)

    def run(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of the checkout there."""
        environment = {
            **os.environ,
            "MESH_CACHE": str(self.cache),
            "MESH_IMAGE": str(needs.image()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "no_proxy": "127.0.0.1",
        }
        enter = ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.folder), str(ROOT)]
        return subprocess.run(
            [*enter, *command],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
            timeout=patience(timeout),
        )  # fmt: skip

    @property
    def cache(self) -> Path:
        """What ``MESH_CACHE`` names there."""
        return self.folder / "cache"


def machine(folder: Path, made: Archive, uri: str) -> Machine:
    """A machine whose mirror is at ``uri``, and which trusts the archive's key."""
    for name in ("apt", "keyrings", "mesh"):
        (folder / name).mkdir(parents=True)
    made.gpg("--output", str(folder / "keyrings/debian-archive-keyring.gpg"), "--export")
    sources = folder / "apt/sources.list"
    sources.write_text(f"deb {uri} {mirror.host_codename()} main\n")
    return Machine(folder)


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and says nothing on the terminal."""

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def served(folder: Path, handler: type[Handler] = Handler) -> Iterator[str]:
    """The address at which a folder is served on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
