"""What `mesh lab up` refuses before it changes anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import mesh.lab.lab_files
from mesh.cli import up as module
from mesh.cli.up import CHECKPOINT, Stranded, refuse_to_strand
from tests.kit.stacks import bent, plan_of, prod

NODE = "urn:pulumi:lab::anycast-mesh::mesh:index:Mesh$mesh:index:Region$mesh:index:Node::mesh-{}"
ADDRESS = NODE.partition("::mesh-{}")[0] + "$pulumi-python:dynamic/lab:Address::mesh-{}-address"


def deployed(folder: Path, *, protect: bool) -> Path:
    """A state in which Miami has its address."""
    node = {"urn": NODE.format("mia-vultr-1"), "type": "mesh:index:Node", "custom": False}
    address = {
        "urn": ADDRESS.format("mia-vultr-1"), "type": "pulumi-python:dynamic/lab:Address",
        "custom": True, "parent": node["urn"], "protect": protect,
    }  # fmt: skip
    path = folder / CHECKPOINT
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"checkpoint": {"latest": {"resources": [node, address]}}}))
    return folder


def test_a_node_that_is_protected_still_is_not_half_removed(tmp_path: Path) -> None:
    without = plan_of(bent("nodes/mia-vultr-1", None))
    with pytest.raises(Stranded, match=r"without mia-vultr-1: .* `mesh release mia-vultr-1`"):
        refuse_to_strand(without, deployed(tmp_path, protect=True))


@pytest.mark.parametrize("released", [True, False])
def test_all_else_goes_on(tmp_path: Path, released: bool) -> None:
    plan = plan_of(bent("nodes/mia-vultr-1", None)) if released else plan_of(prod())
    refuse_to_strand(plan, deployed(tmp_path, protect=not released))


def test_a_first_up_has_nothing_to_strand(tmp_path: Path) -> None:
    refuse_to_strand(plan_of(prod()), tmp_path)


def test_boxes_that_the_state_does_not_know_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run started the one of a node that the stack file has given up since."""
    stopped: list[tuple[str, str]] = []
    monkeypatch.setattr(module, "stop_node", lambda *which: stopped.append(which))
    monkeypatch.setattr(mesh.lab.lab_files, "RUNTIME", tmp_path / "run")
    monkeypatch.setenv("MESH_LAB", "tests-of-up")
    for box in ("mia-vultr-1", "lax-vultr-2", "transit-lax", "operator"):
        (tmp_path / "run" / "tests-of-up" / "boxes" / box).mkdir(parents=True)
    module.sweep(deployed(tmp_path, protect=True), Console(quiet=True))
    assert stopped == [("tests-of-up", "lax-vultr-2")]


def test_the_engine_is_not_imported_to_be_started() -> None:
    """Nor what judges previews: each `mesh lab up` and `mesh lab down` would wait for that."""
    script = (
        "import sys, mesh.cli.up, mesh.cli.down\n"
        "print([m for m in ('pulumi', 'grpc', 'mesh.preview.gate', 'mesh.publish.publish')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
