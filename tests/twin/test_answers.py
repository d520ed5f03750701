"""The network works, shown by packets: who answers whom, over which way, and what survives.

The first file of the folder: what follows drains, reboots and replaces nodes of the same twin.
"""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from mesh.lab import bird
from mesh.lab.lab_files import files_of
from mesh.lab.probe import probe
from tests.kit.stacks import ROOT
from tests.kit.wait import until
from tests.twin.conftest import CITIES, NAME, NODES, Twin
from tests.twin.held import held
from tests.twin.transfer import SIZE, download, server, upload
from tests.twin.witness import way

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]

SERVICE = {"ipv4": "192.30.120.100", "ipv6": "2620:71:4000::100"}
WHOAMI_UNIT = "anycast-mesh-whoami.service"
EAST = {"ipv4": "192.30.120.101", "ipv6": "2620:71:4000::101"}
ANNOUNCED = {
    "lax-vultr-1": ("192.30.120.1", "2620:71:4000::1"),
    "ord-vultr-1": ("192.30.120.9", "2620:71:4000::9"),
    "ewr-vultr-1": ("192.30.120.17", "2620:71:4000::17"),
    "mia-vultr-1": ("192.30.120.25", "2620:71:4000::25"),
}
FAMILIES = ("ipv4", "ipv6")
SETTLED = 20.0
"""Seconds: on a busy machine BFD may end a session that stands again a moment later."""
RETURNED = 3.0
"""Seconds for which a way that is back is asked over."""
OWNED = re.compile(r"192\.30\.12[01]\.|10\.10\.10\.|2620:71:4000:|fd00:10:10:")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("city", CITIES)
def test_a_client_is_answered_by_its_own_city(twin: Twin, city: str, family: str) -> None:
    answered_by(twin, f"client-{city}", SERVICE[family], f"{city}-vultr-1", SETTLED)


@pytest.mark.parametrize("box", [*(f"client-{city}" for city in CITIES), *NODES])
def test_every_nodes_own_address_is_answered_from_everywhere(twin: Twin, box: str) -> None:
    for node, addresses in ANNOUNCED.items():
        for address in addresses:
            answered_by(twin, box, address, node, SETTLED)


# The reflector stands in Los Angeles, whose own nearest is Miami; New York is nearer to Chicago.
NEAREST = {"lax": "mia-vultr-1", "ord": "ewr-vultr-1", "mia": "mia-vultr-1", "ewr": "ewr-vultr-1"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("city", CITIES)
def test_a_service_that_a_city_lacks_is_answered_by_the_city_nearest_to_the_entry(
    twin: Twin, city: str, family: str
) -> None:
    answered_by(twin, f"client-{city}", EAST[family], NEAREST[city], SETTLED)


@pytest.mark.parametrize("family", FAMILIES)
def test_200_kb_cross_the_mesh_even_if_icmp_is_lost(twin: Twin, family: str) -> None:
    """From a client in Miami to Chicago's own address: in at Miami, over a tunnel, out at Chicago.

    A ping or a short answer would pass with a wrong segment size or a stateful firewall. The one
    port that is open to everybody is whoami's there.
    """
    address = ANNOUNCED["ord-vultr-1"][FAMILIES.index(family)]
    with held(twin.exec, "ord-vultr-1"):
        twin.exec("ord-vultr-1", "systemctl", "stop", WHOAMI_UNIT)
        with server(twin, "ord-vultr-1", address, port=80):
            assert upload(twin, "client-mia", address, port=80) == SIZE
            assert download(twin, "client-mia", address, port=80) == SIZE
    twin.exec("ord-vultr-1", "systemctl", "start", WHOAMI_UNIT)


@pytest.mark.parametrize("node", NODES)
def test_an_upstream_sees_the_two_aggregates_and_nothing_else(twin: Twin, node: str) -> None:
    aggregates = {("192.30.120.0/23", "27218"), ("2620:71:4000::/48", "27218")}
    until(lambda: set(seen_upstream(node)) == aggregates, SETTLED, "the two, and nothing else")


def seen_upstream(node: str) -> list[tuple[str, str]]:
    """Prefix and AS path of every route that a node's upstream has received from it."""
    city = node.partition("-")[0]
    command = 'show route all where proto ~ "n_*"'
    text = bird.ask(files_of(NAME), f"upstream-vultr-{city}", command)
    prefixes = re.findall(r"^(\S+/\d+) ", text, re.MULTILINE)
    return list(zip(prefixes, re.findall(r"BGP\.as_path: (.*)", text), strict=True))


@pytest.mark.parametrize("node", NODES)
def test_a_nodes_own_way_out_is_untouched(twin: Twin, node: str) -> None:
    """Upstreams announce a default route and more to every node: none of it is taken."""
    for family in ("-4", "-6"):
        routes = json.loads(twin.exec(node, "ip", family, "-j", "route", "show", "table", "main"))
        defaults = [route for route in routes if route["dst"] == "default"]
        assert {route["dev"] for route in defaults} == {"enp1s0"}
        assert all(route["protocol"] in ("static", "ra") for route in defaults)
        learned = [route for route in routes if route.get("protocol") == "bird"]
        assert learned, "BIRD has put nothing into the kernel"
        for route in learned:
            assert OWNED.match(route["dst"]), route
            if route.get("type") != "blackhole":
                assert route["dev"].startswith("wg-"), route


@pytest.mark.parametrize("node", NODES)
def test_metadata_are_for_root_only(twin: Twin, node: str) -> None:
    command = (
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "--max-time",
        "60",
        "http://169.254.169.254/v1.json",
    )
    assert twin.mesh("lab", "exec", node, "--", *command, check=False).returncode == 0
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command)
    assert twin.mesh("lab", "exec", node, "--", *as_nobody, check=False).returncode == 7


def test_ssh_is_open_to_the_operator_and_to_nobody_else(twin: Twin) -> None:
    """All nodes at once: that nobody answers takes seconds to know."""
    boxes = json.loads(twin.mesh("lab", "list", "--json").stdout)
    addresses = {box["name"]: box["addresses"][0] for box in boxes if box["name"] in NODES}

    def banner(box: str, node: str) -> str:
        connect = 'exec 3<>"/dev/tcp/$0/22"; head -c 7 <&3'
        command = ("timeout", "3", "bash", "-c", connect, addresses[node])
        return twin.exec(box, *command, check=False)

    for node in NODES:
        until(lambda n=node: banner("operator", n) == "SSH-2.0", 5, f"{node} answers")  # type: ignore[misc]
    with ThreadPoolExecutor(len(NODES)) as pool:
        heard = dict(zip(NODES, pool.map(lambda n: banner("client-lax", n), NODES), strict=True))
    assert heard == dict.fromkeys(NODES, "")


def test_a_silently_cut_tunnel_heals_and_loses_nothing_when_it_returns(twin: Twin) -> None:
    """Los Angeles to Miami, for Miami's own address, with a probe each 10 ms. On a busy machine BFD
    ends a session meanwhile, which loses some by itself: it is tried again then."""
    until(lambda: lost_by_return(twin) == 0, 40, "the tunnel's return loses nothing")


def lost_by_return(twin: Twin) -> int:
    """How many probes are lost when the tunnel returns that was cut and gone around."""
    target, cut = ANNOUNCED["mia-vultr-1"][0], "lax-vultr-1:mia-vultr-1"

    def is_direct() -> bool:
        return "wg-mia-vultr-1" in twin.exec("lax-vultr-1", "ip", "route", "get", target)

    until(is_direct, SETTLED, "the direct way")
    twin.mesh("lab", "fault", "tunnel-cut", cut)
    try:
        until(lambda: not is_direct(), 10, "a way around")
        until(lambda: twin.whoami("client-lax", target) == "mia-vultr-1", 10, "healed")
    finally:
        over = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as pool:
            to = ip_address(target)
            asking = pool.submit(probe, NAME, "client-lax", to, duration=120, stop=over)
            try:
                twin.mesh("lab", "heal", cut)
                until(is_direct, 20, "the direct way is back")
                over.wait(RETURNED)
            finally:
                over.set()
            measured = asking.result()
    return measured.sent - measured.answered


def test_a_city_that_goes_dark_is_replaced_by_the_nearest_and_comes_back(twin: Twin) -> None:
    twin.mesh("lab", "fault", "power-loss", "ewr-vultr-1")
    try:
        for family in FAMILIES:
            answered_by(twin, "client-ewr", SERVICE[family], "ord-vultr-1", 30)
    finally:
        twin.mesh("lab", "heal", "ewr-vultr-1")
    for family in FAMILIES:
        answered_by(twin, "client-ewr", SERVICE[family], "ewr-vultr-1", 60)  # from its own disk
    for address in ANNOUNCED["ewr-vultr-1"]:
        answered_by(twin, "client-lax", address, "ewr-vultr-1", SETTLED)


def test_a_daemon_that_is_killed_costs_its_city_nothing_but_the_way(twin: Twin) -> None:
    twin.mesh("lab", "fault", "kill-daemon", "ord-vultr-1")
    try:
        answered_by(twin, "client-ord", SERVICE["ipv4"], "ewr-vultr-1", 20)
    finally:
        twin.mesh("lab", "heal", "ord-vultr-1")
    # Only once the agent of the restarted node has seen the service work.
    answered_by(twin, "client-ord", SERVICE["ipv4"], "ord-vultr-1", 30)


def test_a_service_that_stops_is_carried_over_the_mesh_and_the_aggregate_stays(twin: Twin) -> None:
    with held(twin.exec, "lax-vultr-1"):
        twin.exec("lax-vultr-1", "systemctl", "stop", "anycast-mesh-web@web.service")
        answered_by(twin, "client-lax", SERVICE["ipv4"], "ord-vultr-1", 20)
        assert len(seen_upstream("lax-vultr-1")) == 2, "Los Angeles still announces"
    # Nobody starts it but the node itself, which is held no more.
    answered_by(twin, "client-lax", SERVICE["ipv4"], "lax-vultr-1", 60)


def test_who_breaks_into_bird_does_not_choose_what_root_starts(twin: Twin) -> None:
    """BIRD's unit reads a file of that folder as root, and Debian gives the folder to bird."""
    for node in NODES:
        assert twin.exec(node, "stat", "-c", "%U:%G %a", "/etc/bird").strip() == "root:bird 750"
        as_bird = ("runuser", "-u", "bird", "--", "mv", "/etc/bird/envvars", "/etc/bird/mine")
        twin.exec(node, *as_bird, check=False)
        assert twin.exec(node, "ls", "/etc/bird/envvars"), "it is where it was"
        assert "bird.conf" in twin.exec(node, "runuser", "-u", "bird", "--", "ls", "/etc/bird")


def answered_by(twin: Twin, box: str, address: str, node: str, seconds: float) -> None:
    """Wait until this node, and no other, answers a box at an address; where it never does, the
    whole way is looked at."""
    last = ""

    def answers() -> bool:
        nonlocal last
        last = twin.whoami(box, address)
        return last == node

    try:
        until(answers, seconds, f"{node} answers {box} at {address}")
    except AssertionError as failure:
        pytest.fail(f"{failure}; {last or 'nobody'} answers\n{way(NAME, box, address)}")


def test_each_client_gets_the_page_from_its_own_city(twin: Twin) -> None:
    page = (ROOT / "site/index.html").read_text()
    for city in CITIES:
        for address in SERVICE.values():
            host = f"[{address}]" if ":" in address else address
            ask = ("curl", "-gsi", "--max-time", "60", f"http://{host}/")
            head, _, body = twin.exec(f"client-{city}", *ask).replace("\r", "").partition("\n\n")
            assert body == page
            assert f"X-Served-By: {city}-vultr-1" in head


def test_the_looking_glass_tells_of_every_node_as_it_is_now(twin: Twin) -> None:
    """With upstreams, services and all else that a node in operation has."""
    began = time.time()

    def told() -> set[str]:
        shown = json.loads(twin.mesh("glass", "nodes", "--json", check=False).stdout)
        nodes = shown["nodes"].items()
        return {node for node, each in nodes if each["ok"] and each["data"]["at"] > began}

    until(lambda: told() == set(NODES), 10, "each has said how it is since")
