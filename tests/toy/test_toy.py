"""Adding a provider is a facts file, a driver and a line, as docs/adding-a-provider.md says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stacks import ROOT

TOY = ROOT / "tests" / "toy"
FACTS = "mesh/spec/providers/toy.py"
DRIVER = "mesh/infra/providers/toy/__init__.py"
TABLE = "mesh/spec/providers/__init__.py"
LINE = '    "toy",\n'
PAGE = ROOT / "docs" / "adding-a-provider.md"


def with_line(table: str) -> str:
    """The table of providers with one line more."""
    return re.sub(r'(?<=^NAMES = \(\n)((?:    ".*",\n)+)', rf"\1{LINE}", table, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this program, with the two files and the line, and the SDK installed."""
    root = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name in ("templates", "tests", "__main__.py") or path.suffix == ".yaml":
            (root / path.name).symlink_to(path)
    shutil.copytree(ROOT / "mesh", root / "mesh", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (FACTS, DRIVER):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(TOY / name, root / name)
    table = root / TABLE
    table.write_text(with_line(table.read_text()))
    shutil.copy(TOY / "pulumi_toy.py", root)
    metadata = root / "pulumi_toy-1.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: pulumi-toy\nVersion: 1.0.0\n")
    return root


@pytest.fixture(scope="module")
def journey(checkout: Path) -> dict[str, Any]:
    """What becomes of a stack there (tests/toy/journey.py)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.toy.journey"],
        cwd=checkout, capture_output=True, text=True, check=False, env={"PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_its_nodes_are_planned(journey: dict[str, Any]) -> None:
    assert journey["nodes"] == {"ewr-toy-1": ["east", "toy-1"], "lax-toy-1": ["west", "toy-1"]}
    assert journey["sessions"] == ["toy4", "toy6"]


def test_its_sessions_are_rendered(journey: dict[str, Any]) -> None:
    assert re.search(r"protocol bgp toy4 .*neighbor 192\.0\.2\.1", journey["bird.conf"], re.DOTALL)


def test_planning_and_reading_the_description_import_no_sdk(journey: dict[str, Any]) -> None:
    assert journey["loaded"] == []


def test_a_preview_knows_every_resource_that_it_makes(journey: dict[str, Any]) -> None:
    kinds = journey["kinds"]
    assert "unknown" not in kinds.values()
    for node in ("lax-toy-1", "ewr-toy-1"):
        assert kinds[f"mesh-{node}-instance"] == "server"
        assert kinds[f"mesh-{node}-address"] == "address"
    assert "firewall" in kinds.values()
    addresses = ["mesh-ewr-toy-1-address", "mesh-lax-toy-1-address"]
    assert journey["protected"] == [*addresses, "mesh-operator"]


def test_the_gate_lets_a_server_be_replaced_where_somebody_asked(journey: dict[str, Any]) -> None:
    assert "mesh-lax-toy-1-instance replace" in journey["unasked"]
    assert "mesh-lax-toy-1-instance replace" not in journey["asked"]


def test_the_policy_pack_reads_its_firewall(journey: dict[str, Any]) -> None:
    assert journey["violations"] == []
    (words,) = journey["open"]
    assert words.startswith("another opens SSH to 0.0.0.0/0")


def test_it_has_its_asn_in_the_lab(journey: dict[str, Any]) -> None:
    assert journey["upstreams"] == {"upstream-toy-ewr": 65549, "upstream-toy-lax": 65549}


def test_its_options_are_in_the_reference(journey: dict[str, Any]) -> None:
    assert "### `mesh:providers.toy.plan`" in journey["reference"]


def test_the_page_has_the_code_of_the_toy() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert [(TOY / name).read_text() for name in (FACTS, DRIVER)] == blocks


def test_the_page_has_the_line_and_where_it_goes() -> None:
    text = PAGE.read_text()
    before = (ROOT / TABLE).read_text()
    added = set(with_line(before).splitlines()) - set(before.splitlines())
    assert {f"{line}\n" for line in added} == {LINE}
    assert f"```diff\n{diff(before)}```\n" in text
    assert {name for name in (FACTS, DRIVER, TABLE) if f"`{name}`" not in text} == set()


def diff(table: str) -> str:
    """The change of the table, as the page shows it."""
    lines = re.findall(r"^NAMES = \(\n.*?^\)\n", with_line(table), re.DOTALL | re.MULTILINE)
    return "".join(
        f"{'+' if line == LINE else ' '}{line}" for line in lines[0].splitlines(keepends=True)
    )
