"""Input and result of a publication, and the form in the stack's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.facts import Facts, Placement
from mesh.plan import Plan
from mesh.publish.choices import Choices
from mesh.trust.documents import MAX_NUMBER, BlackholeOrder, DrainOrder
from mesh.trust.encoding import dump, parse


class PublishError(Exception):
    """A publication failed. The message gives the node, the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One server as the provider reports it. ``created`` is RFC 3339."""

    instance_id: str
    created: str
    token: str = field(repr=False)
    placement: Placement


PRESENT = MAX_NUMBER + 1
"""In place of a generation that is sealed with the present secrets."""


@dataclass(frozen=True, slots=True)
class SealedBefore:
    """Which secrets the nodes have, as far as the stack's state tells.

    ``generation`` is that of the last publication in the state, and ``changed`` are the secrets
    that differ now from those in it, by their keys in the stack file. The parts of generations from
    ``since`` on were sealed with the present ones; None where no earlier update has made such a
    generation.
    """

    generation: int
    changed: frozenset[str] = frozenset()
    since: int | None = None

    def differing(self, one: int, other: int) -> frozenset[str] | None:
        """The keys of the secrets that differ between parts sealed for these two generations, or
        for PRESENT; None if that is not known."""
        if one == other:
            return frozenset()
        ends = {self._is_present(one), self._is_present(other)}
        if None in ends:
            return None
        return self.changed if len(ends) > 1 else frozenset()

    def _is_present(self, generation: int) -> bool | None:
        if generation >= (PRESENT if self.since is None else self.since):
            return True
        return False if generation == self.generation else None


@dataclass(frozen=True, slots=True)
class Order:
    """All that a publication needs.

    ``operator_key`` is the raw Ed25519 private key, base64. ``passwords`` is keyed by provider.
    ``registries`` maps the node ids of registries to ``https://<address>:<port>``. ``namespace``
    is a name under ``/run/netns`` that every connection is made in. ``deadline`` is seconds from
    the call. A node of ``plan.without`` is not waited for. ``settle`` is how many seconds sessions
    and services get to come up once all nodes have applied; what is not up then is a warning, not
    a failure: an upstream may wait for its provider. ``contents`` are the directories of the
    services whose contents the plan names. ``receivers`` is what receivers of alerts keep to
    themselves, by their names. ``choices`` are the operator's for this run. ``sealed_before`` is
    None where the state does not tell.
    """

    plan: Plan
    operator_key: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    instances: Mapping[str, Instance]
    bundle: bytes = field(repr=False)
    registries: Mapping[str, str]
    namespace: str | None = None
    deadline: float = 300.0
    contents: Mapping[str, Path] = field(default_factory=dict)
    settle: float = 15.0
    receivers: Mapping[str, str] = field(default_factory=dict, repr=False)
    choices: Choices = field(default_factory=Choices)
    sealed_before: SealedBefore | None = None

    @property
    def unheard(self) -> frozenset[str]:
        """The nodes that are not waited for, and whose reports stop nothing."""
        return self.choices.without | frozenset(self.plan.without)


@dataclass(frozen=True, slots=True)
class Member:
    """A node that has joined: its instance and the facts that it reported."""

    instance_id: str
    identity: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Fleet:
    """The state of the last publication. Nothing in it is secret.

    ``drain`` and ``blackhole`` are the orders in force then, so that a registry cannot present an
    older one later; None where there was none, and in states of earlier versions. ``network`` is
    the name in generations and orders (:mod:`mesh.publish.identity`); None in states of earlier
    versions.
    """

    generation: int
    manifest_sha256: str
    members: dict[str, Member]
    drain: DrainOrder | None = None
    blackhole: BlackholeOrder | None = None
    network: str | None = None


def dump_fleet(fleet: Fleet) -> str:
    """A fleet as canonical JSON for the stack's state."""
    return dump(fleet).decode("ascii")


def load_fleet(text: str) -> Fleet:
    """The fleet of that text; raises :class:`mesh.trust.encoding.Malformed`."""
    return parse(Fleet, text)
