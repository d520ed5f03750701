"""Stand-ins for clouds, attached to the real engine.

A test asks for a deployment of a stack of its own::

    cloud = vultr()
    with deployment(tmp_path, document, [cloud], {"vultr:apiKey": KEY}) as engine:
        engine.run("up", "--yes", "--skip-preview")
        assert len(cloud.of("Instance")) == 4

``document`` holds the keys of the stack file with their namespaces (``mesh:asn``). The cloud lives
in this process and outlives every run of the engine; ``cloud.drift``, ``lose``, ``fail``,
``quotas`` and ``latency`` let it misbehave, ``cloud.happened()`` says what was really done to it.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from mesh.cli.environment import environment
from tests.kit.clouds.cloud import Cloud
from tests.kit.clouds.servicer import serving
from tests.kit.engine import Engine
from tests.kit.forks import with_forks
from tests.kit.stacks import ROOT, prod

STACK = "prod"
PASSWORD = "bgp-password-of-the-account-in-tests"
KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43} {letter}" for letter in "AB"]


def production(**changes: Any) -> dict[str, Any]:
    """The keys of Pulumi.prod.yaml with what it lacks, as a stack file has them; None removes."""
    keys = prod() | {"admin": {"ssh": ["207.231.1.46/32"], "keys": KEYS}} | changes
    return {f"mesh:{key}": value for key, value in keys.items() if value is not None}


@contextmanager
def deployment(
    folder: Path,
    document: Mapping[str, Any],
    clouds: Sequence[Cloud],
    secret: Mapping[str, str],
    stack: str = STACK,
) -> Iterator[Engine]:
    """The engine on a stack of its own, with these clouds attached for the length of the block.

    ``secret`` are secrets of the stack by their full keys; they are set as `pulumi config` does.
    """
    with ExitStack() as running:
        ports = {cloud.package: running.enter_context(serving(cloud)) for cloud in clouds}
        attached = ",".join(f"{name}:{port}" for name, port in ports.items())
        own = with_forks(environment(ROOT, folder))
        if attached:
            own["PULUMI_DEBUG_PROVIDERS"] = attached
        yield Engine(folder, stack, _prepared(folder, stack, document, secret, own), own)


def _prepared(
    folder: Path,
    stack: str,
    document: Mapping[str, Any],
    secret: Mapping[str, str],
    own: Mapping[str, str],
) -> Path:
    for each in (folder / "pulumi", folder / "state"):
        each.mkdir(parents=True, exist_ok=True)
    (folder / "passphrase").write_text(secrets.token_urlsafe(16))
    (folder / "Pulumi.yaml").write_text("name: anycast-mesh\nruntime: python\n")
    file = folder / f"Pulumi.{stack}.yaml"
    file.write_text(yaml.safe_dump({"config": dict(document)}, sort_keys=False))
    _pulumi(folder, own, "stack", "init", stack)
    pairs = [part for key, value in secret.items() for part in ("--secret", f"{key}={value}")]
    if pairs:
        _pulumi(folder, own, "config", "set-all", "--stack", stack, *pairs)
    return file


def _pulumi(folder: Path, own: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(
        ["pulumi", "--non-interactive", "-C", str(folder), *arguments],
        env=dict(own), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def steps(engine: Engine, *options: str) -> dict[str, str]:
    """What a preview would do: the operation by the name of each resource that it touches."""
    done = engine.run("preview", "--json", *options)
    document = json.loads(done.stdout[done.stdout.index("{") :])
    found: dict[str, str] = {}
    for step in document.get("steps", []):
        if step["op"] not in ("same", "read", "refresh"):
            name = step["urn"].rpartition("::")[2]
            found[name] = _coarse(step["op"], found.get(name))
    return found


def _coarse(operation: str, before: str | None) -> str:
    """A replacement is one thing to a reader, and three steps to the engine."""
    word = "replace" if re.search("replace", operation) else operation
    return before if before == "replace" else word
