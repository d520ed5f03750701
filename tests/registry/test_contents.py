"""Contents at a registry: in chunks, verified, given to members, dropped when nobody names them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from mesh.registry import paths
from mesh.registry.client import Answer, Unreachable
from mesh.registry.store import KEPT_GENERATIONS
from mesh.trust import keys
from mesh.trust.encoding import dump, sha256
from mesh.trust.requests import Signer
from tests.kit.contents import Site
from tests.kit.registry import Live, live
from tests.kit.wait import PATIENCE, patience, until

BODY = os.urandom(2 * paths.CHUNK + 5000)
DIGEST = sha256(BODY)
PLACE = f"{paths.CONTENT}/{DIGEST}"
CHUNKS = [BODY[at : at + paths.CHUNK] for at in range(0, len(BODY), paths.CHUNK)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "operator")


@pytest.fixture
def desk(tmp_path: Path, site: Site) -> Iterator[Live]:
    with live(tmp_path / "registry", keys.signing_public(site.fleet.key), b"a bundle") as one:
        yield one


def ask(desk: Live, signer: Signer | None, method: str, place: str, body: bytes = b"") -> Answer:
    with desk.client(signer) as client:
        return client.ask(method, place, body, signed=signer is not None)


def put(desk: Live, signer: Signer, *chunks: bytes) -> list[int]:
    """The statuses of the answers to these chunks and to the end."""
    found = [
        ask(desk, signer, "PUT", f"{PLACE}/{number}", chunk).status
        for number, chunk in enumerate(chunks)
    ]
    return [*found, ask(desk, signer, "PUT", PLACE).status]


def test_members_get_what_the_operator_has_brought(desk: Live, site: Site) -> None:
    site.publish(5, desk)
    assert put(desk, site.fleet.operator, *CHUNKS) == [204, 204, 204, 201]
    node = site.fleet.node("mia-vultr-1")
    found = [ask(desk, node, "GET", f"{PLACE}/{number}").body for number in range(3)]
    assert b"".join(found) == BODY
    assert ask(desk, node, "GET", f"{PLACE}/3").status == 404


def test_only_the_operator_brings_contents_and_only_members_get_them(
    desk: Live, site: Site
) -> None:
    site.publish(5, desk)
    node = site.fleet.node("mia-vultr-1")
    assert ask(desk, None, "PUT", f"{PLACE}/0", b"x").status == 401
    assert ask(desk, node, "PUT", f"{PLACE}/0", b"x").status == 403
    assert ask(desk, None, "GET", f"{PLACE}/0").status == 401
    assert ask(desk, node, "PUT", PLACE).status == 403


def test_other_bytes_than_the_name_says_are_forgotten(desk: Live, site: Site) -> None:
    operator = site.fleet.operator
    assert put(desk, operator, CHUNKS[0], CHUNKS[1], b"x")[-1] == 400
    assert ask(desk, operator, "GET", PLACE).status == 404
    assert put(desk, operator, *CHUNKS)[-1] == 201


def test_a_content_that_is_not_whole_is_given_to_nobody(desk: Live, site: Site) -> None:
    operator = site.fleet.operator
    assert ask(desk, operator, "PUT", f"{PLACE}/0", CHUNKS[0]).status == 204
    assert ask(desk, operator, "GET", f"{PLACE}/0").status == 404
    assert ask(desk, operator, "GET", PLACE).body == b'{"chunks":1,"complete":false}'
    assert ask(desk, operator, "PUT", f"{PLACE}/2", CHUNKS[2]).status == 409
    assert ask(desk, operator, "PUT", f"{PLACE}/0", CHUNKS[0]).status == 204, "sent again"


def test_no_more_than_a_content_may_have(desk: Live, site: Site) -> None:
    operator = site.fleet.operator

    def is_refused() -> bool:
        """The registry closes the connection, and now and then before its answer is read."""
        try:
            return ask(desk, operator, "PUT", f"{PLACE}/0", CHUNKS[0] + b"x").status == 413
        except Unreachable:
            return False

    until(is_refused, 20, "more than a chunk is refused")
    assert ask(desk, operator, "PUT", f"{PLACE}/64", b"x").status == 400
    assert ask(desk, operator, "PUT", f"{PLACE}/0", b"").status == 400


def test_chunks_that_are_no_whole_ones_are_refused_at_the_end(desk: Live, site: Site) -> None:
    """Else a node would ask for a chunk that begins elsewhere."""
    assert put(desk, site.fleet.operator, BODY[:1000], BODY[1000 : 1000 + paths.CHUNK])[-1] == 400


def test_a_member_with_many_addresses_gets_no_more_chunks_at_once(
    desk: Live, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host has a whole /64: counted by address, one stolen node would take all places."""
    site.publish(5, desk)
    assert put(desk, site.fleet.operator, *CHUNKS)[-1] == 201
    node, other = (site.fleet.node(each) for each in ("mia-vultr-1", "lax-vultr-1"))
    go_on, whole = threading.Event(), desk.registry.chunk

    def held(digest: str, place: int) -> bytes:
        assert go_on.wait(2 * patience(15))
        return whole(digest, place)

    def fetch(number: int) -> int:
        source = f"127.0.0.{number}"
        nonce = desk.raw("GET", paths.NONCE, source=source)[2][paths.NONCE_HEADER]
        signed = node.header("GET", f"{PLACE}/0", b"", nonce)
        return desk.raw("GET", f"{PLACE}/0", {"Authorization": signed}, source=source)[0]

    monkeypatch.setattr(desk.registry, "chunk", held)
    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(fetch, number) for number in (1, 2, 3, 4)]
        try:
            until(lambda: sum(one.done() for one in first) == 2, 15, "two are refused")
            monkeypatch.setattr(desk.registry, "chunk", whole)
            assert ask(desk, other, "GET", f"{PLACE}/0").status == 200
        finally:
            go_on.set()
        assert sorted(one.result(PATIENCE) for one in first) == [200, 200, 429, 429]


def test_what_no_generation_names_any_more_is_dropped(desk: Live, site: Site) -> None:
    held = []
    for number in range(5, 5 + KEPT_GENERATIONS + 2):
        site.page(f"page {number}")
        site.publish(number, desk)
        held.append(site.digests()["blog"])
    kept = desk.registry.store.contents()
    assert kept == {*held[-KEPT_GENERATIONS:], site.digests()["dns"]}
    assert desk.registry.store.held_chunks(held[0]) == 0


def test_a_registry_without_the_contents_of_its_generation_says_so(desk: Live, site: Site) -> None:
    made = site.generation(5)
    desk.registry.accept_planned(dump(site.fleet.planned()))
    desk.registry.accept_packed(dump(made.generation))
    status = f"{paths.API}/status"
    assert b'"complete":false' in ask(desk, site.fleet.operator, "GET", status).body
    site.delivery(desk).deliver()
    assert b'"complete":true' in ask(desk, site.fleet.operator, "GET", status).body


def test_a_registry_goes_on_with_its_contents_after_a_restart(
    tmp_path: Path, desk: Live, site: Site
) -> None:
    site.publish(5, desk)
    with live(tmp_path / "registry", keys.signing_public(site.fleet.key)) as again:
        assert again.registry.lacking() == ()


def test_a_registry_whose_disk_is_full_says_so_and_keeps_what_it_has(
    desk: Live, site: Site
) -> None:
    site.publish(5, desk)
    before = desk.registry.store.contents()
    engine = desk.registry.store._engine

    @event.listens_for(engine, "connect")
    def is_full(connection: Any, _: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages + 20}")

    engine.dispose()
    answer = ask(desk, site.fleet.operator, "PUT", f"{PLACE}/0", CHUNKS[0])
    assert 'HTTP 507 {"error":"cannot be stored: database or disk is full; on its' in answer.why()
    assert desk.registry.store.contents() == before
    assert ask(desk, site.fleet.operator, "GET", f"{paths.API}/status").ok
