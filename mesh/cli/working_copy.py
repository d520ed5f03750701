"""The lab stack's working copy: ``Pulumi.lab.yaml`` with secrets of its own, made once.

The committed file stays as it is; what is generated (passphrase, log-in keys, BGP passwords,
secrets of receivers) lies under ``.mesh``, for root only.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mesh.lab import receivers
from mesh.spec import load_file, read_stack_file
from mesh.spec.engine.project import read_document
from mesh.spec.secrets import PREFIX, RECEIVER_PREFIX, needed, needed_receivers

STACK = "lab"
KEYS = ("lab-1", "lab-2")  # two, as the spec asks of every stack


class EngineFailed(Exception):
    """The engine could not be run, or failed; with its own message."""


def prepare(root: Path, state: Path, environment: Mapping[str, str]) -> Path:
    """Make all that the lab's first deployment needs; returns the working copy of its stack file.

    What exists is kept: changing a password or key would change the deployed lab.
    """
    working = write(root, state)
    make_known(root, state, environment)
    return working


def write(root: Path, state: Path) -> Path:
    """Write the working copy, without what only the engine can add; returns its stack file."""
    for folder in (state, state / "pulumi", state / "state", state / "ssh"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_once(state / "passphrase", secrets.token_urlsafe(32))
    # The engine writes its salt, and what `pulumi config set` sets, beside the Pulumi.yaml of the
    # folder in which it runs. In a folder of its own that is the working copy, and never the
    # committed file.
    write_project(root, state / "Pulumi.yaml")
    working = state / f"Pulumi.{STACK}.yaml"
    _write_copy(root, working, _public_keys(state / "ssh"))
    return working


def make_known(root: Path, state: Path, environment: Mapping[str, str]) -> None:
    """Let the engine make the stack of the working copy, and secrets in it that are missing."""
    working = state / f"Pulumi.{STACK}.yaml"
    pulumi = ["pulumi", "--non-interactive", "-C", str(state)]
    _quiet([*pulumi, "stack", "select", "--create", STACK], environment)
    there = _config(working)
    for key, value in sorted(_secrets(root, working).items()):
        if key not in there:
            setting = [*pulumi, "config", "set", "--secret", "--stack", STACK, key]
            _quiet(setting, environment, stdin=value)


def is_prepared(state: Path) -> bool:
    """Whether the working copy is there, and the stack that it is of."""
    return (state / f"Pulumi.{STACK}.yaml").exists() and any(
        (state / "state" / ".pulumi" / "stacks").rglob(f"{STACK}.json")
    )


def write_project(root: Path, working: Path) -> None:
    """Write the checkout's project file for the working copy: with the path of the program, the
    stack file beside it, and no backend other than the lab's."""
    document = read_document(root / "Pulumi.yaml")
    runtime = document.get("runtime")
    runtime = dict(runtime) if isinstance(runtime, dict) else {"name": runtime}
    options = dict(runtime.get("options") or {})
    if "virtualenv" in options:
        options["virtualenv"] = str(root / options["virtualenv"])
    for key in ("stackConfigDir", "backend"):
        document.pop(key, None)
    if isinstance(document.get("config"), str):
        document.pop("config")
    document |= {"runtime": runtime | {"options": options}, "main": str(root)}
    text = _dumped(document)
    if not working.exists() or working.read_text() != text:
        _replace(working, text)


def _write_copy(root: Path, working: Path, keys: list[str]) -> None:
    """Write the committed file, with what the working copy alone has, as the working copy."""
    committed = root / f"Pulumi.{STACK}.yaml"
    document: dict[str, Any] = read_document(committed)
    known: dict[str, Any] = read_document(working) if working.exists() else {}
    config = document.setdefault("config", {})
    # A twin of another stack now: a secret that nothing in this one asks for is refused.
    wanted = _secrets(root, committed)
    for name, value in known.get("config", {}).items():
        if name in wanted:
            config[name] = value
    config["mesh:admin"] = {**read_stack_file(committed).get("admin", {}), "keys": keys}
    if "encryptionsalt" in known:
        document["encryptionsalt"] = known["encryptionsalt"]
    if document != known:
        _replace(working, _dumped(document))


class _Quoting(yaml.SafeDumper):
    """Quotes every text, so that none is read as a number or a boolean."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def _dumped(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Quoting, sort_keys=False, width=1000)


def _replace(path: Path, text: str) -> None:
    """Write a file in one step: somebody may be reading it."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def _secrets(root: Path, file: Path) -> dict[str, str]:
    """Keys of the secrets that a stack file needs, whether it has them or not, each with a value
    that is as good as any: alerts reach the lab's receiver."""
    spec = load_file(STACK, root, file).spec
    found = {f"mesh:{PREFIX}{name}": secrets.token_urlsafe(24) for name in needed(spec)}
    for name in needed_receivers(spec):
        assert spec.monitoring is not None, "it has receivers"
        by_url = spec.monitoring.receivers[name].kind in ("webhook", "slack")
        value = receivers.url(name) if by_url else secrets.token_hex(16)
        found[f"mesh:{RECEIVER_PREFIX}{name}"] = value
    return found


def _config(file: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_document(file)["config"]
    return config


def _public_keys(folder: Path) -> list[str]:
    """The public halves of the lab's log-in keys, made when missing."""
    return [_public_key(folder / name) for name in KEYS]


def _public_key(path: Path) -> str:
    public = path.with_suffix(".pub")
    if not public.exists():
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        path.unlink(missing_ok=True)
        _write_once(path, private.decode())
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        _write_once(public, f"{line} anycast-mesh-{path.name}\n")
    return public.read_text().strip()


def _write_once(path: Path, text: str) -> None:
    """Write a file that only its owner reads, in one step, unless it is there."""
    if path.exists():
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    beside.replace(path)


def _quiet(command: list[str], environment: Mapping[str, str], stdin: str = "") -> None:
    """Run the engine without output; EngineFailed with its message where it fails."""
    done = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EngineFailed(f"`{' '.join(command[:5])}` failed: {done.stderr.strip()}")
