"""An engine that knows no more than a state and a configuration: it stands on the PATH where a test
is about what a command asks it, and what it does with the answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """#!/bin/sh
cd '{folder}' || exit 9
case "$*" in
  *"stack export"*)
    cat state.json || exit 255
    [ -e then.json ] && mv then.json state.json
    exit 0 ;;
  *"stack import"*)
    [ -e locked ] && {{ echo "error: the stack is currently locked by 1 lock(s)" >&2; exit 255; }}
    cat > state.json ;;
  *"config get"*)
    for word; do [ -e "config/$word" ] && {{ cat "config/$word"; exit 0; }}; done
    echo "error: configuration key not found for stack 'prod'" >&2; exit 255 ;;
  *) echo "error: unknown: $*" >&2; exit 255 ;;
esac
"""


@dataclass(frozen=True)
class Stub:
    """What it knows. ``then`` is the state from the second question on."""

    folder: Path

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    def knows(self, state: dict[str, Any], then: dict[str, Any] | None = None) -> None:
        (self.folder / "state.json").write_text(json.dumps(state))
        if then is not None:
            (self.folder / "then.json").write_text(json.dumps(then))

    def set(self, key: str, value: str) -> None:
        (self.folder / "config" / key).write_text(value)

    def lock(self) -> None:
        """An update runs."""
        (self.folder / "locked").touch()


def stub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Let ``pulumi`` be such an engine."""
    place = folder / "engine"
    (place / "config").mkdir(parents=True)
    program = place / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(SCRIPT.format(folder=place))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return Stub(place)
