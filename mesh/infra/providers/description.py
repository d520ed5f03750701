"""What the package of a driver says of it (``DESCRIPTION``), which is read without any SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.infra.providers.resources import ResourceType

if TYPE_CHECKING:
    from mesh.spec import Spec


@dataclass(frozen=True, slots=True)
class Broken:
    """Versions of a plugin that do not work: ``first`` and ``last`` of them, both broken.

    ``last`` is None where no release works yet. ``key`` and ``value`` are what of the stack file
    asks for the plugin.
    """

    first: str
    last: str | None
    key: str
    value: str
    reason: str
    cure: str


def _always(_spec: Spec) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class EnginePlugin:
    """The engine's plugin that makes a provider's resources.

    ``package`` is the Python package that names it, ``is_used`` tells whether a stack file asks for
    it, and ``broken`` are its versions that do not work, each with where that was reported.
    """

    package: str
    is_used: Callable[[Spec], bool] = _always
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True, slots=True)
class FormerWay:
    """The way in which a provider's resources were made once, where there is no way back to it.

    ``types`` is how the types of its resources begin, ``present_types`` how those of today do.
    ``adoption`` names the class that moves a stack (``StackAdoption`` in ``accounts.py``), and
    ``command`` the command that does it: an error with the command in it is about a stack that is
    to be moved, which ``offer`` says. ``no_way_back`` is said, with the stack behind it, where a
    stack file chooses the former way again.
    """

    types: str
    present_types: str
    adoption: str
    command: str
    offer: str
    no_way_back: str


@dataclass(frozen=True, slots=True)
class Description:
    """A driver.

    ``driver`` is where its class is, as ``module:class``: it is imported, with the SDK that it
    needs, when a node needs it. ``resources`` has every type of resource that it makes; one that
    is missing is unknown to the gate, which lets nobody replace or delete it unattended.
    ``strays`` names the class that compares the provider's account with a stack, for `mesh strays`
    (``StrayFinder`` in ``accounts.py``).
    """

    driver: str
    resources: Mapping[str, ResourceType]
    plugin: EnginePlugin | None = None
    strays: str | None = None
    former: FormerWay | None = None
