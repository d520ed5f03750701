"""Modules of an SDK's package without the rest of the package.

An SDK's package imports every resource that its cloud has, and a program uses a dozen of them:
``pulumi_gcp.compute`` costs two seconds of every preview, the modules that we need of it half.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType


@contextmanager
def narrowed(name: str) -> Iterator[None]:
    """Within the block, modules of the package ``name`` are imported without its ``__init__``.

    Afterwards the package is what it was: who imports it as a whole gets it as a whole, with the
    same classes.
    """
    parent, _, last = name.rpartition(".")
    folders = import_module(parent).__path__
    # What the parent has put there is a promise of the whole, kept at the first use.
    whole = sys.modules.get(name)
    stub = ModuleType(name)
    stub.__path__ = [str(Path(folder) / last) for folder in folders]
    sys.modules[name] = stub
    try:
        yield
    finally:
        sys.modules.pop(name)
        if whole is not None:
            sys.modules[name] = whole
