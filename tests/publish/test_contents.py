"""The operator brings contents to registries: once, resumed, and with clear words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from mesh.content import folders
from mesh.publish import PublishError
from mesh.publish.contents import TURN, ContentDelivery, _held, lagging, packed
from mesh.publish.progress import ProgressLines
from mesh.registry.client import Answer
from mesh.registry.routes import status
from mesh.trust import keys
from tests.kit.contents import Site
from tests.kit.registry import Live, live


@pytest.fixture
def site(tmp_path: Path) -> Site:
    one = Site(tmp_path / "operator")
    (one.root / "site" / "film").write_bytes(os.urandom(3 << 20))
    one.generation(5)
    return one


@pytest.fixture
def registries(tmp_path: Path, site: Site) -> Iterator[tuple[Live, Live]]:
    with ExitStack() as stack:
        public = keys.signing_public(site.fleet.key)
        one, two = (stack.enter_context(live(tmp_path / f"registry{n}", public)) for n in "12")
        yield one, two


def delivery(site: Site, said: list[str], *registries: Live) -> ContentDelivery:
    clients = {f"node-{n}": one.client(site.fleet.operator) for n, one in enumerate(registries, 1)}
    found = packed(site.fleet.plan, folders(site.root, site.spec))
    return ContentDelivery(found, clients, ProgressLines(said.append))


def test_every_registry_gets_what_it_lacks_and_says_so(
    site: Site, registries: tuple[Live, Live]
) -> None:
    said: list[str] = []
    delivery(site, said, registries[0]).deliver()
    again = delivery(site, said, *registries)
    again.deliver()
    assert again.held and not again.reasons
    blog = site.digests()["blog"][:12]
    assert [line for line in said if blog in line] == [
        f"node-1: gets content {blog}, 3.0 MiB", f"node-1: has content {blog}, 3.0 MiB",
        f"node-2: gets content {blog}, 3.0 MiB", f"node-2: has content {blog}, 3.0 MiB",
    ]  # fmt: skip
    assert all(set(site.digests().values()) == one.registry.store.contents() for one in registries)


def test_a_delivery_that_was_cut_goes_on_where_it_ended(
    site: Site, registries: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, blog = registries[0].registry.store, site.digests()["blog"]
    put, places = store.put_chunk, list[int]()

    def cut(digest: str, place: int, content: bytes) -> bool:
        if digest == blog:
            places.append(place)
            if len(places) == 3:
                return False
        return put(digest, place, content)

    monkeypatch.setattr(store, "put_chunk", cut)
    first = delivery(site, [], registries[0])
    first.deliver()
    assert "chunk 3 of 4: HTTP 409" in first.reasons["node-1"]
    assert first.refused
    delivery(site, [], registries[0]).deliver()
    assert places == [0, 1, 2, 2, 3]
    assert blog in store.contents()


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "[]", '"x"', "1e999"])
def test_no_answer_of_a_registry_ends_the_update(number: str) -> None:
    assert _held(Answer(200, f'{{"chunks": {number}}}'.encode())) == 0


def test_a_registry_that_is_away_does_not_keep_the_other_waiting(
    site: Site, registries: tuple[Live, Live]
) -> None:
    gone = delivery(site, [], *registries)
    gone._clients["node-1"]._port = 1
    gone.deliver()
    assert gone.held and not gone.refused
    assert "node-1" in gone.reasons and "node-2" not in gone.reasons


def test_a_slow_registry_does_not_keep_the_other_waiting(
    site: Site, registries: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in other hands may take half a minute for each chunk."""
    now = [100.0]  # a clock that goes on with the slow one alone
    monkeypatch.setattr("mesh.publish.contents.time", SimpleNamespace(monotonic=lambda: now[0]))
    store, places = registries[0].registry.store, list[int]()
    put = store.put_chunk

    def slow(digest: str, place: int, content: bytes) -> bool:
        places.append(place)
        now[0] += TURN + 1
        return put(digest, place, content)

    monkeypatch.setattr(store, "put_chunk", slow)
    one = delivery(site, [], *registries)
    one.deliver()
    assert one.held and not one.refused
    assert "of 4 chunks so far" in one.reasons["node-1"]
    assert 3 not in places, "the rest follows later"


def test_registries_that_are_all_slow_have_the_time_of_the_publication(
    site: Site, registries: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.publish.contents.TURN", 0.0)
    one, turns = delivery(site, [], *registries), iter((False, False, True))
    one._over = lambda: next(turns)
    one.deliver()
    assert next(turns, None) is None, "they had some turns"
    assert one.refused and "it has taken 0 of 4 chunks so far" in one.reasons["node-1"]


def test_a_registry_of_an_earlier_version_gets_them_once_it_is_of_this_one(
    site: Site, registries: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("mesh.publish.contents.time.monotonic", lambda: now[0])
    takes = status.TAKES
    monkeypatch.setattr(status, "TAKES", takes[:1])
    one = delivery(site, [], registries[0])
    one.deliver()
    assert one.reasons == {"node-1": "it is of an earlier version, which takes no contents"}
    assert not one.held and not one.refused, "the publication goes on: its bundle comes with it"
    monkeypatch.setattr(status, "TAKES", takes)
    now[0] += 10
    one.deliver()
    assert one.held and not one.reasons


def test_a_directory_that_changed_since_the_preview_stops_the_update(site: Site) -> None:
    site.page("<h1>Changed meanwhile</h1>")
    with pytest.raises(PublishError, match=r"mesh:services\.blog\.content: .*/site changed while"):
        packed(site.fleet.plan, folders(site.root, site.spec))
    (site.root / "site" / "index.html").unlink()
    (site.root / "site" / "index.html").symlink_to("/etc/passwd")
    with pytest.raises(PublishError, match=r"mesh:services\.blog\.content: .*it is a link to"):
        packed(site.fleet.plan, folders(site.root, site.spec))


def test_nodes_that_serve_something_else_are_named_with_the_reason(site: Site) -> None:
    made, digests = site.generation(6), site.digests()
    well = site.fleet.well("lax-vultr-1", contents=digests)
    behind = site.fleet.well(
        "mia-vultr-1", contents=digests | {"blog": "0" * 64}, warnings={"blog": "its disk is full"}
    )
    from mesh.publish.outcomes import latest_on
    from mesh.trust import signing
    from mesh.trust.documents import Report

    signed = {
        node: site.fleet.report(node, made, health=health)
        for node, health in (("lax-vultr-1", well), ("mia-vultr-1", behind))
    }
    reports = [
        signing.opened(site.fleet.facts[n].identity, signing.Purpose.REPORT, one, Report)
        for n, one in signed.items()
    ]
    last = latest_on(reports, made.manifest, made.digest)
    assert lagging(site.fleet.plan, last) == {"mia-vultr-1": "blog: its disk is full"}
