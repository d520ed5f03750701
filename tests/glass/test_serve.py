"""The glass through its sockets: what it answers, to whom, and what it refuses."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from mesh.glass.access import BURST
from mesh.glass.bird import Budget
from mesh.glass.serve import AT_ONCE, STRANGERS, Unreadable
from mesh.glass.snapshot import Discarded, Versions
from tests.glass.glasses import (
    END,
    LAX,
    MIA,
    ORD,
    Files,
    announced,
    get,
    network,
    place,
    raw,
    running,
    says,
    snapshot_of,
    waits,
)
from tests.kit.ports import free_port
from tests.kit.wait import PATIENCE

ROUTE = """\
1007-Table master4:
 10.10.10.3/32        unicast [u_mia_vultr_1 1795993300] * (100/38) [AS4200000003i]
 \tvia fe80::3 on wg-mia-vultr-1
1008-\tType: BGP univ
1012-\tigp_metric: 38
 \tBGP.origin: IGP
 \tBGP.as_path: 4200000003
 \tBGP.next_hop: :: fe80::3
 \tBGP.local_pref: 999962
1007-                     unicast [u_ord_vultr_1 1795993301] (100/57) [AS4200000003i]
 \tvia fe80::2 on wg-ord-vultr-1
1008-\tType: BGP univ
1012-\tigp_metric: 57
 \tBGP.origin: IGP
 \tBGP.as_path: 4200000002 4200000003
 \tBGP.next_hop: :: fe80::2
 \tBGP.local_pref: 999943
"""
LOOKED_UP = {"show route for 10.10.10.3 table master4 all": ROUTE + END}


@pytest.fixture(autouse=True)
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a glass too long is said by tests of their own."""
    waits(monkeypatch)


@dataclass
class One:
    """A glass alone."""

    port: int
    files: Files


@contextmanager
def glass(folder: Path, public: bool = False) -> Iterator[One]:
    port = free_port()
    snapshot = snapshot_of(LAX, time.time())
    planned = network(port, public)
    with running(folder / LAX, planned, LAX, says(LOOKED_UP), snapshot) as files:
        yield One(port, files)


@contextmanager
def uncounted(folder: Path, public: bool = False) -> Iterator[One]:
    """One that lets everybody ask as often as he wants."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mesh.glass.access.BURST", 1e6)
            found = stack.enter_context(glass(folder, public))
        yield found


@contextmanager
def counted(folder: Path, public: bool = False) -> Iterator[One]:
    """One at which nobody may ask more often for having taken his time."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mesh.glass.access.RATE", 1e-6)
            found = stack.enter_context(glass(folder, public))
        yield found


@pytest.fixture
def one(tmp_path: Path) -> Iterator[One]:
    with glass(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[One]:
    with uncounted(tmp_path_factory.mktemp("glass")) as found:
        yield found


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[One]:
    with uncounted(tmp_path_factory.mktemp("glass"), public=True) as found:
        yield found


PAGES = ("/", "/node/lax-vultr-1", "/route", "/route?for=10.10.10.3", "/refused",
         "/refused?node=lax-vultr-1", "/service/web", "/way",
         "/way?from=lax-vultr-1&to=mia-vultr-1", "/orders", "/rpki", "/help")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_each_page_is_html_that_may_load_nothing_else(patient: One, path: str) -> None:
    got = get(patient.port, path)
    assert got.status == 200
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    policy = got.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; ")
    assert "script" not in policy and "unsafe" not in policy
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.0.7.1", "127.0.8.1"])
def test_it_listens_at_loopback_and_at_the_nodes_own_addresses(patient: One, address: str) -> None:
    assert get(patient.port, "/health", at=address).body == b"ok\n"


def test_head_is_answered_without_the_page(patient: One) -> None:
    got = get(patient.port, "/help", method="HEAD")
    assert (got.status, got.body) == (200, b"")
    assert int(got.headers["content-length"]) == len(get(patient.port, "/help").body)


def test_a_route_says_why_it_is_used_and_why_another_is_not(patient: One) -> None:
    answer = get(patient.port, "/api/v1/route?for=10.10.10.3&here=1").json()
    assert answer["asked"] == {"for": "10.10.10.3", "node": "all"}
    nodes = answer["nodes"]
    assert isinstance(nodes, dict) and set(nodes) == {LAX}
    used, other = nodes[LAX]["data"]["routes"]
    assert (used["used"], used["why"]) == (
        True, "the best: the others have a longer way: cost 57, not 38",
    )  # fmt: skip
    assert (other["used"], other["why"]) == (False, "a longer way: cost 57, not 38")
    assert (other["peer"], other["nodes"]) == (ORD, [ORD, MIA])
    assert (used["node"], used["interface"]) == (MIA, "wg-mia-vultr-1")


def test_a_look_up_says_that_its_address_is_blackholed(one: One) -> None:
    hole = Discarded(ip_address("10.10.10.3"), time.time() + 60)
    one.files.write(replace(snapshot_of(LAX, time.time()), blackholes=(hole,)))
    for target, said in (("10.10.10.3", True), ("10.10.10.3/32", True), ("10.10.10.0/24", False)):
        nodes = get(one.port, f"/api/v1/route?for={target}&here=1").json()["nodes"]
        assert isinstance(nodes, dict)
        assert any("blackholed" in note for note in nodes[LAX]["data"]["notes"]) is said


BAD: list[tuple[int, str, str]] = [
    (400, "route?for=", "for"),
    (400, "route?for=example.net", "for"),
    (400, "route?for=1.2.3.4%0aconfigure", "for"),
    (400, "route?for=1.2.3.4;configure", "for"),
    (400, "route?for=1.2.3.4%22", "for"),
    (400, "route?for=fe80::1%25eth0", "for"),
    (400, "route?for=::ffff:1.2.3.4", "for"),
    (400, "route?for=1.2.3.4/33", "for"),
    (400, "route?for=1.2.3.4/24", "for"),
    (400, "route?for=1.2.3.0/255.255.255.0", "for"),
    (400, "route?for=%D9%A1.2.3.4", "for"),
    (400, "route?for=" + "1" * 3900, "for"),
    (400, "route?for=" + "1" * 5000, "query"),
    (400, "route?for=1.2.3.4&for=1.2.3.5", "for"),
    (400, "route?for=%ff", "query"),
    (400, "route?for=1.2.3.4&table=master6", "table"),
    (400, "route?for=1.2.3.4&table=roas4", "table"),
    (400, "route?for=1.2.3.4&table=master4%0a", "table"),
    (400, "route?for=1.2.3.4&more=yes", "more"),
    (400, "route?for=1.2.3.4&filter=all", "filter"),
    (400, "route?table=master4", "for"),
    (400, "route?for=1.2.3.4&" + "&".join("a=1" for _ in range(20)), "query"),
    (404, "route?for=1.2.3.4&node=nope", "node"),
    (404, "route?for=1.2.3.4&node=<script>", "node"),
    (404, "refused?session=vultr9", "session"),
    (404, "refused?session=vultr4%22%20||%20true", "session"),
    (400, "refused?reason=99", "reason"),
    (400, "refused?reason=-1", "reason"),
    (404, "service/nope", "service"),
    (404, "node/nope", "node"),
    (404, "node/", "path"),
    (404, "nothing", "path"),
    (404, "way/", "path"),
    (404, "metrics", "path"),
    (400, "way?from=lax-vultr-1", "to"),
    (404, "way?from=lax-vultr-1&to=nope", "to"),
    (403, "node/mia-vultr-1?here=1", "node"),
]


@pytest.mark.parametrize(("status", "target", "key"), BAD, ids=lambda each: str(each)[:60])
def test_what_is_no_question_is_refused_with_its_key(
    patient: One, status: int, target: str, key: str
) -> None:
    before = len(patient.files.asked)
    got = get(patient.port, f"/api/v1/{target}")
    page = get(patient.port, f"/{target.removesuffix('?here=1')}")
    assert got.status == status
    error = got.json()["error"]
    assert isinstance(error, dict)
    assert error["key"] == key
    assert error["reason"] and error["cure"]
    assert str(error["value"]).isprintable() and len(str(error["value"])) <= 80
    assert patient.files.asked[before:] == []
    assert page.headers["content-type"].startswith(("text/html", "text/plain"))


MALFORMED: list[tuple[int, bytes]] = [
    (400, b"GET /\r\n\r\n"),
    (400, b"GET / HTTP/2\r\n\r\n"),
    (400, b"\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd"),
    (400, b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (405, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (405, b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 17000 + b"\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 80 + b"\r\n"),
]


@pytest.mark.parametrize(("status", "request_"), MALFORMED, ids=lambda each: str(each)[:50])
def test_what_is_no_request_is_refused(patient: One, status: int, request_: bytes) -> None:
    assert raw(patient.port, request_).status == status


@pytest.mark.parametrize(
    ("status", "host"),
    [
        (200, "localhost"), (200, "localhost:9999"), (200, "LOCALHOST:1"), (200, "[::1]:8080"),
        (200, "127.0.0.1"), (200, "127.0.7.1:80"), (200, "lax-vultr-1:8080"),
        (421, "evil.example"), (421, "127.0.0.1.evil.example:8080"), (421, "mia-vultr-1"),
        (421, "127.0.7.2"), (421, "[::2]"), (421, "localhost."), (400, ""), (400, "a b"),
        (400, "localhost:x"), (400, "[::1"), (400, "<script>"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_this_node_is_refused(patient: One, status: int, host: str) -> None:
    """DNS rebinding: a page that makes its own name lead to SSH's forward still has that name."""
    got = get(patient.port, "/help", host=host)
    assert got.status == status
    if status != 200:
        assert got.headers["content-type"].startswith("text/plain")
        assert b"lax" not in got.body


def test_who_is_not_of_the_mesh_gets_nothing(patient: One) -> None:
    """It is counted, too. The firewall lets nobody come so far."""
    # An address of this machine that is neither loopback nor the mesh's.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback's")
        own = probe.getsockname()[0]
    got = get(patient.port, "/", at="127.0.7.1", source=own)
    assert got.status == 403


def test_a_source_that_asks_too_often_waits(tmp_path: Path) -> None:
    with counted(tmp_path) as one:
        codes = [get(one.port, "/help").status for _ in range(int(BURST) + 10)]
        assert codes[: int(BURST)] == [200] * int(BURST)
        assert 429 in codes
        got = get(one.port, "/api/v1/nodes?here=1")
        assert got.status == 429 and got.headers["retry-after"] == "1"
        assert get(one.port, "/health").status == 200


def test_clients_that_say_nothing_block_nobody(one: One) -> None:
    silent = [socket.create_connection(("127.0.0.1", one.port), PATIENCE) for _ in range(150)]
    try:
        assert get(one.port, "/health").status == 200
    finally:
        for each in silent:
            each.close()


def test_a_node_without_a_snapshot_says_so(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / LAX, network(port), LAX, says()) as files:
        found = get(port, "/api/v1/nodes?here=1").json()["nodes"]
        assert isinstance(found, dict)
        assert not found[LAX]["ok"]
        assert found[LAX]["why"] == "the agent has written no snapshot yet"
        files.snapshot.write_text("{")
        found = get(port, "/api/v1/nodes?here=1").json()["nodes"]
        assert "none of this version" in found[LAX]["why"]  # type: ignore[index]
        files.write(snapshot_of(MIA, time.time()))
        found = get(port, "/api/v1/nodes?here=1").json()["nodes"]
        assert found[LAX]["why"] == f"the snapshot is of another node: {MIA}"  # type: ignore[index]


@pytest.mark.parametrize(("offset", "doubt"), [(-90, "s old"), (90, "s ahead"), (0, "")])
def test_a_snapshot_of_another_time_is_shown_with_its_age(
    one: One, offset: float, doubt: str
) -> None:
    one.files.write(snapshot_of(LAX, time.time() + offset))
    found = get(one.port, "/api/v1/nodes?here=1").json()["nodes"]
    assert isinstance(found, dict)
    assert found[LAX]["ok"]
    why = found[LAX]["why"]
    assert doubt in why and bool(doubt) == bool(why)
    # The answer comes some seconds after the file on a busy machine.
    assert all(60 <= int(seconds) <= 120 for seconds in re.findall(r"\d+", why))


def test_a_bird_that_is_away_hung_or_broken_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with running(tmp_path / LAX, network(port), LAX) as files:

        def why() -> str:
            nodes = get(port, "/api/v1/route?for=10.10.10.3&here=1").json()["nodes"]
            assert isinstance(nodes, dict) and not nodes[LAX]["ok"]
            return str(nodes[LAX]["why"])

        assert why() == "BIRD does not run, or has no socket for the looking glass"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(files.control))
            listener.listen(8)
            monkeypatch.setattr("mesh.glass.lookup.Budget", Budget)
            assert why() == "BIRD runs, and does not answer within 1.6 s"
        assert why() == "BIRD does not run"


@pytest.mark.parametrize(
    ("says_", "why"),
    [
        ("HTTP/1.1 200 OK\n", "in a way that this version does not know"),
        ("\x00\x01\x02\n", "in a way that this version does not know"),
        ("a" * 200_000, "in a way that this version does not know"),
        ("0000 \n", "names no table"),
    ],
    ids=["another program", "bytes", "no line", "no table"],
)
def test_a_bird_that_says_what_it_never_said_is_an_error(
    tmp_path: Path, says_: str, why: str
) -> None:
    port = free_port()
    with running(tmp_path / LAX, network(port), LAX, lambda _: says_):
        nodes = get(port, "/api/v1/route?for=10.10.10.3&here=1").json()["nodes"]
        assert isinstance(nodes, dict)
        assert why in nodes[LAX]["why"]


def test_a_bird_that_is_too_old_to_be_asked_is_named(tmp_path: Path) -> None:
    port = free_port()
    snapshot = replace(snapshot_of(LAX, time.time()), versions=Versions("2.0.12"))
    with running(tmp_path / LAX, network(port), LAX, None, snapshot):
        nodes = get(port, "/api/v1/route?for=10.10.10.3&here=1").json()["nodes"]
        assert isinstance(nodes, dict)
        assert nodes[LAX]["why"].startswith("BIRD 2.0.12 here has no read-only control socket")
        assert get(port, "/").status == 200


def test_an_endless_reply_is_cut_and_bird_is_left_alone(tmp_path: Path) -> None:
    head = "1007-10.0.0.0/8 unreachable [vultr4 1795993300] * (100) [AS1i]\n"
    endless = "".join([head.replace("10.0.0.0/8", f"10.{n % 256}.0.0/16") for n in range(9000)])
    port = free_port()
    answers = says({"show route table internet4 where": endless + "0000 \n"})
    with running(tmp_path / LAX, network(port), LAX, answers):
        nodes = get(port, "/api/v1/route?for=10.0.0.0/8&more=1&here=1").json()["nodes"]
    assert isinstance(nodes, dict)
    data = nodes[LAX]["data"]
    assert data["cut"].startswith("cut after ")
    assert 100 < len(data["routes"]) <= 500


def test_a_walk_that_bird_ends_is_asked_once_more(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(command: str) -> str:
        if " where net" in command:
            asked.append(command)
            return "8004 Stopped due to reconfiguration\n"
        return says()(command)

    port = free_port()
    with running(tmp_path / LAX, network(port), LAX, answer):
        nodes = get(port, "/api/v1/route?for=10.0.0.0/8&table=internet4&more=1&here=1").json()
    assert len(asked) == 4, "accepted routes, and refused ones"
    assert "reconfigured" in str(nodes)


def test_equal_walks_are_asked_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(command: str) -> str:
        if " filtered" in command:
            asked.append(command)
        return says()(command)

    port = free_port()
    with running(tmp_path / LAX, network(port), LAX, answer):
        for _ in range(3):
            assert get(port, "/api/v1/refused?here=1&node=lax-vultr-1").status == 200
    assert len(asked) == 3, "one for each table"


def test_metrics_are_for_the_mesh(patient: One) -> None:
    got = get(patient.port, "/metrics")
    assert (got.status, got.headers["content-type"]) == (
        200, "text/plain; version=0.0.4; charset=utf-8",
    )  # fmt: skip


def test_a_glass_that_does_not_know_its_network_says_why(tmp_path: Path) -> None:
    files = Files(tmp_path / LAX)
    files.put(network(8080), "nobody")
    with pytest.raises(Unreadable, match=r"agent\.json: KeyError: 'nobody'"):
        files.glass()
    (files.folder / "glass.json").write_text('{"asn": "x"}')
    with pytest.raises(Unreadable, match=r"asn: Input should be a valid integer"):
        files.glass()


def answers(port: int) -> bool:
    try:
        return get(port, "/health").status == 200
    except OSError:
        return False


@pytest.mark.parametrize(
    ("status", "target"),
    [
        (200, "/"), (200, "/help"), (200, "/rpki"), (200, "/orders"), (200, "/api/v1/nodes"),
        (200, "/api/v1/route?for=192.0.2.1"), (200, "/service/web"), (200, "/health"),
        (403, "/metrics"), (403, "/refused"), (403, "/way"), (403, "/node/mia-vultr-1"),
        (403, "/route?for=192.0.2.1&node=mia-vultr-1"), (403, "/route?for=192.0.2.0/24&more=1"),
    ],
)  # fmt: skip
def test_the_public_gets_a_part(public: One, status: int, target: str) -> None:
    """At the announced address, whatever the source: here it is loopback's."""
    at = str(announced(1))
    assert get(public.port, target, at=at, host="lg.example.net").status == status


def test_the_mesh_gets_all_of_a_public_glass(public: One) -> None:
    assert get(public.port, "/metrics", at=str(place(1))).status == 200


def test_the_public_asks_this_node_alone(public: One) -> None:
    nodes = get(public.port, "/api/v1/nodes", at=str(announced(1))).json()["nodes"]
    assert isinstance(nodes, dict) and set(nodes) == {LAX}


def test_the_public_is_told_of_no_table_inside(public: One) -> None:
    target = "/api/v1/route?for=10.10.10.3"
    nodes = get(public.port, target, at=str(announced(1))).json()["nodes"]
    assert isinstance(nodes, dict)
    assert nodes[LAX]["data"]["routes"] == []


def test_the_public_takes_no_connection_of_the_mesh(public: One) -> None:
    with ExitStack() as stack:
        inside = stack.enter_context(socket.create_connection(("127.0.0.1", public.port)))
        inside.settimeout(PATIENCE)
        inside.sendall(b"GET /health HTTP/1.1\r\n")
        many = AT_ONCE + STRANGERS + 1
        crowd = [
            stack.enter_context(socket.create_connection((str(announced(1)), public.port)))
            for _ in range(many)
        ]
        # The oldest is closed once a younger one needs its place.
        crowd[0].settimeout(PATIENCE)
        assert crowd[0].recv(1) == b""
        inside.sendall(b"Host: localhost\r\n\r\n")
        assert inside.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_member_in_whose_name_the_public_asks_keeps_its_own_turns(tmp_path: Path) -> None:
    """Who lives in a member's VPC comes with the member's address."""
    member, path = str(place(2)), "/api/v1/orders?here=1"
    with counted(tmp_path, public=True) as one:
        asked = [
            get(one.port, path, at=str(announced(1)), source=member).status
            for _ in range(int(BURST) * 2)
        ]
        assert 429 in asked
        assert get(one.port, path, at=str(place(1)), source=member).status == 200


def test_many_clients_at_once_are_answered(one: One) -> None:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", one.port), PATIENCE))
            for _ in range(50)
        ]
        for each in connections:
            each.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for each in connections:
            assert each.recv(4096).startswith(b"HTTP/1.1 200")
