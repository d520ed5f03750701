"""The page says what a running network holds, and the code has all of it and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.held_names import Names, held, line
from tests.kit.stacks import ROOT

PAGE = ROOT / "docs" / "architecture.md"
SECTION = "What a running network holds"
WHY = {
    "Documents": "nodes, registries and states of an earlier version have it, and read it",
    "Values in documents": "nodes and registries of an earlier version say it",
    "Signatures and paths of the registry": "nodes and registries of an earlier version use it",
    "Tables of the registry": "a registry opens the store that an earlier version has written",
    "Files on nodes": "nodes have it, and an earlier agent or the next one reads it",
    "Units": "nodes have a unit of that name enabled, and it would run beside the new one",
    "Commands of the bundle": "units and agents of an earlier generation start the bundle by it",
    "Protocols of BIRD": "BIRD ends and begins anew a session whose protocol has another name",
    "Stack outputs": "programs and scripts of users read it",
    "Keys of --json": "scripts of users read it",
    "Metrics": "rules and dashboards of users name it",
    "Dynamic providers": "states of stacks hold the class as a pickled name, and cannot be read",
    "Names of resources": "states of stacks have it, and the engine would replace the resource",
    "Types of resources": "states of stacks have it, and the engine would replace the resource",
}


def on_page() -> dict[str, Names]:
    """The list by heading, name, and what belongs to the name."""
    section = re.search(rf"^## {SECTION}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert section is not None, f"{PAGE.relative_to(ROOT)} has no section {SECTION!r}"
    parts = re.split(r"^### (.*)\n", section[1], flags=re.M)
    return {
        heading: {name: frozenset(rest) for name, *rest in _items(text)}
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def _items(text: str) -> Iterator[list[str]]:
    for found in re.findall(r"^- (.*)$", text, re.M):
        yield re.findall(r"`([^`]+)`", found)


def test_each_kind_of_name_is_on_the_page() -> None:
    assert set(on_page()) == set(held()) == set(WHY)


@pytest.mark.parametrize("heading", WHY)
def test_no_held_name_is_gone_from_the_code(heading: str) -> None:
    listed, there = on_page()[heading], held()[heading]
    gone = [name for name in listed if name not in there]
    gone += [
        f"{name}: {part}"
        for name in listed.keys() & there.keys()
        for part in sorted(listed[name] - there[name])
    ]
    assert not gone, (
        f"{', '.join(gone)}: gone from the code, and running networks hold it: {WHY[heading]}. Let "
        f"the code read both names; only what no network in operation has any more leaves the list "
        f"under {heading!r} in {PAGE.relative_to(ROOT)}"
    )


@pytest.mark.parametrize("heading", WHY)
def test_the_list_has_all_that_the_code_has(heading: str) -> None:
    listed, there = on_page()[heading], held()[heading]
    new = [line(name, there[name]) for name in sorted(there) if listed.get(name) != there[name]]
    assert not new, (
        f"{PAGE.relative_to(ROOT)} lacks, under {heading!r}, what networks will hold from now on:\n"
        + "\n".join(new)
    )
