"""The stack is renamed, and its ASN edited: the nodes go on following the same network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.publish import load_fleet
from tests.kit.stacks import ROOT
from tests.kit.uptimes import restarted, since
from tests.twin.conftest import NODES, Twin

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]
NODE, RENAMED, ADDRESS = "mia-vultr-1", "core", "192.30.120.200"


@contextmanager
def renamed(twin: Twin, folder: Path) -> Iterator[str]:
    """The lab's stack under another name, and its old one again afterwards. From a folder of its
    own: the engine renames the stack file beside it as well."""
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    twin.pulumi("-C", str(folder), "stack", "rename", RENAMED)
    try:
        yield RENAMED
    finally:
        back = ("stack", "rename", "lab", "--stack", RENAMED)
        twin._run(["pulumi", "--non-interactive", "-C", str(folder), *back], True)


def up(twin: Twin, stack: str, config: Path) -> str:
    return twin._run(
        ["pulumi", "--non-interactive", "up", "--yes", "--skip-preview", "--stack", stack,
         "--config-file", str(config)],
        True,
    ).stdout  # fmt: skip


def network(twin: Twin, stack: str) -> str | None:
    """The name that the state keeps."""
    show = ["pulumi", "--non-interactive", "stack", "export", "--stack", stack]
    document = json.loads(twin._run(show, True).stdout)
    (published,) = (
        one for one in document["deployment"]["resources"] if one["type"].endswith(":Publish")
    )
    return load_fleet(published["outputs"]["fleet"]).network


def sessions(twin: Twin, node: str) -> dict[str, float]:
    """BIRD's sessions of a node, with the time since when each is what it is."""
    return since(twin.exec(node, "birdc", "show", "protocols"))


def test_the_nodes_obey_a_renamed_stack(twin: Twin, tmp_path: Path) -> None:
    before = network(twin, "lab")
    assert before is not None and before.startswith("as27218-lab-")
    with renamed(twin, tmp_path) as stack:
        assert network(twin, stack) == before
        added = twin.mesh("blackhole", "add", ADDRESS, "--for", "1m", "--stack", stack).stdout
        assert all(f"{node}: discards it, after" in added for node in NODES)
        twin.mesh("blackhole", "remove", ADDRESS, "--stack", stack)


@pytest.mark.slow
def test_a_rename_and_another_asn_are_published_to_the_same_network(
    twin: Twin, tmp_path: Path
) -> None:
    before, number = network(twin, "lab"), 27219
    plain = twin.state / "Pulumi.lab.yaml"
    with renamed(twin, tmp_path) as stack:
        before_all = {node: sessions(twin, node) for node in NODES}
        drained = twin.mesh("drain", NODE, "--stack", stack).stdout
        assert f"{NODE}: has withdrawn, after" in drained
        up(twin, stack, plain)
        assert network(twin, stack) == before
        back = twin.mesh("undrain", NODE, "--stack", stack).stdout
        assert f"{NODE}: is back, after" in back
        for node, was in before_all.items():
            assert restarted(was, sessions(twin, node)) == [], f"no session of {node} is"
        up(twin, stack, twin.with_keys(tmp_path, {"asn": number}))
        assert network(twin, stack) == before
        for node in NODES:
            shown = twin.exec(node, "birdc", "show", "protocols", "all", "vultr4")
            assert f"Local AS:         {number}" in shown
        status = json.loads(twin.mesh("status", "--json", "--stack", stack).stdout)
        assert {node["state"] for node in status["nodes"].values()} == {"applied"}
        up(twin, stack, plain)
    up(twin, "lab", plain)
