"""An address is given up for a while: here, at the upstreams, and without a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mesh.agent import file_paths
from mesh.lab import bird
from mesh.lab.containers import reboot_node
from mesh.lab.lab_files import files_of
from mesh.lab.world import load as load_world
from tests.kit.wait import until
from tests.twin.conftest import CITIES, NAME, NODES, Twin
from tests.twin.test_answers import ANNOUNCED, SETTLED, answered_by

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]

NODE, REGISTRY, REBOOTED = "mia-vultr-1", "lax-vultr-1", "ord-vultr-1"
ADDRESS, SIX = ANNOUNCED[NODE]
ENDING_NODE = "ewr-vultr-1"
ENDING = ANNOUNCED[ENDING_NODE][0]
UNIT = "anycast-mesh-registry.service"


@pytest.fixture(autouse=True)
def afterwards(twin: Twin) -> Iterator[None]:
    """Whatever happens, the registry runs, and nothing is discarded."""
    yield
    twin.exec(REGISTRY, "systemctl", "start", UNIT)
    for address in (ADDRESS, SIX, ENDING):
        until(
            lambda a=address: twin.mesh("blackhole", "remove", a, check=False).returncode == 0,  # type: ignore[misc]
            30,
            "it is let through",
        )


def asked(city: str) -> list[str]:
    """The lines of what the city's upstream was asked to discard."""
    command = "show route all where (20473, 666) ~ bgp_community"
    return bird.ask(files_of(NAME), f"upstream-vultr-{city}", command).splitlines()


def discards(twin: Twin, node: str) -> set[str]:
    """What a node's firewall drops; nothing while it boots."""
    command = ("nft", "-j", "list", "table", "inet", "mesh_discard")
    shown = twin.exec(node, *command, check=False) or '{"nftables": []}'
    sets = [entry["set"] for entry in json.loads(shown)["nftables"] if "set" in entry]
    return {element["elem"]["val"] for one in sets for element in one.get("elem", [])}


def test_an_address_is_discarded_everywhere_without_a_registry_until_it_ends(twin: Twin) -> None:
    """One order outlives the test; a second one, given beside it, ends while it runs."""
    for box in ("client-lax", REBOOTED):
        answered_by(twin, box, ADDRESS, NODE, SETTLED)
    answered_by(twin, "client-lax", ENDING, ENDING_NODE, SETTLED)
    done = twin.mesh("blackhole", "add", ADDRESS, "--for", "10m", "--reason", "a flood")
    assert f"warning: {ADDRESS}: is the address of {NODE}" in done.stdout
    for node in NODES:
        assert f"{node}: discards it, after" in done.stdout
    # Each provider is asked with its own community, and tells nobody.
    for city in CITIES:
        until(lambda c=city: any(f"{ADDRESS}/32" in line for line in asked(c)), 5, "it is asked")  # type: ignore[misc]
        communities = [line for line in asked(city) if "community" in line]
        assert communities and all(line.endswith("(20473,666)") for line in communities)
    transit = bird.ask(files_of(NAME), "transit-mia", f"show route for {ADDRESS}")
    assert f"{ADDRESS}/32" not in transit
    done = twin.mesh("blackhole", "add", ENDING, "--for", "20s")
    assert f"{NODE}: discards it, after" in done.stdout
    twin.exec(REGISTRY, "systemctl", "stop", UNIT)
    reboot_node(NAME, REBOOTED, load_world(NAME))

    def verified() -> bool:
        words = twin.exec(REBOOTED, "cat", file_paths.ORDERS[4], check=False)
        return f"{ADDRESS}/32" in words and ADDRESS in discards(twin, REBOOTED)

    until(verified, 30, "it goes on where it was")
    # Outside, and over a tunnel; who serves there, and all other addresses, are not touched.
    assert twin.whoami("client-lax", ADDRESS) == ""
    assert twin.whoami(REBOOTED, ADDRESS) == ""
    answered_by(twin, "client-lax", SIX, NODE, SETTLED)
    answered_by(twin, "client-mia", "192.30.120.100", NODE, SETTLED)
    for node in NODES:
        assert ADDRESS in discards(twin, node), node
    for box in ("client-lax", REBOOTED):
        answered_by(twin, box, ENDING, ENDING_NODE, 60)
    for node in NODES:
        until(lambda n=node: discards(twin, n) == {ADDRESS}, 10, "it ends by itself")  # type: ignore[misc]
    for city in CITIES:
        until(
            lambda c=city: f"{ENDING}/32" not in "".join(asked(c)),  # type: ignore[misc]
            5,
            "and the upstream is asked no more",
        )


def test_what_is_removed_is_back_at_once(twin: Twin) -> None:
    twin.mesh("blackhole", "add", SIX)
    assert twin.whoami("client-lax", SIX) == ""
    shown = json.loads(twin.mesh("blackhole", "list", "--json").stdout)
    assert [entry["address"] for entry in shown["blackholes"]] == [SIX]
    assert shown["obeyed"] == dict.fromkeys(sorted(NODES), True)
    done = twin.mesh("blackhole", "remove", SIX)
    for node in NODES:
        assert f"{node}: lets it through, after" in done.stdout
    answered_by(twin, "client-lax", SIX, NODE, SETTLED)
    until(lambda: not any(discards(twin, node) for node in NODES), 10, "nothing is discarded")


def test_an_edge_that_reaches_no_registry_hears_it_from_its_reflector(twin: Twin) -> None:
    """Its own agent has no order: what BIRD has taken over iBGP is discarded, and ends with it."""
    deaf = "ewr-vultr-1"
    chain = "type filter hook output priority 0; tcp dport 8443 drop;"
    twin.exec(deaf, "nft", f"table inet deaf {{ chain out {{ {chain} }}; }}")
    try:
        done = twin.mesh("blackhole", "add", ADDRESS, "--wait", "3", check=False)
        assert done.returncode == 1
        assert f"{deaf}: no report within 3 s" in done.stdout
        until(lambda: ADDRESS in discards(twin, deaf), 10, "the reflector's word is enough")
        assert twin.whoami("client-ewr", ADDRESS) == ""
        twin.mesh("blackhole", "remove", ADDRESS, "--wait", "0")
        until(lambda: ADDRESS not in discards(twin, deaf), 10, "and its end too")
    finally:
        twin.exec(deaf, "nft", "delete", "table", "inet", "deaf")
    until(lambda: twin.whoami("client-ewr", ADDRESS) == NODE, 10, "it answers again")
