"""What is discarded: ordered by the operator, ended by time, and never what must not be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mesh.limits import MAX_BLACKHOLES
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet, load_fleet, publish
from mesh.publish.blackhole import Blackholes, NotAllowed, judged
from mesh.publish.registry_pool import RegistryPool
from mesh.registry.client import Unreachable
from mesh.trust.documents import Blackhole, BlackholeOrder, Health
from mesh.trust.encoding import dump
from mesh.trust.orders import BLACKHOLE
from tests.kit.nodes import Nodes, speaking
from tests.kit.registry import Live, holding, shared_fleet
from tests.kit.stacks import bent, plan_of
from tests.kit.wait import until

pytestmark = pytest.mark.usefixtures("soon_steady")

FLEET = shared_fleet()
NETWORK = FLEET.network
LAX, ORD, MIA = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1"
IDENTITIES = {node: member.identity for node, member in FLEET.members().items()}
ONE, TWO, SIX = "192.30.120.200", "192.30.121.7", "2620:71:4000::bad"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Live]:
    with holding(tmp_path, FLEET) as one:
        yield one


@pytest.fixture
def pool(registry: Live) -> Iterator[RegistryPool]:
    one = RegistryPool(FLEET.key, {LAX: registry.url})
    yield one
    one.close()


@pytest.fixture
def blackholes(pool: RegistryPool) -> Blackholes:
    return Blackholes(pool, FLEET.key, NETWORK, IDENTITIES)


def entry(address: str, seconds: int = 600, reason: str = "", forced: bool = False) -> Blackhole:
    return Blackhole(ip_address(address), int(time.time()) + seconds, reason, forced)


def held(registry: Live) -> tuple[int, tuple[Blackhole, ...]]:
    standing = registry.registry.standing(BLACKHOLE)
    return (0, ()) if standing is None else (standing.order.number, standing.order.entries)


# --- orders --------------------------------------------------------------------------------------


def test_an_order_says_the_whole_and_changes_only_what_was_asked_for(
    blackholes: Blackholes, registry: Live
) -> None:
    first, second, third = entry(TWO), entry(ONE, reason="a flood"), entry(SIX)
    for one in (third, first, second):
        blackholes.add(one)
    assert held(registry) == (3, (second, first, third))
    blackholes.remove(first.address)
    assert held(registry) == (4, (second, third))


def test_what_is_so_already_is_not_ordered_again(blackholes: Blackholes, registry: Live) -> None:
    assert blackholes.remove(ip_address(ONE)) is None
    one = entry(ONE)
    blackholes.add(one)
    assert blackholes.add(one).number == 1
    later = replace(one, until=one.until + 60, reason="it goes on")
    blackholes.add(later)
    assert held(registry) == (2, (later,))


def test_what_has_ended_is_in_no_later_order(blackholes: Blackholes, registry: Live) -> None:
    blackholes.add(replace(entry(ONE), until=int(time.time()) - 1))
    other = entry(TWO)
    blackholes.add(other)
    assert held(registry) == (2, (other,))


def test_there_is_an_end_to_how_many_are_discarded(blackholes: Blackholes, registry: Live) -> None:
    entries = [entry(f"192.30.121.{n}") for n in range(MAX_BLACKHOLES)]
    for one in entries:
        blackholes.add(one)
    with pytest.raises(NotAllowed, match=rf"{ONE}: would be one more than the {MAX_BLACKHOLES}"):
        blackholes.add(entry(ONE))
    assert held(registry)[1] == tuple(entries)
    # Another end for one of them is no further one.
    blackholes.add(replace(entries[0], until=entries[0].until + 1))
    assert held(registry)[0] == MAX_BLACKHOLES + 1


def test_an_order_below_what_nodes_have_obeyed_is_not_built_on(
    blackholes: Blackholes, registry: Live
) -> None:
    for node in (MIA, ORD):
        said = FLEET.report(node, FLEET.generation(5), health=Health(True, {}, {}, blackhole=7))
        with registry.client(FLEET.node(node)) as client:
            assert client.ask("POST", "/api/v1/report", dump(said), signed=True).ok
    with pytest.raises(
        Unreachable, match=rf"old blackhole order: .* is 0, but {MIA} has applied 7"
    ):
        blackholes.add(entry(ONE))
    assert held(registry) == (0, ())


def test_only_a_nodes_own_word_on_this_order_counts(blackholes: Blackholes, registry: Live) -> None:
    heard: list[str] = []
    one = entry(ONE)
    with speaking(Nodes(FLEET, registry, deaf={MIA})):

        def missing() -> list[str]:
            return blackholes.wait(lambda: blackholes.add(one), IDENTITIES, 2.0, heard.append)

        until(lambda: missing() == [MIA], 4, "Miami alone is missing")
    assert set(heard) == IDENTITIES.keys() - {MIA}


def test_a_publication_remembers_what_is_discarded_and_changes_nothing_about_it(
    blackholes: Blackholes, registry: Live
) -> None:
    one = entry(ONE)
    blackholes.add(one)
    order = FLEET.order(registries={LAX: registry.url}, deadline=300.0, settle=1.0)
    with speaking(Nodes(FLEET, registry)):
        done, _ = publish(order, State(5, "0" * 64, FLEET.members()), lambda _: None)
    assert done.blackhole == BlackholeOrder(NETWORK, 1, (one,))
    assert load_fleet(dump_fleet(done)) == done
    assert held(registry) == (1, (one,))


def test_the_operators_memory_stands_above_what_a_registry_shows(
    pool: RegistryPool, registry: Live
) -> None:
    one, two = entry(ONE), entry(TWO)
    known = BlackholeOrder(NETWORK, 9, (one,))
    Blackholes(pool, FLEET.key, NETWORK, IDENTITIES, known).add(two)
    assert held(registry) == (10, (one, two))


# --- what may be discarded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("198.51.100.7", "is not an address of this network"),
        (
            "192.30.122.1",
            "is not an address of this network; .* 192.30.120.0/23 or 2620:71:4000",
        ),
        ("2620:71:4001::1", "is not an address of this network"),
        ("10.10.10.1", "in the tunnels' prefix"),
        (str(FLEET.plan.node(LAX).tunnel.ipv6), "in the tunnels' prefix"),
        (str(FLEET.plan.exits.ipv4), "in the tunnels' prefix"),
    ],
)
def test_what_is_not_ours_or_holds_the_mesh_is_discarded_by_no_force(
    address: str, why: str
) -> None:
    for force in (False, True):
        with pytest.raises(NotAllowed, match=f"^address = {address}: .*{why}") as caught:
            judged(FLEET.plan, ip_address(address), force=force)
        assert not caught.value.forcible


@pytest.mark.parametrize("address", ["192.30.120.100", "2620:71:4000::100"])
def test_a_service_is_taken_off_by_force_only_and_that_is_said(address: str) -> None:
    with pytest.raises(NotAllowed, match=r"the service web, .* use --force") as caught:
        judged(FLEET.plan, ip_address(address), force=False)
    assert caught.value.forcible
    verdict = judged(FLEET.plan, ip_address(address), force=True)
    assert verdict.forced
    assert [line for line in verdict.warnings if "takes the service web down" in line]


@pytest.mark.parametrize(
    ("address", "lost"),
    [("192.30.120.100", "over IPv4"), ("2620:71:4000::101", "at this address")],
)
def test_what_is_left_of_a_service_with_several_addresses_is_said(address: str, lost: str) -> None:
    addresses = {"ipv4": "192.30.120.100", "ipv6": ["2620:71:4000::100", "2620:71:4000::101"]}
    plan = plan_of(bent("services/web/addresses", addresses))
    (warning,) = judged(plan, ip_address(address), force=True).warnings
    assert warning == f"{address}: takes the service web down {lost}, everywhere"


def test_what_a_nodes_own_address_carries_is_said() -> None:
    verdict: Any = judged(FLEET.plan, FLEET.plan.node(MIA).announced.both()[0], force=False)
    assert not verdict.forced
    assert len(verdict.warnings) == 1
    assert f"is the address of {MIA}" in verdict.warnings[0]
    assert judged(FLEET.plan, ip_address(ONE), force=True) == replace(
        verdict, warnings=(), forced=False
    )
