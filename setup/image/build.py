"""Builds the node image with mmdebstrap, keyed by a hash of its recipe."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from setup import cache, versions
from setup.image import mirror
from setup.progress import Step

HERE = Path(__file__).resolve().parent
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SPACE = 3 * cache.GIB // 2  # packages, the tree, and room for the overlays of a few nodes

# Documentation, manuals and translations: a third of the tree, and nobody reads them there.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def packages(path: Path = HERE / "packages") -> list[str]:
    """Return the names in the package list; what follows ``#`` says why each is there."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def key() -> str:
    """Return the hash of everything that the tree is made from, but for the mirror."""
    call = command(Path("TREE"), versions.load().debian_suite, "MIRROR")
    # The finishing step counts by its content, not by where the checkout lies.
    words = [word.replace(str(HERE), "") for word in call]
    return cache.recipe_key([HERE / "finish"], platform.machine(), *words)


def command(tree: Path, suite: str, mirror_uri: str) -> list[str]:
    """Return the call of mmdebstrap that fills ``tree``."""
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--keyring={KEYRING}",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Retries "5"',
        # The tree is thrown away when the build is killed: syncing every file is time lost.
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        f"--include={','.join(packages())}",
        f"--customize-hook={HERE / 'finish'}",
        suite,
        str(tree),
        mirror_uri,
    ]


def recipe_path() -> Path:
    """Where the tree of the present recipe lies, or will lie."""
    return cache.root() / f"image-{key()}"


def image(step: Step) -> Path:
    """Return the tree, built if its recipe is not in the cache yet."""
    suite = versions.load().debian_suite

    def make(part: Path, lock: int) -> None:
        uri = mirror.debian_mirror(mirror.sources(), mirror.host_codename())
        step.say(f"building Debian {suite} with {len(packages())} packages and theirs (1-2 min)")
        step.doing("starting mmdebstrap")

        def seen(line: str) -> None:
            phase = re.match(r"I: (.+?)\.{3}", line)
            if phase:
                step.doing(phase.group(1))

        step.run(command(part, suite, uri), seen=seen, keep_open=[lock])

    recipe = cache.Recipe("image", key(), ((cache.root(), SPACE),), make)
    return cache.fetch(recipe, step)
