"""What a node makes of a blackhole order before it tells BIRD and the firewall."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.blackholes import BlackholeFiles, Blackholes, in_force
from mesh.agent.config import Config, NodeService
from mesh.agent.host import Host, Result
from mesh.agent.iproute import TABLE, IpRoute, counted
from mesh.agent.state import HighestManifest, Rejected, State, verified, verified_order
from mesh.agent.withdrawal import failures, steps
from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.render import node_files, placeholder_facts
from mesh.services.service import Ports
from mesh.trust import keys
from mesh.trust.documents import Blackhole, BlackholeOrder
from mesh.trust.encoding import parse
from mesh.trust.orders import BLACKHOLE, DRAIN
from tests.kit.registry import shared_fleet
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import patience

NETWORK, NOW = "as27218-prod", 1_800_000_000
ONE, SIX, WEB = "192.30.120.200", "2620:71:4000::bad", "192.30.120.100"


def config() -> Config:
    plan = plan_of(prod())
    files = node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files
    return parse(Config, next(f.content for f in files if f.path.endswith("agent.json")))


def entry(address: str, seconds: int = 60, forced: bool = False) -> Blackhole:
    return Blackhole(ip_address(address), NOW + seconds, "", forced)


@pytest.mark.parametrize(
    ("given", "obeyed"),
    [
        (entry(ONE), True),
        (entry(SIX), True),
        (entry(ONE, 0), False),
        (entry(ONE, -5), False),
        (entry("198.51.100.7"), False),
        (entry("10.10.10.1"), False),
        (entry("fd00:10:10::1"), False),
        (entry(WEB), False),
        (entry(WEB, forced=True), True),
        (entry("198.51.100.7", forced=True), False),
        (entry("10.10.10.1", forced=True), False),
    ],
)
def test_an_entry_is_obeyed_until_it_ends_for_what_is_ours_and_no_service(
    given: Blackhole, obeyed: bool
) -> None:
    """Whatever was signed: a plan may have changed since."""
    order = BlackholeOrder(NETWORK, 1, (given,))
    assert bool(in_force(config(), order, float(NOW))) is obeyed


def test_bird_reads_routes_and_what_is_forced() -> None:
    files = dict(
        BlackholeFiles.of([entry(WEB, forced=True), entry(SIX), entry("192.30.120.7")]).files
    )
    folder = "/run/anycast-mesh/bird"
    assert files == {
        f"{folder}/orders4.conf": b"route 192.30.120.7/32 blackhole;\n"
        b"route 192.30.120.100/32 blackhole;\n",
        f"{folder}/forced4.conf": b"route 192.30.120.100/32 max 32 as 0;\n",
        f"{folder}/orders6.conf": b"route 2620:71:4000::bad/128 blackhole;\n",
        f"{folder}/forced6.conf": b"",
    }


def test_a_node_without_an_agent_says_nothing_more_of_it(tmp_path: Path) -> None:
    """Nobody is left to see when an order ends."""
    host = Host(tmp_path, ("true",))
    BlackholeFiles.of([entry(ONE), entry(WEB, forced=True)]).write(host)
    failures(steps(host, Bird(tmp_path / "nobody"), IpRoute(host)))
    assert BlackholeFiles.of(()).are_written(host)


def test_until_the_plan_is_known_nothing_that_is_in_force_is_touched(tmp_path: Path) -> None:
    """An agent that has just started, beside a BIRD that goes on."""
    host = Host(tmp_path)
    BlackholeFiles.of([entry(ONE)]).write(host)
    blackholes = Blackholes(host, Bird(tmp_path / "nobody"), IpRoute(host), lambda: None)
    blackholes.obey(BlackholeOrder(NETWORK, 2, ()))
    blackholes.look()
    assert BlackholeFiles.of([entry(ONE)]).are_written(host)
    assert blackholes.obeyed == 0


def test_an_order_is_not_obeyed_before_bird_and_the_firewall_know(tmp_path: Path) -> None:
    host = Host(tmp_path)
    blackholes = Blackholes(host, Bird(tmp_path / "nobody"), IpRoute(host), lambda: None)
    blackholes.watch(config())
    blackholes.obey(BlackholeOrder(NETWORK, 2, (replace(entry(ONE), until=int(time.time()) + 60),)))
    blackholes.look()
    assert blackholes.obeyed == 0


# --- the firewall --------------------------------------------------------------------------------


@pytest.fixture
def firewall(tmp_path: Path) -> Iterator[Host]:
    """A node's firewall with the rendered sets, in a network of its own."""
    space = f"discard-{os.getpid()}"
    namespaces.create([space])
    try:
        host = Host(tmp_path, ("ip", "netns", "exec", space))
        plan = plan_of(prod())
        files = node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files
        rules = next(f.content for f in files if f.path == "/etc/nftables.conf")
        sets = re.findall(r"set addresses[46] \{[^}]*\}", rules)
        assert len(sets) == 2
        host.must("nft", "-f", "-", given="\n".join([f"table {TABLE} {{", *sets, "}"]))
        yield host
    finally:
        namespaces.delete([space])


def discarded(host: Host) -> dict[str, int | None]:
    """What the firewall's sets hold: the seconds that are left, None where it is for ever."""
    found: dict[str, int | None] = {}
    for entry_ in json.loads(host.must("nft", "-j", "list", "table", *TABLE.split()))["nftables"]:
        for element in entry_.get("set", {}).get("elem", []):
            if isinstance(element, str):
                found[element] = None
            else:
                found[element["elem"]["val"]] = element["elem"]["expires"]
    return found


def ordered(host: Host, *entries: Blackhole) -> Blackholes:
    blackholes = Blackholes(host, Bird(host.root / "nobody"), IpRoute(host), lambda: None)
    blackholes.watch(config())
    blackholes.obey(BlackholeOrder(NETWORK, 2, entries))
    return blackholes


@pytest.mark.root
def test_what_an_administrator_put_in_by_hand_keeps_no_order_from_being_obeyed(
    firewall: Host,
) -> None:
    """`nft add element` without a time: the listing has another form then."""
    for address in (ONE, "192.30.120.201"):
        firewall.must("nft", "add", "element", *TABLE.split(), "addresses4", "{", address, "}")
    now = int(time.time())
    ordered(firewall, *(replace(entry(a), until=now + 600) for a in (ONE, SIX))).look()
    found = discarded(firewall)
    assert found.keys() == {ONE, SIX}
    assert all(seconds is not None and seconds <= 600 for seconds in found.values())


@pytest.mark.root
def test_an_order_that_ends_in_years_by_a_wrong_clock_holds_up_no_other(firewall: Host) -> None:
    now = int(time.time())
    far = replace(entry(ONE), until=now + 10**9)
    ordered(firewall, far, replace(entry(SIX), until=now + 60)).look()
    found = discarded(firewall)
    assert found.keys() == {ONE, SIX}
    assert 6 * 86400 < (found[ONE] or 0) <= 7 * 86400


@pytest.mark.root
def test_what_is_discarded_is_said_with_its_entry_and_its_packets(firewall: Host) -> None:
    rule = "ip daddr @addresses4 counter packets 7 bytes 588 drop"
    chain = f"chain discard {{\ntype filter hook prerouting priority raw - 10\n{rule}\n}}"
    firewall.must("nft", "-f", "-", given=f"table {TABLE} {{\n{chain}\n}}\n")
    mine = replace(entry(ONE), until=int(time.time()) + 600, reason="an attack")
    blackholes = ordered(firewall, mine)
    assert (blackholes.active, blackholes.discarded_packets) == ((), 0)
    blackholes.look()
    assert blackholes.active == ((mine.address, mine),)
    assert blackholes.discarded_packets == 7


@pytest.mark.parametrize(
    ("rules", "packets"),
    [
        ([{"rule": {"expr": [{"counter": {"packets": 3}}, {"drop": None}]}}] * 2, 6),
        ([{"rule": {"expr": [{"counter": "a name"}]}}, {"rule": {"expr": ["x"]}}], 0),
        ([{"rule": {}}, {"set": {"elem": []}}], 0),
    ],
)
def test_packets_are_those_of_the_rules_own_counters(
    rules: list[dict[str, Any]], packets: int
) -> None:
    assert counted(rules) == packets


@pytest.mark.root
def test_whatever_goes_wrong_the_next_order_is_obeyed(
    firewall: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that lists what nobody expects, for some looks; each time in other files."""
    odd_ones = [json.dumps({"nftables": [{"set": {"elem": [f"odd-{n}"]}}]}) for n in range(20)]
    answers = iter(['{"nftables": [5]}', *odd_ones])
    real = Host.run

    def odd(self: Host, *command: str, **options: Any) -> Result:
        answer = next(answers, None) if threading.current_thread() is thread else None
        return real(self, *command, **options) if answer is None else Result(0, answer, "")

    monkeypatch.setattr(Host, "run", odd)
    stop = threading.Event()
    blackholes = ordered(firewall, replace(entry(ONE), until=int(time.time()) + 600))
    thread = threading.Thread(target=blackholes.run, args=(stop,), daemon=True)
    thread.start()
    try:
        end = time.monotonic() + patience(20)
        while ONE not in discarded(firewall):
            assert thread.is_alive() and time.monotonic() < end
            blackholes.watch(config())  # wakes it
            time.sleep(0.05)
    finally:
        stop.set()
    assert next(answers, None) is None
    assert len([r for r in caplog.records if "blackholes" in r.getMessage()]) < 5
    assert "AttributeError" in caplog.text


# --- memory --------------------------------------------------------------------------------------

FLEET = shared_fleet()
OPERATOR = keys.signing_public(FLEET.key)


def known() -> HighestManifest:
    return verified(OPERATOR, FLEET.generation(1).generation.manifest)


def test_an_order_outlives_a_reboot_and_a_lower_one_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    state = State(host, OPERATOR, lambda _: True)
    state.accept(known())
    order = BlackholeOrder(NETWORK, 4, (entry(ONE),))
    assert state.accept_order(
        verified_order(OPERATOR, BLACKHOLE, BLACKHOLE.signed(FLEET.key, order))
    )
    again = State(host, OPERATOR, lambda _: True)
    assert again.obeyed_order(BLACKHOLE) == order
    assert again.obeyed_order(DRAIN) is None
    for number in (3, 4):
        low = BLACKHOLE.signed(FLEET.key, BlackholeOrder(NETWORK, number, ()))
        with pytest.raises(Rejected, match="not above blackhole order 4"):
            again.accept_order(verified_order(OPERATOR, BLACKHOLE, low))


def test_one_kind_of_order_is_never_another() -> None:
    order = BLACKHOLE.signed(FLEET.key, BlackholeOrder(NETWORK, 1, ()))
    with pytest.raises(Rejected, match="drain order: not signed by our operator"):
        verified_order(OPERATOR, DRAIN, order)


def test_whose_services_are_meant_is_the_configurations_to_say() -> None:
    web = NodeService(
        name="web", addresses=(IPv4Address(ONE),), ports=Ports((80,)), checks=(), local=False
    )
    mine = replace(config(), services=(web,), aggregates=(ip_network("192.30.120.0/23"),))
    order = BlackholeOrder(NETWORK, 1, (entry(ONE), entry(SIX), entry(WEB)))
    assert [str(e.address) for e in in_force(mine, order, float(NOW))] == [WEB]
