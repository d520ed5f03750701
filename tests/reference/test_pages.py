"""The reference pages say what the code says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from mesh.cli import preview, status
from mesh.cli.exits import ExitCode
from mesh.preview.summary import Summary
from mesh.publish.status import MeshStatus
from mesh.reference import cli, configuration, outputs
from mesh.reference.configuration import Key
from mesh.reference.markdown import COMMAND, anchor
from mesh.reference.pages import FOLDER, PAGES
from mesh.spec import examples, model

KEYS = tuple(configuration.every())
COMMANDS: Mapping[str, Any] = dict(cli.commands())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    path = FOLDER / name
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    differs = committed != PAGES[name]()
    assert not differs, f"{path} is not what the code says: run `{COMMAND}` and commit the page"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_headings(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M), re.M)
    anchors = [anchor(heading) for heading in headings]
    assert len(set(anchors)) == len(anchors)
    assert [each for each in anchors if "--" in each] == [], "MkDocs and GitHub differ in these"
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= set(anchors)
    assert set(re.findall(r"\]\(([^#)]+)\)", text)) <= set(PAGES)


NUMBERS = [key for key in KEYS if configuration.type_text(key.hint).startswith("whole number")]


@pytest.mark.filterwarnings("ignore:The 'alias' attribute")  # of a model's field, seen alone here
@pytest.mark.parametrize("key", NUMBERS, ids=[key.path for key in NUMBERS])
def test_no_whole_number_is_true_or_false(key: Key) -> None:
    with pytest.raises(ValidationError, match="int_type"):
        TypeAdapter(key.hint).validate_python(True)


def test_each_key_is_described_in_a_sentence() -> None:
    texts = [(key.path, " ".join(key.description.split())) for key in KEYS]
    none = [path for path, text in texts if not text.endswith(".")]
    assert none == [], "no sentence in the docstring of its model"
    assert [path for path, text in texts if ". " in text] == [], "more than a sentence"


@pytest.mark.filterwarnings("ignore:The 'alias' attribute")  # of a model's field, seen alone here
def test_each_example_is_a_value_of_its_key() -> None:
    assert [why for why in map(_wrong_example, KEYS) if why] == []


def _wrong_example(key: Key) -> str:
    """Why a key's example is none; empty where it is one."""
    example = examples.shown(*key.example)
    if example is None:
        known = key.default not in (None, (), {}, PydanticUndefined)
        return "" if known else f"{key.path} has no example"
    (value,) = yaml.safe_load(example).values()
    try:
        if "…" not in example:
            TypeAdapter(key.hint).validate_python(value)
    except ValidationError as error:
        return f"{key.path}: {error}"
    return ""


def test_every_example_is_of_a_key() -> None:
    known = {key.example for key in KEYS}
    entries = {(*path, "*") for path in known}
    assert set(examples._ALL) | set(examples._FURTHER) <= known | entries


def test_every_key_of_the_stack_file_is_there() -> None:
    told = {key.path.removeprefix("mesh:") for key in configuration.top()}
    assert told == {*model.SECTIONS, "twin"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_its_exit_codes(name: str) -> None:
    last = COMMANDS[name].help.split("\n\n")[-1]
    codes = cli.exit_codes(last)
    assert codes, f"{name}: the last paragraph of its docstring has to begin with {cli.EXIT_CODES}"
    numbers = [code.split(" ")[0] for code in codes if code[0].isdigit()]
    assert numbers == sorted(set(numbers), key=int)
    assert set(numbers) <= {str(code.value) for code in ExitCode}


def test_the_keys_that_a_command_adds_to_its_type_are_told() -> None:
    nothing: dict[str, Any] = dict.fromkeys((field.name for field in fields(Summary)), ())
    summary = Summary(**nothing | {"stack": "mine", "counts": {}, "generation": None})
    printed = {
        "mesh status": status.document(MeshStatus(True, 1, 1, False, {}, {}), ()),
        "mesh preview": preview.document(summary, ()),
    }
    for heading, cls, _, more in outputs.TYPED:
        if more or heading in printed:
            assert printed[heading].keys() == {field.name for field in fields(cls)} | more.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_and_option_has_a_help(name: str) -> None:
    assert [each.name for each in COMMANDS[name].params if not each.help] == []
