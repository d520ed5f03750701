"""The page shows the imports that there are between the folders of mesh/, and no others; benches
and the kit of the tests import no tests."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from mesh.agent.bundle import PACKAGES, SINGLE
from tests.kit.code import imports
from tests.kit.stacks import ROOT

PAGE = ROOT / "docs" / "architecture.md"
MESH = ROOT / "mesh"
FOLDERS = {path.parent.name for path in MESH.glob("*/__init__.py")}


def on_page() -> dict[str, set[str]]:
    """By folder what it imports, as the table has it."""
    section = PAGE.read_text().partition("## Folders")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| ?([`\w ]*)\|$", section, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", imports)) for name, imports in rows}


def lines_of_picture() -> dict[str, int]:
    """By folder the line of the picture, from below."""
    picture = PAGE.read_text().partition("```\n")[2].partition("```")[0]
    lines = [line[20:].split() for line in reversed(picture.splitlines())]
    return {name: height for height, names in enumerate(lines) for name in names}


def imported(path: Path) -> Iterator[str]:
    """The names of modules that a file imports, anywhere in it."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in imports(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@cache
def in_code() -> Mapping[str, set[str]]:
    """By folder, or single file, the folders that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in MESH.rglob("*.py"):
        name = path.relative_to(MESH).parts[0]
        parts = (module.split(".") for module in imported(path))
        others = {two[1] for two in parts if two[0] == "mesh" and len(two) > 1}
        found[name] |= others & FOLDERS - {name}
    return found


def test_the_table_is_what_the_code_imports() -> None:
    code = in_code()
    assert on_page() == {folder: code[folder] for folder in FOLDERS}


def test_nothing_imports_in_a_circle() -> None:
    list(TopologicalSorter(on_page()).static_order())


def test_each_folder_imports_from_lines_below_its_own() -> None:
    heights = lines_of_picture()
    assert set(heights) == FOLDERS
    wrong = [(one, other) for one, others in on_page().items() for other in others
             if heights[other] >= heights[one]]  # fmt: skip
    assert wrong == []


def test_single_files_import_what_the_page_says() -> None:
    code = in_code()
    single = {path.name for path in MESH.glob("*.py")} - {"__init__.py", "capacity.py"}
    assert all(code[name] == set() for name in single)
    assert code["capacity.py"] == {"plan", "publish", "registry", "spec"}


def test_a_bundle_has_all_that_it_imports() -> None:
    packed = {package.removeprefix("mesh/") for package in PACKAGES}
    files = [path for name in packed for path in (MESH / name).rglob("*.py")]
    files += [ROOT / name for name in SINGLE]
    wanted = {module.split(".")[1] for path in files for module in imported(path)
              if module.startswith("mesh.")}  # fmt: skip
    assert wanted <= packed | {Path(name).stem for name in SINGLE}


def test_benches_and_the_kit_import_no_tests() -> None:
    files = [*(ROOT / "bench").rglob("*.py"), *(ROOT / "tests" / "kit").rglob("*.py")]
    found = {(str(path.relative_to(ROOT)), module) for path in files for module in imported(path)}
    tests = {each for each in found if re.match(r"tests(\.|$)", each[1])}
    assert {each for each in tests if not re.match(r"tests\.kit(\.|$)", each[1])} == set()
    assert {path for path, _ in tests if path.startswith("bench/")}, "benches use the kit"
