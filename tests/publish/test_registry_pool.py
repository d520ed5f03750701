"""What the operator hears from registries that say anything they like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.publish.registry_pool import RegistryPool
from mesh.registry.client import Answer
from mesh.trust import keys
from mesh.trust.documents import Health, Witnessed
from mesh.trust.encoding import dump
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
NODE = "lax-vultr-1"
MADE = FLEET.seventh
GOOD = json.loads(dump(FLEET.report(NODE, MADE)))
DEEP = "[" * 200_000
IDENTITIES = {NODE: keys.signing_public(FLEET.identities[NODE])}


def pool(monkeypatch: pytest.MonkeyPatch, *bodies: str | bytes) -> RegistryPool:
    """A pool whose registries give these answers, each its own."""

    def asked(*_: Any, **__: Any) -> Iterator[tuple[str, Answer]]:
        for index, body in enumerate(bodies):
            yield f"r{index}", Answer(200, body if isinstance(body, bytes) else body.encode())

    made = RegistryPool(FLEET.key, {})
    monkeypatch.setattr(made, "_ask", asked)
    return made


LIES = [
    DEEP,
    "",
    "7",
    "null",
    "{}",
    "[7]",
    b"\xff\xfe",
    "[" + "9" * 5000 + "]",
    json.dumps([{"payload": "[]", "signature": "x"}]),
    json.dumps([{"payload": "no JSON", "signature": "x"}]),
    json.dumps([{"payload": DEEP, "signature": "x"}]),
    json.dumps([{"payload": '{"node": []}', "signature": "x"}]),
    '[{"payload": "\\ud800", "signature": "x"}]',
]


@pytest.mark.parametrize("lie", LIES)
def test_a_registry_that_lies_does_not_keep_the_operator_from_the_others(
    lie: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = "[" + FLEET.join(NODE).decode() + "]"
    assert len(pool(monkeypatch, lie, join).joins()) == 1
    assert len(pool(monkeypatch, lie, json.dumps([GOOD])).reports(IDENTITIES)) == 1
    envelope = dump(MADE.generation.manifest)
    highest = pool(monkeypatch, lie, envelope).highest()
    assert highest is not None
    assert highest[1] == MADE.manifest
    held = json.dumps({"complete": True, "manifest_sha256": MADE.digest})
    assert pool(monkeypatch, lie, held).holders(MADE.digest) == (2, 1)


def test_a_node_does_not_speak_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health(
        True, {"web\x1b[2J": True}, {"up\x07stream": "Down\x1b]0;x"}, ("https://\u202ehost",),
        refused={"a bog\x1bon": 3}, warnings={"web at\x07 ord": "no\x1b[2J"},
        units={"web": "fai\x1bled"}, contents={"we\x1bb": "0" * 64},
        witnessed={"ord": Witnessed(3, ("tun\x1bnel ipv4",))},
    )  # fmt: skip
    envelope = FLEET.report(NODE, MADE, reason="rolled\x1b[2J\r\nback", health=health)
    body = b"[" + dump(envelope) + b"]"
    (report,) = pool(monkeypatch, body).reports(IDENTITIES)
    assert report.reason == "rolled back"
    assert report.health.services == {"web": True}
    assert report.health.sessions == {"up stream": "Down"}
    assert report.health.tls_mismatches == ("https:// host",)
    assert report.health.refused == {"a bog on": 3}
    assert report.health.warnings == {"web at ord": "no"}
    assert report.health.units == {"web": "fai led"}
    assert report.health.contents == {"we b": "0" * 64}
    assert report.health.witnessed == {"ord": Witnessed(3, ("tun nel ipv4",))}
