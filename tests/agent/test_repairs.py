"""How often something is put right, how a hold ends, and what of the live state is compared."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from mesh.agent import file_paths, holds
from mesh.agent.daemons import ChangedNode, FileChange, oneshots, systemd
from mesh.agent.daemons.nftables import _why, compared, fills
from mesh.agent.daemons.sysctl import settings
from mesh.agent.daemons.wireguard import parsed_dump
from mesh.agent.holds import Holds
from mesh.agent.host import CommandFailed, Host
from mesh.agent.repairs import OFTEN, STOPPED, WINDOW, Repairs
from mesh.agent.units import Systemd, Units
from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.registry.routes.news import News
from mesh.render.templates import rendered
from mesh.trust.documents import MAX_HOLD, MAX_REPAIRS, Health, Hold, HoldOrder
from mesh.trust.encoding import dump, parse
from tests.kit.bird_control import control


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def put_right(repairs: Repairs, what: str = "x", *, always: bool = False) -> bool:
    if not repairs.allows(what, "why", always=always):
        return False
    repairs.record(what, "why")
    return True


# --- how often -----------------------------------------------------------------------------------


def test_what_is_changed_again_and_again_is_left_alone_for_an_hour() -> None:
    clock = Clock()
    repairs = Repairs(clock=clock)
    assert [put_right(repairs) for _ in range(OFTEN + 2)] == [True] * OFTEN + [False] * 2
    (one,) = repairs.reported.objects
    assert (one.times, one.stopped, repairs.reported.count) == (OFTEN, True, OFTEN)
    clock.now += STOPPED - 1
    assert not put_right(repairs) and repairs.reported.objects[0].stopped
    repairs.right("x")
    assert not len(repairs.reported.objects), "whoever has put it right"
    assert not put_right(repairs) and repairs.reported.objects[0].stopped
    clock.now += 2
    assert put_right(repairs) and not repairs.reported.objects[0].stopped


def test_what_is_changed_now_and_then_is_put_right_each_time() -> None:
    clock = Clock()
    repairs = Repairs(clock=clock)
    for _ in range(20):
        assert put_right(repairs)
        clock.now += WINDOW / (OFTEN - 1)
    clock.now += WINDOW
    assert repairs.reported.objects == () and repairs.reported.count == 20


def test_the_firewall_is_never_left_alone() -> None:
    repairs = Repairs()
    assert all(put_right(repairs, always=True) for _ in range(50))
    (one,) = repairs.reported.objects
    assert (one.times, one.stopped) == (50, False)


def test_a_new_generation_begins_anew() -> None:
    repairs = Repairs()
    assert [put_right(repairs) for _ in range(OFTEN + 1)][-1] is False
    repairs.forgive()
    assert put_right(repairs)


def test_a_held_node_puts_nothing_right_and_what_fails_is_not_counted_as_done() -> None:
    held = True
    repairs = Repairs(held=lambda: held)
    assert not repairs.allows("x", "why", always=True)
    held = False
    repairs.record("x", "is missing", failure="no such device")
    (one,) = repairs.reported.objects
    assert (repairs.reported.count, one.times, one.why) == (0, 0, "is missing; no such device")


def test_what_could_not_be_put_right_begins_anew_once_it_is_right() -> None:
    repairs = Repairs()
    for _ in range(OFTEN):
        assert repairs.allows("x", "why")
        repairs.record("x", "does not run", failure="killed")
    assert not repairs.allows("x", "why") and repairs.reported.objects[0].stopped
    repairs.right("x")
    assert repairs.reported.objects == ()
    assert put_right(repairs)


def test_a_report_holds_what_is_left_alone_first_and_stays_small() -> None:
    repairs = Repairs()
    for _ in range(OFTEN + 1):
        put_right(repairs, "fought")
    for number in range(100):
        put_right(repairs, f"file /etc/{number}/" + "x" * 200)
    found = repairs.reported
    assert len(found.objects) == MAX_REPAIRS and found.objects[0].what == "fought"
    assert parse(type(found), dump(found)) == found


# --- holds ---------------------------------------------------------------------------------------


def test_a_hold_is_by_command_or_by_order_ends_by_itself_and_never_lasts_long(
    tmp_path: Path,
) -> None:
    host, clock, running = Host(tmp_path), Clock(), Clock()
    order: list[HoldOrder | None] = [None]
    one = Holds(host, "a", lambda: order[0], clock, running)
    assert one.until == 0 and not one.active
    order[0] = HoldOrder("n", 3, (Hold("b", 9000), Hold("a", 1600)))
    assert one.until == 1600
    clock.now = 1600.0
    assert one.until == 0, "it has ended"
    order[0] = HoldOrder("n", 4, (Hold("a", 10**9),))
    assert one.until == 1600 + MAX_HOLD, "by a clock that is wrong"
    # The clock has been put right: it shows a time of long ago now.
    clock.now = 5.0
    assert one.until == 5 + MAX_HOLD
    running.now += MAX_HOLD
    assert one.until == 0


def test_a_command_on_the_node_ends_every_hold(tmp_path: Path) -> None:
    host = Host(tmp_path)
    one = Holds(host, "a", lambda: None)
    assert holds.hold(host, "30m") == one.until > 0
    holds.unhold(host)
    assert one.until == 0
    order = HoldOrder("n", 7, (Hold("a", 2**40),))
    envelope = json.dumps({"payload": dump(order).decode(), "signature": ""})
    host.write(holds.ORDER, envelope.encode(), 0o600)
    ordered = Holds(host, "a", lambda: order)
    assert ordered.active
    holds.unhold(host)
    assert not ordered.active
    order = replace(order, number=8)
    assert ordered.active, "a later order counts again"


@pytest.mark.parametrize("text", ["", "0s", "5h", "241m", "1d", "-1s", "30", "1e9s", "m"])
def test_what_is_no_time_of_a_hold_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(holds.InvalidDuration):
        holds.hold(Host(tmp_path), text)
    assert not (tmp_path / file_paths.STATE.lstrip("/")).exists()


# --- neighboring versions -----------------------------------------------------------------------


def test_versions_before_holds_and_repairs_are_understood() -> None:
    before = Health(in_service=True, services={}, sessions={})
    document = json.loads(dump(before))
    for key in ("repairs", "hold", "held"):
        del document[key]
    assert parse(Health, json.dumps(document)) == before
    # And a registry passes over what a later agent asks for.
    news = TypeAdapter(News).validate_strings({"after": "3", "what-comes-later": "7"})
    assert (news.after, news.hold) == (3, None)


# --- BIRD ----------------------------------------------------------------------------------------


def bird_says(now: float, started: float, read: float) -> dict[str, str]:
    words = ("Current server time is", "Last reboot on", "Last reconfiguration on")
    lines = [
        f"1011-{text} {datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S.%f}\n"
        for text, when in zip(words, (now, started, read), strict=True)
    ]
    return {
        "show status": "".join([*lines, "0013 Daemon is up and running\n"]),
        "configure": "0003 Reconfigured\n",
    }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The agent's clock for BIRD's times."""
    made = Clock()
    monkeypatch.setattr("mesh.bird.client.time", SimpleNamespace(monotonic=made))
    return made


@pytest.mark.usefixtures("clock")
def test_a_configuration_that_bird_has_read_for_others_is_found_whatever_the_clock_does(
    tmp_path: Path,
) -> None:
    answers = bird_says(1000.0, 100.0, 990.0)
    with control(tmp_path, answers) as bird:
        assert bird.read_by_others() == "", "before anybody of ours has looked"
        bird.configure()
        answers |= bird_says(2000.123, 100.0, 2000.0)
        assert bird.read_by_others() == "", "it was read for us"
        answers |= bird_says(900000.0, 800000.0, 899940.0)
        assert bird.read_by_others() == "", "the clock was set, and nothing else"
        answers |= bird_says(900000.0, 800000.0, 900060.0)
        assert bird.read_by_others().startswith("1970-01-11")
        answers |= bird_says(900000.0, 900059.9, 900060.0)
        assert bird.read_by_others() == "", "it was started anew, and has read what is in its place"


def test_what_bird_has_read_for_us_is_not_another_s_when_its_answer_comes_late(
    tmp_path: Path, clock: Clock
) -> None:
    """It answers in time, and the agent has no processor for two seconds."""

    def late(command: str) -> str:
        if command == "show status":
            clock.now += 2
        return bird_says(1000.0, 100.0, 990.0)[command]

    with control(tmp_path, late) as bird:
        bird.configure()
        clock.now += 10
        assert bird.read_by_others() == ""


# --- what is compared ----------------------------------------------------------------------------


def test_handles_counts_and_elements_that_come_and_go_make_no_difference() -> None:
    def table(handle: int, packets: int, elements: list[Any], still: list[Any]) -> list[Any]:
        of = {"family": "inet", "table": "mesh", "handle": handle}
        match = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}}}
        return [
            {"set": of | {"name": "seen", "flags": ["dynamic", "timeout"], "elem": elements}},
            {"set": of | {"name": "admin4", "flags": ["interval"], "elem": still}},
            {"rule": of | {"chain": "input", "expr": [match, {"counter": {"packets": packets}}]}},
            {"rule": of | {"chain": "input", "expr": [{"accept": None}]}},
        ]

    one = compared(table(1, 0, [], ["10.0.0.1", "10.0.0.2"]))
    assert one == compared(table(9, 77, ["192.0.2.1"], ["10.0.0.2", "10.0.0.1"]))
    assert one != compared(table(1, 0, [], ["10.0.0.1"]))
    rules = table(1, 0, [], ["10.0.0.1", "10.0.0.2"])
    assert one != compared([*rules[:2], *reversed(rules[2:])]), "rules have an order"


def test_a_setting_is_found_whichever_way_its_name_is_written() -> None:
    text = """
    # words
    net.ipv4.ip_forward = 1
    net/ipv6/conf/eth0.100/accept_ra = 2
    net.ipv4.conf.eth0/100.rp_filter=2
    -net.ipv4.conf.wg-*.rp_filter = 0
    """
    assert list(settings(text)) == [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/eth0.100/accept_ra", "2"),
        ("net/ipv4/conf/eth0.100/rp_filter", "2"),
        ("net/ipv4/conf/wg-*/rp_filter", "0"),
    ]


def test_wireguards_own_list_is_read() -> None:
    text = (
        "wg-a\tPRIV\tPUB\t51820\toff\n"
        "wg-a\tPEER\t(none)\t192.0.2.1:51821\t0.0.0.0/0,::/0\t1700000000\t1\t2\toff\n"
        "wg-b\tPRIV\tPUB\t51821\toff\n"
    )
    found = parsed_dump(text)
    assert found["wg-a"].port == "51820" and "PRIV" not in repr(found)
    assert found["wg-a"].peers == {"PEER": (frozenset(("0.0.0.0/0", "::/0")), "off")}
    assert found["wg-b"].peers == {}


def test_a_unit_that_hangs_in_its_start_does_not_hold_up_the_node(tmp_path: Path) -> None:
    """Its start goes on in systemd."""
    manager = tmp_path / "systemctl"
    manager.write_text('#!/bin/sh\n[ "$2" = start ] && exec sleep 600\n[ "$2" != is-active ]\n')
    manager.chmod(0o755)
    began = time.monotonic()
    with pytest.raises(CommandFailed):
        Systemd(Host(tmp_path, (str(manager),))).start(["slow.service"], seconds=0.2)
    assert time.monotonic() - began < 300


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"rules-{os.getpid()}"
    namespaces.create([name])
    yield name
    namespaces.delete([name])


@pytest.mark.root
def test_a_members_rules_come_back_and_those_of_others_stay(namespace: str, tmp_path: Path) -> None:
    host = Host(tmp_path, ("ip", "netns", "exec", namespace))
    path = f"/etc/systemd/system/{oneshots.REPLIES}"
    rules = (
        "-4 rule add priority 1000 from 192.30.120.0/23 lookup main suppress_prefixlength 0",
        "-4 rule add priority 1001 from 192.30.120.0/23 lookup 27218",
        "-4 rule add priority 1002 from 192.30.120.0/23 unreachable",
        "-6 rule add priority 1000 from 2620:71:4000::/48 lookup 27218",
    )
    unit = "[Service]\n" + "".join(f"ExecStart=/usr/sbin/ip {rule}\n" for rule in rules)
    host.write(path, unit.encode(), 0o644)
    running = frozenset((oneshots.REPLIES,))
    units = (oneshots.REPLIES,)
    node = ChangedNode(host, Systemd(host), cast(Bird, None), units, running)

    def listed() -> list[str]:
        return [host.must("ip", family, "rule") for family in ("-4", "-6")]

    assert len(list(oneshots.differences(node, [path]))) == len(rules), "none is there yet"
    for one in oneshots.differences(node, [path]):
        one.mend()
    assert not list(oneshots.differences(node, [path]))
    host.must("ip", "rule", "add", "priority", "1001", "from", "198.51.100.0/24", "lookup", "7")
    before = [sorted(text.splitlines()) for text in listed()]
    host.must(*f"ip -4 rule del priority 1001 from {'192.30.120.0/23'} lookup 27218".split())
    host.must("ip", "-6", "rule", "del", "priority", "1000")
    found = list(oneshots.differences(node, [path]))
    assert [one.what for one in found] == ["IPv4 rule 1001", "IPv6 rule 1000"]
    for one in found:
        one.mend()
    assert [sorted(text.splitlines()) for text in listed()] == before


# --- the addresses of services -------------------------------------------------------------------


def services_unit(**answers: tuple[str, ...]) -> bytes:
    """The unit of a node that may serve these addresses, by family."""
    found = {4: answers.get("ipv4", ()), 6: answers.get("ipv6", ())}
    return rendered(
        "debian/systemd/services.service.j2", answers=found, services_table=4242
    ).encode()


BOTH = services_unit(ipv4=("192.30.120.100", "192.30.120.53"), ipv6=("2620:71:4000::100",))
RIGHT = ["4242", "local"]


def serving(namespace: str, tmp_path: Path, unit: bytes = BOTH) -> ChangedNode:
    """A node in a namespace whose unit of services has run."""
    host = Host(tmp_path, ("ip", "netns", "exec", namespace))
    host.write(f"/etc/systemd/system/{oneshots.SERVICES}", unit, 0o644)
    for line in oneshots.started(unit):
        host.run(*line)
    running = frozenset((oneshots.SERVICES,))
    return ChangedNode(host, Systemd(host), cast(Bird, None), tuple(running), running)


def tables(node: ChangedNode, family: str = "-4") -> list[str]:
    """The tables that packets are looked up in first."""
    rules = json.loads(node.host.must("ip", "-json", family, "rule"))
    return [rule["table"] for rule in rules if rule["priority"] == 0]


def on_lo(node: ChangedNode) -> set[str]:
    (link,) = json.loads(node.host.must("ip", "-json", "address", "show", "dev", "lo"))
    return {each["local"] for each in link["addr_info"]} - {"127.0.0.1", "::1"}


def differing(node: ChangedNode) -> dict[str, Any]:
    path = f"/etc/systemd/system/{oneshots.SERVICES}"
    return {one.what: one for one in oneshots.differences(node, [path])}


@pytest.mark.root
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_node_answers_at_its_own_addresses_while_its_rules_are_made(
    namespace: str, tmp_path: Path, family: str
) -> None:
    """From whatever an interrupted start has left, and in each moment of the next one."""
    lines = [line for line in oneshots.started(BOTH) if line[1] == family]
    for stop in range(len(lines) + 1):
        node = serving(namespace, tmp_path)
        assert tables(node, family) == RIGHT
        for line in lines[:stop]:
            node.host.run(*line)
            assert "local" in tables(node, family)
    node.host.run("ip", family, "rule", "flush")
    assert tables(node, family) == RIGHT


@pytest.mark.root
def test_addresses_and_rules_of_services_come_back(namespace: str, tmp_path: Path) -> None:
    node = serving(namespace, tmp_path)
    assert not differing(node)
    for command in (
        "address del 192.30.120.53/32 dev lo",
        "-6 address del 2620:71:4000::100/128 dev lo",
        "-4 rule del preference 0 lookup 4242",
        "-4 rule add preference 0 lookup 4242 protocol kernel",
        "-6 rule del preference 0 lookup local",
    ):
        node.host.must("ip", *command.split())
    found = differing(node)
    assert set(found) == {
        "address 192.30.120.53 on lo",
        "address 2620:71:4000::100 on lo",
        "IPv4 rules of preference 0",
        "IPv6 rules of preference 0",
    }
    for one in found.values():
        one.mend()
    assert not differing(node)


@pytest.mark.root
def test_a_generation_leaves_bound_addresses_before_the_rules_of_others(
    namespace: str, tmp_path: Path
) -> None:
    """One without a preference has preference 0 beside ours, and may match any packet."""
    node = serving(namespace, tmp_path, services_unit(ipv4=("192.30.120.100",)))
    node.host.must("ip", "rule", "add", "lookup", "200")
    assert tables(node) == [*RIGHT, "200"]
    path = f"/etc/systemd/system/{oneshots.SERVICES}"
    node.host.write(path, BOTH, 0o644)

    def restart(unit: str) -> None:
        for line in oneshots.started(node.host.read(f"/etc/systemd/system/{unit}") or b""):
            node.host.run(*line)

    manager = cast(Units, SimpleNamespace(reload=lambda: None, restart=restart))
    change = FileChange(path, services_unit(ipv4=("192.30.120.100",)), BOTH)
    systemd.KIND.apply(replace(node, manager=manager), [change])
    assert not differing(node)
    assert (tables(node), tables(node, "-6")) == ([*RIGHT, "200"], RIGHT)


def test_the_unit_of_the_firewall_is_not_restarted_for_its_drop_in(tmp_path: Path) -> None:
    units = ("nftables.service", "anycast-mesh-whoami.service")
    restarted: list[str] = []
    manager = cast(Units, SimpleNamespace(restart=restarted.append))
    node = ChangedNode(Host(tmp_path), manager, cast(Bird, None), units, frozenset(units))
    folder = "/etc/systemd/system"
    paths = (f"{folder}/nftables.service.d/anycast-mesh.conf", f"{folder}/{units[1]}")
    systemd.KIND.apply_late(node, [FileChange(path, None, b"[Service]\n") for path in paths])
    assert restarted == ["anycast-mesh-whoami.service"]


@pytest.mark.root
def test_what_a_generation_leaves_out_goes_and_what_is_in_use_stays(
    namespace: str, tmp_path: Path
) -> None:
    node = serving(namespace, tmp_path)
    less = services_unit(ipv4=("192.30.120.100",))
    path = f"/etc/systemd/system/{oneshots.SERVICES}"
    # Its unit is restarted, or was stopped, by systemd, which is not here.
    node = replace(node, units=(), running=frozenset())
    systemd.KIND.apply_late(node, [FileChange(path, BOTH, less)])
    assert on_lo(node) == {"192.30.120.100"}
    assert (tables(node), tables(node, "-6")) == (RIGHT, ["local"])
    systemd.KIND.apply_late(node, [FileChange(path, less, None)])
    assert (on_lo(node), tables(node)) == (set(), ["local"])


@pytest.mark.parametrize(
    ("flags", "fills_by_itself"),
    [
        (["timeout"], True),
        (["interval", "dynamic"], True),
        ("timeout", True),  # as nft prints one alone from 1.1.4 on
        ("interval", False),
        (["interval"], False),
    ],
)
def test_which_sets_fill_by_themselves(flags: str | list[str], fills_by_itself: bool) -> None:
    assert fills({"name": "x", "flags": flags}) == fills_by_itself


def test_more_in_a_table_that_its_file_only_adds_to_is_no_difference() -> None:
    """Loading the file takes nothing of it away: it would be loaded for ever."""
    wanted, more = ('{"chain": {"name": "discard"}}',), ('{"chain": {"name": "mine"}}',)
    assert _why(wanted, wanted + more, made_anew=False) == ""
    assert _why(wanted, more, made_anew=False) == "is missing"
    assert _why(wanted, wanted + more, made_anew=True) == "has beside chain mine"
