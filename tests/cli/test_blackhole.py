# ruff: noqa: F811  the fixture of another file
"""``mesh blackhole`` and ``mesh region``: what is done, what is refused, and what is said."""

from __future__ import annotations

import json
import time
from datetime import datetime
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.exits import ExitCode
from mesh.plan.document import write_plan
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet
from mesh.publish.clocks import off
from mesh.trust import keys
from mesh.trust.documents import Blackhole, BlackholeOrder, Health, Hearsay
from mesh.trust.encoding import dump
from mesh.trust.orders import BLACKHOLE
from tests.cli.test_drain import (  # noqa: F401
    EWR,
    FLEET,
    LAX,
    MIA,
    ORD,
    deployed,
    mesh,
    ordered,
    registry,
)
from tests.cli.test_status import secret, state
from tests.kit.nodes import Nodes, speaking
from tests.kit.registry import Fleet, Live, holding, live
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

ADDRESS, SIX = "192.30.120.200", "2620:71:4000::bad"


def held(live: Live) -> tuple[Blackhole, ...]:
    standing = live.registry.standing(BLACKHOLE)
    return () if standing is None else standing.order.entries


def test_an_address_is_discarded_shown_and_let_through_again(registry: Live) -> None:
    began = int(time.time())
    with speaking(Nodes(FLEET, registry)):
        added = mesh("blackhole", "add", ADDRESS, "--for", "5m", "--reason", "a flood [of] it")
        before = held(registry)
        shown = json.loads(mesh("blackhole", "list", "--json").stdout)
        table = mesh("blackhole", "list").stdout
        removed = mesh("blackhole", "remove", f"{ADDRESS}/32")
    assert added.exit_code == removed.exit_code == 0, added.output + removed.output
    assert f"blackhole order 1: {ADDRESS} until 20" in added.stdout
    assert "warning" not in added.output
    for node in (LAX, ORD, MIA, EWR):
        assert f"{node}: discards it, after" in added.stdout
        assert f"{node}: lets it through, after" in removed.stdout
    assert [(str(one.address), one.reason, one.forced) for one in before] == [
        (ADDRESS, "a flood [of] it", False)
    ]
    assert began + 300 <= before[0].until <= time.time() + 300
    (entry,) = shown["blackholes"]
    assert datetime.fromisoformat(entry["until"]).timestamp() == before[0].until
    assert shown["obeyed"] == dict.fromkeys((EWR, LAX, MIA, ORD), True)
    assert ADDRESS in table
    assert "4 of 4" in table
    assert "a flood [of] it" in table
    assert held(registry) == ()
    assert mesh("blackhole", "list").stdout == "nothing is discarded\n"


def test_it_ends_after_half_an_hour_unless_said_otherwise(registry: Live) -> None:
    began = int(time.time())
    assert mesh("blackhole", "add", SIX, "--wait", "0").exit_code == 0
    assert began + 1800 <= held(registry)[0].until <= time.time() + 1800


def hearing(live: Live, node: str, *addresses: str, mate: str = LAX) -> None:
    """The node's word that it discards these on the word of a peer."""
    told = tuple(Hearsay(ip_address(address), mate) for address in addresses)
    health = Health(True, {}, {}, blackhole=1, hearsay=told)
    said = FLEET.report(node, FLEET.generation(5), time.time_ns() // 1000, health=health)
    with live.client(FLEET.node(node)) as client:
        assert client.ask("POST", "/api/v1/report", dump(said), signed=True).ok


@pytest.mark.parametrize(
    ("behind", "words", "refused"),
    {
        "hours behind": (9000, "add 192.30.120.9 --for 30m", "2 h behind the registries'"),
        "hours ahead": (-9000, "add 192.30.120.9 --for 1d", "2 h ahead of the registries'"),
        "ahead, and others' entries": (-3600, f"remove {ADDRESS}", "ahead of the registries'"),
        "behind, for a shorter time": (20, "add 192.30.120.9 --for 20s", "20 s behind"),
        "a little behind": (20, "add 192.30.120.9 --for 30m", ""),
    }.values(),
)
def test_with_a_wrong_clock_nothing_is_ordered_and_nothing_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: int, words: str, refused: str
) -> None:
    """The clock of the registry is so many seconds ahead of ours."""
    monkeypatch.setattr(
        "uvicorn.server.formatdate", lambda now, **how: formatdate(now + behind, **how)
    )
    entry = Blackhole(ip_address(ADDRESS), int(time.time()) + 1200, "by another operator")
    with holding(tmp_path, FLEET) as one:
        deployed(monkeypatch, one.url)
        with one.client() as client:
            order = BlackholeOrder(FLEET.network, 1, (entry,))
            body = dump(BLACKHOLE.signed(FLEET.key, order))
            assert client.ask("PUT", "/api/v1/blackhole", body).ok
        done = mesh("blackhole", *words.split(), "--wait", "0")
        entries = held(one)
        listed = mesh("blackhole", "list").stdout
    text = " ".join(done.stderr.split())
    assert entry in entries, "what another operator has ordered stays"
    if refused:
        assert done.exit_code == ExitCode.UNUSABLE
        assert refused in text and "timedatectl" in text and len(entries) == 1
    else:
        assert done.exit_code == 0 and len(entries) == 2
    assert ("warning: this machine's clock is" in listed) == (abs(behind) > 30)


def test_a_registry_that_states_a_wrong_time_refuses_no_order_beside_one_that_agrees() -> None:
    assert off({"https://a": -3600.0, "https://b": 0.4}) == 0.4
    assert off({"https://a": -3600.0, "https://b": 1800.0}) == 1800.0
    assert off({}) == 0


def test_a_node_that_refuses_the_order_is_said_at_once_and_in_the_list(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, refusing={MIA})):
        added = mesh("blackhole", "add", ADDRESS)
        listed = json.loads(mesh("blackhole", "list", "--json").stdout)
        table = mesh("blackhole", "list").stdout
    assert added.exit_code == ExitCode.NODE_REFUSES
    line = f"{MIA} refuses blackhole order 1: of the network N, and this node is of M"
    assert line in added.stdout and line in table
    assert "no report" not in added.stdout + table
    assert listed["refused"] == {MIA: "of the network N, and this node is of M"}
    assert listed["obeyed"][MIA] is False


def test_what_is_discarded_and_nobody_has_ordered_is_shown_with_from_whom(registry: Live) -> None:
    assert mesh("blackhole", "add", SIX, "--wait", "0").exit_code == 0
    for node in (MIA, ORD):
        hearing(registry, node, ADDRESS, "192.30.120.7", SIX)
    shown = json.loads(mesh("blackhole", "list", "--json").stdout)
    assert [entry["address"] for entry in shown["blackholes"]] == [SIX]
    assert shown["heard"] == [
        {"addresses": ["192.30.120.7", ADDRESS], "nodes": [MIA, ORD], "from": [LAX]}
    ]
    text = mesh("blackhole", "list").stdout
    assert f"received, not ordered: 192.30.120.7, {ADDRESS}: discarded at {MIA} and {ORD}" in text
    assert f"as announced by {LAX}" in text and "mesh replace" in text
    assert f"seconds, {LAX} is broken or compromised" in text


def test_one_nodes_word_of_what_it_has_heard_names_both(registry: Live) -> None:
    hearing(registry, MIA, ADDRESS)
    text = mesh("blackhole", "list").stdout
    assert f"seconds, {LAX} or {MIA} is broken or compromised" in text
    assert text.endswith("nothing is ordered to be discarded\n")
    removed = mesh("blackhole", "remove", ADDRESS)
    assert removed.exit_code == ExitCode.FAILED
    assert f"{ADDRESS}: is not ordered to be discarded" in removed.stdout
    assert f"as announced by {LAX}. No order ends it" in removed.stdout


def test_a_node_that_does_not_hear_is_named(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, deaf={MIA})):
        done = mesh("blackhole", "add", ADDRESS, "--wait", "1")
        until(lambda: "3 of 4" in mesh("blackhole", "list").stdout, 5, "the others have reported")
        shown = mesh("blackhole", "list").stdout
    assert done.exit_code == ExitCode.FAILED
    (line,) = [each for each in done.stdout.splitlines() if "no report within 1 s" in each]
    assert MIA in line and "the order stays active" in line
    assert "3 of 4" in shown
    assert f"no report yet: {MIA}" in shown


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ((ADDRESS + "/24",), 2, "is a prefix, and orders are for single addresses"),
        (("somewhere",), 2, "address = somewhere: is no IP address"),
        (("2620:71:4000::bad%eth0",), 2, "is no IP address"),
        (("198.51.100.7",), 2, "is not an address of this network"),
        (("10.10.10.1", "--force"), 2, "in the tunnels' prefix"),
        (("192.30.120.100",), 3, "is the address of the service web"),
        ((ADDRESS, "--for", "9d"), 2, "--for = 9d: is not between 10s and 7d"),
        ((ADDRESS, "--for", "1s"), 2, "--for = 1s: is not between"),
        ((ADDRESS, "--for", "soon"), 2, "--for = soon: is not between"),
        ((ADDRESS, "--reason", "x" * 201), 2, "is longer than 200 characters"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_signed(
    registry: Live,
    words: tuple[str, ...],
    code: int,
    why: str,
) -> None:
    done = mesh("blackhole", "add", *words)
    assert (done.exit_code, why in done.output) == (code, True), done.output
    assert held(registry) == ()


def test_a_services_address_is_discarded_by_force_and_a_nodes_with_a_warning(
    registry: Live,
) -> None:
    done = mesh("blackhole", "add", "192.30.120.100", "--force", "--wait", "0")
    assert done.exit_code == 0
    assert "warning: 192.30.120.100: takes the service web down over IPv4" in done.stdout
    own = str(FLEET.plan.node(MIA).announced.ipv4)
    done = mesh("blackhole", "add", own, "--wait", "0")
    assert done.exit_code == 0
    assert f"warning: {own}: is the address of {MIA}" in done.stdout
    assert [(str(one.address), one.forced) for one in held(registry)] == [
        (own, False),
        ("192.30.120.100", True),
    ]


def test_what_is_not_discarded_needs_no_order(registry: Live) -> None:
    done = mesh("blackhole", "remove", ADDRESS)
    assert (done.exit_code, done.stdout) == (0, f"{ADDRESS}: is not discarded\n")
    assert registry.registry.standing(BLACKHOLE) is None


@pytest.mark.parametrize("words", [("add", ADDRESS), ("remove", ADDRESS), ("list",)])
def test_without_a_registry_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    deployed(monkeypatch, "https://127.0.0.1:1")
    done = mesh("blackhole", *words)
    assert done.exit_code == 2
    assert "no registry answers" in done.output


# --- regions -------------------------------------------------------------------------------------


def test_a_region_is_withdrawn_by_one_order_and_announced_again(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry)):
        gone = mesh("region", "withdraw", "mia")
        assert ordered(registry) == (1, (MIA,))
        back = mesh("region", "announce", "mia")
    assert (gone.exit_code, back.exit_code) == (0, 0)
    assert f"{MIA}: has withdrawn, after" in gone.stdout
    assert f"{MIA}: is back, after" in back.stdout
    assert ordered(registry) == (2, ())


def test_the_last_region_that_announces_is_withdrawn_only_by_force(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, dark={EWR, ORD})):
        assert mesh("region", "withdraw", "mia").exit_code == 0
        refused = mesh("region", "withdraw", "lax")
        assert refused.exit_code == ExitCode.REFUSED
        assert f"{LAX}: is the last node that announces" in refused.output
        assert ordered(registry) == (1, (MIA,))
        assert mesh("region", "withdraw", "lax", "--force").exit_code == 0
    assert ordered(registry) == (2, (LAX, MIA))


@pytest.mark.parametrize("verb", ["withdraw", "announce"])
def test_a_region_that_is_none_is_refused_with_those_that_are(registry: Live, verb: str) -> None:
    done: Any = mesh("region", verb, "tyo")
    assert done.exit_code == 2
    assert "tyo: is no region of the stack lab" in done.output
    assert "ewr, lax, mia, ord" in done.output


def test_a_region_of_two_edges_is_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the floor is asked for both together."""
    values = prod()
    values["nodes"]["lax-vultr-2"] = {"number": 9}
    fleet = Fleet(plan_of(values))
    with live(tmp_path, keys.signing_public(fleet.key), b"a bundle") as one:
        with one.client(fleet.operator) as client:
            body = dump(fleet.generation(5).generation)
            assert client.ask("PUT", "/api/v1/generation/packed", body, signed=True).ok
        document = state(
            operator_key=secret(fleet.key),
            registries={LAX: one.url},
            plan=write_plan(fleet.plan),
            fleet=dump_fleet(State(5, "0" * 64, fleet.members())),
        )
        monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: document)
        with speaking(Nodes(fleet, one)) as nodes:
            assert mesh("region", "withdraw", "lax").exit_code == 0
            assert ordered(one) == (1, (LAX, "lax-vultr-2"))
            assert mesh("region", "announce", "lax").exit_code == 0
            nodes.dark |= {MIA, ORD, EWR}
            nodes.speak()
            refused = mesh("region", "withdraw", "lax")
        assert refused.exit_code == ExitCode.REFUSED
        assert f"{LAX}, lax-vultr-2: are the last nodes that announce" in refused.output
        assert ordered(one) == (2, ())
