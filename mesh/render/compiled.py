"""Compiled templates, kept as Python keeps compiled modules: to compile those of a node takes ten
times as long as to render four nodes."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from importlib.util import cache_from_source
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket


class CompiledTemplates(jinja2.FileSystemBytecodeCache):
    """In ``__pycache__`` beside the code of this package; where that may not be written, each
    process compiles what it needs.

    A file is used for the same source, the same versions of Python and Jinja, and the same modules
    of these ``functions``: Jinja calls a filter of a constant when it compiles.
    """

    def __init__(self, functions: Iterable[Callable[..., object]]) -> None:
        super().__init__(str(Path(cache_from_source(__file__)).parent), "%s.template")
        modules = sorted({Path(inspect.getfile(each)) for each in functions})
        self._code = "".join([jinja2.__version__, *(path.read_text("utf-8") for path in modules)])

    def get_source_checksum(self, source: str) -> str:
        """Of all that a compiled template depends on."""
        return sha256(f"{self._code}\0{source}".encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """What cannot be read is compiled anew."""
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Writes beside and renames, as processes compile at the same time."""
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                super().dump_bytecode(bucket)
