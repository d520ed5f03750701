"""What a person is told of nodes with OpenBSD: key, value, reason and cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.operating_systems import OperatingSystem
from mesh.spec import Loaded, SpecError, load, load_file
from tests.kit.stacks import EXISTING, ROOT, prod, with_members

MIAMI = "mia-vultr-1"
HOST = "ewr-buyvm-1"


def network(node: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The seed's network with OpenBSD at Miami, and with these keys on that node and beside it."""
    values = prod()
    values["nodes"][MIAMI] |= {"os": "openbsd"} | (node or {})
    return values | keys


def hosted(*upstreams: dict[str, Any], **host: Any) -> dict[str, Any]:
    """The seed's network with OpenBSD on an existing host."""
    values = with_members()
    given = {key: value for key, value in (EXISTING | host).items() if value is not None}
    values["nodes"][HOST] = {
        "number": 7, "host": given, "os": "openbsd", "upstreams": list(upstreams),
    }  # fmt: skip
    return values


def service(**keys: Any) -> dict[str, Any]:
    """One service of its own beside the seed's."""
    given = {
        "kind": "external",
        "addresses": {"ipv4": "192.30.120.101"},
        "ports": {"tcp": [25]},
        "checks": [{"kind": "tcp", "port": 25}],
    }
    mail = {key: value for key, value in (given | keys).items() if value is not None}
    return {"services": prod()["services"] | {"mail": mail}}


def without_one(network_: str, *places: str) -> dict[str, Any]:
    """A second aggregate, which these nodes announce."""
    first = prod()["prefixes"]
    more = [first["ipv4"], {"prefix": network_, "announcedBy": list(places)}]
    return {"prefixes": first | {"ipv4": more}}


def member(name: str) -> dict[str, Any]:
    values = with_members()
    values["nodes"][name]["os"] = "openbsd"
    return values


TRANSIT = {"name": "transit", "asn": 64510, "ipv4": "198.51.100.1", "multihop": 2}
LINKED = {"name": "transit", "asn": 64510, "ipv4": "198.51.100.1", "interface": "vio1"}

WEB = {"kind": "web", "content": "site", "ports": None, "checks": None}
DNS = {"kind": "dns", "content": "zones", "ports": None, "checks": None}
EXEC = {"checks": [{"kind": "exec", "command": "mail-queue"}]}

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another system": (
        network({"os": "netbsd"}),
        [f"mesh:nodes.{MIAMI}.os = netbsd: it is none of 'debian' or 'openbsd'"],
    ),
    "a provider without an image": (
        member("ord-gcp-1"),
        ["mesh:nodes.ord-gcp-1.os = openbsd: gcp has no image", "at vultr", "host:"],
    ),
    "bare metal": (
        network({"bareMetal": True}),
        [f"mesh:nodes.{MIAMI}.bareMetal = true: no image of OpenBSD for bare metal of vultr"],
    ),
    "a node that does not announce": (
        network({"announce": False}),
        [f"mesh:nodes.{MIAMI}.os = openbsd: the node has no upstream", "remove announce: false"],
    ),
    "a host without a session": (
        hosted(upstream=None),
        [f"mesh:nodes.{HOST}.os = openbsd: the node has no upstream", "host.upstream"],
    ),
    "a reflector": (
        network(reflectors=["lax-vultr-1", MIAMI]),
        [f"mesh:reflectors = {MIAMI}: a route reflector is set up on Debian alone", "ewr-vultr-1"],
    ),
    "a registry": (
        network(registries=[MIAMI]),
        [f"mesh:registries = {MIAMI}: a registry is set up on Debian alone", "or name ewr-vultr-1"],
    ),
    "a monitor": (
        network(monitoring={"nodes": [MIAMI], "receivers": {"a": {"kind": "webhook"}}}),
        [f"mesh:monitoring.nodes = {MIAMI}: Prometheus and Alertmanager are set up on Debian"],
    ),
    "a web service": (
        network(**service(**WEB)),
        [
            f"mesh:services.mail.kind = web: {MIAMI} runs OpenBSD, where no nginx is set up",
            "nodes: [ewr-vultr-1, lax-vultr-1, ord-vultr-1]",
            "kind: external",
        ],
    ),
    "zones": (
        network(**service(**DNS)),
        [f"mesh:services.mail.kind = dns: {MIAMI} runs OpenBSD, where no NSD is set up"],
    ),
    "a unit of systemd": (
        network(**service(unit="postfix.service")),
        [f"mesh:services.mail.unit = postfix.service: {MIAMI} runs OpenBSD", "remove unit"],
    ),
    "a program as a check": (
        network(**service(**EXEC)),
        [f"mesh:services.mail.checks.0 = exec mail-queue: {MIAMI} runs OpenBSD", "kind: tcp"],
    ),
    "a prefix that only others announce": (
        network(**without_one("192.30.124.0/23", "lax")),
        [
            f"mesh:prefixes.ipv4.1.announcedBy = lax: {MIAMI} does not announce 192.30.124.0/23",
            f"name {MIAMI} there too",
        ],
    ),
    "TTL security of IPv6": (
        hosted({**TRANSIT, "ipv6": "2001:db8:b::1", "ttlSecurity": True}),
        [f"mesh:nodes.{HOST}.upstreams.transit.ttlSecurity = true", "for IPv4 alone"],
    ),
    "a password without an own address": (
        hosted({**LINKED, "password": True}),
        [f"mesh:nodes.{HOST}.upstreams.transit.local.ipv4 = unset", "has on vio1"],
    ),
    "a neighbor on an interface with a name of Linux": (
        hosted({**LINKED, "interface": "enp1s0"}),
        [f"mesh:nodes.{HOST}.upstreams.transit.interface = enp1s0", "for example vio1"],
    ),
    "a neighbor on a tunnel": (
        hosted({**LINKED, "interface": "wg1"}),
        [f"mesh:nodes.{HOST}.upstreams.transit.interface = wg1", "for example vio1"],
    ),
    "filter states copied, of a node": (
        network({"pfsync": {"peer": "10.0.0.2"}}),
        [f"mesh:nodes.{MIAMI}.pfsync = ", "copies states of the filter, not connections"],
    ),
    "filter states copied, of a host": (
        hosted(pfsync=True),
        [f"mesh:nodes.{HOST}.host.pfsync = true", "not connections", "docs/openbsd.md"],
    ),
    "filter states copied, of the network": (
        network(pfsync=["mia", "lax"]),
        ["mesh:pfsync = ['mia', 'lax']", "not connections", "docs/openbsd.md"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_openbsd_cannot_do_is_refused_with_the_reason(what: str) -> None:
    values, words = REFUSED[what]
    with pytest.raises(SpecError) as refused:
        load("prod", values, ROOT)
    errors = [str(each) for each in refused.value.problems]
    assert [each for each in errors if all(word in each for word in words)], errors
    # One mistake is one message.
    assert len(errors) == 1, errors


ACCEPTED: dict[str, dict[str, Any]] = {
    "an edge": network(),
    "an existing host": hosted(),
    "a daemon of the operator": network(**service()),
    "a web service of the others": network(**service(**WEB, nodes=["lax-vultr-1"])),
    "checks by exec of the others": network(**service(**EXEC, nodes=["lax-vultr-1"])),
    "a prefix that it announces too": network(**without_one("192.30.124.0/23", "lax", MIAMI)),
    "TTL security of IPv4": hosted({**TRANSIT, "ttlSecurity": True}),
    "a password and an own address": hosted(
        {**LINKED, "password": True, "local": {"ipv4": "198.51.100.2/30"}}
    ),
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_all_else_works_there(what: str) -> None:
    nodes = load("prod", ACCEPTED[what], ROOT).spec.nodes
    assert OperatingSystem.OPENBSD in {node.os for node in nodes.values()}


def about_systems(loaded: Loaded) -> list[str]:
    return [str(each) for each in loaded.problems if "OpenBSD" in each.reason]


def test_where_no_looking_glass_runs_is_said() -> None:
    (warning,) = about_systems(load("prod", network(), ROOT))
    assert (
        f"no looking glass runs on OpenBSD, and only those of other nodes show {MIAMI};" in warning
    )
    assert not about_systems(load("prod", network(glass={"enabled": False}), ROOT))


def test_a_twin_runs_debian_in_its_place_and_says_so(tmp_path: Path) -> None:
    for stack, keys in (("prod", network()), ("lab", {"twin": "prod"})):
        config = {f"mesh:{key}": value for key, value in keys.items()}
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))
    twin = load_file("lab", tmp_path)
    assert {node.os for node in twin.spec.nodes.values()} == {OperatingSystem.DEBIAN}
    (warning,) = about_systems(twin)
    assert f"mesh:nodes.{MIAMI}.os = openbsd: in the lab the node is a container with" in warning
