"""What the operator signs, and whose word counts afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from mesh.netns import NamespaceError, inside
from mesh.publish import Fleet as State
from mesh.publish import Member, PublishError, dump_fleet, load_fleet, publish, published, retire
from mesh.publish.generation import make, restored
from mesh.publish.mesh_health import health
from mesh.publish.outcomes import outcomes
from mesh.publish.recent import AHEAD_SECONDS, SILENT_SECONDS
from mesh.publish.registry_pool import RegistryPool
from mesh.publish.status import node_status
from mesh.trust import joining, keys, signing
from mesh.trust.documents import Down, Health, Manifest, Part, Report
from mesh.trust.encoding import Malformed, dump, parse, sha256
from mesh.trust.sealing import unseal
from mesh.trust.signing import Purpose
from tests.kit.registry import Fleet, Live, live, shared_fleet

FLEET = shared_fleet()
NET6 = (IPv6Network("2620:71:4000::/48"),)


def test_a_generation_is_rendered_sealed_and_signed() -> None:
    made = FLEET.seventh
    public = keys.signing_public(FLEET.key)
    manifest = signing.opened(public, Purpose.MANIFEST, made.generation.manifest, Manifest)
    assert manifest == made.manifest
    assert manifest.generation == 7
    for node in made.generation.parts:
        text = made.generation.part(node)
        part = parse(Part, text)
        assert sha256(text.encode()) == manifest.nodes[node].part_sha256
        (sealed,) = part.sealed
        private = FLEET.sealing[node][0]
        content = unseal(private, node, 7, sealed.path, sealed.box).decode()
        assert "hunter2-of-the-session" in content
        assert (sealed.mode, sealed.group) == (0o640, "bird")


def test_no_secret_is_in_what_the_registries_hold() -> None:
    wire = dump(FLEET.seventh.generation).decode()
    secrets = ["hunter2", FLEET.key, *(FLEET.token(node) for node in FLEET.facts)]
    assert not [secret for secret in secrets if secret in wire]
    views = json.loads(FLEET.seventh.generation.views)
    assert all('"token": ""' in node["cloud_init"] for node in views["nodes"].values())


def test_each_generation_has_a_nonce_of_its_own() -> None:
    assert len({FLEET.generation(7).manifest.nonce for _ in range(20)}) == 20


def test_a_missing_password_names_its_key() -> None:
    with pytest.raises(PublishError, match="mesh:bgpPassword-vultr"):
        make(FLEET.order(passwords={}), FLEET.members(), 1, FLEET.network)


def test_a_key_that_nothing_can_be_sealed_to_names_its_node() -> None:
    members = FLEET.members()
    bad = replace(members["lax-vultr-1"].facts, sealing="A" * 43 + "=")
    members["lax-vultr-1"] = replace(members["lax-vultr-1"], facts=bad)
    with pytest.raises(PublishError, match="lax-vultr-1: nothing can be sealed"):
        make(FLEET.order(), members, 1, FLEET.network)


def test_the_state_is_text_and_comes_back() -> None:
    state = State(7, "0" * 64, FLEET.members())
    assert load_fleet(dump_fleet(state)) == state
    assert dump_fleet(state) == dump_fleet(load_fleet(dump_fleet(state)))


def test_content_comes_back_byte_for_byte_and_says_what_it_was_sealed_for() -> None:
    old, new = FLEET.fifth, FLEET.generation(6, bundle=b"another")
    back = restored(FLEET.order(), old.generation, old.manifest, 7, new, old.manifest.bundle)
    assert (back.manifest.generation, back.manifest.waves) == (7, True)
    assert back.manifest.bundle == old.manifest.bundle
    assert back.manifest.nonce not in (old.manifest.nonce, new.manifest.nonce)
    for node, entry in back.manifest.nodes.items():
        assert entry == replace(old.manifest.nodes[node], sealed_in=5)
        assert back.generation.part(node) == old.generation.part(node)
    # What has come back once may do so again.
    again = restored(FLEET.order(), back.generation, back.manifest, 8, new, back.manifest.bundle)
    assert {entry.sealed_in for entry in again.manifest.nodes.values()} == {5}


def test_a_node_that_has_joined_since_keeps_what_it_has() -> None:
    """Also one with a new server: the old part is sealed to a key that is gone."""
    members = FLEET.members()
    anew = {**members, "mia-vultr-1": replace(members["mia-vultr-1"], identity="A" * 43 + "=")}
    old = make(
        FLEET.order(), {n: m for n, m in members.items() if n != "ewr-vultr-1"}, 5, FLEET.network
    )
    new = make(FLEET.order(), anew, 6, FLEET.network)
    back = restored(FLEET.order(), old.generation, old.manifest, 7, new, old.manifest.bundle)
    assert {n: entry.sealed_in for n, entry in back.manifest.nodes.items()} == {
        "ewr-vultr-1": 6, "lax-vultr-1": 5, "mia-vultr-1": 6, "ord-vultr-1": 5,
    }  # fmt: skip
    for node in ("ewr-vultr-1", "mia-vultr-1"):
        assert back.generation.part(node) == new.generation.part(node)


def test_registries_take_content_that_comes_back(registry: Live) -> None:
    """Also where a registry of an earlier version gave no views back."""
    old, new = FLEET.fifth, FLEET.generation(6)
    for number, held in ((7, old.generation), (8, replace(old.generation, views=""))):
        back = restored(FLEET.order(), held, old.manifest, number, new, old.manifest.bundle)
        assert registry.registry.accept_packed(dump(back.generation)) == number


# --- reports -------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Live]:
    with live(tmp_path, keys.signing_public(FLEET.key), b"a bundle") as one:
        yield one


def invented(made: object) -> dict[str, str]:
    """What a registry that is broken into may put among the reports."""
    good = FLEET.report("lax-vultr-1", made)  # type: ignore[arg-type]
    payload = json.loads(good.payload)
    stranger = keys.new_signing_key()[0]

    def text(signed: object) -> str:
        return dump(signed).decode()

    return {
        "unsigned": json.dumps({"payload": good.payload, "signature": "A" * 86 + "=="}),
        "by a stranger": text(signing.signed_document(stranger, Purpose.REPORT, payload)),
        "by another node": text(
            signing.signed_document(FLEET.identities["ord-vultr-1"], Purpose.REPORT, payload)
        ),
        "another purpose": text(
            signing.signed_document(FLEET.identities["lax-vultr-1"], Purpose.REQUEST, payload)
        ),
        "another outcome": json.dumps(
            {"payload": good.payload.replace("applied", "failed"), "signature": good.signature}
        ),
        "no report": '{"a":1}',
        "a list": "[]",
        "of nobody": json.dumps({"payload": '{"node":null}', "signature": good.signature}),
    }


@pytest.mark.parametrize("case", invented(FLEET.generation(1)))
def test_a_relay_cannot_invent_a_nodes_word(registry: Live, case: str) -> None:
    made = FLEET.generation(1)
    registry.registry.store.put_report("lax-vultr-1", 1, invented(made)[case], lambda _: True)
    identities = {node: facts.identity for node, facts in FLEET.facts.items()}
    pool = RegistryPool(FLEET.key, {"lax-vultr-1": registry.url})
    assert pool.reports(identities) == []
    good = FLEET.report("lax-vultr-1", made, sequence=2)
    registry.registry.store.put_report("lax-vultr-1", 2, dump(good).decode(), lambda _: True)
    assert [report.node for report in pool.reports(identities)] == ["lax-vultr-1"]
    pool.close()


def test_only_a_word_on_exactly_this_manifest_counts() -> None:
    """A relay may keep a node's honest report on an earlier one, and show it again."""
    before, now = FLEET.generation(6), FLEET.seventh

    def report(made: object, **changed: object) -> Report:
        signed = FLEET.report("lax-vultr-1", made, **changed)  # type: ignore[arg-type]
        return parse(Report, signed.payload)

    for old in (
        report(before),
        report(before, generation=7),
        report(now, nonce=before.manifest.nonce),
        report(now, manifest_sha256=before.digest),
        report(now, generation=6),
    ):
        assert outcomes([old], now.manifest, now.digest) == {}
    first = report(now, sequence=1, outcome="failed", reason="bird refuses")
    later = report(now, sequence=2)
    for order in ([first, later], [later, first]):
        assert outcomes(order, now.manifest, now.digest) == {"lax-vultr-1": ("applied", "")}


# --- publishing to registries --------------------------------------------------------------------


def publishing(registry: Live, lines: list[str], **changed: object) -> State:
    order = FLEET.order(registries={"lax-vultr-1": registry.url}, deadline=2.0, **changed)
    fleet, _ = publish(order, None, lines.append)
    return fleet


def test_who_has_not_joined_is_named_with_the_way_out(registry: Live) -> None:
    lines: list[str] = []
    requests = {node: FLEET.join(node).decode() for node in FLEET.facts if node != "mia-vultr-1"}
    for node, text in requests.items():
        registry.registry.store.put_join(node, FLEET.facts[node].identity, text)
    # The list of planned nodes keeps what is of planned nodes.
    with pytest.raises(PublishError, match=r"mia-vultr-1: did not join within 2 s.*mesh:without"):
        publishing(registry, lines)
    assert "3 of 4 joined, waiting for mia-vultr-1" in lines
    assert registry.registry.current() is None


def test_who_asks_from_another_address_than_planned_is_told_at_once(registry: Live) -> None:
    """And not after the deadline, or in the node's own journal only."""
    lines: list[str] = []
    with registry.client(FLEET.operator) as client:
        assert client.ask("PUT", "/api/v1/planned", dump(FLEET.planned()), signed=True).ok
    with registry.client(FLEET.candidate("mia-vultr-1")) as client:
        body = FLEET.join("mia-vultr-1")
        assert client.ask("POST", "/api/v1/joins/refused", body, signed=True).ok
    said = r"mia-vultr-1: asks to join from 127\.0\.0\.1, planned is 127\.0\.0\.3"
    with pytest.raises(PublishError, match=said) as error:
        publishing(registry, lines)
    assert "mia-vultr-1: did not join" not in str(error.value)
    waiting = next(i for i, line in enumerate(lines) if "0 of 4 joined" in line)
    assert any(re.match(said, line) for line in lines[:waiting])


def test_a_silent_fleet_is_named_and_the_number_goes_on_from_what_registries_hold(
    registry: Live,
) -> None:
    registry.registry.accept_packed(dump(FLEET.generation(41).generation))
    for node in FLEET.facts:
        registry.registry.store.put_join(
            node, FLEET.facts[node].identity, FLEET.join(node).decode()
        )
    with pytest.raises(PublishError, match="no report on generation 42 in time"):
        publishing(registry, [])
    current = registry.registry.current()
    assert current is not None
    assert current.manifest.generation == 42


def test_a_number_that_a_stranger_signed_is_not_gone_above(registry: Live) -> None:
    """Else anybody could push the numbers to their end."""
    foreign = Fleet().generation(2**40).generation.manifest
    registry.registry.store.put_manifest(2**40, dump(foreign).decode())
    pool = RegistryPool(FLEET.key, {"lax-vultr-1": registry.url})
    assert pool.highest() is None
    pool.close()


def test_without_any_registry_the_error_says_why() -> None:
    order = FLEET.order(registries={"lax-vultr-1": "https://127.0.0.1:9"}, deadline=0.5)
    with pytest.raises(PublishError, match=r"no registry came up within 0\.5 s: lax-vultr-1: .*"):
        publish(order, None, lambda _: None)
    state = State(1, "0" * 64, FLEET.members())
    assert not published(order, state)
    lines: list[str] = []
    retire(order, state, lines.append)
    assert lines[-1].startswith("warning: retire")


def test_published_is_said_of_what_all_answering_registries_hold_whole(registry: Live) -> None:
    made = FLEET.generation(5)
    order = FLEET.order(registries={"lax-vultr-1": registry.url})
    state = State(5, made.digest, FLEET.members())
    assert not published(order, state)
    # The manifest alone, as a node brings it back, is not enough to serve from.
    registry.registry.accept_manifest(dump(made.generation.manifest))
    assert not published(order, state)
    registry.registry.accept_packed(dump(made.generation))
    assert published(order, state)
    dead = {"lax-vultr-1": registry.url, "ord-vultr-1": "https://127.0.0.1:9"}
    assert published(FLEET.order(registries=dead), state)
    registry.registry.accept_packed(dump(FLEET.generation(6).generation))
    assert not published(order, state)


def test_a_namespace_that_is_not_there_is_said_and_nothing_is_sent() -> None:
    order = FLEET.order(namespace="no-such-namespace")
    with pytest.raises(NamespaceError, match="no-such-namespace"):
        inside(order.namespace, lambda: None)
    with pytest.raises(PublishError, match="no-such-namespace"):
        publish(order, None, lambda _: None)
    assert not published(order, State(1, "0" * 64, FLEET.members()))


# --- health --------------------------------------------------------------------------------------


def words(**changed: Health) -> dict[str, Report]:
    """Each node's last word: well, but for those that are named."""
    made = FLEET.seventh
    said = {
        node: FLEET.report(node, made, health=changed.get(node.replace("-", "_"), FLEET.well(node)))
        for node in FLEET.facts
    }
    return {node: parse(Report, signed.payload) for node, signed in said.items()}


def bent(node: str, *down: str, **changed: Any) -> Health:
    """A node's health with some sessions down."""
    well = FLEET.well(node)
    announced = {n: p for n, p in (well.announced or {}).items() if n not in down}
    sessions = {n: "Active" if n in down else s for n, s in well.sessions.items()}
    return replace(well, **{"sessions": sessions, "announced": announced, **changed})


MADE = FLEET.seventh
OLDER = {"bird": None, "announced": None, "tunnels": None}
"""What an agent from before this does not say."""


def test_a_mesh_is_up_when_all_sessions_are_and_all_edges_announce() -> None:
    found = health(FLEET.plan, words())
    # Of each node three tunnels, two families of iBGP with each other one, two upstreams.
    assert (found.sessions, found.up, found.edges, found.announcing) == (44, 44, 4, 4)
    assert not found.down


@pytest.mark.parametrize(
    ("bad", "said", "up", "announcing"),
    [
        (
            bent("lax-vultr-1", "vultr4"),
            "vultr4, announces IPv6 only: vultr4 is down (Active)",
            43,
            3,
        ),
        (
            bent("lax-vultr-1", "vultr6", down={"vultr6": Down("Socket: Connection refused")}),
            "vultr6, announces IPv4 only: vultr6 is down (Active, Socket: Connection refused)",
            43,
            3,
        ),
        (
            bent("lax-vultr-1", in_service=False),
            "announces nothing: it is out of service",
            44,
            3,
        ),
        (
            bent("lax-vultr-1", announced={"vultr4": (), "vultr6": NET6}),
            "announces IPv6 only: vultr4 is up, and BIRD does not export 192.30.120.0/23 on it",
            44,
            3,
        ),
        (
            FLEET.well("lax-vultr-1", bird="does not run", sessions={}, announced=None),
            "unknown whether it announces: its BIRD does not run, its sessions are unknown",
            33,
            3,
        ),
        (bent("lax-vultr-1", **OLDER), None, 44, 4),
        (
            bent("lax-vultr-1", "vultr4", **OLDER),
            "vultr4, announces IPv6 only: vultr4 is down (Active)",
            43,
            3,
        ),
        (
            bent("lax-vultr-1", sessions={"vultr4": "Established", "vultr6": "Established"}),
            "mate4_ewr_vultr_1 is missing, ",
            35,
            4,
        ),
    ],
    ids=[
        "IPv4 down", "IPv6 down", "not in service", "a filter", "BIRD killed", "an older agent",
        "an older agent, IPv4 down", "sessions missing",
    ],
)  # fmt: skip
def test_what_is_down_is_named_with_its_node(
    bad: Health, said: str | None, up: int, announcing: int
) -> None:
    found = health(FLEET.plan, words(lax_vultr_1=bad))
    lines = () if said is None else (f"lax-vultr-1: {said}",)
    assert [line[: len(text)] for line, text in zip(found.down, lines, strict=True)] == [*lines]
    assert (found.up, found.announcing) == (up, announcing)


def test_a_node_that_is_gone_on_without_is_not_waited_for() -> None:
    names = ("mate4_mia_vultr_1", "mate6_mia_vultr_1", "u_mia_vultr_1")
    said = words(
        **{n.replace("-", "_"): bent(n, *names) for n in FLEET.facts if n != "mia-vultr-1"}
    )
    assert len(health(FLEET.plan, said).down) == 3
    without = replace(FLEET.plan, without=("mia-vultr-1",))
    assert not health(without, said).down


# --- status --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "seconds", "state"),
    [
        ({}, 5.0, "applied"),
        ({"outcome": "failed", "reason": "bird refuses"}, 5.0, "failed"),
        ({"generation": 6}, 5.0, "behind"),
        ({}, SILENT_SECONDS + 1, "silent"),
        ({}, -AHEAD_SECONDS + 1, "applied"),
        ({}, -AHEAD_SECONDS - 1, "silent"),
    ],
)
def test_a_node_is_what_its_last_word_says(
    changed: dict[str, object], seconds: float, state: str
) -> None:
    made = FLEET.seventh
    said = parse(Report, FLEET.report("lax-vultr-1", made, sequence=10**15, **changed).payload)
    assert node_status(said, 7, 10**9 + seconds).state == state


def test_what_a_node_has_refused_is_shown_by_reason() -> None:
    health = Health(True, {}, {}, refused={"a bogon": 7})
    envelope = FLEET.report("lax-vultr-1", FLEET.seventh, health=health)
    assert node_status(parse(Report, envelope.payload), 7, 0.0).refused == {"a bogon": 7}
    for wrong in ({"a" * 81: 1}, {"a bogon": -1}, {f"reason {n}": 1 for n in range(49)}):
        envelope = FLEET.report("lax-vultr-1", FLEET.seventh, health=replace(health, refused=wrong))
        with pytest.raises(Malformed):
            parse(Report, envelope.payload)


def test_a_node_that_never_spoke_is_silent() -> None:
    assert node_status(None, 7, 0.0).state == "silent"


def test_a_member_is_data_without_secrets() -> None:
    member = FLEET.members()["lax-vultr-1"]
    assert isinstance(member, Member)
    text = dump(member).decode()
    assert FLEET.identities["lax-vultr-1"] not in text
    assert joining.proof_private(FLEET.token("lax-vultr-1")) not in text
