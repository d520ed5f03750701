"""Programs as checks, on a machine with systemd: confined, and ended with all that they start."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.kit.existing_host import ExistingHost, host
from tests.kit.stacks import ROOT
from tests.kit.wait import PATIENCE, until

pytestmark = [pytest.mark.lab]

FOLDER = "etc/anycast-mesh/checks"
ASK = """
import json, sys
from ipaddress import IPv4Address
sys.path.insert(0, "/srv")
from mesh.services.checks.check import Target
from mesh.services.checks.exec import ExecCheck

checks = [ExecCheck(command=name, arguments=tuple(also), timeout=seconds)
          for name, also, seconds in json.loads(sys.argv[1])]
here = Target(IPv4Address("127.0.0.1"), "")
print(json.dumps([check.problem(here) for check in checks]))
"""
PROGRAMS = {
    "good": "exit 0",
    "bad": "echo 300 mails wait; echo more; exit 3",
    "silent": "exit 7",
    "arguments": 'for one; do printf "<%s>" "$one"; done; exit 1',
    "who": 'echo "$(id -u) $(env | cut -d= -f1 | sort | tr "\\n" " ")"; exit 1',
    "write": (
        "for place in /etc /usr /var/lib/anycast-mesh /root /sys/fs/cgroup; do"
        " (: > $place/x) 2>/dev/null && echo $place may be written && exit 1; done; exit 0"
    ),
    "privileges": "grep -h -e NoNewPrivs -e CapBnd /proc/self/status | tr '\\n\\t' '  '; exit 1",
    "hangs": "setsid sleep 4242 & exec sleep 4242",
    "leaves": "setsid sleep 4242 & exit 0",
    "floods": "exec yes",
}


@pytest.fixture(scope="module")
def box() -> Iterator[ExistingHost]:
    with host("programs") as made:
        shutil.copytree(ROOT / "mesh" / "services", made.root / "srv/mesh/services")
        for name in ("__init__.py", "foreign.py"):
            shutil.copy(ROOT / "mesh" / name, made.root / "srv/mesh" / name)
        folder = made.root / FOLDER
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        for name, text in PROGRAMS.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        yield made


def problems(box: ExistingHost, *checks: tuple[str, list[str], float]) -> list[str]:
    """What checks by these programs say, with arguments and seconds."""
    found: list[str] = json.loads(box.run("python3", "-c", ASK, json.dumps(checks)))
    return found


def test_a_program_says_by_its_status_and_first_line_what_is_wrong(box: ExistingHost) -> None:
    arguments = ["a b", "$(id)", "$HOME${HOME}$$", "%n %%", "; id", ""]
    names = [("good", []), ("bad", []), ("silent", []), ("arguments", arguments)]
    assert problems(box, *((name, also, PATIENCE) for name, also in names)) == [
        "",
        "300 mails wait",
        "exit status 7",
        "<a b><$(id)><$HOME${HOME}$$><%n %%><; id><>",
    ]


def test_a_program_is_nobody_and_may_change_nothing(box: ExistingHost) -> None:
    who, write, privileges = problems(
        box, *((name, [], PATIENCE) for name in ("who", "write", "privileges"))
    )
    user, *environment = who.split()
    assert int(user) > 60000, "a dynamic user"
    assert set(environment) <= {"PWD", "SHLVL", "_"}, "what the shell itself sets"
    assert write == ""
    assert privileges == "CapBnd: 0000000000000000 NoNewPrivs: 1"


def test_at_its_time_a_program_ends_with_all_that_it_started(box: ExistingHost) -> None:
    assert (
        problems(box, *((name, [], 1.0) for name in ("hangs", "floods")))
        == ["no end within 1 s"] * 2
    )
    assert problems(box, ("leaves", [], PATIENCE)) == [""]
    until(lambda: "sleep 4242" not in box.run("ps", "ax"), 5, "nothing of them runs")
    units = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "anycast-mesh-check-*")
    until(lambda: box.run(*units) == "", 5, "their units are gone")
