"""Versions of the providers' plugins that are known to be broken, as problems of a preview.

A plugin is the program that makes a provider's resources. Its version is that of its Python
package, which takes no process and no network to read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from mesh.infra.ending import tolerated
from mesh.infra.providers.description import Broken, EnginePlugin
from mesh.spec import Problem, Spec

TRY = "MESH_TRY_PLUGIN"
"""Names one broken version, as ``vultr-2.27.1``, that is used all the same: where the provider has
repaired its API, and in tests against stand-ins."""


def problems(driver: str, plugin: EnginePlugin | None, spec: Spec) -> Iterator[Problem]:
    """Why this driver's plugin must not be used, if it is used: it is broken, or its package is
    not installed."""
    if plugin is None or not plugin.is_used(spec):
        return
    package = plugin.package
    try:
        installed = version(package)
    except PackageNotFoundError:
        yield Problem(
            f"mesh:providers.{driver}", package, "the package of this provider is not installed",
            f"install it: pip install {package}",
        )  # fmt: skip
        return
    for broken in plugin.broken:
        if covers(broken, installed):
            yield _problem(broken, f"{package} {installed}", f"{driver}-{installed}")


def covers(broken: Broken, installed: str) -> bool:
    """Whether that version is one of the broken ones."""
    number = _number(installed)
    until = broken.last is None or number <= _number(broken.last)
    return until and _number(broken.first) <= number


def _problem(broken: Broken, named: str, tried: str) -> Problem:
    if os.environ.get(TRY) == tried:
        return Problem(
            broken.key, broken.value, f"{named} is used although {broken.reason}",
            f"unset {TRY} unless the provider has repaired it", "warning",
        )  # fmt: skip
    reason = f"{named} does not work: {broken.reason}"
    return tolerated(Problem(broken.key, broken.value, reason, broken.cure))


def _number(text: str) -> tuple[int, ...]:
    """A version's release number, with at least four parts; a suffix (``rc1``, ``.dev2``) is
    ignored."""
    found = re.match(r"\d+(\.\d+)*", text)
    parts = tuple(map(int, found[0].split("."))) if found else ()
    return parts + (0,) * (4 - len(parts))
