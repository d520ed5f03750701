"""The twin of examples/Pulumi.blog.yaml: IPv6 alone, announced at Vultr and by an existing host.

Beside its pages and its zone it has an external service, which the lab's stand-in plays.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from zlib import crc32

import dns.edns
import dns.message
import dns.query
import pytest
import yaml

from mesh import netns
from mesh.lab import bird, faults
from mesh.lab.dns import Question as Name
from mesh.lab.lab_files import files_of
from mesh.lab.probe import asked_once
from mesh.lab.questions import Dns, Http, Question, Tcp
from mesh.services.checks.dns_message import TYPES
from tests.kit.stacks import ROOT
from tests.kit.uptimes import restarted, since
from tests.kit.wait import patience, until
from tests.twin.conftest import Twin, another, checkout_of
from tests.twin.load import Asked, load
from tests.twin.test_answers import SETTLED

pytestmark = [pytest.mark.lab, pytest.mark.engine]

NAME = f"blog-{crc32(str(ROOT).encode()):08x}"
PREFIX, WEB = "2a14:67c1:a020::/48", "2a14:67c1:a020::100"
DNS = ("2a14:67c1:a020::53", "2a14:67c1:a020::54")
RELAY = "2a14:67c1:a020::25"
NODES = {"fra": "fra-vultr-1", "lux": "lux-buyvm-1"}
ANNOUNCED = {"fra-vultr-1": "2a14:67c1:a020::1", "lux-buyvm-1": "2a14:67c1:a020::2"}
ZONE, SERIAL = "example.net", 2026112901
WHOAMI, SOA, GREETING = Http(80), Dns(53, Name(ZONE, TYPES["SOA"])), Tcp(25)
ASKED: dict[str, Question] = {WEB: WHOAMI, DNS[0]: SOA, DNS[1]: SOA, RELAY: GREETING}
LARGE = "/large.bin"
SIZE = 200_000
RELAYS = {
    "kind": "external",
    "unit": "relay.service",
    "addresses": {"ipv6": RELAY},
    "ports": {"tcp": [25, 443]},
    "checks": [
        {"kind": "tcp", "port": 25},
        {"kind": "https", "host": "relay.example.net", "contains": "ready"},
        {"kind": "exec", "command": "queue"},
    ],
}


@pytest.fixture(scope="module")
def blog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """The lab, up; whatever happens, nothing of it stays."""
    root = checkout_of(tmp_path_factory.mktemp("checkout"), "blog", services=False)
    file = root / "Pulumi.lab.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["mesh:services"] = {"relay": RELAYS}
    file.write_text(yaml.safe_dump(document))
    (root / "examples/site" / LARGE[1:]).write_bytes(a_file(1))
    with another(NAME, root) as state:
        lab = Twin(state, root, NAME)
        lab.mesh("lab", "up")
        yield lab


def a_file(number: int) -> bytes:
    """200 kB, the same each time."""
    return random.Random(number).randbytes(SIZE)


def answered(city: str, address: str) -> str | None:
    """Which node answers the client of a city."""
    space = files_of(NAME).namespace(f"client-{city}")
    return asked_once(space, ip_address(address), ASKED[address])


def fetched(blog: Twin, city: str, path: str) -> bytes:
    """What the client of a city gets of the blog."""
    text = blog.exec(f"client-{city}", "curl", "-gsf", f"http://[{WEB}]{path}")
    return text.encode()


def serial(city: str, address: str) -> tuple[int, str]:
    """The zone's serial as the client of a city is answered over TCP, and by whom."""
    nsid = dns.edns.GenericOption(dns.edns.NSID, b"")
    query = dns.message.make_query(ZONE, "SOA", use_edns=0, options=[nsid])
    space = files_of(NAME).namespace(f"client-{city}")
    answer = netns.inside(space, lambda: dns.query.tcp(query, address, timeout=patience(5)))
    (option,) = (each for each in answer.options if each.otype == dns.edns.NSID)
    return answer.answer[0][0].serial, option.to_wire().decode()


def answers(city: str, node: str, address: str = WEB) -> None:
    """Waits until a node answers the client of a city."""
    until(lambda: answered(city, address) == node, SETTLED, f"{node} answers {city} at {address}")


def sessions(blog: Twin, node: str) -> dict[str, float]:
    """A node's sessions with upstreams, and since when each is what it is."""
    found = since(blog.exec(node, "birdc", "show", "protocols"))
    return {name: when for name, when in found.items() if not name.startswith("mate")}


def announcers(blog: Twin) -> dict[str, set[str]]:
    """Who announces each prefix."""
    return {name: set(one["announcers"]) for name, one in blog.status()["prefixes"].items()}


def pings(blog: Twin, city: str, address: str) -> bool:
    command = ("ping", "-6", "-c1", "-W1", address)
    return "1 received" in blog.exec(f"client-{city}", *command, check=False)


def test_each_city_is_answered_by_its_own_node(blog: Twin) -> None:
    for city, node in NODES.items():
        answers(city, node)
        for address in ANNOUNCED.values():
            until(lambda c=city, a=address: pings(blog, c, a), SETTLED, "a node's own address")  # type: ignore[misc]


def test_the_internet_hears_the_prefix_from_both_and_nothing_else(blog: Twin) -> None:
    both = {PREFIX: set(NODES.values())}
    until(lambda: announcers(blog) == both, SETTLED, "both announce it, and nothing else")
    for city, node in NODES.items():
        box = f"upstream-{node.split('-')[1]}-{city}"
        heard = bird.ask(files_of(NAME), box, 'show route where proto ~ "n_*"')
        prefixes = {line.split()[0] for line in heard.splitlines() if "/" in line.split(" ")[0]}
        assert prefixes == {PREFIX}


def test_a_drained_city_is_answered_by_the_other_one(blog: Twin) -> None:
    blog.mesh("drain", "fra-vultr-1")
    answers("fra", "lux-buyvm-1")
    last = blog.mesh("drain", "lux-buyvm-1", check=False)
    assert f"is the last node that announces {PREFIX}" in last.stderr
    blog.mesh("undrain", "fra-vultr-1")
    answers("fra", "fra-vultr-1")


def test_an_address_under_attack_is_discarded_and_let_through_again(blog: Twin) -> None:
    address = ANNOUNCED["lux-buyvm-1"]
    blog.mesh("blackhole", "add", address, "--for", "5m", "--reason", "a flood")
    until(lambda: not pings(blog, "fra", address), SETTLED, "it is discarded")
    answers("lux", "lux-buyvm-1")
    blog.mesh("blackhole", "remove", address)
    until(lambda: pings(blog, "fra", address), SETTLED, "it is let through")


def test_each_city_gets_the_pages_and_the_zone_from_its_own_node(blog: Twin) -> None:
    site = blog.root / "examples/site"
    for city, node in NODES.items():
        for address in ASKED:
            answers(city, node, address)
        for name in ("index.html", "posts/two-cities.html", "style.css"):
            assert fetched(blog, city, f"/{name}") == (site / name).read_bytes()
        assert fetched(blog, city, "/") == (site / "index.html").read_bytes()
        for address in DNS:
            assert serial(city, address) == (SERIAL, node)


def test_a_service_that_ends_moves_and_the_others_stay(blog: Twin) -> None:
    home, other = NODES["fra"], NODES["lux"]
    for service, its_own in {"names": DNS, "blog": (WEB,), "relay": (RELAY,)}.items():
        faults.fault(NAME, "service-down", f"{home}:{service}")
        for address in ASKED:
            answers("fra", other if address in its_own else home, address)
        faults.heal(NAME, f"{home}:{service}")
        for address in its_own:
            answers("fra", home, address)


def test_a_change_of_pages_and_zone_loses_nothing(blog: Twin) -> None:
    """Each answer is of one state or the other; no session notices."""
    examples, later = blog.root / "examples", SERIAL + 1
    page, zone = examples / "site/index.html", examples / "zones" / f"{ZONE}.zone"
    before = {node: sessions(blog, node) for node in NODES.values()}
    ways = [(city, address) for city in NODES for address in (WEB, DNS[0])]
    probes = [Asked(f"client-{city}", address, ASKED[address]) for city, address in ways]
    for city, address in ways:
        answers(city, NODES[city], address)
    with load(NAME, probes, "client-fra", (WEB, LARGE)) as seen:
        (examples / "site" / LARGE[1:]).write_bytes(a_file(2))
        page.write_text(page.read_text().replace("two cities", "two cities, anew"))
        zone.write_text(zone.read_text().replace(str(SERIAL), str(later)))
        blog.pulumi("up", "--yes", "--skip-preview")
        for city, node in NODES.items():
            has_changed(blog, city, node, later)
    assert seen.lost((a_file(1), a_file(2))) == []
    assert len(seen.downloads) == 2, seen.downloads
    for node, was in before.items():
        assert restarted(was, sessions(blog, node)) == [], node


def has_changed(blog: Twin, city: str, node: str, later: int) -> None:
    """Waits until the client of a city gets the new page, and the new zone from its own node."""
    until(lambda: b"anew" in fetched(blog, city, "/"), SETTLED, f"{city} gets the new page")
    until(lambda: serial(city, DNS[1]) == (later, node), SETTLED, f"{city} gets the new zone")


def test_status_shows_contents_and_the_unit_of_the_external_service(blog: Twin) -> None:
    shown = blog.mesh("status", "--json", check=False).stdout
    found: dict[str, Any] = json.loads(shown)
    for node in NODES.values():
        shown = found["nodes"][node]
        assert shown["units"] == {"relay": "active"}
        assert set(shown["contents"]) == {"blog", "names"}
