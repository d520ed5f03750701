"""The pack under the real engine: our own program keeps every rule, and one that does not is
stopped by each of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.plan.document import write_plan
from tests.kit.engine import Engine, changed, engine_of
from tests.kit.forks import with_forks
from tests.kit.program import KEYS
from tests.kit.stacks import ROOT, bent, plan_of
from tests.kit.wait import patience

pytestmark = pytest.mark.engine

PACK = ("--policy-pack", str(ROOT / "mesh" / "policy"))
WRONG = """
from pathlib import Path

import pulumi

from mesh.infra.dynamic.lab import LabAddress, LabInstance
from pulumi.dynamic import Resource, ResourceProvider


class Provider(ResourceProvider):
    pass


class Server(Resource, module="lab", name="Instance"):
    def __init__(self, name, user_data, opts):
        super().__init__(Provider(), name, {"user_data": user_data}, opts)


class Published(Resource, module="mesh", name="Publish"):
    def __init__(self, name):
        super().__init__(Provider(), name, {"plan": Path("plan.json").read_text()})


node = pulumi.ComponentResource("mesh:index:Node", "mesh-mia-vultr-1")
child = pulumi.ResourceOptions(parent=node)
LabAddress("address", "none", "mia-vultr-1", 1, False, child)
Server("open", "token", child)
Server("sealed", pulumi.Output.secret("token"), child)
Published("mesh-generation")
"""
VIOLATIONS = {
    "no-ssh-from-anywhere": "mesh:admin.ssh = 0.0.0.0/0",
    "two-ssh-keys": "mesh:admin.keys has 1 key(s)",
    "protected-addresses": "address is not protected",
    "no-plain-secret": "open has user_data in the clear",
    "ipv6-where-planned": "address has no IPv6",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The lab's stack, of which nothing exists."""
    engine = engine_of(tmp_path_factory.mktemp("state"))
    return replace(engine, environment=with_forks(engine.environment))


def test_our_own_program_keeps_every_rule(engine: Engine) -> None:
    done = engine.run("preview", *PACK, "--suppress-outputs")
    assert "anycast-mesh@v" in done.stdout
    assert "mandatory" not in done.stdout
    assert "can't run policy" not in done.stdout + done.stderr


def test_a_stack_that_lets_anybody_try_to_log_in_is_stopped_unless_the_pack_is_told(
    engine: Engine, tmp_path: Path
) -> None:
    own = {"ssh": ["0.0.0.0/0"], "world": True, "keys": KEYS}
    bad = changed(engine, tmp_path, {"admin": own})
    stopped = bad.run("preview", *PACK, "--suppress-outputs", check=False)
    assert stopped.returncode
    assert "[mandatory]  no-ssh-from-anywhere" in stopped.stdout
    told = tmp_path / "policy.json"
    told.write_text(json.dumps({"no-ssh-from-anywhere": {"allowWorld": True}}))
    allowed = bad.run("preview", *PACK, "--policy-pack-config", str(told), "--suppress-outputs")
    assert "mandatory" not in allowed.stdout


@pytest.fixture(scope="module")
def wrong(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the engine says of a program that does everything wrong."""
    folder = tmp_path_factory.mktemp("wrong")
    options = f"runtime: {{name: python, options: {{virtualenv: {ROOT / '.venv'}}}}}\n"
    (folder / "Pulumi.yaml").write_text(f"name: wrong\n{options}")
    (folder / "__main__.py").write_text(WRONG)
    values = bent("admin", {"ssh": ["0.0.0.0/0"], "keys": KEYS[:1], "world": True})
    (folder / "plan.json").write_text(write_plan(plan_of(values)))
    pulumi = ["pulumi", "--non-interactive", "-C", str(folder)]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*pulumi, *words], env=engine.environment, capture_output=True, text=True, check=False,
            timeout=patience(120),
        )  # fmt: skip

    assert run("stack", "init", "wrong").returncode == 0
    done = run("preview", "--stack", "wrong", *PACK)
    assert done.returncode
    yield done.stdout


@pytest.mark.parametrize("rule", sorted(VIOLATIONS))
def test_a_program_that_breaks_a_rule_is_stopped_by_it(wrong: str, rule: str) -> None:
    assert f"[mandatory]  {rule} " in wrong
    assert VIOLATIONS[rule] in wrong


def test_what_is_secret_is_not_reported(wrong: str) -> None:
    assert "sealed has" not in wrong
