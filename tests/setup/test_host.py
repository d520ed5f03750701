"""Packages of this machine: only what is missing, and a clear word when it cannot be had."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from setup import host, versions
from setup.failure import SetupFailure
from setup.progress import Progress, Step

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
        for line in (versions.HERE / "host-packages").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert len(host.packages()) == len(lines)
    assert all(line.split("#", 1)[1].strip() for line in lines)


def test_without_root_it_says_how() -> None:
    host.require_root("the lab", user=0)
    with pytest.raises(SetupFailure, match=r"the lab needs root.*sudo make up"):
        host.require_root("the lab", user=1000)


def test_nothing_is_run_when_nothing_is_missing(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "packages", lambda: [host.Package("any", "sh")])
    monkeypatch.setattr(step, "run", lambda *_a, **_k: pytest.fail("something was run"))
    host.install(step)


def test_without_apt_the_missing_packages_are_named(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "packages", lambda: [host.Package("mmdebstrap", "no-such-command")])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SetupFailure, match=r"mmdebstrap.*no apt-get"):
        host.install(step)


def test_package_lists_are_fetched_only_when_the_known_ones_do_not_do(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    present: list[str] = []

    class Pretended(host.Package):
        def there(self) -> bool:
            return self.name in present

    def run(command: list[str], **_options: object) -> None:
        ran.append(command[1])
        if command[1] == "install" and "update" not in ran:
            raise SetupFailure("404")
        if command[1] == "install":
            assert "--no-install-recommends" in command
            present.append("wireguard-tools")

    monkeypatch.setattr(host, "packages", lambda: [Pretended("wireguard-tools", "wg")])
    monkeypatch.setattr(host, "_has_lists", lambda: True)
    monkeypatch.setattr(host, "require_root", lambda _what: None)
    monkeypatch.setattr(step, "run", run)
    host.install(step)
    assert ran == ["install", "update", "install"]


def test_an_unknown_part_is_refused_by_name() -> None:
    done = subprocess.run([ALL, "wenv"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no part named wenv; there are host, venv, engine, image, birds" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_plain_user_is_told_at_once_that_the_lab_needs_root() -> None:
    plain = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    done = subprocess.run(
        [*plain, "/usr/bin/env", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin", ALL],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    assert "needs root" in done.stderr
    assert "Traceback" not in done.stderr
