"""Set-up on the day after: Debian's mirror has newer packages than anybody has seen, or lost some.

The mirror is a stand-in, signed, and served on loopback; ``setup/all`` is the real one, and so are
the tests that run on what it made.
"""

from __future__ import annotations

import json
import lzma
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from setup import versions
from setup.image import mirror
from tests.kit.machine import IMAGES
from tests.setup.standin import Archive, Handler, Machine, archive, machine, served

pytestmark = pytest.mark.image

NODE = "ewr-vultr-1"
PARSED = "tests/render/test_traffic.py::test_every_bird_parses_every_option"


def bird(version: str) -> dict[str, str]:
    """A BIRD that knows its version, and parses nothing."""
    told = f"echo 'BIRD version {version}' >&2; exit 0"
    refused = "echo 'bird.conf:1:1 syntax error' >&2; exit 1"
    return {"usr/sbin/bird": f'#!/bin/sh\ncase "$1" in --version) {told};; esac\n{refused}\n'}


def fill(made: Archive, *, without: str = "", **moved: str) -> None:
    """Fill it with what the layers are made from, but for the package ``without``: the next point
    release of each, or the version that ``moved`` has for it."""
    for layer in versions.load().layers:
        for package in layer.packages:
            version = moved.get(package, f"{layer.series}.99-1+deb99u1")
            files = bird(version.split("-")[0]) if package.startswith("bird") else {}
            if package != without:
                made.add(layer.suite, package, version, files)
    made.publish()


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose mirror has moved on: point releases, one of them broken, another series of
    stayrtr, and no bird3 any more."""
    folder = tmp_path_factory.mktemp("moved")
    with archive(folder) as made, served(made.folder) as uri:
        fill(made, without="bird3", stayrtr="0.7.0-1")
        yield machine(folder / "machine", made, uri)


LOST = "trixie has no package bird3 at this machine's mirror"


@pytest.mark.parametrize("time", ["first", "again"])
def test_what_the_mirror_has_is_taken_recorded_and_printed(moved: Machine, time: str) -> None:
    done = moved.set_up("birds")
    assert done.returncode == 0, done.stderr
    assert ("fetching" in done.stdout) is (time == "first")
    assert "bird2 2.0.99-1+deb99u1 (bookworm)" in done.stdout
    assert "stayrtr 0.7.0-1 (trixie)" in done.stdout
    assert f"{LOST}: tests that need the layer trixie-bird3 will fail" in done.stdout
    assert "trixie has moved on to stayrtr 0.7.0-1" in done.stdout
    (path,) = moved.cache.glob("birds-*/found.json")
    found = json.loads(path.read_text())
    assert found["bookworm-bird2"]["packages"]["bird2"] == "2.0.99-1+deb99u1"
    assert found["trixie-bird3"]["missing"] == ["bird3"]


def test_what_it_has_not_or_broken_fails_the_tests_of_it_with_the_reason_and_no_others(
    moved: Machine,
) -> None:
    assert moved.set_up("birds").returncode == 0
    done = moved.run("python", "-m", "pytest", "-q", "--whole", PARSED, "-k", NODE)
    failed = set(re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE))
    assert failed == {f"{PARSED}[{NODE}-{version}]" for version in ("2.0.99", "3.1")}
    assert "1 passed" in done.stdout, "that of the node image; and none is skipped"
    assert LOST in done.stdout
    here = rf"BIRDs here.*2\.0\.99 \(bookworm-bird2\), {re.escape(IMAGES)} \(the node image\)"
    assert re.search(here, done.stdout, re.DOTALL)


def test_a_release_that_the_mirror_has_no_more_leaves_the_others(tmp_path: Path) -> None:
    with archive(tmp_path) as made, served(made.folder) as uri:
        fill(made, bird3="3.2.0-1")
        (made.folder / "dists/bookworm").rename(made.folder / "gone")
        here = machine(tmp_path / "machine", made, uri)
        done = here.set_up("birds")
    assert done.returncode == 0, done.stderr
    gone = "this machine's mirror does not have the release bookworm"
    assert f"{gone}: tests that need the layer bookworm-bird2 will fail" in done.stdout
    further = "trixie has moved on to bird3 3.2.0-1; templates and tests were measured on 3.1"
    assert further in done.stdout
    (layers,) = here.cache.glob("birds-*")
    names = {"trixie-bird3", "trixie-promtool", "stayrtr", "openbgpd", "found.json"}
    assert {path.name for path in layers.iterdir()} == names


# --- The node image: Debian's own mirror, signed anew after a package was changed -----------------

SUITE = versions.load().debian_suite
NEXT = "2.17.99-0+deb99u1"


def real() -> str:
    """This machine's own mirror."""
    return mirror.debian_mirror(mirror.sources(), mirror.host_codename())


class Redirecting(Handler):
    """Serves what the test has made, and sends to Debian's mirror for all else in the pool."""

    def do_GET(self) -> None:  # noqa: N802
        """Answer, or redirect."""
        if Path(self.translate_path(self.path)).exists() or not self.path.startswith("/pool/"):
            return super().do_GET()
        self.send_response(302)
        self.send_header("Location", f"{real()}{self.path}")
        self.end_headers()
        return None


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The list of packages of the nodes' release, as its mirror has it."""
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    listed = f"{real()}/dists/{SUITE}/main/binary-{architecture}/Packages.xz"
    with urllib.request.urlopen(listed, timeout=60) as answer:  # whoever serves it, it is a test
        return lzma.decompress(answer.read()).decode()


def stanza_of(packages: str, name: str) -> str:
    """What a list says of a package."""
    found = re.search(rf"(?:^|\n\n)(Package: {name}\n.*?)\n\n", packages, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_a_node_image_is_built_of_whatever_bird_the_release_has(
    tmp_path: Path, packages: str
) -> None:
    old = stanza_of(packages, "bird2")
    fields = dict(line.split(": ", 1) for line in old.splitlines() if ": " in line)
    urllib.request.urlretrieve(f"{real()}/{fields['Filename']}", tmp_path / "old.deb")
    subprocess.run(["dpkg-deb", "-R", tmp_path / "old.deb", tmp_path / "tree"], check=True)
    control = tmp_path / "tree/DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {NEXT}", control.read_text()))
    with archive(tmp_path) as made, served(made.folder, Redirecting) as uri:
        made.pack(SUITE, "bird2", NEXT, tmp_path / "tree")
        (new,) = made.stanzas[SUITE]
        made.write(SUITE, packages.replace(old, new.rstrip("\n")).encode())
        here = machine(tmp_path / "machine", made, uri)
        done = here.set_up("image", timeout=900)
    assert done.returncode == 0, done.stderr
    assert f"image: bird2 {NEXT} ({SUITE})" in done.stdout
    assert "moved on" not in done.stdout
    (recorded,) = here.cache.glob("image-*.json")
    assert json.loads(recorded.read_text())["image"]["packages"]["bird2"] == NEXT


@pytest.mark.slow
def test_a_package_that_nodes_need_and_the_release_has_lost_is_named(
    tmp_path: Path, packages: str
) -> None:
    with archive(tmp_path) as made, served(made.folder, Redirecting) as uri:
        made.write(SUITE, packages.replace(stanza_of(packages, "bird2") + "\n\n", "").encode())
        here = machine(tmp_path / "machine", made, uri)
        done = here.set_up("image", timeout=900)
    assert done.returncode != 0
    assert f"image: {SUITE} has no package bird2 at this machine's mirror" in done.stderr
    assert "the nodes need it" in done.stderr
    assert not list(here.cache.glob("image-*")), "neither a tree nor a record"
