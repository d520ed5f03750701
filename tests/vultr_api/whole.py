"""The production network as committed, deployed by the production driver at this API: its servers
are the lab's containers, its Internet is the lab's.

Beside ``Pulumi.prod.yaml`` only what an operator has to give is given (docs/deploying.md): two
log-in keys, the API key, the BGP password; and the endpoint, in ``VULTR_API_ENDPOINT``. The engine
runs in the operator's namespace of the lab, and the API is met there and nowhere else.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mesh import netns
from mesh.cli.environment import environment
from mesh.cli.working_copy import write_project
from mesh.content import described
from mesh.lab.lab_files import files_of
from mesh.lab.world import clear_world, raise_world
from mesh.plan import Plan, make
from mesh.spec import load_file
from tests.kit.clouds.deployment import KEYS
from tests.kit.engine import Engine
from tests.kit.stacks import ROOT
from tests.kit.vultr_api.account import BGP_PASSWORD, KEY, Knobs, Vultr
from tests.kit.vultr_api.serving import answering
from tests.vultr_api.lab import Containers

STACK = "prod"
COMMITTED = f"Pulumi.{STACK}.yaml"


@dataclass(frozen=True)
class Whole:
    """A stack, the account that it deploys to, and the lab in which its servers boot."""

    engine: Engine
    vultr: Vultr
    plan: Plan
    lab: str


@contextmanager
def whole(folder: Path, lab: str, knobs: Knobs | None = None) -> Iterator[Whole]:
    """All of it but the network itself, which ``engine.run("up", …)`` makes; nothing stays of the
    lab afterwards, whatever happens."""
    clear_world(lab)
    own = environment(ROOT, folder)
    file = working_copy(folder, own)
    spec = load_file(STACK, ROOT, file).spec
    plan = make(spec, described(ROOT, spec))
    operator = files_of(lab)
    try:
        raise_world(plan, lab, {"vultr": BGP_PASSWORD})
        machines = Containers(plan, lab)
        vultr = Vultr(knobs=knobs or Knobs(), machines=machines)
        try:
            with answering(vultr, folder / "tls", namespace=operator.namespace("operator")) as api:
                inside = tuple(netns.entering(operator.namespace("operator")))
                engine = Engine(
                    folder, STACK, file, {**own, **api.environment}, program=folder, inside=inside
                )
                yield Whole(engine, vultr, plan, lab)
        finally:
            machines.close()
    finally:
        clear_world(lab)


def working_copy(folder: Path, own: Mapping[str, str]) -> Path:
    """The committed stack file in a folder of its own, with what an operator gives."""
    for each in (folder / "pulumi", folder / "state"):
        each.mkdir(parents=True, exist_ok=True)
    passphrase = folder / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(secrets.token_urlsafe(16))
    write_project(ROOT, folder / "Pulumi.yaml")
    file = folder / COMMITTED
    shutil.copyfile(ROOT / COMMITTED, file)
    shutil.copytree(ROOT / "site", folder / "site")

    def pulumi(*words: str, stdin: str = "") -> None:
        command = ["pulumi", "--non-interactive", "-C", str(folder), *words]
        done = subprocess.run(
            command, env=dict(own), input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    pulumi("stack", "init", STACK)
    pulumi("config", "set", "--secret", "vultr:apiKey", stdin=KEY)
    pulumi("config", "set", "--secret", "mesh:bgpPassword-vultr", stdin=BGP_PASSWORD)
    for number, key in enumerate(KEYS):
        pulumi("config", "set", "--path", f"mesh:admin.keys[{number}]", key)
    return file


def lab_name() -> str:
    """The lab that is meant: ``MESH_LAB``, or ``vultr``."""
    return os.environ.get("MESH_LAB") or "vultr"
