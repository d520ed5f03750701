"""The twin of the production network, deployed once for all tests of this folder by `mesh lab up`.

It has a lab name and a state folder of its own, so that it runs beside the user's lab.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import pytest
import yaml

from mesh.cli.deployed import Published, of_state
from mesh.cli.environment import engine_folder, environment, state_folder
from mesh.cli.status import document
from mesh.lab.errors import LabError
from mesh.lab.inside import inside
from mesh.lab.lab_files import files_of
from mesh.lab.underlay import underlay
from mesh.lab.world import clear_world
from mesh.plan import make
from mesh.publish.problems import problems
from mesh.publish.status import look
from mesh.spec import load, read_stack_file
from tests.kit.forks import with_forks
from tests.kit.sniffer import Sniffer
from tests.kit.stacks import ROOT

T = TypeVar("T")
# One for each checkout: a killed run's is cleared by the next, and two checkouts do not collide.
NAME = f"twin-{crc32(str(ROOT).encode()):08x}"
CITIES = ("ewr", "lax", "mia", "ord")
NODES = tuple(f"{city}-vultr-1" for city in CITIES)


@dataclass(frozen=True)
class Twin:
    """The deployed lab, as a user has it: by its commands."""

    state: Path
    root: Path = ROOT
    name: str = NAME

    @property
    def environment(self) -> dict[str, str]:
        """Of its commands."""
        return with_forks(environment(self.root, self.state), self.root)

    def mesh(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `mesh …`."""
        return self._run(["mesh", *arguments], check)

    def status(self) -> dict[str, Any]:
        """What `mesh status --json` says, asked by this process: a look takes a tenth of what the
        command takes."""
        (file,) = (self.state / "state" / ".pulumi" / "stacks").rglob("lab.json")
        own = _published(self, file.stat().st_mtime_ns)
        found = look(own.operator_key, own.registries, own.fleet, own.namespace, own.known_plan())
        said: dict[str, Any] = json.loads(json.dumps(document(found, problems(found))))
        return said

    def pulumi(
        self, *arguments: str, check: bool = True, config: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `pulumi …` on the lab's stack."""
        file = config or self.state / "Pulumi.lab.yaml"
        chosen = ("--stack", "lab", "--config-file", str(file))
        extra = chosen if arguments[0] in ("up", "preview", "refresh", "destroy") else chosen[:2]
        return self._run(["pulumi", "--non-interactive", *arguments, *extra], check)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `pulumi …` on the lab's stack."""
        chosen = ("--stack", "lab", "--config-file", str(self.state / "Pulumi.lab.yaml"))
        return subprocess.Popen(
            ["pulumi", "--non-interactive", *arguments, *chosen],
            cwd=self.root, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def with_keys(self, folder: Path, keys: Mapping[str, Any]) -> Path:
        """A copy of the lab's stack file with other keys, for ``--config-file``."""
        document = yaml.safe_load((self.state / "Pulumi.lab.yaml").read_text())
        document["config"] |= {f"mesh:{key}": value for key, value in keys.items()}
        path = folder / "Pulumi.lab.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def exec(self, box: str, *command: str, check: bool = True) -> str:
        """What a command in a box prints; nothing while the box is off."""
        try:
            words = inside(files_of(self.name), box, command)
        except LabError:
            if check:
                raise
            return ""
        return self._run(words, check).stdout

    def whoami(self, box: str, address: str) -> str:
        """Who answers a box at an address; empty where nobody does."""
        host = f"[{address}]" if ":" in address else address
        command = ("curl", "-gs", "--max-time", "3", f"http://{host}/whoami")
        return self.exec(box, *command, check=False).strip()

    def probe(self, box: str, address: str, seconds: int) -> dict[str, Any]:
        """What `mesh lab probe` measures."""
        command = ("lab", "probe", "--from", box, "--to", address, "--for", f"{seconds}s", "--json")
        answer: dict[str, Any] = json.loads(self.mesh(*command).stdout)
        return answer

    def _run(self, command: Sequence[str], check: bool) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, text=True,
            capture_output=True, check=False, timeout=1200,
        )  # fmt: skip
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done


@lru_cache(maxsize=1)
def _published(twin: Twin, _written: int) -> Published:
    """The publication in a twin's state, as it was written at that moment or later."""
    exported = twin.pulumi("stack", "export", "--show-secrets").stdout
    return of_state(json.loads(exported))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The mixed network goes first, then the blog's and the exchange's: the production network's
    twin stands from its first test to the end of the run, and the nodes of both leave no other lab
    any room."""
    first = ("test_mixed.py", "test_blog.py", "test_exchange.py")
    items.sort(key=lambda item: item.path.name not in first)


def checkout_of(folder: Path, example: str, *, services: bool) -> Path:
    """A checkout whose ``Pulumi.lab.yaml`` names another original, with the services that stand
    there or without."""
    for name in ("mesh", "templates", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__main__.py", "Pulumi.yaml", "Pulumi.prod.yaml"):
        shutil.copy(ROOT / name, folder / name)
    document = yaml.safe_load((ROOT / "Pulumi.lab.yaml").read_text())
    document["config"]["mesh:twin"] = example
    if not services:
        del document["config"]["mesh:services"]
    (folder / "Pulumi.lab.yaml").write_text(yaml.safe_dump(document))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / ".mesh").mkdir()
    (folder / ".mesh" / "engine").symlink_to(engine_folder(ROOT))
    (folder / ".mesh" / "image").symlink_to(environment(ROOT)["MESH_IMAGE"])
    return folder


@contextmanager
def another(name: str, root: Path) -> Iterator[Path]:
    """The state folder of a lab of another name; whatever happens, nothing of the lab stays."""
    before = os.environ.get("MESH_LAB")
    os.environ["MESH_LAB"] = name
    clear_world(name)
    try:
        yield state_folder(root)
    finally:
        clear_world(name)
        os.environ.pop("MESH_LAB")
        if before is not None:
            os.environ["MESH_LAB"] = before


@pytest.fixture(scope="session")
def sniffer() -> Iterator[Sniffer]:
    """Listens on the machine's own interfaces from before the lab is up until after its end."""
    plan = make(load("lab", read_stack_file(ROOT / "Pulumi.lab.yaml"), ROOT).spec)
    with Sniffer(underlay(plan)) as heard:
        yield heard


@pytest.fixture(scope="session")
def twin(sniffer: Sniffer) -> Iterator[Twin]:
    """The lab, up; whatever happens, nothing of it stays."""
    os.environ["MESH_LAB"] = NAME
    state = state_folder(ROOT)
    clear_world(NAME)
    shutil.rmtree(state, ignore_errors=True)
    lab = Twin(state)
    try:
        lab.mesh("lab", "up")
        yield lab
    finally:
        clear_world(NAME)
        shutil.rmtree(state, ignore_errors=True)
        os.environ.pop("MESH_LAB")
