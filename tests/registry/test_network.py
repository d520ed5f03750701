"""A registry serves one network, although one operator key may sign for several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.registry.client import Answer, Client
from mesh.trust.documents import BlackholeOrder, DrainOrder, Report
from mesh.trust.encoding import dump, parse
from mesh.trust.keys import signing_public
from mesh.trust.orders import BLACKHOLE, DRAIN
from mesh.trust.signing import Purpose, signed_document
from tests.kit.registry import Fleet, Live, live

OTHER = "as27218-another"
GENERATION, MANIFEST, PLANNED = "/api/v1/generation/packed", "/api/v1/manifest", "/api/v1/planned"


def foreign(fleet: Fleet) -> Fleet:
    """Another network of the same operator key, with nodes of the same names."""
    return Fleet(fleet.plan, fleet.key)


def put(client: Client, target: str, document: object) -> Answer:
    return client.ask("PUT", target, dump(document), signed=True)


def network(registry: Live, fleet: Fleet) -> tuple[str | None, int]:
    """Which it serves, and the generation that it holds."""
    current = registry.registry.current()
    return registry.registry.network, 0 if current is None else current.manifest.generation


OFFERS: dict[str, Callable[[Fleet, Client], Answer]] = {
    "a manifest": lambda fleet, client: put(
        client, MANIFEST, foreign(fleet).generation(900, OTHER).generation.manifest
    ),
    "a whole generation": lambda fleet, client: put(
        client, GENERATION, foreign(fleet).generation(900, OTHER).generation
    ),
    "a drain order": lambda fleet, client: put(
        client, "/api/v1/drain", DRAIN.signed(fleet.key, DrainOrder(OTHER, 900, ()))
    ),
    "a blackhole order": lambda fleet, client: put(
        client, "/api/v1/blackhole", BLACKHOLE.signed(fleet.key, BlackholeOrder(OTHER, 900, ()))
    ),
}


@pytest.mark.parametrize("pinned", [True, False])
def test_what_is_of_another_network_of_the_same_key_is_refused(
    registry: Live, fleet: Fleet, pinned: bool
) -> None:
    """Whether its operator has named the network, or only brought a generation of it."""
    with registry.client(fleet.operator) as client:
        if pinned:
            assert put(client, PLANNED, replace(fleet.planned(), network=fleet.network)).ok
        before = registry.memory()
        for offer in OFFERS.values():
            answer = offer(fleet, client)
            assert answer.status == 403
            assert f"of the network {OTHER}; this registry serves {fleet.network}" in answer.why()
            assert registry.memory() == before
        assert put(client, GENERATION, fleet.generation(6).generation).ok, "and ours goes on"


def test_the_operators_word_counts_before_a_manifest_that_anybody_brought(
    empty: Live, fleet: Fleet
) -> None:
    with empty.client(fleet.operator) as client:
        manifest = foreign(fleet).generation(900, OTHER).generation.manifest
        assert put(client, MANIFEST, manifest).status == 201
        assert put(client, PLANNED, replace(fleet.planned(), network=fleet.network)).ok
        assert network(empty, fleet) == (fleet.network, 0), "and it is forgotten"
        assert put(client, GENERATION, fleet.generation(5).generation).ok
        assert put(client, MANIFEST, manifest).status == 403


def test_a_whole_generation_of_its_operator_counts_before_such_a_manifest(
    empty: Live, fleet: Fleet
) -> None:
    """From an operator of an earlier version, who names no network."""
    with empty.client(fleet.operator) as client:
        manifest = foreign(fleet).generation(900, OTHER).generation.manifest
        assert put(client, MANIFEST, manifest).status == 201
        assert put(client, PLANNED, fleet.planned()).ok
        assert put(client, GENERATION, fleet.generation(901).generation).ok
        assert network(empty, fleet) == (fleet.network, 901)


def test_the_first_name_stays(registry: Live, fleet: Fleet) -> None:
    """Another stack of the same key, or a relay of its requests, takes no registry over."""
    with registry.client(fleet.operator) as client:
        named = replace(fleet.planned(), network=fleet.network)
        assert put(client, PLANNED, named).ok
        before = registry.memory()
        answer = put(client, PLANNED, replace(foreign(fleet).planned(), network=OTHER))
        assert answer.status == 403 and f"serves {fleet.network}" in answer.why()
        assert registry.memory() == before
        assert put(client, PLANNED, named).ok
        # An operator of an earlier version names none; it is not forgotten for that.
        assert put(client, PLANNED, fleet.planned()).ok
        assert registry.registry.network == fleet.network


def test_a_registry_from_before_names_follows_the_first_that_its_operator_gives(
    tmp_path: Path, fleet: Fleet
) -> None:
    """An earlier version took a renamed stack's generation, which every node refused."""
    key = signing_public(fleet.key)
    with live(tmp_path, key) as old:
        old.registry.store.put_planned(dump(fleet.planned()).decode(), [])
        for number, name in ((7, fleet.network), (8, "as27218-renamed")):
            made = fleet.generation(number, name).generation
            envelope = dump(made.manifest).decode()
            assert old.registry.store.put_generation(number, envelope, made)
    with live(tmp_path, key) as one, one.client(fleet.operator) as client:
        assert put(client, PLANNED, replace(fleet.planned(), network=fleet.network)).ok
        assert network(one, fleet) == (fleet.network, 7)
        assert put(client, GENERATION, fleet.generation(9).generation).ok


@pytest.mark.parametrize("pinned", [True, False])
def test_a_manifest_that_an_earlier_version_took_is_forgotten_at_the_start(
    tmp_path: Path, fleet: Fleet, pinned: bool
) -> None:
    key, planned = signing_public(fleet.key), fleet.planned()
    if pinned:
        planned = replace(planned, network=fleet.network)
    with live(tmp_path, key) as old, old.client(fleet.operator) as client:
        assert put(client, PLANNED, planned).ok
        assert put(client, GENERATION, fleet.generation(7).generation).ok
        manifest = foreign(fleet).generation(900, OTHER).generation.manifest
        assert old.registry.store.put_manifest(900, dump(manifest).decode())
    with live(tmp_path, key) as one:
        assert network(one, fleet) == (fleet.network, 7)
        assert one.registry.store.counts()["manifest"] == 1


def test_a_report_of_a_later_version_is_relayed_as_it_is(registry: Live, fleet: Fleet) -> None:
    """And an earlier version's, which knows of no refusals, is read."""
    made = fleet.generation(5)
    plain = fleet.report("lax-vultr-1", made)
    report = parse(Report, plain.payload)
    assert report.health.refusals == ()
    later = {
        "node": report.node, "generation": 5, "manifest_sha256": made.digest,
        "nonce": made.manifest.nonce, "outcome": "applied", "reason": "", "applied": 5,
        "sequence": 9, "bundle": made.manifest.bundle, "of a later version": 1,
        "health": {"in_service": True, "services": {}, "sessions": {}, "of a later version": {},
                   "refusals": [{"what": "drain", "number": 3, "digest": "0" * 64,
                                 "reason": "why", "of a later version": []}]},
    }  # fmt: skip
    envelope = signed_document(fleet.identities["lax-vultr-1"], Purpose.REPORT, later)
    with registry.client(fleet.node("lax-vultr-1")) as client:
        assert client.ask("POST", "/api/v1/report", dump(envelope), signed=True).ok
    assert registry.registry.store.reports() == [dump(envelope).decode()]
    (refusal,) = parse(Report, envelope.payload).health.refusals
    assert (refusal.what, refusal.number, refusal.reason) == ("drain", 3, "why")
