"""A service's addresses and ports: what a stack file may say, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.spec import Problem, SpecError, load
from tests.kit.stacks import EXISTING, ROOT, bent, plan_of, prod

PORTS: dict[str, tuple[dict[str, Any], str]] = {
    "SSH": ({"tcp": [80, 22]}, "mesh:services.web.ports.tcp = 22: SSH"),
    "SSH of an existing host": ({"tcp": [2222]}, "mesh:services.web.ports.tcp = 2222: SSH"),
    "BGP": ({"tcp": [179]}, "mesh:services.web.ports.tcp = 179: BGP"),
    "the registry": ({"tcp": [8443]}, "mesh:services.web.ports.tcp = 8443: the registry"),
    "a validator": ({"tcp": [3323]}, "mesh:services.web.ports.tcp = 3323: the network's own"),
    "BFD": ({"udp": [3784]}, "mesh:services.web.ports.udp = 3784: BFD"),
    "multihop BFD": ({"udp": [4784]}, "mesh:services.web.ports.udp = 4784: BFD"),
    "the first tunnel": ({"udp": [51820]}, "mesh:services.web.ports.udp = 51820: WireGuard"),
    "the last tunnel": ({"udp": [51826]}, "mesh:services.web.ports.udp = 51826: WireGuard"),
}


def with_ports(ports: dict[str, Any]) -> dict[str, Any]:
    """A network with an SSH port of its own and validators, whose service has these ports."""
    values = bent("services/web/ports", ports)
    values["regions"]["ewr"]["slots"]["buyvm-1"] = "192.30.120.21"
    host = EXISTING | {"ssh": EXISTING["ssh"] | {"port": 2222}}
    values["nodes"]["ewr-buyvm-1"] = {"number": 7, "host": host}
    return values | {"rpki": {"local": True}}


def errors(values: dict[str, Any]) -> list[Problem]:
    """What stops a stack file."""
    with pytest.raises(SpecError) as refused:
        load("prod", values, ROOT)
    return [problem for problem in refused.value.problems if problem.severity == "error"]


@pytest.mark.parametrize(("ports", "begin"), PORTS.values(), ids=PORTS)
def test_a_service_may_not_open_a_port_of_the_nodes(ports: dict[str, Any], begin: str) -> None:
    (problem,) = errors(with_ports(ports))
    assert str(problem).startswith(begin)
    assert "open to everybody at every announced address" in problem.reason
    assert "another port" in problem.cure


def test_a_service_may_have_the_ports_beside_them_and_of_the_other_protocol() -> None:
    values = with_ports({"tcp": [53, 80, 443, 3784, 51820], "udp": [22, 53, 179, 8443, 51827]})
    assert len(plan_of(values).services[0].ports.udp) == 5


ADDRESSES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "one": (
        {"ipv4": "192.30.120.100", "ipv6": "2620:71:4000::100"},
        ("192.30.120.100", "2620:71:4000::100"),
    ),
    "a list of one": ({"ipv4": ["192.30.120.100"]}, ("192.30.120.100",)),
    "IPv6 alone": ({"ipv6": "2620:71:4000::100"}, ("2620:71:4000::100",)),
    "several of both, in their order": (
        {
            "ipv6": ["2620:71:4000::200", "2620:71:4000::100"],
            "ipv4": ["192.30.120.101", "192.30.120.100"],
        },
        ("192.30.120.101", "192.30.120.100", "2620:71:4000::200", "2620:71:4000::100"),
    ),
    "several of one": (
        {"ipv6": ["2620:71:4000::100", "2620:71:4000::101", "2620:71:4000::102"]},
        ("2620:71:4000::100", "2620:71:4000::101", "2620:71:4000::102"),
    ),
}


@pytest.mark.parametrize(("given", "planned"), ADDRESSES.values(), ids=ADDRESSES)
def test_a_service_has_the_addresses_that_it_is_given(
    given: dict[str, Any], planned: tuple[str, ...]
) -> None:
    (service,) = plan_of(bent("services/web/addresses", given)).services
    addresses = service.addresses
    assert tuple(map(str, addresses.both())) == planned
    assert addresses.ipv4 is None or str(addresses.ipv4) == planned[0]
    assert addresses.ipv6 is None or addresses.ipv6 in addresses.both()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no list": ({"ipv4": {"a": 1}}, "mesh:services.web.addresses.ipv4 = {'a': 1}: this is not an"),
    "empty": ({"ipv6": []}, "mesh:services.web.addresses.ipv6 = []: at least 1 is needed"),
    "none": ({}, "mesh:services.web.addresses = {}: the service has no address"),
    "one of a list": (
        {"ipv4": ["192.30.120.100", "x"]},
        "mesh:services.web.addresses.ipv4.1 = x: this is not an IPv4 address",
    ),
    "of the other family": (
        {"ipv4": "2620:71:4000::100"},
        "mesh:services.web.addresses.ipv4 = 2620:71:4000::100: this is not an IPv4 address",
    ),
    "one twice": (
        {"ipv4": ["192.30.120.100", "192.30.120.100"]},
        "mesh:services.web.addresses.ipv4 = 192.30.120.100: service web has it already",
    ),
    "the second of another network": (
        {"ipv4": ["192.30.120.100", "198.51.100.1"]},
        "mesh:services.web.addresses.ipv4 = 198.51.100.1: it lies outside",
    ),
}


@pytest.mark.parametrize(("given", "begin"), WRONG.values(), ids=WRONG)
def test_what_is_no_address_of_a_service_is_named(given: dict[str, Any], begin: str) -> None:
    (problem,) = errors(bent("services/web/addresses", given))
    assert str(problem).startswith(begin), problem


def test_two_services_may_not_have_an_address_of_a_list_in_common() -> None:
    values = prod()
    values["services"]["dns"] = values["services"]["web"] | {
        "addresses": {"ipv4": ["192.30.120.102", "192.30.120.100"]}
    }
    (problem,) = errors(values)
    assert problem.key == "mesh:services.dns.addresses.ipv4"
    assert problem.reason == "service web has it already"


def test_a_service_without_nodes_is_refused() -> None:
    (problem,) = errors(bent("services/web/nodes", []))
    assert problem.key == "mesh:services.web.nodes"
    assert "nodes: [lax-vultr-1]" in problem.cure
