"""The scripts of OpenBSD nodes, as their shell and others read them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.agent import bundle_trial, entry
from mesh.render import Seed, startup_script
from mesh.render.openbsd_boot import SUPERVISION, boot_files, signed_script
from mesh.trust.keys import new_operator_key
from tests.kit import needs
from tests.kit.stacks import ROOT, plan_of, prod

_, PUBLIC = new_operator_key()
SHELLS = {"mksh": ("mksh", "-n"), "shellcheck": ("shellcheck", "-s", "sh")}


def _user_data(url: str = "https://203.0.113.1:8443") -> str:
    plan = plan_of(prod())
    node = plan.node("lax-vultr-1")
    return signed_script(plan, node, Seed((url,), PUBLIC, "0a" * 32, ""), lambda text: text)


def _scripts() -> Iterator[tuple[str, str]]:
    yield "startup", startup_script(PUBLIC)
    yield "fetch", _inside(startup_script(PUBLIC), "/usr/local/libexec/anycast-mesh/fetch")
    yield "user-data", _user_data()
    yield "receiver", (ROOT / "mesh/ssh/receiver.sh").read_text()
    yield "proof", (ROOT / "examples/openbsd-proof.sh").read_text()
    for file in boot_files():
        yield file.path.rpartition("/")[2], file.content


def _inside(script: str, path: str) -> str:
    """A file that a script lays down."""
    return script.partition(f"{path} <<'ANYCAST-MESH-END'\n")[2].partition("ANYCAST-MESH-END")[0]


@pytest.mark.parametrize(
    ("name", "content"), [pytest.param(*each, id=each[0]) for each in _scripts()]
)
@pytest.mark.parametrize("reader", SHELLS)
def test_a_script_is_plain_shell(tmp_path: Path, name: str, content: str, reader: str) -> None:
    if reader == "shellcheck" and content.startswith("#!/bin/ksh"):
        return  # rc.d scripts are for OpenBSD's ksh alone
    script = tmp_path / name
    script.write_text(content)
    try:
        done = subprocess.run(
            [*SHELLS[reader], script], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise needs.Absent(f"there is no {reader}: `make setup-tests`") from None
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_user_data_are_far_below_what_a_provider_takes() -> None:
    """As those of Debian's nodes (tests/render/test_files.py)."""
    assert len(_user_data().encode()) < 14 * 1024


@pytest.mark.parametrize("url", ["https://x/$(reboot)", "https://x\nEND", "file:///etc", "-o x"])
def test_an_address_that_a_shell_would_read_otherwise_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not the address of a registry"):
        _user_data(url)


def test_the_supervisor_waits_as_long_as_systemd_and_the_agent_do() -> None:
    assert {
        "watchdog": 30,
        "grace": entry.GRACE,
        "patience": int(bundle_trial.PATIENCE),
        "ends": bundle_trial.ENDS,
    } == SUPERVISION
