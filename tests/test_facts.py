"""What a node may say of itself: it is written into the files of its peers."""

from __future__ import annotations

import json

import pytest

from mesh.facts import Facts
from mesh.operating_systems import OperatingSystem
from mesh.trust.encoding import Malformed, dump, parse
from tests.kit.registry import Fleet

FACTS = json.loads(dump(Fleet().facts["lax-vultr-1"]))


def test_facts_come_through() -> None:
    assert json.loads(dump(parse(Facts, json.dumps(FACTS)))) == FACTS


def test_facts_of_an_earlier_version_are_those_of_a_node_with_debian() -> None:
    """States of stacks and requests to join have them."""
    former = {key: value for key, value in FACTS.items() if key not in ("os", "release")}
    facts = parse(Facts, json.dumps(former | {"debian": "13.1"}))
    assert (facts.os, facts.release) == (OperatingSystem.DEBIAN, "13.1")
    assert facts == parse(Facts, json.dumps(FACTS | {"release": "13.1"}))


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2001:db8::2%} accept\n", "::ffff:1.2.3.4%x"])
@pytest.mark.parametrize("name", ["ipv6", "gateway6"])
def test_a_zone_is_no_part_of_an_address(name: str, address: str) -> None:
    """It may hold any text, and Python keeps it with the address."""
    with pytest.raises(Malformed, match="zone"):
        parse(Facts, json.dumps(FACTS | {name: address}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"uplink": "eth0\n"},
        {"uplink": "eth0; x"},
        {"uplink": "../eth0"},
        {"uplink": "e" * 16},
        {"bird": '2.17" }'},
        {"instance_id": "i-1\n"},
        {"wireguard": "A" * 43 + "\n"},
        {"mtu": 10},
        {"os": "netbsd"},
        {"release": "7.9 }"},
    ],
)
def test_nothing_but_what_it_should_be(wrong: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        parse(Facts, json.dumps(FACTS | wrong))
