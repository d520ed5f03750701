"""The twin of examples/Pulumi.blog.yaml: IPv6 alone, announced at Vultr and by an existing host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from zlib import crc32

import pytest

from mesh.lab import bird
from mesh.lab.lab_files import files_of
from tests.kit.stacks import ROOT
from tests.kit.wait import until
from tests.twin.conftest import Twin, another, checkout_of
from tests.twin.test_answers import SETTLED

pytestmark = [pytest.mark.lab, pytest.mark.engine]

NAME = f"blog-{crc32(str(ROOT).encode()):08x}"
PREFIX, WEB = "2a14:67c1:a020::/48", "2a14:67c1:a020::100"
NODES = {"fra": "fra-vultr-1", "lux": "lux-buyvm-1"}
ANNOUNCED = {"fra-vultr-1": "2a14:67c1:a020::1", "lux-buyvm-1": "2a14:67c1:a020::2"}


@pytest.fixture(scope="module")
def blog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """The lab, up; whatever happens, nothing of it stays."""
    root = checkout_of(tmp_path_factory.mktemp("checkout"), "blog", services=False)
    with another(NAME, root) as state:
        lab = Twin(state, root, NAME)
        lab.mesh("lab", "up")
        yield lab


def answers(blog: Twin, city: str, node: str) -> None:
    """Waits until a node answers the client of a city."""
    until(lambda: blog.whoami(f"client-{city}", WEB) == node, SETTLED, f"{node} answers in {city}")


def pings(blog: Twin, city: str, address: str) -> bool:
    command = ("ping", "-6", "-c1", "-W1", address)
    return "1 received" in blog.exec(f"client-{city}", *command, check=False)


def test_each_city_is_answered_by_its_own_node(blog: Twin) -> None:
    for city, node in NODES.items():
        answers(blog, city, node)
        for address in ANNOUNCED.values():
            until(lambda c=city, a=address: pings(blog, c, a), SETTLED, "a node's own address")  # type: ignore[misc]


def test_the_internet_hears_the_prefix_from_both_and_nothing_else(blog: Twin) -> None:
    status = json.loads(blog.mesh("status", "--json").stdout)
    assert set(status["prefixes"]) == {PREFIX}
    assert set(status["prefixes"][PREFIX]["announcers"]) == set(NODES.values())
    for city, node in NODES.items():
        box = f"upstream-{node.split('-')[1]}-{city}"
        heard = bird.ask(files_of(NAME), box, 'show route where proto ~ "n_*"')
        prefixes = {line.split()[0] for line in heard.splitlines() if "/" in line.split(" ")[0]}
        assert prefixes == {PREFIX}


def test_a_drained_city_is_answered_by_the_other_one(blog: Twin) -> None:
    blog.mesh("drain", "fra-vultr-1")
    answers(blog, "fra", "lux-buyvm-1")
    last = blog.mesh("drain", "lux-buyvm-1", check=False)
    assert f"is the last node that announces {PREFIX}" in last.stderr
    blog.mesh("undrain", "fra-vultr-1")
    answers(blog, "fra", "fra-vultr-1")


def test_an_address_under_attack_is_discarded_and_let_through_again(blog: Twin) -> None:
    address = ANNOUNCED["lux-buyvm-1"]
    blog.mesh("blackhole", "add", address, "--for", "5m", "--reason", "a flood")
    until(lambda: not pings(blog, "fra", address), SETTLED, "it is discarded")
    answers(blog, "lux", "lux-buyvm-1")
    blog.mesh("blackhole", "remove", address)
    until(lambda: pings(blog, "fra", address), SETTLED, "it is let through")
