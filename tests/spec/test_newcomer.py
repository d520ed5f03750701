"""The way of somebody who has never seen a stack file: what is refused shows what to write."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mesh.cli.main import app
from mesh.spec import Problem, SpecError, load
from mesh.spec.examples import REQUIRED, written
from tests.kit.stacks import ROOT

Values = dict[str, Any]
SHOWN = "for example "


def problems(values: Values) -> tuple[Problem, ...]:
    try:
        return load("mine", values, ROOT).problems
    except SpecError as error:
        return error.problems


def example(problem: Problem) -> Values:
    """What its cure shows to write, read as a stack file is."""
    assert SHOWN in problem.cure, problem
    text = problem.cure.partition(SHOWN)[2]
    for end in ("; ", " ("):
        text = text.partition(end)[0]
    found = yaml.safe_load(text)
    assert isinstance(found, dict), text
    return found


def read(text: str) -> Values:
    """The keys of an example that stands at the top of a stack file."""
    found: Values = yaml.safe_load(text)
    return {key.removeprefix("mesh:"): value for key, value in found.items()}


def smallest() -> Values:
    texts = [written(key) for key in REQUIRED]
    return {k: v for text in texts if text is not None for k, v in read(text).items()}


def test_who_writes_what_is_shown_comes_from_nothing_to_a_file_that_can_be_used() -> None:
    values: Values = {}
    for _ in range(len(REQUIRED)):
        missing = [each for each in problems(values) if each.severity == "error"]
        if not missing:
            break
        assert {each.value for each in missing} == {"unset"}
        values |= read(missing[0].cure.partition(SHOWN)[2])
    assert values == smallest()
    left = [(each.severity, each.key) for each in problems(values)]
    assert left == [
        ("preview", "mesh:admin.keys"),
        ("warning", "mesh:admin.ssh"),  # the address that is shown is nobody's
        ("preview", "mesh:bgpPassword-vultr"),
    ]


def test_the_first_line_is_shown_to_who_has_none(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text("")
    done = CliRunner().invoke(app, ["check", "--stack", "mine", "--root", str(tmp_path)])
    assert "write the keys under `config:`, for example config: {mesh:asn: 27218}" in done.stderr


def region(block: str = "192.30.120.8/29", **slots: str) -> Values:
    return {"name": "A city", "location": [50.03, 8.56], "block": block, "slots": slots}


def service(ipv4: str = "192.30.120.100", **more: Any) -> Values:
    return {
        "addresses": {"ipv4": ipv4}, "ports": {"tcp": [80]},
        "checks": [{"kind": "http", "port": 80}], **more,
    }  # fmt: skip


BARE: Values = {"addresses": {"ipv4": "192.30.120.100"}}
SECOND = {"lax-vultr-1": {"number": 1}, "fra-vultr-1": {"number": 2}}
HOSTED = {"ipv4": "198.51.100.7", "ssh": {"trustFirst": True}}


def hosted(**host: Any) -> Values:
    return {"lax-vultr-1": {"number": 1}, "lax-buyvm-1": {"number": 2, "host": HOSTED | host}}


REFUSED: dict[str, tuple[Values, str, str]] = {
    # name: (what stands at these paths, the key that is refused, the map that takes what is shown)
    "a prefix without a family": ({"prefixes": {}}, "prefixes", "prefixes"),
    "a prefix that is no map": ({"prefixes": "192.30.120.0/23"}, "prefixes", ""),
    "a private prefix": ({"prefixes/ipv4": "10.0.0.0/16"}, "prefixes.ipv4", "prefixes"),
    "a private IPv6 prefix": ({"prefixes/ipv6": "fd00::/48"}, "prefixes.ipv6", "prefixes"),
    "tunnels of one family": ({"tunnels": {"ipv4": "10.0.0.0/24"}}, "tunnels.ipv6", "tunnels"),
    "public tunnels": ({"tunnels/ipv4": "203.0.112.0/24"}, "tunnels.ipv4", "tunnels"),
    "nobody may log in": ({"admin": {}}, "admin.ssh", "admin"),
    "nobody is let in": ({"admin/ssh": []}, "admin.ssh", "admin"),
    "no region": ({"regions": {}}, "regions", ""),
    "an empty region": ({"regions/lax": None}, "regions.lax", "regions"),
    "a region without a name": ({"regions/lax": {}}, "regions.lax.name", "regions/lax"),
    "a region without a place": ({"regions/lax": {}}, "regions.lax.location", "regions/lax"),
    "a region without a block": (
        {"regions/lax": {"name": "Los Angeles", "location": [33.94, -118.41]}},
        "regions.lax.block", "regions/lax"),
    "a block elsewhere": (
        {"regions/fra": region("192.0.2.0/29")}, "regions.fra.block", "regions/fra"),
    "a block twice": (
        {"regions/fra": region("192.30.120.0/29")}, "regions.fra.block", "regions/fra"),
    "a /28": ({"regions/fra": region("192.30.120.16/28")}, "regions.fra.block", "regions/fra"),
    "a node without a region": ({"nodes": SECOND}, "nodes.fra-vultr-1", "regions"),
    "a node without a slot": (
        {"nodes": SECOND, "regions/fra": region()}, "nodes.fra-vultr-1", "regions/fra/slots"),
    "a node without a number": (
        {"nodes/lax-vultr-1": {}}, "nodes.lax-vultr-1.number", "nodes/lax-vultr-1"),
    "a node that is empty": ({"nodes/lax-vultr-1": None}, "nodes.lax-vultr-1", "nodes"),
    "a number twice": (
        {"nodes/lax-vultr-2": {"number": 1}}, "nodes.lax-vultr-2.number", "nodes/lax-vultr-2"),
    "a place that Vultr calls otherwise": (
        {"nodes/here-vultr-1": {"number": 2},
         "regions/here": region(**{"vultr-1": "192.30.120.9"})},
        "regions.here.at.vultr", "regions/here"),
    "a place that Vultr has not": (
        {"nodes/here-vultr-1": {"number": 2},
         "regions/here": region(**{"vultr-1": "192.30.120.9"}) | {"at": {"vultr": "bonn"}}},
        "regions.here.at.vultr", "regions/here/at"),
    "no reflector": ({"reflectors": []}, "reflectors", ""),
    "a reflector that is no list": ({"reflectors": "lax-vultr-1"}, "reflectors", ""),
    "no registry": ({"registries": []}, "registries", ""),
    "one reflector of two cities": (
        {"nodes": SECOND, "regions/fra": region(**{"vultr-1": "192.30.120.9"})}, "reflectors", ""),
    "members alone": ({"nodes": {"lax-aws-1": {"number": 1}}}, "nodes", "nodes"),
    "another provider": (
        {"nodes/lax-buyvm-1": {"number": 2}}, "nodes.lax-buyvm-1", "nodes/lax-buyvm-1"),
    "a host without an address": (
        {"nodes/lax-buyvm-1": {"number": 2, "host": {}}}, "nodes.lax-buyvm-1.host.ipv4",
        "nodes/lax-buyvm-1/host"),
    "a host without a key": (
        {"nodes": hosted(ssh={})}, "nodes.lax-buyvm-1.host.ssh.hostKeys",
        "nodes/lax-buyvm-1/host"),
    "a session without an ASN": (
        {"nodes": hosted(upstream={})}, "nodes.lax-buyvm-1.host.upstream.peerAsn",
        "nodes/lax-buyvm-1/host/upstream"),
    "a session without a neighbor": (
        {"nodes": hosted(upstream={"peerAsn": 53667})}, "nodes.lax-buyvm-1.host.upstream",
        "nodes/lax-buyvm-1/host/upstream"),
    "a host that is to announce": (
        {"nodes": hosted(), "nodes/lax-buyvm-1/announce": True}, "nodes.lax-buyvm-1.announce",
        "nodes/lax-buyvm-1/host"),
    "one host without a session": (
        {"nodes": {"lax-buyvm-1": {"number": 1, "host": HOSTED}}}, "nodes",
        "nodes/lax-buyvm-1/host"),
    "one host without a session, and IPv6 alone": (
        {"nodes": {"lax-buyvm-1": {"number": 1, "host": HOSTED | {"ipv6": "2001:db8::7"}}},
         "prefixes": {"ipv6": "2620:71:4000::/48"}},
        "nodes", "nodes/lax-buyvm-1/host"),
    "an empty service": ({"services": {"web": None}}, "services.web", "services"),
    "a service without addresses": (
        {"services": {"web": {}}}, "services.web.addresses", "services/web"),
    "a service without ports": ({"services": {"web": BARE}}, "services.web.ports", "services/web"),
    "a service without checks": (
        {"services": {"web": BARE}}, "services.web.checks", "services/web"),
    "a web service without content": (
        {"services": {"web": BARE | {"kind": "web"}}}, "services.web.content", "services/web"),
    "a service with an empty list of checks": (
        {"services": {"web": service(checks=[])}}, "services.web.checks", "services/web"),
    "a service without an open port": (
        {"services": {"web": service(ports={})}}, "services.web.ports", "services/web"),
    "a port that is no list": (
        {"services": {"web": service(ports={"tcp": 80})}}, "services.web.ports.tcp",
        "services/web/ports"),
    "a service outside of the prefix": (
        {"services": {"web": service("10.1.1.1")}}, "services.web.addresses.ipv4",
        "services/web/addresses"),
    "a service among the nodes": (
        {"services": {"web": service("192.30.120.2")}}, "services.web.addresses.ipv4",
        "services/web/addresses"),
    "an address twice": (
        {"services": {"web": service(), "dns": service()}}, "services.dns.addresses.ipv4",
        "services/dns/addresses"),
    "IPv6 of a service alone": (
        {"services": {"web": service(addresses={"ipv4": "192.30.120.100",
                                                "ipv6": "2620:71:4000::100"})}},
        "services.web.addresses.ipv6", "prefixes"),
    "IPv6 of a service outside of the prefix": (
        {"prefixes/ipv6": "2620:71:4000::/48",
         "services": {"web": service(addresses={"ipv4": "192.30.120.101", "ipv6": "2001:db8::1"})}},
        "services.web.addresses.ipv6", "services/web/addresses"),
}  # fmt: skip
LITERAL = ("a host without a key",)
"""Where what is shown has a gap that nobody but the operator can fill."""


def at(values: Values, path: str) -> Values:
    for name in filter(None, path.split("/")):
        values = values.setdefault(name, {})
    return values


def mistaken(given: Values) -> Values:
    values = smallest()
    for path, value in given.items():
        parent, _, name = path.rpartition("/")
        at(values, parent)[name] = copy.deepcopy(value)
    return values


@pytest.mark.parametrize(("given", "key", "place"), REFUSED.values(), ids=REFUSED)
def test_what_is_shown_to_be_written_is_the_cure(
    request: pytest.FixtureRequest, given: Values, key: str, place: str
) -> None:
    values = mistaken(given)
    (refused,) = (each for each in problems(values) if each.key == f"mesh:{key}")
    shown = example(refused)
    if request.node.callspec.id in LITERAL:
        return
    target = at(values, place)
    if not place:
        shown = {name.removeprefix("mesh:"): value for name, value in shown.items()}
    target |= shown
    assert not [e for e in problems(values) if (e.key, e.reason) == (refused.key, refused.reason)]


@pytest.mark.parametrize(
    ("given", "key", "cure"),
    [
        ({"prefixes/anouncedBy": ["lax"]}, "prefixes.anouncedBy", "remove it, or use one of ipv4"),
        ({"prefixes/ipv4": [{"prefix": "192.30.120.0/23", "announced": ["lax"]}]},
         "prefixes.ipv4.0.announced", "write announcedBy, or remove it"),
        ({"nodes/lax-vultr-1/upstreams": [{"peerAsn": 64510}]},
         "nodes.lax-vultr-1.upstreams.0.peerAsn", "write asn, or remove it"),
        ({"nodes/lax-vultr-1/upstreams": [{"holdtime": 90}]},
         "nodes.lax-vultr-1.upstreams.0.holdtime", "write holdTime, or remove it"),
        ({"providers/vultr": {"size": "large"}}, "providers.vultr.size",
         "remove it, or use one of plan, image"),
        ({"services": {"web": service(checks=[{"kind": "tcp", "port": 80, "url": "/"}])}},
         "services.web.checks.0.url", "remove it, or correct its spelling"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_answered_with_those_that_there_are(
    given: Values, key: str, cure: str
) -> None:
    (refused,) = (each for each in problems(mistaken(given)) if each.key == f"mesh:{key}")
    assert refused.cure.startswith(cure)


def test_two_keys_are_asked_for_with_a_line_to_begin_from() -> None:
    (refused,) = (each for each in problems(smallest()) if each.key == "mesh:admin.keys")
    assert len(example(refused)["keys"]) == 2


@pytest.mark.parametrize(
    ("nodes", "key"),
    [
        ({"lax-vultr-1": {"number": 1}}, "bgpPassword-vultr"),
        (hosted(), "sshKey-buyvm"),
        (hosted(upstream={"peerAsn": 53667, "ipv4": "203.0.113.1", "password": True}),
         "bgpPassword-buyvm"),
    ],
)  # fmt: skip
def test_a_missing_secret_is_asked_for_with_the_command_that_sets_it(
    nodes: Values, key: str
) -> None:
    values = mistaken({"nodes": nodes, "regions/lax/slots/buyvm-1": "192.30.120.2"})
    (refused,) = (each for each in problems(values) if each.key == f"mesh:{key}")
    assert refused.cure.startswith(f"`pulumi config set --secret mesh:{key}")
