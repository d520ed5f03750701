"""Packages of this machine: only what is missing, and a clear word when it cannot be had."""

from __future__ import annotations

import io
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from setup import host, versions
from setup.failure import SetupFailure
from setup.progress import Progress, Step
from tests.kit.wait import patience

ALL = versions.CHECKOUT / "setup" / "all"


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step("host", Progress(io.StringIO()), tmp_path / "log")


@pytest.mark.parametrize(
    ("probe", "there"),
    [
        ("sh", True),
        ("no-such-command-anywhere", False),
        ("/etc/passwd", True),
        ("/etc/no-such-file", False),
        ("python:json", True),
        ("python:no_such_module", False),
    ],
)
def test_a_package_is_there_when_what_it_is_for_is_there(probe: str, there: bool) -> None:
    assert host.Package("any", probe).there() is there


def test_every_package_of_the_list_has_a_probe_and_a_reason() -> None:
    lines = [
        line
        for name in ("host-packages", "test-packages")
        for line in (versions.HERE / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert len(host.packages(tests=True)) == len(lines)
    assert all(line.split("#", 1)[1].strip() for line in lines)


def test_what_only_tests_need_is_not_installed_for_running_the_mesh() -> None:
    program, all_ = host.packages(), host.packages(tests=True)
    assert set(program) < set(all_)
    assert "gpg" not in {package.name for package in program}


def test_without_root_it_says_how() -> None:
    host.require_root("the lab", user=0)
    with pytest.raises(SetupFailure, match=r"the lab needs root.*sudo make up"):
        host.require_root("the lab", user=1000)


def test_nothing_is_run_when_nothing_is_missing(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "run", lambda *_a, **_k: pytest.fail("something was run"))
    host.install(step, [host.Package("any", "sh")])


def test_without_apt_the_missing_packages_are_named(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SetupFailure, match=r"mmdebstrap.*no apt-get"):
        host.install(step, [host.Package("mmdebstrap", "no-such-command")])


class Pretended(host.Package):
    """Is there once apt has installed it."""

    installed: ClassVar[set[str]] = set()

    def there(self) -> bool:
        return self.name in self.installed


@pytest.mark.parametrize(
    ("lists", "failing", "expected"),
    [
        pytest.param(True, set(), ["install"], id="lists of today"),
        pytest.param(True, {"install"}, ["install", "update", "install"], id="old lists"),
        pytest.param(False, set(), ["update", "install"], id="no lists"),
        # Another vendor's source that cannot be read does not keep Debian's packages from us.
        pytest.param(False, {"update"}, ["update", "install"], id="a source that fails"),
    ],
)
def test_package_lists_are_fetched_only_when_the_known_ones_do_not_do(
    step: Step,
    monkeypatch: pytest.MonkeyPatch,
    lists: bool,
    failing: set[str],
    expected: list[str],
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(Pretended, "installed", set())

    def run(command: list[str], **_options: object) -> None:
        ran.append(command[1])
        if command[1] in failing:
            failing.remove(command[1])
            raise SetupFailure("404")
        if command[1] == "install":
            assert "--no-install-recommends" in command
            assert command[-1] == "wireguard-tools", "by name: whatever version there is"
            Pretended.installed.add("wireguard-tools")

    monkeypatch.setattr(host, "_has_lists", lambda: lists)
    monkeypatch.setattr(host, "require_root", lambda _what: None)
    monkeypatch.setattr(step, "run", run)
    host.install(step, [Pretended("wireguard-tools", "wg")])
    assert ran == expected


@pytest.mark.parametrize(
    ("target", "call"),
    [
        ("up", "@setup/all host venv engine image"),
        ("test", "@setup/all"),
        ("bench", "@setup/all"),
        ("lint", "@setup/all dev"),
        ("down", "@setup/all venv"),
        ("docs", "@setup/all docs"),
    ],
)
def test_what_only_tests_need_is_set_up_for_tests_only(target: str, call: str) -> None:
    """Without a part named, it is all of them but ``docs``. The file is read: of a line with
    $(MAKE) in it, make runs all the rest as well, even when it is only to say what it would do."""
    text = (versions.CHECKOUT / "Makefile").read_text()
    rules = re.findall(r"^([a-z-]+):(.*?)##.*\n\t(.*)$", text, re.MULTILINE)
    first = {name: (needs.split(), recipe) for name, needs, recipe in rules}
    needs, recipe = first[target]
    assert [*(first[name][1] for name in needs), recipe][0] == call


def test_what_makes_the_documentation_is_set_up_only_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    there = runpy.run_path(str(ALL))
    assert set(there["PARTS"]) - set(there["USUAL"]) == {"docs"}


def test_an_unknown_part_is_refused_by_name() -> None:
    done = subprocess.run([ALL, "wenv"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert (
        "no part named wenv; there are host, venv, engine, image, dev, birds, docs" in done.stderr
    )


@pytest.mark.root
def test_a_plain_user_is_told_at_once_that_the_lab_needs_root() -> None:
    plain = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    done = subprocess.run(
        [*plain, "/usr/bin/env", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin", ALL],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(30),
    )
    assert done.returncode != 0
    assert "needs root" in done.stderr
    assert "Traceback" not in done.stderr
