"""What a node's files are made of beside the plan: the code that renders, and the templates.

The digest distinguishes candidates (:mod:`mesh.infra.dynamic.candidate`), so that an unfinished
publication of changed code is known as such after the change was taken back. Whether a change of
code is published depends on what it renders (:mod:`mesh.publish.rendered`), not on the digest.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from mesh.installed import TEMPLATES as FOLDER

_ROOT = Path(__file__).resolve().parents[2]
CODE = (
    "mesh/installed.py",
    "mesh/plan",
    "mesh/publish/generation.py",
    "mesh/publish/order.py",
    "mesh/publish/rendered.py",
    "mesh/render",
    "mesh/spec",
)
"""All code that renders a generation, except what is in the bundle too, whose digest is published.
A test compares it with the modules that rendering loads."""
TEMPLATES = (
    "templates/bird/**/*.j2",
    "templates/debian/**/*.j2",
    "templates/openbsd/**/*.j2",
    "templates/monitoring/*.j2",
    "templates/monitoring/rules.yml",
)
"""The templates, as patterns of their names in a checkout."""


def digest() -> str:
    """SHA-256 (hex) of the code and the templates. Comments, docstrings, the form of the code and
    line ends do not count, nor does where they are installed."""
    return _digest(_read)


def written() -> str:
    """SHA-256 (hex) of the same files byte by byte. Where it is the same, so is :func:`digest`,
    which takes twenty times as long."""
    return _digest(Path.read_bytes)


def _digest(read: Callable[[Path], bytes]) -> str:
    # By its metadata: importing it would cost a preview of a new stack.
    seen = sha256(f"jinja2 {version('jinja2')}\n".encode())
    for name, path in _files():
        content = read(path)
        seen.update(f"{name} {len(content)}\n".encode() + content)
    return seen.hexdigest()


def _read(path: Path) -> bytes:
    content = path.read_text(encoding="utf-8")
    return (_meaning(content) if path.suffix == ".py" else content).encode()


def _files() -> Iterator[tuple[str, Path]]:
    """Each file, by its name in a checkout."""
    top = FOLDER.parent
    for name in CODE:
        path = _ROOT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            yield file.relative_to(_ROOT).as_posix(), file
    for pattern in TEMPLATES:
        for file in sorted(top.glob(pattern)):
            yield file.relative_to(top).as_posix(), file


def _meaning(source: str) -> str:
    """The syntax tree of a module as text, without docstrings and places."""
    parts: list[str] = []
    _dump(ast.parse(source), parts)
    return " ".join(parts)


def _dump(part: object, parts: list[str]) -> None:
    """As `ast.dump`, several times as fast, and the same in every version of Python that reads the
    same tree."""
    if isinstance(part, ast.AST):
        parts.append(type(part).__name__)
        # Whether a name is read or written follows from its place.
        for name in part._fields:
            if name != "ctx" and (value := getattr(part, name, None)) not in (None, []):
                parts.append(name)
                _dump(value, parts)
        parts.append(")")
    elif isinstance(part, list):
        parts.append("[")
        for each in part:
            if not _stands_alone(each):
                _dump(each, parts)
        parts.append("]")
    else:
        parts.append(repr(part))


def _stands_alone(part: object) -> bool:
    """Whether it is a text as a statement: a docstring, or one below an attribute."""
    return (
        isinstance(part, ast.Expr)
        and isinstance(part.value, ast.Constant)
        and isinstance(part.value.value, str)
    )
