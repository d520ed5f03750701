"""The network that the documentation has a reader write: the smallest file, and six edits."""

from __future__ import annotations

import re
from itertools import filterfalse
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mesh.cli.main import app
from mesh.plan import make
from mesh.spec import load_file
from mesh.spec.engine.documents import read_yaml
from tests.kit.stacks import ROOT

Values = dict[str, Any]


def yaml_of(page: str) -> list[str]:
    """The YAML on a page as it is printed, in its order."""
    return re.findall(r"^```yaml\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def is_file(block: str) -> bool:
    """Whether a block is a whole stack file; the others are parts of one, below ``config:``."""
    return block.startswith("config:\n")


def blocks() -> tuple[list[str], list[str]]:
    """The whole files, and the edits."""
    printed = yaml_of("docs/your-network.md")
    return list(filter(is_file, printed)), list(filterfalse(is_file, printed))


def keys_of(block: str) -> Values:
    """The keys that a block sets where it is pasted with its indentation, read as ``mesh`` does:
    a key that is set twice is an error."""
    found: Values = read_yaml((block if is_file(block) else f"config:\n{block}").encode())
    assert list(found) == ["config"], f"it does not stand below `config:`:\n{block}"
    return dict(found["config"])


def edited(there: Any, edit: Any) -> Any:
    """As the page says: a map is added to what is there, a list takes its place."""
    if isinstance(there, dict) and isinstance(edit, dict):
        return there | {key: edited(there.get(key), value) for key, value in edit.items()}
    return edit


def after(edits: int) -> Values:
    """The keys of the file after so many edits."""
    (smallest, *_), printed = blocks()
    values = keys_of(smallest)
    for edit in printed[:edits]:
        values = edited(values, keys_of(edit))
    return values


def write(folder: Path, stack: str, values: Values) -> None:
    (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": values}))


KEYS, VULTR = "mesh:admin.keys", "mesh:bgpPassword-vultr"
BUYVM, HOST = "mesh:bgpPassword-buyvm", "mesh:sshKey-buyvm"


@pytest.mark.parametrize(
    ("edits", "left", "nodes", "announced"),
    [
        (0, {KEYS, VULTR}, 1, 1),
        (1, {VULTR}, 1, 1),
        (2, {VULTR}, 1, 2),
        (3, {VULTR}, 2, 2),
        (4, {VULTR}, 2, 2),
        (5, {VULTR, BUYVM, HOST}, 3, 2),
        (6, {VULTR, BUYVM, HOST}, 4, 2),
    ],
)
def test_the_file_can_be_used_after_each_edit(
    tmp_path: Path, edits: int, left: set[str], nodes: int, announced: int
) -> None:
    """What is left are secrets, the keys before the first edit, and the printed address."""
    write(tmp_path, "mine", after(edits))
    loaded = load_file("mine", tmp_path)
    told = {(problem.key, problem.severity) for problem in loaded.problems}
    assert told == {(key, "preview") for key in left} | {("mesh:admin.ssh", "warning")}
    plan = make(loaded.spec)
    assert (len(plan.nodes), len(plan.prefixes.both())) == (nodes, announced)
    assert [service.name for service in plan.services] == (["web"] if edits >= 4 else [])


def test_there_are_six_edits() -> None:
    assert len(blocks()[1]) == 6


FILES = ["the smallest", "with IPv6 alone"]


@pytest.mark.parametrize("file", FILES)
def test_check_takes_a_file_as_it_is_printed(tmp_path: Path, file: str) -> None:
    """One of them has a web site."""
    files = dict(zip(FILES, blocks()[0], strict=True))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("here")
    (tmp_path / "Pulumi.mine.yaml").write_text(files[file])
    done = CliRunner().invoke(app, ["check", "--stack", "mine", "--root", str(tmp_path)])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "Pulumi.mine.yaml: valid")


def test_the_readme_shows_the_same_file() -> None:
    assert yaml_of("README.md") == yaml_of("docs/your-network.md")[:1]


def test_the_readme_is_a_front_door() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def twin(folder: Path, of: str, *, services: bool) -> set[str]:
    """The nodes of a twin as Pulumi.lab.yaml makes it, with or without the services there."""
    lab = yaml.safe_load((ROOT / "Pulumi.lab.yaml").read_text())["config"] | {"mesh:twin": of}
    write(folder, "lab", {k: v for k, v in lab.items() if services or k != "mesh:services"})
    return {node.id for node in make(load_file("lab", folder).spec).nodes}


def test_its_twin_is_one_that_a_lab_can_be(tmp_path: Path) -> None:
    write(tmp_path, "mine", after(6))
    nodes = {"lax-vultr-1", "ord-vultr-1", "lax-buyvm-1", "lax-aws-1"}
    assert twin(tmp_path, "mine", services=False) == nodes


@pytest.mark.parametrize("name", ["blog", "budget", "growth", "mixed", "routed"])
def test_each_example_has_a_twin(tmp_path: Path, name: str) -> None:
    """As the page says, without the services of Pulumi.lab.yaml for two of them."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    assert twin(tmp_path, name, services=name not in ("blog", "budget"))
