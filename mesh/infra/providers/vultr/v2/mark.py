"""The mark of every object: the network and the node that it belongs to, and its purpose.

A run that is killed after a POST leaves an object that is in no state. The next run finds it by its
mark. The identity is random and made once for each stack (:mod:`mesh.infra.dynamic.identity`), so
that two stacks of one name in one account never take each other's objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PREFIX = "anycast-mesh"
NETWORK = "network"
"""In place of a node's id where an object belongs to all nodes; no node has this id."""

_TEXT = re.compile(rf"([a-z0-9-]+) ([a-z0-9-]+) {PREFIX}-([0-9a-f]{{8}})")
_IDENTITY = re.compile(rf"{PREFIX}-([0-9a-f]{{8}})")
_RESOURCE = re.compile(rf"{PREFIX}:([a-z0-9-]+):([a-z0-9-]+)")


@dataclass(frozen=True, slots=True)
class Mark:
    """``identity`` is 8 hex digits, ``node`` a node's id or ``network``, ``resource`` is
    ``address``, ``firewall``, ``key-<digest>``, ``startup-script``, ``instance`` or
    ``bare-metal``."""

    identity: str
    node: str
    resource: str

    def text(self) -> str:
        """For a kind with a single field: an address's label, the name of a key or a script, a
        group's description."""
        return f"{self.node} {self.resource} {PREFIX}-{self.identity}"

    def tags(self) -> tuple[str, str]:
        """For a kind with tags: the network's, by which the API filters, and the object's."""
        return (tag_of(self.identity), f"{PREFIX}:{self.node}:{self.resource}")

    def is_in(self, text: str) -> bool:
        """Whether a label, name or description is this mark."""
        return Mark.read(text) == self

    @staticmethod
    def read(text: str) -> Mark | None:
        """The mark in a label, name or description; None where it is no mark."""
        found = _TEXT.fullmatch(text)
        return Mark(found[3], found[1], found[2]) if found else None

    @staticmethod
    def read_tags(tags: Iterable[str]) -> Mark | None:
        """The mark among tags, in any order; None where it is missing or ambiguous."""
        given = list(tags)
        identities = [found[1] for tag in given if (found := _IDENTITY.fullmatch(tag))]
        resources = [found for tag in given if (found := _RESOURCE.fullmatch(tag))]
        if len(identities) != 1 or len(resources) != 1:
            return None
        return Mark(identities[0], resources[0][1], resources[0][2])


def tag_of(identity: str) -> str:
    """The tag that every server of a network has."""
    return f"{PREFIX}-{identity}"
