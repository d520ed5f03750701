"""This node's membership of a network, and its request to join one."""

from __future__ import annotations

import threading
import time

from mesh.agent import facts, log
from mesh.agent.keys import NodeKeys
from mesh.agent.seed import Seed
from mesh.agent.system import System
from mesh.trust import joining, keys
from mesh.trust.documents import JoinRequest, Manifest

FACTS_AGE = 1.0
"""Seconds for which the facts are cached."""


class Joining:
    """Makes this node's requests to join, and finds it in manifests."""

    def __init__(self, system: System, seed: Seed, own: NodeKeys) -> None:
        self._system, self._seed, self._keys = system, seed, own
        self._identity = keys.signing_public(own.identity)
        self._lock = threading.Lock()
        self._versions: facts.HostVersions | None = None
        self._request: tuple[JoinRequest | None, float] = (None, -FACTS_AGE)

    def is_named(self, manifest: Manifest) -> bool:
        """Whether a manifest names this node with its own key."""
        entry = manifest.nodes.get(self._seed.node)
        return entry is not None and entry.identity == self._identity

    def request(self) -> JoinRequest | None:
        """Our request to join with the current facts; None while they are incomplete."""
        with self._lock:
            request, asked = self._request
            if time.monotonic() - asked < FACTS_AGE:
                return request
            try:
                if self._versions is None:
                    self._versions = facts.versions(self._system)
                found = facts.facts(
                    self._system.host,
                    self._system.network,
                    self._keys,
                    self._versions,
                    self._seed.registry,
                )
                request = joining.join_request(self._seed.token, self._seed.node, found)
            except (facts.NoFacts, ValueError) as error:
                log.warning("facts", reason=error)
                request = None
            self._request = (request, time.monotonic())
            return request
