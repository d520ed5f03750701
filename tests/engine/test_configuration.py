"""What the real engine hands over, beside what is read of the same files without it.

One small program writes down what it was handed; many cases share one run of it.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mesh.cli.environment import environment
from mesh.cli.main import app
from mesh.spec import SpecError, from_engine, load, load_file
from mesh.spec.engine import EngineConfig, Sealed, nearest, read
from tests.kit.stacks import ROOT
from tests.kit.wait import patience

pytestmark = pytest.mark.engine

PROGRAM = """
import json, os, pathlib, pulumi
from pulumi.runtime import config
handed = {"stack": pulumi.get_stack(), "config": config.CONFIG.get()}
pathlib.Path(os.environ["DUMP"]).write_text(json.dumps(handed))
"""
PROJECT = f"""
name: anycast-mesh
runtime: {{name: python, options: {{virtualenv: {ROOT / ".venv"}}}}}
"""


@dataclass(frozen=True)
class Project:
    """A folder with a project that writes down what it is handed."""

    folder: Path
    environment: Mapping[str, str]

    def pulumi(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["pulumi", "--non-interactive", *words], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False, timeout=patience(120),
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def handed(self, stack: str) -> dict[str, str]:
        """What the program is handed for a stack."""
        self.pulumi("preview", "--stack", stack)
        found = json.loads(Path(self.environment["DUMP"]).read_text())
        assert found["stack"] == stack.rpartition("/")[2]
        config: dict[str, str] = found["config"]
        return config

    def read(self, stack: str) -> EngineConfig:
        """The same without the engine."""
        project = nearest(self.folder)
        assert project is not None
        return read(project, project.file(stack))

    def write(self, stack: str, text: str) -> None:
        (self.folder / f"Pulumi.{stack}.yaml").write_text(text)

    @contextmanager
    def saying(self, config: str) -> Iterator[None]:
        """With these lines in the project file."""
        file = self.folder / "Pulumi.yaml"
        file.write_text(PROJECT + config)
        try:
            yield
        finally:
            file.write_text(PROJECT)

    def check(self, stack: str, *words: str) -> tuple[int, str]:
        """Exit code and words of `mesh check`."""
        done = CliRunner().invoke(
            app, ["check", "--stack", stack, "--root", str(self.folder), *words]
        )
        return done.exit_code, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the stack `t`, in a backend of its own."""
    folder, state = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("state")
    (state / "state").mkdir()
    (state / "passphrase").write_text("of a test")
    (folder / "__main__.py").write_text(PROGRAM)
    (folder / "Pulumi.yaml").write_text(PROJECT)
    made = Project(folder, environment(ROOT, state) | {"DUMP": str(state / "dump.json")})
    made.pulumi("stack", "init", "t")
    return made


def alone(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all keys, whatever their namespace."""
    names = {key: f"mesh:{number}" for number, key in enumerate(sorted(values))}
    found = from_engine({names[key]: value for key, value in values.items()})
    return {key: found[names[key].removeprefix("mesh:")] for key in values}


# Each is a plain word: what it is depends on who reads it.
WORDS = """
yes no on off y N Yes True TRUE tRue false ~ null Null NULL nULL 0 00 010 0o10 08 09.5 0x10 0X1f
0xg 0b11 -0b11 0b2 1_000 1__0 _1 +5 -5 +-5 1.0 1. .5 +.5 . .. + 1e3 1e+3 1E3 1.5e-7 1e400 1e21
1e20 123456789.125 -0.0 -.Inf2 .nan2 12:30 12:34:56 190:20:30 1:2 174:30 65535:666 192.0.2.1
2620:71:4000::1 192.0.2.0/24 2026-01-01 2026-1-1 2026-13-01 2026-01-01T10:00:00Z
2026-01-01T10:00:00 2026-01-01t10:00:00.250Z 9223372036854775807 9223372036854775808
18446744073709551615 18446744073709551616 -9223372036854775809 0xFFFFFFFFFFFFFFFFFF = !!str
!!str_010 !foo_bar
"""
TAGGED = {"tag1": "!!str 010", "tag2": '!!int "7"', "tag3": "!!float 5", "tag4": "!foo bar",
          "tag5": "!foo {x: 1}", "tag6": '!!null ""', "tag7": "!!bool true"}  # fmt: skip


def drawn(number: int) -> list[str]:
    """Words that look like numbers, dates and the like; the same ones in every run."""
    source = random.Random(27218)
    letters = "0123456789" * 3 + "+-._:eExXobBTtZyYnN~"
    found: set[str] = set()
    while len(found) < number:
        word = "".join(source.choices(letters, k=source.randint(1, 9)))
        if not re.match(r"[-:.?]*$|[-:?]", word) and not word.endswith(":"):
            found.add(word)
    return sorted(found)


def zoo() -> str:
    """One stack file with all of them: at the top, in a list, in a map and as keys."""
    words = [word for word in WORDS.split() if word != "!!str"] + drawn(400)
    lines = ["base: &base {a: 1, b: 2}", "more: &more {b: 3, c: 4}", "config:"]
    lines += [f"  top:w{number}: {word}" for number, word in enumerate(words)]
    lines += [f"  tag:{name}: {text}" for name, text in TAGGED.items()]
    lines += ["  in:list:", *(f"    - {word}" for word in words)]
    lines += ["  in:map:", *(f"    w{number}: {word}" for number, word in enumerate(words))]
    lines += ["  in:keys:", *(f"    {word}: 1" for word in ("no", "on", "010", "1.5", "~", "yes"))]
    lines += [
        "  merge:one: {<<: *base, b: 9}",
        "  merge:two: {<<: [*base, *more], d: 5}",
        "  merge:alias: *more",
        "  empty:text: ''",
        "  empty:nothing:",
        "  empty:map: {}",
        "  empty:list: []",
        "  empty:inside: {a: , b: null, c: [~]}",
        '  json:map: \'{"a": 1.0, "b": 18446744073709551615}\'',
        "  json:broken: '{\"a\": 1'",
        "  lines:kept: |\n    one\n    two",
        "  lines:folded: >-\n    one\n    two",
        "  bare: 1",
        "  old:config:form: 3",
    ]
    return "\n".join([*lines, "---", "config: {second:document: 1}", ""])


OF_THE_PROJECT = """
config:
  plain: hello
  typed: {type: integer, default: 5}
  deflt:text: "27218"
  deflt:list: [1, 2.5, two]
  deflt:map: {value: {a: 1.0, b: "1", c: {d: no}}}
  top:w3: the stack's wins
  "merge:one.z": {value: 7}
  "merge:one.a": {value: 7}
  "in:list[0]": never
  "fresh:list[1].x": true
  "fresh:number.of": "12"
  'fresh:quoted["lax-vultr-1"].on': "no"
"""
FILES = (
    ROOT / "Pulumi.prod.yaml",
    ROOT / "Pulumi.lab.yaml",
    *sorted((ROOT / "examples").glob("Pulumi.*.yaml")),
)


def in_namespaces(files: tuple[Path, ...]) -> str:
    """The keys of several stack files as one configuration, each file's in a namespace."""
    text = ""
    for number, file in enumerate(files):
        lines = file.read_text().partition("config:\n")[2]
        text += re.sub(r"^  mesh:", f"  f{number}:", lines, flags=re.MULTILINE)
    return text


@pytest.fixture(scope="module")
def zoos(project: Project) -> tuple[dict[str, str], dict[str, Any]]:
    """What the engine hands over for the words and the repository's files, and what is read."""
    text = zoo().replace("---\n", f"{in_namespaces(FILES)}---\n")
    project.write("t", text)
    with project.saying(OF_THE_PROJECT):
        return project.handed("t"), dict(project.read("t").config)


def test_every_word_is_what_the_engine_takes_it_for(
    zoos: tuple[dict[str, str], dict[str, Any]],
) -> None:
    engine, own = map(alone, zoos)
    assert len(engine) > 480
    assert engine.keys() == own.keys()
    differing = {key: (engine[key], own[key]) for key in engine if engine[key] != own[key]}
    assert differing == {}
    kinds = {key: (type(engine[key]), type(own[key])) for key in engine}
    assert {key: kind for key, kind in kinds.items() if kind[0] is not kind[1]} == {}


@pytest.mark.parametrize("number", range(len(FILES)), ids=[file.name for file in FILES])
def test_every_stack_file_of_the_repository_is_one_configuration(
    zoos: tuple[dict[str, str], dict[str, Any]], number: int
) -> None:
    file, prefix = FILES[number], f"f{number}:"
    stack = file.name.split(".")[1]
    mine = {k.replace(prefix, "mesh:"): v for k, v in zoos[0].items() if k.startswith(prefix)}
    assert load(stack, from_engine(mine), file.parent) == load_file(stack, file.parent)


SERVICES = {
    "web": {
        "addresses": {"ipv4": "192.30.120.100"},
        "ports": {"tcp": [80]},
        "checks": [{"kind": "http", "port": 80}],
    }
}
SET = {
    "mesh:asn": "27218",
    "mesh:regions.lax.name": "no",
    'mesh:nodes["lax-vultr-1"].number': "5",
    "mesh:nodes.ord-vultr-1.ipv6": "true",
    "mesh:tunnels.bfd.interval": "200",
    "mesh:admin.ssh[0]": "192.0.2.0/24",
    "mesh:registries[1]": "ord-vultr-1",
    "mesh:reflectors[1]": "ord-vultr-1",
    "mesh:services": json.dumps(SERVICES),
}
FOR_ALL = """
config:
  mesh:whoami: false
  mesh:routing: {value: {import: default}}
  "mesh:regions.ord.name": {value: not this one}
"""


def test_what_config_set_and_the_project_say_is_what_check_reads(project: Project) -> None:
    shutil.copy(ROOT / "Pulumi.prod.yaml", project.folder / "Pulumi.t.yaml")
    shutil.copytree(ROOT / "site", project.folder / "site", dirs_exist_ok=True)
    words = [word for key, value in SET.items() for word in ("--plaintext", f"{key}={value}")]
    words += ["--secret", "mesh:bgpPassword-vultr=k7Qz0nW2"]
    project.pulumi("config", "set-all", "--stack", "t", "--path", *words)
    with project.saying(FOR_ALL):
        handed = project.handed("organization/anycast-mesh/t")
        loaded = load_file("acme/anycast-mesh/t", project.folder)
        code, said = project.check("organization/anycast-mesh/t")
    spec = load("t", from_engine(handed), project.folder).spec
    assert spec == loaded.spec
    assert (spec.asn, spec.whoami, spec.nodes["lax-vultr-1"].number) == (27218, False, 5)
    assert [spec.regions[name].name for name in ("lax", "ord")] == ["no", "Chicago"]
    assert list(spec.services) == ["web"] and spec.tunnels.bfd.interval == 200
    assert spec.routing.take == "default"
    assert code == 0 and "bgpPassword" not in said, said
    assert yaml.safe_load((project.folder / "Pulumi.t.yaml").read_text())["config"][
        "mesh:services"
    ] == json.dumps(SERVICES), "it is a text in the file, and a map to both readers"


@pytest.mark.slow
def test_a_secret_inside_a_map_is_told_of_and_read_by_the_engine_only(project: Project) -> None:
    shutil.copy(ROOT / "Pulumi.prod.yaml", project.folder / "Pulumi.t.yaml")
    shutil.copytree(ROOT / "site", project.folder / "site", dirs_exist_ok=True)
    project.pulumi(
        "config", "set", "--stack", "t", "--secret", "--path", "mesh:admin.ssh[0]", "192.0.2.0/24"
    )
    spec = load("t", from_engine(project.handed("t")), project.folder).spec
    assert str(spec.admin.ssh[0]) == "192.0.2.0/24"
    assert project.read("t").config["mesh:admin"]["ssh"] == [Sealed()]
    code, said = project.check("t")
    assert code == 0
    assert "mesh:admin.ssh[0] = [secret]: it is encrypted" in said


REFUSED = {
    "a key twice": ("", "config:\n  mesh:asn: 1\n  mesh:asn: 2\n"),
    "a value that must be below value:": ("config:\n  mesh:prefixes: {ipv4: 192.0.2.0/24}\n", ""),
    "a default out of the project's namespace": ("config:\n  mesh:asn: {default: 1}\n", ""),
    "a type out of the project's namespace": ("config:\n  mesh:asn: {type: integer}\n", ""),
    "a key that is none": ("", "config:\n  mesh:a:b: 1\n"),
    "a list as configuration": ("", "config: [1]\n"),
    "a list as stack file": ("", "- 1\n"),
    "no YAML": ("", "config: [\n"),
    "a required key": ("config:\n  owner: {type: string}\n", "config: {mesh:asn: 1}\n"),
    "another type": ("config:\n  size: {type: integer}\n", "config: {size: large}\n"),
    "not secret": ("config:\n  pin: {type: string, secret: true}\n", "config: {pin: x}\n"),
    "a folder twice": ("config: stacks\nstackConfigDir: stacks\n", ""),
    "infinity": ("", "config: {mesh:regions: {lax: .inf}}\n"),
    "an alias of itself": ("", "config: {mesh:regions: &a {b: *a}}\n"),
    "a word of no type": ("", "config: {mesh:asn: !!int x}\n"),
    "a merge of no map": ("", "config: {mesh:regions: {<<: 1}}\n"),
    "an environment": ("", "environment: [acme/prod]\nconfig: {mesh:asn: 27218}\n"),
}
IN_SHORT = ("a key twice", "a required key")


@pytest.mark.parametrize(
    "case",
    [case if case in IN_SHORT else pytest.param(case, marks=pytest.mark.slow) for case in REFUSED],
)
def test_what_the_engine_refuses_check_does_not_take(project: Project, case: str) -> None:
    of_project, of_stack = REFUSED[case]
    project.write("t", of_stack)
    with project.saying(of_project):
        done = project.pulumi("preview", "--stack", "t", check=False)
        code, said = project.check("t")
    assert done.returncode, done.stdout
    # An environment is opened by Pulumi Cloud only, and the backend of this test is a folder.
    assert code == (0 if case == "an environment" else 1), said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "folder"), [(".json", "stackConfigDir"), (".yml", "config"), (".yaml", "config")]
)
def test_project_and_stacks_may_be_json_or_yml_and_in_another_folder(
    project: Project, suffix: str, folder: str, tmp_path: Path
) -> None:
    other = Project(tmp_path, project.environment)
    (tmp_path / "__main__.py").write_text(PROGRAM)
    (tmp_path / f"Pulumi{suffix}").write_text(
        json.dumps(yaml.safe_load(PROJECT) | {folder: "stacks"})
    )
    (tmp_path / "stacks").mkdir()
    config = {"mesh:regions": {"lax": {"name": "no", "f": 1.0, "n": None}}, "mesh:asn": 27218}
    (tmp_path / "stacks" / f"Pulumi.t{suffix}").write_text(json.dumps({"config": config}))
    assert from_engine(other.handed("t")) == from_engine(other.read("t").config)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a b", "organization/other/t", "a/b/c/d", "", "x/"])
def test_a_name_that_no_stack_has_is_refused_by_both(project: Project, name: str) -> None:
    assert project.pulumi("preview", "--stack", name or "''", check=False).returncode
    with pytest.raises(SpecError):
        load_file(name, project.folder)


REFUSING = """
import pulumi
from mesh.infra.configuration import said_once
with said_once():
    raise pulumi.RunError("mesh:asn = 1: the reason\\n  mesh:asm = 2: another")
"""


def test_a_refusal_of_ours_is_the_only_error_that_the_engine_shows(
    project: Project, tmp_path: Path
) -> None:
    other = Project(tmp_path, project.environment)
    (tmp_path / "__main__.py").write_text(REFUSING)
    (tmp_path / "Pulumi.yaml").write_text(PROJECT)
    done = other.pulumi("preview", "--stack", "t", check=False)
    said = done.stdout.partition("Diagnostics:")[2]
    assert done.returncode
    assert "error: mesh:asn = 1: the reason\n      mesh:asm = 2: another" in said
    assert said.count("error: ") == 1
