"""What a stack pays for: the SDK of a cloud that it does not use is never imported."""

from __future__ import annotations

import json
import subprocess
import sys

from mesh.content.serials import write_contents
from mesh.services.content import Content
from tests.kit.stacks import ROOT

SDKS = ("ediri_vultr", "pulumi_aws", "pulumi_gcp", "asyncssh", "pulumi_policy", "httpx", "rich")
SAY = f"import sys, json; print(json.dumps([m for m in {SDKS!r} if m in sys.modules]))"


def imported_by(program: str) -> list[str]:
    """Which of them a Python of its own has imported after this."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{SAY}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_twin_of_a_mixed_network_needs_no_cloud() -> None:
    assert imported_by("from tests.kit.program import run; run()") == []


def test_checking_and_planning_need_no_cloud() -> None:
    program = "from tests.kit.stacks import example, plan_of; plan_of(example('mixed'), 'mixed')"
    assert imported_by(program) == []


def test_what_resources_are_is_known_without_pulumi_or_a_cloud() -> None:
    """Previews and the policy pack read every driver's description."""
    program = "import sys, mesh.preview.kinds, mesh.policy.rules; assert mesh.preview.kinds.KINDS"
    assert imported_by(f"{program}; assert 'pulumi' not in sys.modules") == []


def test_what_the_program_imports_is_no_garbage() -> None:
    """Nobody looks for any in it, and the program's own is collected as ever."""
    program = "import gc; from mesh.infra import Mesh; assert gc.isenabled(), gc.get_freeze_count()"
    assert imported_by(f"{program}; assert gc.get_freeze_count() > 10_000") == []


def test_a_preview_whose_contents_are_those_published_reads_none() -> None:
    """What reads them imports the stack file's types: a third of a second in the process of our own
    resources, which every preview waits for."""
    same = {"contents": write_contents({"web": Content("a" * 64, 10240, 1)})}
    program = (
        "import sys; from mesh.infra.dynamic.publish import PublishProvider; "
        f"assert not PublishProvider().check({same!r}, {same!r}).failures; "
        "assert not {'mesh.spec', 'pydantic'} & {*sys.modules}"
    )
    assert imported_by(program) == []


def test_vultrs_api_needs_a_client_alone() -> None:
    """No plugin's package, and not the command that httpx brings along."""
    drivers = "mesh.infra.providers.vultr.driver, mesh.infra.providers.vultr.api"
    assert imported_by(f"import {drivers}") == ["httpx"]
