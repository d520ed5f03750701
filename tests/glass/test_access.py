"""Who may ask, how often, and what the public sees."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from pydantic import TypeAdapter

from mesh.glass.access import BURST, PEER_BURST, Access, Rates
from mesh.glass.questions import Unanswerable
from mesh.glass.reduced import reduced
from mesh.glass.snapshot import Cache, CheckResult, Discarded, Session, Snapshot, Tunnel, Versions
from mesh.trust.documents import Alarm, Down
from tests.glass.glasses import LAX, snapshot_of
from tests.glass.networks import network_of
from tests.kit.stacks import plan_of, prod

SECRET = "secret"
OWN, PEER = "192.30.120.1", "10.10.10.3"


def access(public: bool) -> Access:
    network = network_of(plan_of(prod()), public=public)
    return Access(network, network.by_id[LAX])


@pytest.mark.parametrize(
    ("public", "local", "source", "is_reduced", "is_stranger"),
    [
        (False, "::1", "::1", False, False),
        (False, "10.10.10.1", PEER, False, False),
        (False, OWN, PEER, False, False),
        (False, OWN, "192.30.120.25", False, False),
        (False, OWN, "198.51.100.7", False, True),
        (False, "10.10.10.1", "198.51.100.7", False, True),
        (False, "fd00:10:10::1", "fe80::1%1", False, True),
        (True, "10.10.10.1", PEER, False, False),
        (True, "10.10.10.1", "198.51.100.7", False, True),
        (True, OWN, "198.51.100.7", True, False),
        (True, OWN, PEER, True, False),
        (True, "192.30.120.100", "127.0.0.1", True, False),
        (True, "127.0.0.1", "127.0.0.1", False, False),
    ],
)
def test_what_is_answered_depends_on_where_and_who(
    public: bool, local: str, source: str, is_reduced: bool, is_stranger: bool
) -> None:
    found = access(public)
    here, there = ip_address(local), ip_address(source)
    assert found.is_reduced(here) == is_reduced
    assert found.is_stranger(there, here) == is_stranger


def test_services_addresses_are_listened_at_by_a_public_glass_alone() -> None:
    own = {"127.0.0.1", "::1", "10.10.10.1", "fd00:10:10::1", OWN, "2620:71:4000::1"}
    assert set(access(public=False).listens()) == own
    assert set(access(public=True).listens()) == own | {"192.30.120.100", "2620:71:4000::100"}


def granted(rates: Rates, source: str, is_peer: bool, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            rates.check(ip_address(source), is_peer)
        except Unanswerable as error:
            assert error.status == 429
        else:
            count += 1
    return count


def test_a_peer_that_asks_for_its_pages_may_ask_more_often() -> None:
    rates = Rates(access(public=False).is_peer)
    assert BURST <= granted(rates, PEER, False, 100) < 2 * BURST
    assert granted(rates, PEER, True, 150) == 150 <= PEER_BURST
    assert granted(rates, "2001:db8::1", False, 100) < 2 * BURST
    assert granted(rates, "2001:db8::2", False, 100) < BURST, "the same /64"
    assert granted(rates, "fd00:10:10::2", False, 30) >= BURST
    assert granted(rates, "fd00:10:10::3", False, 30) >= BURST, "another node"
    assert granted(rates, "192.0.2.1", False, 1) == 1


def test_the_public_sees_no_reason_error_alarm_or_tunnel() -> None:
    made = snapshot_of(LAX, 1.0)
    health = replace(
        made.health,
        services={"web": True},
        sessions={"vultr4": SECRET},
        alarms=(Alarm(LAX, "prefix", SECRET),),
        down={"vultr4": Down(SECRET, 0)},
        failures={"web": SECRET},
        tunnels={"wg-a": SECRET},
        faults={"disk": SECRET},
        bird=SECRET,
        tls_mismatches=(SECRET,),
        warnings={"web": SECRET},
        withheld={"a": SECRET},
    )
    snapshot = replace(
        made,
        health=health,
        versions=Versions(SECRET, SECRET, SECRET),
        generation=replace(made.generation, reason=SECRET),
        sessions=(
            Session("vultr4", "upstream", "vultr", 64515, "Active", 0.0, SECRET),
            Session("u_secret", "tunnel", SECRET, 1, "Active", 0.0),
        ),
        tunnels=(Tunnel("wg-secret", SECRET, 0, 0, 0),),
        checks=(CheckResult("web", SECRET, None, 0.1, False, SECRET),),
        caches=(Cache("rpki1", False, 0, SECRET),),
        blackholes=(Discarded(ip_address("192.30.120.9"), 5, SECRET),),
        registries={f"https://{SECRET}": True},
    )
    shown = reduced(snapshot)
    assert SECRET.encode() not in TypeAdapter(Snapshot).dump_json(shown)
    assert [each.name for each in shown.sessions] == ["vultr4"]
    assert shown.health.services == {"web": True}
    assert [str(each.address) for each in shown.blackholes] == ["192.30.120.9"]
