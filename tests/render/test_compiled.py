"""Templates are compiled once, and anew whenever something that decides about it has changed."""

from __future__ import annotations

import sys
from importlib.util import cache_from_source
from pathlib import Path

import jinja2
import pytest
from jinja2.compiler import CodeGenerator, Frame
from jinja2.nodes import Template

from mesh.render import compiled
from mesh.render.compiled import CompiledTemplates

SOURCE = "a {{ 'b' | twice }}\n"


class Compiled(Exception):
    """A template was compiled."""


class Refusing(CodeGenerator):
    """Compiles nothing."""

    def visit_Template(self, node: Template, frame: Frame | None = None) -> None:  # noqa: N802  (Jinja's name)
        raise Compiled


class Asked(jinja2.Environment):
    """Says that it is about to compile a template."""

    code_generator_class = Refusing


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where compiled templates are kept, empty."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "cache"))
    folder = Path(cache_from_source(compiled.__file__)).parent
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module with a filter."""
    file = tmp_path / "twice.py"
    file.write_text("def twice(text):\n    return text * 2\n")
    return file


def environment(module: Path, kind: type[jinja2.Environment], source: str) -> jinja2.Environment:
    scope: dict[str, object] = {}
    exec(compile(module.read_text(), module, "exec"), scope)
    twice = scope["twice"]
    assert callable(twice)
    made = kind(
        loader=jinja2.DictLoader({"a.j2": source}), bytecode_cache=CompiledTemplates([twice])
    )
    made.filters["twice"] = twice
    return made


def render(module: Path, kind: type[jinja2.Environment], source: str = SOURCE) -> str:
    return environment(module, kind, source).get_template("a.j2").render()


def test_a_template_is_compiled_once(folder: Path, module: Path) -> None:
    with pytest.raises(Compiled):
        render(module, Asked)
    assert render(module, jinja2.Environment) == "a bb"
    assert len(list(folder.iterdir())) == 1
    assert render(module, Asked) == "a bb"


def test_another_text_is_compiled_anew(folder: Path, module: Path) -> None:
    render(module, jinja2.Environment)
    with pytest.raises(Compiled):
        render(module, Asked, "c {{ 'b' | twice }}\n")


def test_so_it_is_where_the_module_of_a_filter_has_changed(folder: Path, module: Path) -> None:
    """Jinja calls it when it compiles."""
    assert render(module, jinja2.Environment) == "a bb"
    module.write_text(module.read_text().replace("* 2", "* 3"))
    with pytest.raises(Compiled):
        render(module, Asked)
    assert render(module, jinja2.Environment) == "a bbb"


@pytest.mark.parametrize("length", [0, 8, 60, 120])
def test_so_it_is_where_the_file_was_cut_off(folder: Path, module: Path, length: int) -> None:
    render(module, jinja2.Environment)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(Compiled):
        render(module, Asked)
    assert render(module, jinja2.Environment) == "a bb"
    assert render(module, Asked) == "a bb"


@pytest.mark.parametrize("why", ["the folder is a file", "Python is told to write nothing"])
def test_where_nothing_may_be_written_each_process_compiles(
    folder: Path, module: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if "file" in why:
        folder.rmdir()
        folder.write_text("")
    else:
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for _ in range(2):
        assert render(module, jinja2.Environment) == "a bb"
    assert folder.is_file() or not list(folder.iterdir())
