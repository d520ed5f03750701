"""``mesh preview`` on a saved preview: what it prints, writes, and exits with. (With the engine:
test_changes.py.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.main import app
from tests.kit.previews import generation, step, text
from tests.kit.stacks import plan_of, prod

PLAN = plan_of(prod())
REPLACED = (
    step("replace", "mia-vultr-1", reasons=("region",)),
    generation(PLAN, PLAN, bundle="1"),
)


def run(folder: Path, *arguments: str, steps: Any = REPLACED, **more: Any) -> Result:
    saved = folder / "preview.json"
    saved.write_text(text(*steps, **more))
    # Of a stack that no engine knows: nobody can be asked who announces.
    return CliRunner().invoke(
        app, ["preview", "--from", str(saved), "--stack", "nowhere", *arguments]
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 0),
        (("--gate",), 3),
        (("--gate", "--remove", "mia-vultr-1"), 3),
        (("--gate", "--replace", "mia-vultr-1"), 3),
        (("--gate", "--replace", "mia-vultr-1", "--by-plan"), 0),
        (("--most", "3"), 2),
    ],
)
def test_the_exit_code_says_what_the_gate_says(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    assert run(tmp_path, *arguments).exit_code == code


def test_the_summary_names_server_sessions_and_prefixes(tmp_path: Path) -> None:
    shown = run(tmp_path).stdout
    for words in ("mia-vultr-1", "region", "2 upstream", "192.30.120.0/23", "withdrawn"):
        assert words in shown


def test_a_refusal_says_key_value_reason_and_cure(tmp_path: Path) -> None:
    shown = run(tmp_path, "--gate").stdout
    assert "refused: mesh-mia-vultr-1-instance = replace: nobody asked for mia-vultr-1" in shown
    assert "--replace mia-vultr-1" in shown


def test_machines_get_all_of_it(tmp_path: Path) -> None:
    document = json.loads(run(tmp_path, "--json", "--gate").stdout)
    server = document["servers"][0]
    assert (server["node"], server["fate"]) == ("mia-vultr-1", "replaced")
    assert len(document["sessions"]) == 11
    assert {each["prefix"] for each in document["prefixes"]} == {
        "192.30.120.0/23",
        "2620:71:4000::/48",
    }
    assert document["refused"][0].keys() == {"key", "value", "reason", "cure"}


def test_a_comment_is_written_also_where_the_gate_refuses(tmp_path: Path) -> None:
    comment = tmp_path / "comment.md"
    assert run(tmp_path, "--gate", "--markdown", str(comment)).exit_code == 3
    assert "The gate refuses" in comment.read_text()
    assert "| replaced | mia-vultr-1 |" in comment.read_text()


def test_a_failed_preview_is_shown_with_what_the_engine_says(tmp_path: Path) -> None:
    comment = tmp_path / "comment.md"
    shown = run(
        tmp_path, "--gate", "--markdown", str(comment), steps=(), errors=("mesh:asn = 64512: no",)
    )
    assert shown.exit_code == 1
    assert "mesh:asn = 64512: no" in shown.stdout
    assert "mesh:asn = 64512: no" in comment.read_text()


@pytest.mark.parametrize("content", [None, "", "error: no stack named 'prod' found\n"])
def test_what_is_no_preview_is_said_in_one_line(tmp_path: Path, content: str | None) -> None:
    saved = tmp_path / "preview.json"
    if content is not None:
        saved.write_text(content)
    shown = CliRunner().invoke(app, ["preview", "--from", str(saved)])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("error: ")
    assert "Traceback" not in shown.output


def test_what_the_engine_says_where_it_fails_commands_neither_terminal_nor_github(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = tmp_path / "pulumi"
    engine.write_text("#!/bin/sh\nprintf 'error: no\\033[2J\\n  ::error::x\\n' >&2; exit 1\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    shown = CliRunner().invoke(app, ["preview", "--stack", "prod"])
    assert shown.exit_code == 1
    assert shown.stderr.splitlines() == ["error: stack prod: no", "error: : :error::x"]


@pytest.mark.parametrize("stack", ["prod", "lab"])
@pytest.mark.parametrize(
    "command",
    [("preview",), ("replace", "x", "--yes"), ("release", "x"), ("destroy", "--yes")],
    ids=" ".join,
)
def test_without_the_engine_the_cure_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("mesh.cli.stacks.checkout", lambda: tmp_path)
    monkeypatch.setenv("MESH_CACHE", str(tmp_path))
    (tmp_path / ".mesh").mkdir()
    shown = CliRunner().invoke(app, [*command, "--stack", stack])
    assert shown.exit_code == 1
    assert "make setup" in shown.output
