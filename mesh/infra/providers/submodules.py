"""Modules of an SDK's package without the rest of the package.

An SDK's package imports every resource that its cloud has, and a program uses a dozen of them:
``pulumi_gcp.compute`` costs two seconds of every preview, the modules that we need of it half.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType


@contextmanager
def submodules_only(name: str) -> Iterator[None]:
    """Within the block, modules of the package ``name`` are imported without its ``__init__``.

    Afterwards an import of the package gets all of it, with the same classes.
    """
    found = find_spec(name)
    assert found is not None and found.submodule_search_locations is not None, name
    # The parent package may have put a lazy module there, which loads at its first use.
    whole = sys.modules.get(name)
    stub = ModuleType(name)
    stub.__path__ = list(found.submodule_search_locations)
    sys.modules[name] = stub
    try:
        yield
    finally:
        sys.modules.pop(name)
        if whole is not None:
            sys.modules[name] = whole
