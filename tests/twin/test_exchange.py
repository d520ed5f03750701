"""The twin of examples/Pulumi.ixp.yaml: both route servers are OpenBGPD, the transit is BIRD."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from zlib import crc32

import pytest

from mesh.lab import bgpd, bird
from mesh.lab.lab_files import files_of
from tests.kit.machine import layer
from tests.kit.stacks import ROOT
from tests.kit.wait import until
from tests.twin.conftest import Twin, another, checkout_of
from tests.twin.test_answers import SETTLED

pytestmark = [pytest.mark.lab, pytest.mark.engine]

NAME = f"exchange-{crc32(str(ROOT).encode()):08x}"
NODE, CLIENT = "fra-hoster-1", "client-fra"
TRANSIT, FIRST, SECOND = (f"upstream-{NODE}-{label}" for label in ("transit", "rs1", "rs2"))
HEARD = {
    "192.30.120.0/23": ("27218", "192.0.2.130"),
    "2620:71:4000::/48": ("27218", "2001:db8:b::130"),
}
ADDRESSES = ("192.30.120.100", "2620:71:4000::100")


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """The lab, up; whatever happens, nothing of it stays."""
    layer("openbgpd")
    root = checkout_of(tmp_path_factory.mktemp("checkout"), "ixp", services=False)
    with another(NAME, root) as state:
        lab = Twin(state, root, NAME)
        lab.mesh("lab", "up")
        yield lab


def heard(box: str) -> dict[str, tuple[str, str]]:
    """What a route server has from the node: path and next hop by prefix."""
    shown = json.loads(bgpd.ask(files_of(NAME), box, "-j", "show", "rib", "in"))["rib"]
    routes = [route for route in shown if route["neighbor"]["description"].startswith("n_")]
    return {route["prefix"]: (route["aspath"], route["exit_nexthop"]) for route in routes}


def paths(prefix: str) -> list[str]:
    """The paths of the Internet to a prefix."""
    shown = bird.ask(files_of(NAME), "transit-fra", f"show route {prefix} all")
    return re.findall(r"(?:BGP\.as_path|bgp_path): ([\d ]+)", shown)


def answered(exchange: Twin, *, by: str) -> None:
    """Waits until that node, or nobody, answers the client in both families."""
    for address in ADDRESSES:
        until(lambda a=address: exchange.whoami(CLIENT, a) == by, SETTLED, by or "no answer")  # type: ignore[misc]


def test_both_route_servers_are_openbgpd_and_hear_our_prefixes_alone(exchange: Twin) -> None:
    boxes = json.loads(exchange.mesh("lab", "list", "--json").stdout)
    states = {each["name"]: each["state"] for each in boxes}
    for box in (FIRST, SECOND):
        until(lambda b=box: heard(b) == HEARD, SETTLED, f"our prefixes at {box}")  # type: ignore[misc]
        assert states[box] == "running"
        given = exchange.exec(box, "bgpctl", "show", "rib", "out")
        assert "0.0.0.0/0" in given
        assert "::/0" in given
        assert "64509" in exchange.exec(box, "bgpctl", "show", "neighbor")
    assert not bgpd.speaks(files_of(NAME), TRANSIT)


def test_the_client_is_answered_through_one_route_server_alone(exchange: Twin) -> None:
    answered(exchange, by=NODE)
    bird.ask(files_of(NAME), TRANSIT, 'disable "n_*"')
    for name in (f"n_{NODE}_rs2_{family}".replace("-", "_") for family in ("ipv4", "ipv6")):
        bgpd.ask(files_of(NAME), SECOND, "neighbor", name, "down")
    until(lambda: heard(SECOND) == {}, SETTLED, "no prefix at the second route server")
    for prefix in HEARD:
        until(lambda p=prefix: paths(p) == ["64509 27218"], SETTLED, f"one path to {prefix}")  # type: ignore[misc]
    answered(exchange, by=NODE)


def test_sessions_that_end_come_back(exchange: Twin) -> None:
    exchange.mesh("lab", "fault", "withdraw", NODE)
    answered(exchange, by="")
    assert heard(FIRST) == {}
    exchange.mesh("lab", "heal", NODE)
    answered(exchange, by=NODE)
    for box in (FIRST, SECOND):
        until(lambda b=box: heard(b) == HEARD, SETTLED, f"our prefixes at {box}")  # type: ignore[misc]
    until(lambda: not exchange.status()["problems"], SETTLED, "all is well")
    until(lambda: exchange.mesh("status", check=False).returncode == 0, SETTLED, "it is said")
