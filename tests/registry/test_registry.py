"""What a registry takes, what it gives, and what it says no to."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from mesh.registry.client import Answer
from mesh.registry.paths import MAX_ANSWER
from mesh.registry.store import KEPT_GENERATIONS
from mesh.trust import joining, keys, signing
from mesh.trust.documents import DrainOrder, Generation, Manifest, PackedGeneration
from mesh.trust.encoding import dump, parse, sha256
from mesh.trust.keys import signing_public
from mesh.trust.requests import Signer
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import Fleet, Live, live
from tests.kit.wait import PATIENCE

Put = Generation | PackedGeneration


def put(registry: Live, fleet: Fleet, generation: Put) -> tuple[int, str]:
    packed = isinstance(generation, PackedGeneration)
    path = "/api/v1/generation/packed" if packed else "/api/v1/generation"
    with registry.client(fleet.operator) as client:
        answer = client.ask("PUT", path, dump(generation), signed=True)
        return answer.status, answer.body.decode()


def packed(whole: Generation) -> PackedGeneration:
    """The same, each part as one text."""
    places: dict[str, tuple[int, ...]] = {node: (place,) for place, node in enumerate(whole.parts)}
    return PackedGeneration(whole.manifest, tuple(whole.parts.values()), places, whole.views)


def ask(registry: Live, fleet: Fleet, target: str, who: str = "ord-vultr-1") -> tuple[int, bytes]:
    with registry.client(fleet.node(who)) as client:
        answer = client.ask("GET", target, signed=True)
        return answer.status, answer.body


def held(registry: Live) -> int:
    current = registry.registry.current()
    return 0 if current is None else current.manifest.generation


# --- generations ---------------------------------------------------------------------------------


def test_a_higher_generation_replaces_a_lower_one(registry: Live, fleet: Fleet) -> None:
    assert put(registry, fleet, fleet.generation(6).generation)[0] == 201
    assert held(registry) == 6


def test_the_same_generation_may_come_again(registry: Live, fleet: Fleet) -> None:
    """After an answer that was lost on its way."""
    made = fleet.generation(6).generation
    assert put(registry, fleet, made)[0] == put(registry, fleet, made)[0] == 201


@pytest.fixture(scope="module")
def wrong_generations(fleet: Fleet) -> dict[str, Generation]:
    """Each is wrong in one way."""
    good, stranger = fleet.generation(6).generation.unpacked(), keys.new_operator_key()[0]
    manifest = parse(Manifest, good.manifest.payload)
    lax, ord_ = good.parts["lax-vultr-1"], good.parts["ord-vultr-1"]

    def signed(key: str, changed: Manifest, purpose: Purpose = Purpose.MANIFEST) -> Generation:
        return replace(good, manifest=signing.signed_document(key, purpose, changed))

    swapped = {**manifest.nodes, "lax-vultr-1": replace(
        manifest.nodes["lax-vultr-1"], part_sha256=sha256(ord_.encode()))}  # fmt: skip
    return {
        "a lower number": fleet.generation(4).generation.unpacked(),
        "the same number with another manifest": fleet.generation(5).generation.unpacked(),
        "signed by a stranger": signed(stranger, manifest),
        "signed as a report": signed(fleet.key, manifest, Purpose.REPORT),
        "a changed manifest": replace(
            good, manifest=replace(good.manifest, payload=good.manifest.payload.replace("6", "9"))
        ),
        "a tampered part": replace(
            good, parts={**good.parts, "lax-vultr-1": lax.replace("27218", "27219")}
        ),
        "parts swapped between nodes": replace(
            good, parts={**good.parts, "lax-vultr-1": ord_, "ord-vultr-1": lax}
        ),
        # Even the operator cannot give a node another's part.
        "a part of another node, signed": replace(
            signed(fleet.key, replace(manifest, nodes=swapped)),
            parts={**good.parts, "lax-vultr-1": ord_},
        ),
        "a part too few": replace(
            good, parts={n: p for n, p in good.parts.items() if n != "mia-vultr-1"}
        ),
        "a part too many": replace(good, parts={**good.parts, "eu-vultr-1": lax}),
        "other views": replace(good, views=good.views.replace("Los", "Las").replace("lax", "ord")),
    }


WRONG = (
    "a lower number",
    "the same number with another manifest",
    "signed by a stranger",
    "signed as a report",
    "a changed manifest",
    "a tampered part",
    "parts swapped between nodes",
    "a part of another node, signed",
    "a part too few",
    "a part too many",
    "other views",
)


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("form", [Generation, PackedGeneration])
def test_a_generation_that_is_not_whole_and_the_operators_changes_nothing(
    registry: Live,
    fleet: Fleet,
    wrong_generations: dict[str, Generation],
    case: str,
    form: type[Put],
) -> None:
    before, whole = registry.memory(), wrong_generations[case]
    status, words = put(registry, fleet, whole if form is Generation else packed(whole))
    assert status in (400, 403, 409), (status, words)
    assert registry.memory() == before


def test_a_part_of_texts_that_are_not_there_changes_nothing(registry: Live, fleet: Fleet) -> None:
    before, good = registry.memory(), fleet.generation(6).generation
    for place in (len(good.texts), -1):
        parts = {**good.parts, "lax-vultr-1": (*good.parts["lax-vultr-1"], place)}
        assert put(registry, fleet, replace(good, parts=parts))[0] == 400, place
    assert registry.memory() == before


def test_a_part_that_grows_beyond_what_a_node_takes_changes_nothing(
    registry: Live, fleet: Fleet
) -> None:
    """A few numbers may stand for much text."""
    before, good = registry.memory(), fleet.generation(6).generation
    longest = max(range(len(good.texts)), key=lambda place: len(good.texts[place]))
    again = MAX_ANSWER // len(good.texts[longest]) + 1
    parts = {**good.parts, "lax-vultr-1": (longest,) * again}
    status, words = put(registry, fleet, replace(good, parts=parts))
    assert (status, "larger than" in words) == (400, True)
    assert registry.memory() == before


def test_an_operator_of_an_earlier_version_brings_a_generation_whole(
    registry: Live, fleet: Fleet
) -> None:
    made = fleet.generation(6).generation
    assert put(registry, fleet, made.unpacked())[0] == 201
    text = made.part("ord-vultr-1").encode()
    assert ask(registry, fleet, "/api/v1/parts/ord-vultr-1") == (200, text)


def test_parts_that_came_whole_are_kept_as_an_earlier_version_reads_them(
    tmp_path: Path, fleet: Fleet
) -> None:
    """Who goes back to it brings them whole, and all registries follow at the same moment."""
    made, key = fleet.generation(6).generation, signing_public(fleet.key)
    with live(tmp_path, key) as one:
        assert put(one, fleet, made.unpacked())[0] == 201
    with sqlite3.connect(tmp_path / "registry.sqlite3") as earlier:
        kept = dict(earlier.execute("select node, content from part where number = 6").fetchall())
        assert kept == made.unpacked().parts
        earlier.executescript("drop table packed_part; drop table part_text;")
    with live(tmp_path, key) as two:
        text = made.part("ord-vultr-1").encode()
        assert ask(two, fleet, "/api/v1/parts/ord-vultr-1") == (200, text)


def test_an_order_that_is_held_already_is_read_anew_by_nobody(
    monkeypatch: pytest.MonkeyPatch, registry: Live, fleet: Fleet
) -> None:
    """Orders and manifests are anybody's to bring, as often as he likes."""
    order = signing.signed_document(fleet.key, Purpose.DRAIN, DrainOrder(fleet.network, 5, ()))
    manifest = fleet.fifth.generation.manifest
    with registry.client() as client:
        assert client.ask("PUT", "/api/v1/drain", dump(order)).status == 201
        monkeypatch.setattr(registry.registry, "store", None)
        assert client.ask("PUT", "/api/v1/drain", dump(order)).status == 204
        assert client.ask("PUT", "/api/v1/manifest", dump(manifest)).status == 204
        monkeypatch.undo()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"manifest":{}}', b"\xff" * 50])
def test_noise_changes_nothing(registry: Live, fleet: Fleet, body: bytes) -> None:
    before = registry.memory()
    with registry.client(fleet.operator) as client:
        for method, target in (
            ("PUT", "/api/v1/generation"),
            ("PUT", "/api/v1/generation/packed"),
            ("PUT", "/api/v1/planned"),
            ("PUT", "/api/v1/manifest"),
            ("POST", "/api/v1/join"),
        ):
            assert client.ask(method, target, body, signed=True).status == 400, target
    assert registry.memory() == before


def test_a_long_poll_ends_with_the_generation_it_waits_for(registry: Live, fleet: Fleet) -> None:
    got: list[int] = []

    def wait() -> None:
        with registry.client() as client:
            answer = client.ask("GET", "/api/v1/manifest?after=5&wait=30", timeout=PATIENCE)
            envelope = parse(Signed, answer.body)
            got.append(parse(Manifest, envelope.payload).generation)

    thread = threading.Thread(target=wait)
    thread.start()
    # It waits once it is counted; then the generation comes.
    time.sleep(0.3)
    assert not got
    began = time.monotonic()
    put(registry, fleet, fleet.generation(6).generation)
    thread.join(PATIENCE)
    assert got == [6]
    assert time.monotonic() - began < 25  # and not 30, when the poll ends by itself


def test_a_long_poll_ends_when_its_time_is_up(registry: Live) -> None:
    began = time.monotonic()
    assert registry.raw("GET", "/api/v1/manifest?after=5&wait=0.4")[0] == 204
    assert 0.3 < time.monotonic() - began < 25
    for bad in ("wait=31", "wait=-1", "wait=nan", "after=-1", "after=x"):
        assert registry.raw("GET", f"/api/v1/manifest?{bad}")[0] == 400, bad


def test_what_was_accepted_survives_a_restart(tmp_path: Path, fleet: Fleet) -> None:
    with live(tmp_path, signing_public(fleet.key)) as one:
        put(one, fleet, fleet.generation(5).generation)
        before = one.memory()
    with live(tmp_path, signing_public(fleet.key)) as two:
        assert two.memory() == before
        assert ask(two, fleet, "/api/v1/parts/ord-vultr-1")[0] == 200


def test_a_registry_relays_parts_of_a_later_version_than_its_own(
    registry: Live, fleet: Fleet
) -> None:
    """Else no generation could ever bring it the bundle that understands them."""
    made = fleet.generation(6).generation.unpacked()
    parts = {
        node: dump({**json.loads(text), "later": True}).decode()
        for node, text in made.parts.items()
    }
    manifest = parse(Manifest, made.manifest.payload)
    nodes = {
        node: replace(entry, part_sha256=sha256(parts[node].encode()))
        for node, entry in manifest.nodes.items()
    }
    envelope = signing.signed_document(fleet.key, Purpose.MANIFEST, replace(manifest, nodes=nodes))
    assert put(registry, fleet, replace(made, manifest=envelope, parts=parts))[0] == 201
    assert ask(registry, fleet, "/api/v1/parts/ord-vultr-1")[1] == parts["ord-vultr-1"].encode()
    assert ask(registry, fleet, "/api/v1/nodes/lax/config")[0] == 503


def test_what_another_operator_signed_is_not_followed_although_it_lies_here(
    tmp_path: Path, fleet: Fleet
) -> None:
    with live(tmp_path, signing_public(fleet.key)) as one:
        put(one, fleet, fleet.generation(5).generation)
    other = Fleet()
    with live(tmp_path, signing_public(other.key)) as two:
        assert two.registry.current() is None
        assert ask(two, fleet, "/api/v1/status")[0] == 401
        assert put(two, other, other.generation(1).generation)[0] == 201


def test_only_the_last_generations_are_kept(registry: Live, fleet: Fleet) -> None:
    for number in range(6, 10):
        put(registry, fleet, fleet.generation(number).generation)
    counts = registry.registry.store.counts()
    assert counts["manifest"] == KEPT_GENERATIONS
    assert counts["packed_part"] == KEPT_GENERATIONS * len(fleet.facts)


# --- what the operator gets back -----------------------------------------------------------------


def given_back(registry: Live, number: int, signer: Signer) -> Answer:
    with registry.client(signer) as client:
        return client.ask("GET", f"/api/v1/generation/packed/{number}", signed=True)


def test_the_operator_gets_back_each_generation_that_is_kept(registry: Live, fleet: Fleet) -> None:
    """So that the next update finds out what each node has, and goes back to it."""
    brought = {5: fleet.fifth.generation}
    for number in range(6, 10):
        brought[number] = fleet.generation(number).generation
        put(registry, fleet, brought[number])
    back = {number: given_back(registry, number, fleet.operator) for number in brought}
    gone = sorted(number for number, answer in back.items() if answer.status == 404)
    assert gone == sorted(brought)[:-KEPT_GENERATIONS]
    for number in brought.keys() - gone:
        assert parse(PackedGeneration, back[number].body) == brought[number]


def test_what_nodes_have_in_force_is_kept_however_many_updates_fail(
    registry: Live, fleet: Fleet
) -> None:
    for node in fleet.facts:
        body = dump(fleet.report(node, fleet.fifth))
        with registry.client(fleet.node(node)) as client:
            assert client.ask("POST", "/api/v1/report", body, signed=True).ok
    for number in range(6, 12):
        put(registry, fleet, fleet.generation(number).generation)
    back = {number: given_back(registry, number, fleet.operator).ok for number in range(5, 12)}
    assert [number for number, ok in back.items() if ok] == [5, 8, 9, 10, 11]
    with registry.client() as client:
        brought = dump(fleet.generation(12).generation.manifest)
        assert client.ask("PUT", "/api/v1/manifest", brought).status == 201
    assert given_back(registry, 5, fleet.operator).ok, "a node has brought the next manifest"


def test_a_generation_that_came_whole_is_given_back_with_the_same_parts(
    registry: Live, fleet: Fleet
) -> None:
    whole = fleet.generation(6).generation.unpacked()
    put(registry, fleet, whole)
    back = given_back(registry, 6, fleet.operator)
    assert parse(PackedGeneration, back.body).unpacked() == whole


def test_what_is_not_held_whole_is_not_given_back(empty: Live, fleet: Fleet) -> None:
    with empty.client() as client:
        manifest = dump(fleet.fifth.generation.manifest)
        assert client.ask("PUT", "/api/v1/manifest", manifest).status == 201
    assert {given_back(empty, number, fleet.operator).status for number in (5, 6)} == {404}


def test_no_node_gets_a_generation_of_all(registry: Live, fleet: Fleet) -> None:
    assert given_back(registry, 5, fleet.node("lax-vultr-1")).status == 403


def test_a_node_hands_back_what_a_registry_has_lost(empty: Live, fleet: Fleet) -> None:
    """So that the operator's next number is above all that was ever signed."""
    envelope = fleet.generation(41).generation.manifest
    with empty.client() as client:
        assert client.ask("PUT", "/api/v1/manifest", dump(envelope)).status == 201
        assert client.ask("PUT", "/api/v1/manifest", dump(envelope)).status == 204
        assert client.ask("GET", "/api/v1/manifest").status == 200
        lower = fleet.generation(40).generation.manifest
        assert client.ask("PUT", "/api/v1/manifest", dump(lower)).status == 204
        stranger = replace(Fleet().generation(99).generation.manifest)
        assert client.ask("PUT", "/api/v1/manifest", dump(stranger)).status == 403
    assert held(empty) == 41
    assert put(empty, fleet, fleet.generation(42).generation)[0] == 201


# --- joining -------------------------------------------------------------------------------------


def test_nobody_joins_before_a_plan_is_known(empty: Live, fleet: Fleet) -> None:
    before = empty.memory()
    assert empty.raw("POST", "/api/v1/join", body=fleet.join("lax-vultr-1"))[0] == 503
    assert empty.memory() == before


@pytest.mark.parametrize(
    ("node", "source", "status"),
    [
        ("lax-vultr-1", "127.0.0.1", 202),
        ("ord-vultr-1", "127.0.0.2", 202),
        ("ord-vultr-1", "127.0.0.1", 403),  # a planned address, but another node's
        ("lax-vultr-1", "127.0.0.77", 403),
    ],
)
def test_a_node_joins_from_its_own_planned_address_only(
    registry: Live, fleet: Fleet, node: str, source: str, status: int
) -> None:
    spoofed = {"X-Forwarded-For": fleet.facts[node].ipv4.exploded, "X-Real-IP": "127.0.0.1"}
    answer = registry.raw("POST", "/api/v1/join", spoofed, fleet.join(node), source)
    assert answer[0] == status
    assert len(registry.registry.store.joins()) == (status == 202)


def test_the_operator_is_shown_from_where_a_node_with_its_token_asked_in_vain(
    registry: Live, fleet: Fleet
) -> None:
    """It makes nobody a member, and is over once the node joins from where it was planned."""
    node, path, before = "ord-vultr-1", "/api/v1/joins/refused", registry.memory()
    with registry.client(fleet.candidate(node)) as client:
        assert client.ask("POST", path, fleet.join(node), signed=True).status == 202
    with registry.client(fleet.operator) as client:
        (shown,) = json.loads(client.ask("GET", path, signed=True).body)
    assert shown == {"address": "127.0.0.1", "request": json.loads(fleet.join(node))}
    assert registry.memory() == before
    assert registry.raw("POST", "/api/v1/join", {}, fleet.join(node), "127.0.0.2")[0] == 202
    with registry.client(fleet.operator) as client:
        assert client.ask("GET", path, signed=True).body == b"[]"


def test_nobody_else_says_from_where_a_node_asks(registry: Live, fleet: Fleet) -> None:
    node, path = "ord-vultr-1", "/api/v1/joins/refused"
    stranger = Signer("token", node, keys.new_signing_key()[0])
    for signer, status in (
        (None, 401), (stranger, 401), (fleet.candidate("lax-vultr-1"), 403),
        (fleet.node(node), 403), (fleet.operator, 403),
    ):  # fmt: skip
        with registry.client(signer) as client:
            answer = client.ask("POST", path, fleet.join(node), signed=signer is not None)
        assert answer.status == status
    for reader in (fleet.node(node), fleet.candidate(node)):
        with registry.client(reader) as client:
            assert client.ask("GET", path, signed=True).status in (401, 403)
    assert registry.registry.refused_joins() == []


def test_a_flood_of_identities_is_bounded_and_the_last_are_kept(
    registry: Live, fleet: Fleet
) -> None:
    store = registry.registry.store
    for number in range(100):
        store.put_join("lax-vultr-1", f"identity-{number}", f'"{number}"')
    assert store.joins() == [f'"{number}"' for number in range(92, 100)]


def test_no_answer_and_no_file_of_the_registry_holds_a_token_or_a_password(
    registry: Live, fleet: Fleet, tmp_path: Path
) -> None:
    registry.raw("POST", "/api/v1/join", body=fleet.join("lax-vultr-1"))
    held = b"".join(path.read_bytes() for path in tmp_path.glob("registry.sqlite3*"))
    answers = [
        ask(registry, fleet, target)[1]
        for target in (
            "/api/v1/nodes/lax/config", "/api/v1/nodes/lax-vultr-1/wireguard",
            "/api/v1/nodes/lax-vultr-1/cloud-init", "/api/v1/firewall/rules",
            "/api/v1/status", "/api/v1/parts/ord-vultr-1",
        )
    ]  # fmt: skip
    with registry.client(fleet.operator) as client:
        answers += [client.ask("GET", f"/api/v1/{x}", signed=True).body
                    for x in ("joins", "reports")]  # fmt: skip
    secrets = [b"hunter2", fleet.key.encode()]
    secrets += [fleet.token(node).encode() for node in fleet.facts]
    secrets += [joining.proof_private(fleet.token(node)).encode() for node in fleet.facts]
    for secret in secrets:
        assert secret not in held
        assert not any(secret in answer for answer in answers)


# --- reports -------------------------------------------------------------------------------------


def report(registry: Live, fleet: Fleet, who: str, signed: Signed) -> int:
    with registry.client(fleet.node(who)) as client:
        return client.ask("POST", "/api/v1/report", dump(signed), signed=True).status


def test_a_member_reports_for_itself(registry: Live, fleet: Fleet) -> None:
    made = fleet.generation(5)
    assert report(registry, fleet, "lax-vultr-1", fleet.report("lax-vultr-1", made)) == 204
    assert report(registry, fleet, "ord-vultr-1", fleet.report("lax-vultr-1", made)) == 400
    forged = signing.signed_document(
        fleet.identities["ord-vultr-1"], Purpose.REPORT,
        json.loads(fleet.report("lax-vultr-1", made).payload),
    )  # fmt: skip
    assert report(registry, fleet, "ord-vultr-1", forged) == 400
    assert len(registry.registry.store.reports()) == 1


def test_an_old_report_does_not_replace_a_later_one(registry: Live, fleet: Fleet) -> None:
    made = fleet.generation(5)
    later = fleet.report("lax-vultr-1", made, sequence=9, outcome="failed", reason="bird")
    assert report(registry, fleet, "lax-vultr-1", later) == 204
    with registry.client(fleet.node("lax-vultr-1")) as client:
        old = dump(fleet.report("lax-vultr-1", made))
        answer = client.ask("POST", "/api/v1/report", old, signed=True)
    # It is shown its own word, above which it goes on; an agent of an earlier version reads only
    # that its report came.
    assert (answer.status, answer.body) == (200, dump(later))
    assert registry.registry.store.reports() == [dump(later).decode()]
    assert report(registry, fleet, "lax-vultr-1", later) == 204, "sent again, it is what is held"


def test_a_node_made_anew_is_heard_whatever_its_predecessor_has_said(
    registry: Live, fleet: Fleet
) -> None:
    """A stolen node reports with the highest number that there is; then it is replaced."""
    last = fleet.report("lax-vultr-1", fleet.generation(5), sequence=2**53 - 1)
    assert report(registry, fleet, "lax-vultr-1", last) == 204
    anew = Fleet(fleet.plan, fleet.key)
    made = anew.generation(6)
    assert put(registry, fleet, made.generation)[0] == 201
    first = anew.report("lax-vultr-1", made, sequence=7)
    assert report(registry, anew, "lax-vultr-1", first) == 204
    assert registry.registry.store.reports() == [dump(first).decode()]


def test_who_leaves_the_network_is_a_stranger_from_then_on(registry: Live, fleet: Fleet) -> None:
    from mesh.publish.generation import make

    members = {n: m for n, m in fleet.members().items() if n != "ord-vultr-1"}
    assert put(registry, fleet, make(fleet.order(), members, 6, fleet.network).generation)[0] == 201
    assert ask(registry, fleet, "/api/v1/status")[0] == 401


# --- bundles -------------------------------------------------------------------------------------


def test_a_bundle_comes_from_the_operator_and_goes_to_anybody(registry: Live, fleet: Fleet) -> None:
    with registry.client(fleet.operator) as client:
        for content in (b"new", b"newer", b"newest"):
            target = f"/api/v1/bundle/{sha256(content)}"
            assert client.ask("PUT", target, content, signed=True).status == 201
        wrong = f"/api/v1/bundle/{sha256(b'this')}"
        assert client.ask("PUT", wrong, b"that", signed=True).status == 400
    assert registry.raw("GET", f"/api/v1/bundle/{sha256(b'newest')}")[:2] == (200, b"newest")
    assert registry.raw("HEAD", f"/api/v1/bundle/{sha256(b'newest')}")[:2] == (200, b"")
    assert registry.raw("GET", f"/api/v1/bundle/{'0' * 64}")[0] == 404
    assert registry.registry.store.counts()["bundle"] == 3


# --- the six endpoints ---------------------------------------------------------------------------


def test_a_node_is_named_by_its_id_or_by_a_region_with_one_node(
    registry: Live, fleet: Fleet
) -> None:
    by_region = json.loads(ask(registry, fleet, "/api/v1/nodes/lax/config")[1])
    by_id = json.loads(ask(registry, fleet, "/api/v1/nodes/lax-vultr-1/config")[1])
    assert by_region == by_id
    assert by_id["node"] == "lax-vultr-1"
    assert by_id["generation"] == 5
    assert "/etc/bird/bird.conf" in {file["path"] for file in by_id["files"]}
    assert by_id["sealed"] == ["/etc/bird/mesh/secrets.conf"]
    assert ask(registry, fleet, "/api/v1/nodes/tokyo/config")[0] == 404


def test_a_region_with_two_nodes_is_no_name_for_either(tmp_path: Path) -> None:
    from tests.kit.stacks import plan_of, prod

    values = prod()
    values["nodes"]["lax-vultr-2"] = {"number": 5}
    fleet = Fleet(plan_of(values))
    with live(tmp_path, signing_public(fleet.key)) as registry:
        assert put(registry, fleet, fleet.generation(1).generation)[0] == 201
        status, body = ask(registry, fleet, "/api/v1/nodes/lax/config")
        assert status == 409
        assert json.loads(body)["nodes"] == ["lax-vultr-1", "lax-vultr-2"]
        assert ask(registry, fleet, "/api/v1/nodes/lax-vultr-2/config")[0] == 200


def test_wireguard_shows_exactly_the_planned_peers(registry: Live, fleet: Fleet) -> None:
    shown = json.loads(ask(registry, fleet, "/api/v1/nodes/mia/wireguard")[1])
    assert shown["public_key"] == fleet.facts["mia-vultr-1"].wireguard
    peers = {one["peer"]["node"]: one["peer"] for one in shown["interfaces"]}
    assert set(peers) == {"lax-vultr-1", "ord-vultr-1", "ewr-vultr-1"}
    for node, peer in peers.items():
        assert peer["public_key"] == fleet.facts[node].wireguard
        assert peer["endpoint"].startswith(f"{fleet.facts[node].ipv4}:")


def test_cloud_init_is_the_nodes_without_its_token(registry: Live, fleet: Fleet) -> None:
    status, body = ask(registry, fleet, "/api/v1/nodes/lax-vultr-1/cloud-init")
    assert status == 200
    assert body.startswith(b"#cloud-config")
    assert b'"token": ""' in body
    assert fleet.token("lax-vultr-1").encode() not in body


def test_firewall_rules_are_the_plans(registry: Live, fleet: Fleet) -> None:
    shown = json.loads(ask(registry, fleet, "/api/v1/firewall/rules")[1])
    assert {rule["name"] for rule in shown["rules"]} == {r.name for r in fleet.plan.firewall}
    assert shown["sources"]["admin"] == ["207.231.1.46/32"]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_discover_tells_a_node_by_the_address_of_its_connection(
    registry: Live, fleet: Fleet, source: str
) -> None:
    node = {"127.0.0.1": "lax-vultr-1", "127.0.0.2": "ord-vultr-1"}[source]
    for signer in (fleet.candidate(node), fleet.node(node)):
        nonce = registry.raw("GET", "/api/v1/nonce")[2]["replay-nonce"]
        header = signer.header("POST", "/api/v1/nodes/discover", b"", nonce)
        forged = {"Authorization": header, "X-Forwarded-For": "127.0.0.4"}
        status, body, _ = registry.raw("POST", "/api/v1/nodes/discover", forged, source=source)
        assert status == 200
        assert json.loads(body)["node"] == node


def test_a_token_discovers_its_own_node_only(registry: Live, fleet: Fleet) -> None:
    """From another node's address, or asking for another's, it learns nothing."""
    with registry.client(fleet.candidate("ord-vultr-1")) as client:  # asks from 127.0.0.1
        answer = client.ask("POST", "/api/v1/nodes/discover", signed=True)
        assert answer.status == 404
        body = b'{"address":"127.0.0.1"}'
        assert client.ask("POST", "/api/v1/nodes/discover", body, signed=True).status == 404
    with registry.client(fleet.operator) as client:
        body = b'{"address":"127.0.0.3"}'
        answer = client.ask("POST", "/api/v1/nodes/discover", body, signed=True)
        assert json.loads(answer.body)["node"] == "mia-vultr-1"
        unknown = b'{"address":"127.0.0.200"}'
        assert client.ask("POST", "/api/v1/nodes/discover", unknown, signed=True).status == 404


def test_status_counts_what_is_held(registry: Live, fleet: Fleet) -> None:
    shown = json.loads(ask(registry, fleet, "/api/v1/status")[1])
    assert (shown["generation"], shown["complete"], shown["members"]) == (5, True, 4)


def test_before_a_generation_the_views_say_so(empty: Live, fleet: Fleet) -> None:
    with empty.client(fleet.operator) as client:
        for target in ("nodes/lax/config", "firewall/rules", "nodes/lax-vultr-1/cloud-init"):
            assert client.ask("GET", f"/api/v1/{target}", signed=True).status == 503, target
        assert client.ask("GET", "/api/v1/status", signed=True).status == 200


def test_who_may_log_in_is_known_to_a_registry_where_that_is_not_the_world(
    empty: Live, fleet: Fleet
) -> None:
    assert empty.registry.admins() == ()
    some = (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
    for number, admin, expected in ((5, some, some), (6, (*some, ip_network("::/0")), ())):
        access = replace(fleet.plan.access, admin=admin)
        made = fleet.generation(number, plan=replace(fleet.plan, access=access))
        assert put(empty, fleet, made.generation)[0] == 201
        assert empty.registry.admins() == expected
