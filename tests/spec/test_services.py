"""A service's addresses and ports: what a stack file may say, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.spec import Problem, SpecError, advice, load
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


# --- kinds ---------------------------------------------------------------------------------------

AT = {"addresses": {"ipv4": "192.30.120.100", "ipv6": "2620:71:4000::100"}}
CHECKED = {"checks": [{"kind": "tcp", "port": 443}]}

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "web without content": ({"kind": "web"}, "content = unset: a service of kind web needs it"),
    "dns without content": ({"kind": "dns"}, "content = unset: a service of kind dns needs it"),
    "external without ports": (
        {"kind": "external", **CHECKED}, "ports = unset: a service of kind external needs it",
    ),
    "external without checks": (
        {"kind": "external", "ports": {"tcp": [443]}},
        "checks = unset: a service of kind external needs it",
    ),
    "no kind and no checks": (
        {"ports": {"tcp": [443]}}, "checks = unset: a service without a kind needs it",
    ),
    "content of whoami": (
        {"kind": "whoami", "content": "site"},
        "content = site: it is for services of kind web and dns, and this one's kind is whoami",
    ),
    "content without a kind": (
        {"ports": {"tcp": [443]}, **CHECKED, "content": "site"},
        "content = site: it is for services of kind web and dns, and this one's kind is unset",
    ),
    "names of a zone": (
        {"kind": "dns", "content": "zones", "names": ["example.net"]},
        "names = example.net: it is for services of kind web",
    ),
    "a unit of ours": (
        {"kind": "web", "content": "site", "unit": "caddy.service"},
        "unit = caddy.service: it is for services of kind external",
    ),
    "HTTPS by nginx": (
        {"kind": "web", "content": "site", "ports": {"tcp": [80, 443]}},
        "ports.tcp = [80, 443]: nginx, as nodes set it up, serves HTTP at TCP 80 alone",
    ),
    "HTTP/3 by nginx": (
        {"kind": "web", "content": "site", "ports": {"tcp": [80], "udp": [443]}},
        "ports.udp = [443]: nginx",
    ),
    "DNS by UDP alone": (
        {"kind": "dns", "content": "zones", "ports": {"udp": [53]}},
        "ports.tcp = []: NSD, as nodes set it up, answers at TCP and UDP 53",
    ),
    "whoami at another port": (
        {"kind": "whoami", "ports": {"tcp": [8080]}}, "ports.tcp = [8080]: whoami answers at",
    ),
    "a kind that there is none of": ({"kind": "mail"}, "kind = mail: it is none of"),
    "content outside": (
        {"kind": "web", "content": "../site"},
        "content = ../site: this is not the path of a directory beside the stack file",
    ),
    "content anywhere": ({"kind": "web", "content": "/srv/site"}, "content = /srv/site: this is"),
    "hidden content": ({"kind": "web", "content": "a/.git"}, "content = a/.git: this is not"),
    "a name that is none": (
        {"kind": "web", "content": "site", "names": ["WWW.example.net"]},
        "names.0 = WWW.example.net: this is not a host name in small letters",
    ),
    "a name that is text of nginx": (
        {"kind": "web", "content": "site", "names": ["a; } include /etc/shadow"]},
        "names.0 = a; } include /etc/shadow: this is not a host name",
    ),
    "a unit that is none": (
        {"kind": "external", "ports": {"tcp": [443]}, **CHECKED, "unit": "caddy; reboot"},
        "unit = caddy; reboot: this is not the name of a systemd service",
    ),
    "a unit of the node": (
        {"kind": "external", "ports": {"tcp": [443]}, **CHECKED, "unit": "bird.service"},
        "unit = bird.service: it is a unit of the node itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("service", "begin"), MISTAKES.values(), ids=MISTAKES)
def test_a_service_has_what_its_kind_needs_and_nothing_else(
    service: dict[str, Any], begin: str
) -> None:
    (problem,) = errors(bent("services/web", AT | service))
    assert str(problem).startswith(f"mesh:services.web.{begin}")
    assert problem.cure


def test_a_whoami_service_needs_whoami() -> None:
    (problem,) = errors(bent("services/web", AT | {"kind": "whoami"}) | {"whoami": False})
    assert str(problem).startswith("mesh:services.web.kind = whoami: mesh:whoami is false")


@pytest.mark.parametrize(
    ("service", "tcp", "udp", "check"),
    [
        ({"kind": "web", "content": "site"}, (80,), (), "http port 80"),
        ({"kind": "whoami"}, (80,), (), "http port 80"),
        ({"kind": "dns", "content": "zones"}, (53,), (53,), "dns port 53 . SOA"),
        (
            {"kind": "web", "content": "site", "checks": [{"kind": "tcp", "port": 80}]},
            (80,),
            (),
            "tcp",
        ),
    ],
)
def test_ports_and_checks_follow_from_the_kind(
    service: dict[str, Any], tcp: tuple[int, ...], udp: tuple[int, ...], check: str
) -> None:
    plan = plan_of(bent("services/web", AT | service))
    (made,) = plan.services
    assert (made.ports.tcp, made.ports.udp) == (tcp, udp)
    assert check in made.checks[0].subject
    anyone = [r for r in plan.firewall if r.zone == "announced" and r.source == "anyone"]
    opened = {(r.protocol, r.ports[0]) for r in anyone}
    assert opened == {("tcp", port) for port in tcp} | {("udp", port) for port in udp}


def test_check_advises_in_one_line_to_name_kinds_and_nothing_where_they_are_named() -> None:
    old = prod()
    old["services"]["dns"] = {**AT, **CHECKED, "ports": {"tcp": [443]}}
    old["services"]["dns"]["addresses"] = {"ipv4": "192.30.120.101"}
    (line,) = advice(load("prod", old, ROOT).spec)
    assert line.startswith(
        "mesh:services.web, mesh:services.dns: without a kind whoami has port 80"
    )
    named = bent("services/web", AT | {"kind": "web", "content": "site"})
    assert list(advice(load("prod", named, ROOT).spec)) == []


def test_check_advises_an_external_daemon_not_to_take_the_port_of_all_addresses() -> None:
    values = bent("services/web", AT | {"kind": "web", "content": "site"})
    values["services"]["caddy"] = {
        "kind": "external", "addresses": {"ipv4": "192.30.120.101"},
        "ports": {"tcp": [80, 443]}, **CHECKED,
    }  # fmt: skip
    (line,) = advice(load("prod", values, ROOT).spec)
    assert line.startswith("mesh:services.caddy: its daemon has to listen at its own addresses")
    assert "takes a port of mesh:services.web" in line
    elsewhere = values["services"]
    elsewhere["caddy"]["nodes"], elsewhere["web"]["nodes"] = ["lax-vultr-1"], ["ord-vultr-1"]
    assert list(advice(load("prod", values, ROOT).spec)) == []
