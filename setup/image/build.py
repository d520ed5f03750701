"""Builds the node image with mmdebstrap, keyed by a hash of its recipe.

Which versions the mirror had on that day is recorded beside the image, and printed.
"""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

from setup import cache, found, versions
from setup.failure import SetupFailure
from setup.found import Found
from setup.image import mirror
from setup.progress import Step

HERE = Path(__file__).resolve().parent
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SPACE = 3 * cache.GIB // 2  # packages, the tree, and room for the overlays of a few nodes

# Documentation, manuals and translations: a third of the tree, and not needed.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def packages(path: Path = HERE / "packages") -> list[str]:
    """Return the names in the package list; the reason for each is after ``#``."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def key() -> str:
    """Return the hash of everything that the tree is made from, but for the mirror."""
    call = command(Path("TREE"), versions.load().debian_suite, "MIRROR")
    # The finishing step is hashed by its content, not by its path.
    arguments = [argument.replace(str(HERE), "") for argument in call]
    return cache.recipe_key([HERE / "finish"], platform.machine(), *arguments)


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


def record_path() -> Path:
    """Where it is recorded what the tree of the present recipe was made of."""
    return recipe_path().with_suffix(".json")


def image(step: Step) -> Path:
    """Return the tree, built if its recipe is not in the cache yet."""
    suite = versions.load().debian_suite

    def make(part: Path, lock: int) -> None:
        uri = mirror.debian_mirror(mirror.sources(), mirror.host_codename())
        step.show(f"building Debian {suite} with {len(packages())} packages and theirs (1-2 min)")
        step.doing("starting mmdebstrap")
        absent: list[str] = []

        def seen(line: str) -> None:
            if phase := re.match(r"I: (.+?)\.{3}", line):
                step.doing(phase.group(1))
            absent.extend(re.findall(r"^E: Unable to locate package (\S+)$", line))
            absent.extend(re.findall(r"^E: Package '(\S+)' has no installation candidate$", line))

        try:
            step.run(command(part, suite, uri), seen=seen, env={"LC_ALL": "C"}, keep_open=[lock])
        except SetupFailure as failure:
            if not absent:
                raise
            raise SetupFailure(f"image: {lacking(suite, absent)}") from failure
        found.write(record_path(), {"image": in_tree(part)})

    tree = cache.fetch(cache.Recipe("image", key(), ((cache.root(), SPACE),), make), step)
    recorded = record_path().is_file()
    for line in report(found.read(record_path())["image"] if recorded else in_tree(tree)):
        step.show(line)
    return tree


def lacking(suite: str, absent: list[str]) -> str:
    """The message on packages of the list that the release does not have."""
    return (
        f"{Found(suite, {}, tuple(absent)).lack()}, and the nodes need it (setup/image/packages "
        "gives the reason): use a mirror that has it in apt's sources, or take it off that list."
    )


def in_tree(tree: Path) -> Found:
    """Return the versions in a tree of the packages that were asked for: its own dpkg knows."""
    asked = ["dpkg-query", f"--admindir={tree / 'var/lib/dpkg'}"]
    asked += ["--show", "--showformat=${Package} ${Version}\n"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    there = dict(line.split() for line in done.stdout.splitlines())
    known = {name: there[name] for name in packages() if name in there}
    return Found(versions.load().debian_suite, known)


def report(there: Found) -> list[str]:
    """Lines on the versions of what templates are written for, and on those of another series."""
    series = dict(versions.load().series)
    known = {name: there.packages[name] for name in series if name in there.packages}
    lines = [there.text(name) for name in known]
    for name, version in known.items():
        if not found.of_series(version, series[name]):
            lines.append(found.moved_on(there.suite, name, version, series[name]))
    return lines
