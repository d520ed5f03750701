"""The example of a Pulumi program that is not ours, by the real engine against Vultr's API."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from mesh.cli.environment import engine_folder, environment
from tests.kit.clouds.deployment import KEYS
from tests.kit.engine import Engine
from tests.kit.stacks import ROOT
from tests.kit.vultr_api import Vultr, answering
from tests.kit.vultr_api.stack import SECRETS

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        not (engine_folder(ROOT) / "pulumi").exists(), reason="`make setup` brings the engine"
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The project as its head says: copied elsewhere, with an environment that has the mesh."""
    folder = tmp_path / "shop"
    shutil.copytree(ROOT / "examples" / "program", folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    file = folder / "Pulumi.dev.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["mesh:admin"]["keys"] = KEYS
    file.write_text(yaml.safe_dump(document))
    return folder


def test_another_program_has_a_mesh_in_it(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for each in (state / "state", state / "pulumi"):
        each.mkdir(parents=True)
    (state / "passphrase").write_text("of this test")
    with answering(Vultr()) as served:
        own = {**environment(ROOT, state), **served.environment}
        engine = Engine(folder, "dev", folder / "Pulumi.dev.yaml", own, program=folder)
        engine.run("stack", "init")
        secrets = [f"--secret={key}={value}" for key, value in SECRETS.items()]
        engine.run("config", "set-all", *secrets)
        shown = engine.run("preview").stdout
        assert {call.method for call in served.vultr.calls} == {"GET"}
    for name in ("mesh", "mesh-lax-vultr-1-instance", "mesh-generation"):
        assert f" {name} create" in shown
    assert '"2620:71:4000::100"' in shown.partition("Outputs:")[2]
