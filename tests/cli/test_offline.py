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
from mesh.content import described
from mesh.facts import Facts
from mesh.plan import Plan, make
from mesh.registry import paths
from mesh.render import placeholder_facts
from mesh.spec import load_file
from tests.kit.stacks import ROOT, bent, long_ids, plan_of, prod


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


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_twin_is_not_asked_for_what_the_lab_makes(command: str) -> None:
    code, _, err = run(command, "--stack", "lab", "--root", str(ROOT))
    assert code == 0
    assert "mesh:reflectors" in err, "what is true of the network is said of its twin too"
    assert "mesh:bgpPassword-vultr" not in err and "mesh:admin.keys" not in err
    found = json.loads(run("check", "--stack", "lab", "--root", str(ROOT), "--json")[1])
    assert [(p["severity"], p["key"]) for p in found["problems"]] == [
        ("warning", "mesh:reflectors")
    ]


def test_keys_of_a_twin_that_are_wrong_are_told(tmp_path: Path) -> None:
    written(tmp_path)
    text = yaml.safe_dump({"config": {"mesh:twin": "bad", "mesh:admin": {"keys": ["none"]}}})
    (tmp_path / "Pulumi.lab.yaml").write_text(text)
    code, _, err = run("check", "--stack", "lab", "--root", str(tmp_path))
    assert code == 1
    assert "mesh:admin.keys[0] = none" in err


def test_check_says_that_a_bird_that_lacks_something_is_no_fault_of_the_file() -> None:
    _, out, _ = run("check", "--stack", "prod", "--root", str(ROOT))
    lines = out.splitlines()
    birds = [number for number, line in enumerate(lines) if line.startswith("If a node has BIRD")]
    assert birds and lines[birds[0] - 1] == (
        "No fault of the file: what a BIRD lacks of it. Nodes with Debian 13 have 2.17."
    )
    assert sum("No fault" in line for line in lines) == 1


def test_check_says_what_is_wrong_and_exits_with_1(tmp_path: Path) -> None:
    written(tmp_path, asn=64512)
    code, out, err = run("check", "--stack", "bad", "--root", str(tmp_path))
    assert code == 1
    assert "not valid" in out
    assert "mesh:asn = 64512: this ASN is private (RFC 6996); give the ASN" in err


def test_check_reads_the_contents_of_services(tmp_path: Path) -> None:
    zone = {"kind": "dns", "content": "zones", "addresses": {"ipv4": "192.30.120.101"}}
    written(tmp_path, services={"dns": zone})
    code, _, err = run("check", "--stack", "bad", "--root", str(tmp_path))
    assert code == 1
    assert f"mesh:services.dns.content = {tmp_path}/zones: there is no such directory" in err
    (tmp_path / "zones").mkdir()
    path = tmp_path / "zones" / "example.com.zone"
    path.write_text("@ 300 IN SOA ns1 host 7 2 3 4 5\n@ 300 IN NS ns1\nwww 300 IN A 192.0.2.400\n")
    code, _, err = run("plan", "--stack", "bad", "--root", str(tmp_path))
    assert code == 1
    assert "example.com.zone: line 3: " in err
    path.write_text(path.read_text().replace("400", "40"))
    code, out, _ = run("plan", "--json", "--stack", "bad", "--root", str(tmp_path))
    assert code == 0
    (service,) = json.loads(out)["services"]
    assert [(z["name"], z["serial"]) for z in service["content"]["zones"]] == [("example.com", 7)]


def test_check_can_be_read_by_a_machine(tmp_path: Path) -> None:
    written(tmp_path, asn=64512, typo=1)
    code, out, _ = run("check", "--stack", "bad", "--root", str(tmp_path), "--json")
    document = json.loads(out)
    assert code == 1
    assert document["valid"] is False
    assert {p["key"] for p in document["problems"]} >= {"mesh:asn", "mesh:typo"}
    assert all(p["reason"] and p["cure"] for p in document["problems"])


def test_check_refuses_what_no_registry_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_GENERATION", 1 << 17)
    code, out, _ = run("check", "--stack", "prod", "--root", str(ROOT), "--json")
    document = json.loads(out)
    assert code == 1
    assert document["valid"] is False
    (problem,) = [each for each in document["problems"] if each["severity"] == "error"]
    assert problem["key"] == "mesh:nodes"


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_stack_that_does_not_exist_is_named(tmp_path: Path, command: str) -> None:
    code, _, err = run(command, "--stack", "nobody", "--root", str(tmp_path))
    assert code == 1
    assert "Pulumi.nobody.yaml" in err


def test_plan_can_be_read_back() -> None:
    code, out, _ = run("plan", "--stack", "prod", "--root", str(ROOT), "--json")
    assert code == 0
    spec = load_file("prod", ROOT).spec
    assert TypeAdapter(Plan).validate_json(out) == make(spec, described(ROOT, spec))


def test_plan_shows_a_person_every_node() -> None:
    code, out, _ = run("plan", "--stack", "prod", "--root", str(ROOT))
    assert code == 0
    for node in ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"):
        assert node in out


def test_plan_shows_who_announces_each_prefix(tmp_path: Path) -> None:
    written(tmp_path, prefixes={"ipv4": "192.30.120.0/23"}, services={})
    _, out, _ = run("plan", "--stack", "bad", "--root", str(tmp_path))
    (row,) = (each.split() for each in out.splitlines() if each.startswith("192.30.120.0/23"))
    assert row == ["192.30.120.0/23", "ewr-vultr-1"], "the first of four"
    assert "service" not in out, "there is none"


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize(
    ("stack", "root"), [("prod", ROOT), ("blog", ROOT / "examples"), ("ixp", ROOT / "examples")]
)
def test_plan_cuts_no_address(
    monkeypatch: pytest.MonkeyPatch, stack: str, root: Path, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    addresses = [
        str(address)
        for node in make(load_file(stack, root).spec).nodes
        for address in (
            *node.announced.both(), *node.tunnel.both(), *(s.neighbor for s in node.upstreams)
        )
    ]  # fmt: skip
    for terminal in (True, False):
        monkeypatch.setattr(Console, "is_terminal", terminal)
        _, out, _ = run("plan", "--stack", stack, "--root", str(root))
        assert not [address for address in addresses if address not in out]
        assert "…" not in out


def test_plan_shows_the_interface_of_a_peer_whose_id_does_not_fit(tmp_path: Path) -> None:
    written(tmp_path, **long_ids())
    code, out, err = run("plan", "--stack", "bad", "--root", str(tmp_path))
    assert code == 0, err
    assert "wg-ewr-3fbaa60" in out and "wg-lax" not in out


def test_plan_shows_which_nodes_run_another_system(tmp_path: Path) -> None:
    written(tmp_path, **bent("nodes/mia-vultr-1/os", "openbsd"))
    code, out, err = run("plan", "--stack", "bad", "--root", str(tmp_path))
    assert (code, out.count("OpenBSD"), out.count("Debian")) == (0, 1, 0), err


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


STAND_IN = placeholder_facts(plan_of(prod()))["lax-vultr-1"]
HOSTILE = {
    "a line break in an interface": ('"enp1s0"', '"enp1s0\\n}"'),
    "a command in a version": (f'"{STAND_IN.bird}"', '"2; include \\"/etc/shadow\\""'),
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


def project(folder: Path, **changes: object) -> Path:
    """A project with the stack `bad` in it, and a folder below."""
    (folder / "Pulumi.yaml").write_text("name: anycast-mesh\nruntime: python\n")
    written(folder, **changes)
    below = folder / "docs" / "deep"
    below.mkdir(parents=True)
    return below


RENDER = ("render", "--out", "out", "--node", "lax-vultr-1")


@pytest.mark.parametrize("command", [("check",), ("plan",), RENDER], ids=lambda each: each[0])
def test_a_project_is_found_from_its_subfolders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(project(tmp_path))
    assert run(*command, "--stack", "bad")[0] == 0
    assert run(*command, "--stack", "acme/anycast-mesh/bad")[0] == 0


def test_a_command_may_be_run_for_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project(tmp_path)
    monkeypatch.chdir("/")
    assert run("--cwd", str(below), "check", "--stack", "bad")[0] == 0
    monkeypatch.chdir("/")
    assert run("check", "--stack", "bad", "--root", str(tmp_path))[0] == 0


@pytest.mark.parametrize("command", [("check",), ("plan",), RENDER], ids=lambda each: each[0])
def test_outside_of_a_project_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    code, _, err = run(*command, "--stack", "bad")
    assert code == 1
    assert f"Pulumi.yaml = missing: neither {tmp_path} nor a folder above it has one" in err
    assert run(*command, "--stack", "bad", "--root", ".")[0] == 0


ENVIRONMENT = {
    "complete, and more may come": ((), 0, "valid as far as it can be read here", 0),
    "a key may come from there": (("asn",), 0, "valid as far as it can be read here", 1),
    "an error stays one": (("asn", "whoami"), 1, "not valid", 1),
}


@pytest.mark.parametrize("case", ENVIRONMENT)
def test_what_an_environment_adds_is_not_guessed(tmp_path: Path, case: str) -> None:
    absent, status, verdict, planned = ENVIRONMENT[case]
    project(tmp_path)
    file = tmp_path / "Pulumi.bad.yaml"
    document = yaml.safe_load(file.read_text())
    for key in absent:
        document["config"].pop(f"mesh:{key}", None)
    if "whoami" in absent:
        document["config"]["mesh:whoami"] = "perhaps"
    file.write_text(yaml.safe_dump(document | {"environment": ["acme/prod"]}))
    arguments = ("--stack", "bad", "--root", str(tmp_path))
    code, out, err = run("check", *arguments)
    assert (code, verdict in " ".join(out.split())) == (status, True)
    assert "acme/prod" in err or status
    found = json.loads(run("check", *arguments, "--json")[1])
    assert (found["valid"], found["complete"]) == (status == 0, status != 0)
    code, out, err = run("plan", *arguments)
    assert code == planned
    assert ("error: mesh:asn = unset: it may come from" in err) == (case.startswith("a key"))


def test_what_is_not_known_is_not_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")  # whoever changes folders by --cwd comes back here
    below = project(tmp_path)
    file = tmp_path / "Pulumi.bad.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["mesh:prefixes"] = {"secure": "v1:abc"}
    file.write_text(yaml.safe_dump(document))
    arguments = ("--cwd", str(below), "check", "--stack", "bad")
    assert run(*arguments)[0] == 0
    code, _, err = run(*arguments, "--roa", str(tmp_path / "vrps.json"))
    assert code == 1
    assert "nothing was validated: what is announced cannot be known here" in err


@pytest.mark.parametrize("command", [("preview",), ("status",), ("drain", "lax-vultr-1")])
def test_a_stack_that_cannot_be_is_refused_before_the_engine_is_asked(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run(*command, "--stack", "acme/my stack")
    assert code in (1, 2)
    assert "--stack = acme/my stack: this is no valid stack name" in " ".join(err.split())
