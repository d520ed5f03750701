"""Versions of the providers' plugins that are known to be broken, and what a preview says of them.

A plugin is the program that makes a provider's resources. Its version is that of the Python package
that names it, so that the question costs no process and no network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from mesh.spec import Problem, Spec

TRY = "MESH_TRY_PLUGIN"
"""Names one broken version, as ``vultr-2.27.1``, that is to be used all the same: where the
provider has mended its API, and in tests against stand-ins."""

PACKAGES = {"vultr": "ediri-vultr", "aws": "pulumi-aws", "gcp": "pulumi-gcp"}
"""The Python package that names a driver's plugin."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Versions of a driver's plugin that do not work: ``first`` and ``last`` of them, both broken.

    ``last`` is None where no release works yet. ``key`` and ``value`` are what of the stack file
    asks for the plugin.
    """

    driver: str
    first: str
    last: str | None
    key: str
    value: str
    reason: str
    cure: str

    def covers(self, installed: str) -> bool:
        """Whether that version is one of them."""
        number = _number(installed)
        until = self.last is None or number <= _number(self.last)
        return until and _number(self.first) <= number


BROKEN = (
    # vultr/terraform-provider-vultr: it came with 2.16.0 (issue 386), is reported in issue 753, and
    # removed in pull request 760; 2.32.0 still asks. ediri-vultr has the Terraform provider's
    # version numbers.
    Broken(
        "vultr", "2.16.0", "2.32.0", "mesh:providers.vultr.through", "plugin",
        "it asks Vultr's VPC 2.0 endpoint for every server, which Vultr removed in July 2026: each "
        "server that it makes is billed and counts as failed",
        "set mesh:providers.vultr.through to api (`mesh adopt` moves a stack that the plugin has "
        "made), or install a release of the package that no longer asks it",
    ),
)  # fmt: skip
"""The table: a line for each range of versions, with where it was reported."""


def problems(driver: str, spec: Spec) -> Iterator[Problem]:
    """Why this driver's plugin must not be used, if it is used: it is broken, or its package is
    not installed."""
    if not _is_used(driver, spec):
        return
    package = PACKAGES[driver]
    try:
        installed = version(package)
    except PackageNotFoundError:
        yield Problem(
            f"mesh:providers.{driver}", package, "the package of this provider is not installed",
            f"install it: pip install {package}",
        )  # fmt: skip
        return
    for broken in BROKEN:
        if broken.driver == driver and broken.covers(installed):
            yield _problem(broken, f"{package} {installed}", f"{driver}-{installed}")


def _is_used(driver: str, spec: Spec) -> bool:
    """Whether this driver makes anything by a plugin."""
    if driver == "vultr":
        return bool(spec.providers.vultr.through == "plugin")
    return driver in PACKAGES


def _problem(broken: Broken, named: str, tried: str) -> Problem:
    if os.environ.get(TRY) == tried:
        return Problem(
            broken.key, broken.value, f"{named} is used although {broken.reason}",
            f"unset {TRY} unless the provider has mended it", "warning",
        )  # fmt: skip
    return Problem(broken.key, broken.value, f"{named} does not work: {broken.reason}", broken.cure)


def _number(text: str) -> tuple[int, ...]:
    """A version's release number, of which more parts may differ than anybody compares; what
    follows it (``rc1``, ``.dev2``) counts as the release itself."""
    found = re.match(r"\d+(\.\d+)*", text)
    parts = tuple(map(int, found[0].split("."))) if found else ()
    return parts + (0,) * (4 - len(parts))
