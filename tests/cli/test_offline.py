"""`mesh check`, `mesh plan` and `mesh render` as a person or a script meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter
from rich.console import Console
from typer.testing import CliRunner

from mesh.cli.main import app
from mesh.facts import Facts
from mesh.plan import Plan
from mesh.render import placeholder_facts
from tests.stacks import ROOT, plan_of, prod


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `mesh …`."""
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def written(folder: Path, **changes: object) -> None:
    """A stack file `Pulumi.bad.yaml` that differs from production."""
    config = {f"mesh:{key}": value for key, value in (prod() | changes).items()}
    (folder / "Pulumi.bad.yaml").write_text(yaml.safe_dump({"config": config}))


def test_check_accepts_the_seeds_network() -> None:
    code, out, err = run("check", "--stack", "prod", "--root", str(ROOT))
    assert code == 0
    assert "valid" in out
    assert "mesh:bgpPassword-vultr" in err


def test_check_says_what_is_wrong_and_exits_with_1(tmp_path: Path) -> None:
    written(tmp_path, asn=64512)
    code, out, err = run("check", "--stack", "bad", "--root", str(tmp_path))
    assert code == 1
    assert "not valid" in out
    assert "mesh:asn = 64512: this ASN is private (RFC 6996); give the ASN" in err


def test_check_can_be_read_by_a_machine(tmp_path: Path) -> None:
    written(tmp_path, asn=64512, typo=1)
    code, out, _ = run("check", "--stack", "bad", "--root", str(tmp_path), "--json")
    document = json.loads(out)
    assert code == 1
    assert document["valid"] is False
    assert {p["key"] for p in document["problems"]} >= {"mesh:asn", "mesh:typo"}
    assert all(p["reason"] and p["cure"] for p in document["problems"])


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_stack_that_does_not_exist_is_named(tmp_path: Path, command: str) -> None:
    code, _, err = run(command, "--stack", "nobody", "--root", str(tmp_path))
    assert code == 1
    assert "Pulumi.nobody.yaml" in err


def test_plan_can_be_read_back() -> None:
    code, out, _ = run("plan", "--stack", "prod", "--root", str(ROOT), "--json")
    assert code == 0
    assert TypeAdapter(Plan).validate_json(out) == plan_of(prod())


def test_plan_shows_a_person_every_node() -> None:
    code, out, _ = run("plan", "--stack", "prod", "--root", str(ROOT))
    assert code == 0
    for node in ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"):
        assert node in out


@pytest.mark.parametrize("columns", [80, 100])
def test_plan_cuts_no_address(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    addresses = [
        str(address)
        for node in plan_of(prod()).nodes
        for address in (*node.announced.both(), *node.tunnel.both())
    ]
    for terminal in (True, False):
        monkeypatch.setattr(Console, "is_terminal", terminal)
        _, out, _ = run("plan", "--stack", "prod", "--root", str(ROOT))
        assert not [address for address in addresses if address not in out]
        assert "…" not in out


def test_plan_shows_what_upstreams_are_asked_for(tmp_path: Path) -> None:
    rules = [
        {"name": "less-here", "nodes": ["ewr-vultr-1"], "toAs": [{"asn": 3356, "export": False}]}
    ]
    written(tmp_path, traffic=rules)
    code, out, _ = run("plan", "--stack", "bad", "--root", str(tmp_path))
    assert code == 0
    for text in ("ewr-vultr-1:vultr4", "ewr-vultr-1:vultr6", "not to AS3356", "less-here"):
        assert text in out
    assert "lax-vultr-1:vultr4" not in out


def test_render_takes_facts_from_a_file(tmp_path: Path) -> None:
    facts = placeholder_facts(plan_of(prod()))
    path = tmp_path / "facts.json"
    path.write_bytes(TypeAdapter(dict[str, Facts]).dump_json(facts).replace(b"enp1s0", b"ens7"))
    arguments = ("--node", "lax-vultr-1", "--out", str(tmp_path / "out"), "--facts", str(path))
    code, _, _ = run("render", "--stack", "prod", "--root", str(ROOT), *arguments)
    sysctl = tmp_path / "out/lax-vultr-1/etc/sysctl.d/99-anycast-mesh.conf"
    assert code == 0
    assert "net/ipv6/conf/ens7/accept_ra = 2" in sysctl.read_text()


HOSTILE = {
    "a line break in an interface": ('"enp1s0"', '"enp1s0\\n}"'),
    "a command in a version": ('"2.17.5"', '"2; include \\"/etc/shadow\\""'),
    "a key that is none": ('"mtu":1500', '"mtu":0'),
}


@pytest.mark.parametrize(("old", "new"), HOSTILE.values(), ids=HOSTILE.keys())
def test_facts_are_parsed_before_they_are_rendered(tmp_path: Path, old: str, new: str) -> None:
    """They come from nodes, and end up in configuration files."""
    text = TypeAdapter(dict[str, Facts]).dump_json(placeholder_facts(plan_of(prod()))).decode()
    assert old in text
    path = tmp_path / "facts.json"
    path.write_text(text.replace(old, new))
    arguments = ("--out", str(tmp_path / "out"), "--facts", str(path))
    code, _, err = run("render", "--stack", "prod", "--root", str(ROOT), *arguments)
    assert code == 1
    assert "--facts" in err
    assert not (tmp_path / "out").exists()


def test_a_node_that_is_not_planned_is_refused(tmp_path: Path) -> None:
    arguments = ("--node", "sea-vultr-1", "--out", str(tmp_path))
    code, _, err = run("render", "--stack", "prod", "--root", str(ROOT), *arguments)
    assert code == 1
    assert "no such node" in err and "lax-vultr-1" in err
