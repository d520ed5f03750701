"""The real engine on a program, with a state and a home of the tests' own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.cli.engine import PLUGINS
from mesh.cli.environment import environment
from mesh.cli.working_copy import prepare
from tests.kit.stacks import ROOT
from tests.kit.wait import patience

OPERATIONS = ("preview", "up", "refresh", "destroy")
WITH_CONFIG = (*OPERATIONS, "config")
LOGGING = {"PULUMI_DEBUG_COMMANDS": "true"}
"""Without it the engine knows no log of events."""
STACK = "pulumi:pulumi:Stack"
SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key of what is no plain value in a state: a secret has its ciphertext beside it."""


@dataclass(frozen=True)
class Done:
    """What became of a `pulumi …`. ``told`` is every message of the operation, from the engine's
    own log of events: on a busy machine its output may end without them."""

    returncode: int
    stdout: str
    stderr: str
    told: str

    @property
    def text(self) -> str:
        """All of it."""
        return self.stdout + self.stderr + self.told


@dataclass
class Engine:
    """`pulumi` on one stack. Whatever it printed is kept in ``said``."""

    state: Path
    stack: str
    config: Path
    environment: Mapping[str, str]
    said: list[str] = field(default_factory=list)
    program: Path = ROOT
    """Where the program lies."""
    inside: tuple[str, ...] = ()
    """Words before the command: how it enters another namespace."""

    def run(self, *arguments: str, check: bool = True) -> Done:
        """Run `pulumi …` to its end."""
        ran = subprocess.run(
            self.command(*arguments), cwd=self._folder(arguments[0]),
            # It collects its garbage, of which most ends with it, seldom.
            env={**self.environment, **LOGGING, "GOGC": "400"},
            capture_output=True, text=True, check=False, timeout=1200,
        )  # fmt: skip
        done = Done(ran.returncode, ran.stdout, ran.stderr, self.told())
        self.said.append(done.text)
        if check and done.returncode:
            pytest.fail(f"pulumi {' '.join(arguments)}\n{done.text}")
        return done

    def killed(self, *arguments: str, at: str) -> None:
        """Run `pulumi …` and kill the engine, and nothing else, when it has said ``at``."""
        engine = subprocess.Popen(
            self._command(*arguments), cwd=self._folder(arguments[0]), env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert engine.stdout is not None
        seen = ""
        for line in engine.stdout:
            seen += line
            if at in line:
                break
        engine.send_signal(signal.SIGKILL)
        engine.wait()
        engine.stdout.close()
        self.said.append(seen)
        assert at in seen, seen

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets hidden as `pulumi stack output` hides them."""
        (stack,) = (each for each in self._held() if each["type"] == STACK)
        return {name: _hidden(value) for name, value in stack.get("outputs", {}).items()}

    def resources(self, *options: str) -> list[dict[str, Any]]:
        """What the state holds, but the stack itself; by the engine where it has ``options``."""
        held = self._held()
        if options:
            exported = json.loads(self.run("stack", "export", *options).stdout)
            held = exported["deployment"].get("resources", [])
        return [each for each in held if each["type"] != STACK]

    def _held(self) -> list[dict[str, Any]]:
        """All resources in the file that is the state: the engine takes a fifth of a second of a
        processor to export as much."""
        (file,) = (self.state / "state" / ".pulumi" / "stacks").rglob(f"{self.stack}.json")
        found: list[dict[str, Any]]
        found = (json.loads(file.read_text())["checkpoint"].get("latest") or {}).get(
            "resources", []
        )
        return found

    def command(self, *arguments: str) -> list[str]:
        """`pulumi …`, which begins a log of events where it is an operation; the environment is to
        have LOGGING."""
        self._events.unlink(missing_ok=True)
        log = ("--event-log", str(self._events)) if arguments[0] in OPERATIONS else ()
        return self._command(*arguments, *log)

    def told(self) -> str:
        """Every message of the last operation, once it has ended."""
        return _messages(self._events)

    @property
    def _events(self) -> Path:
        return self.state / "events"

    def _command(self, *arguments: str) -> list[str]:
        file = ["--config-file", str(self.config)] if arguments[0] in WITH_CONFIG else []
        return [
            *self.inside,
            "pulumi",
            "--non-interactive",
            *arguments,
            "--stack",
            self.stack,
            *file,
        ]

    def _folder(self, command: str) -> Path:
        """The engine may write a stack file where it runs: never into the checkout."""
        return self.program if command in WITH_CONFIG else self.state


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        secret = SIGNATURE in value and "ciphertext" in value
        return "[secret]" if secret else {name: _hidden(each) for name, each in value.items()}
    return [_hidden(each) for each in value] if isinstance(value, list) else value


def engine_of(state: Path) -> Engine:
    """The lab's stack in that folder, with all that its first deployment needs."""
    own = environment(ROOT, state)
    return Engine(state, "lab", prepare(ROOT, state, own), own)


def changed(engine: Engine, folder: Path, keys: Mapping[str, Any]) -> Engine:
    """The same stack with other keys in its stack file; None removes a key."""
    document = yaml.safe_load(engine.config.read_text())
    for key, value in keys.items():
        document["config"].pop(f"mesh:{key}", None)
        if value is not None:
            document["config"][f"mesh:{key}"] = value
    path = folder / engine.config.name
    path.write_text(yaml.safe_dump(document))
    return replace(engine, config=path, said=[])


def secrets_of(resources: object) -> set[str]:
    """Every secret text of an export with ``--show-secrets`` that cannot occur by chance."""
    if isinstance(resources, dict):
        if "plaintext" in resources:
            return _texts(json.loads(resources["plaintext"]))
        return {text for value in resources.values() for text in secrets_of(value)}
    if isinstance(resources, list):
        return {text for value in resources for text in secrets_of(value)}
    return set()


def _texts(value: object) -> set[str]:
    if isinstance(value, dict):
        return {text for each in value.values() for text in _texts(each)}
    return {value} if isinstance(value, str) and len(value) >= 16 else set()


def orphans(engine: Engine) -> list[str]:
    """Plugins and programs of this engine that still run."""
    mark = f"PULUMI_HOME={engine.environment['PULUMI_HOME']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if mark in variables and any(name in line for name in PLUGINS):
            found.append(line.decode())
    return found


def _messages(events: Path) -> str:
    """The messages in a log of events, with the engine's output without a resource among them."""
    if not events.exists():
        return ""
    each = (json.loads(line) for line in events.read_text().splitlines())
    found = (event.get("diagnosticEvent") or event.get("stdoutEvent") or {} for event in each)
    said = "".join(event.get("prefix", "") + event.get("message", "") for event in found)
    return re.sub(r"<\{%.*?%\}>", "", said)


def until_none(engine: Engine, seconds: float) -> None:
    """Wait until no provider of the engine runs any more."""
    end = time.monotonic() + patience(seconds)
    while left := orphans(engine):
        assert time.monotonic() < end, left
        time.sleep(0.2)
