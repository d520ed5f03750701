"""The description of a driver (``DESCRIPTION`` of its package), which needs no SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.infra.providers.resources import ResourceType

if TYPE_CHECKING:
    from mesh.spec import Spec


@dataclass(frozen=True, slots=True)
class Broken:
    """Versions of a plugin that do not work, from ``first`` to ``last``, both included.

    ``last`` is None where no later release works. ``key`` and ``value`` of the stack file select
    the plugin.
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

    ``package`` is its Python package, ``is_used`` whether a stack file selects it, and ``broken``
    are its versions that do not work.
    """

    package: str
    is_used: Callable[[Spec], bool] = _always
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True, slots=True)
class FormerResources:
    """A provider's resources of a former kind, from which a stack can move once, and not back.

    ``types`` is the prefix of their types, ``present_types`` that of the present ones.
    ``adoption`` names the class that moves a stack (``StackAdoption`` in ``accounts.py``), and
    ``command`` the command that does it: an error that contains the command is about a stack that
    has to move, for which ``hint`` is shown. ``irreversible``, with the stack behind it, is shown
    where a stack file selects the former ones again.
    """

    types: str
    present_types: str
    adoption: str
    command: str
    hint: str
    irreversible: str


@dataclass(frozen=True, slots=True)
class Description:
    """A driver.

    ``driver`` is its class as ``module:class``, imported with its SDK when a node needs it.
    ``resources`` has every type of resource that it makes; a type that is missing is unknown to the
    gate, which refuses to replace or delete it unattended.
    ``strays`` names the class that compares the provider's account with a stack, for `mesh strays`
    (``StrayFinder`` in ``accounts.py``).
    """

    driver: str
    resources: Mapping[str, ResourceType]
    plugin: EnginePlugin | None = None
    strays: str | None = None
    former: FormerResources | None = None
