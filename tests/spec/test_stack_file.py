"""What a person is told of a stack file: key, value, reason and cure, all at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mesh.spec import (
    Problem,
    SpecError,
    for_preview,
    from_engine,
    load,
    load_file,
    read_stack_file,
)
from tests.kit.stacks import (
    EXISTING,
    ROOT,
    bent,
    one_family,
    prod,
    ssh_key,
    with_members,
    without_ipv4,
)

WEB = {
    "ports": {"tcp": [80]},
    "checks": [{"kind": "http", "port": 80}],
}

REFUSED: list[tuple[str, str, Any, str, str]] = [
    # what is wrong, path, value, key that is named, reason that is given
    ("ASN 0", "asn", 0, "mesh:asn", "whole number from 1 to 4294967295"),
    ("a private ASN", "asn", 64512, "mesh:asn", "private (RFC 6996)"),
    ("a 32-bit private ASN", "asn", 4200000001, "mesh:asn", "private (RFC 6996)"),
    ("AS_TRANS", "asn", 23456, "mesh:asn", "AS_TRANS"),
    ("a documentation ASN", "asn", 64496, "mesh:asn", "documentation"),
    ("an ASN in words", "asn", "twenty", "mesh:asn", "whole number from 1"),
    ("host bits", "prefixes/ipv4", "192.30.120.5/23", "mesh:prefixes.ipv4", "192.30.120.0/23"),
    ("too long an aggregate", "prefixes/ipv4", "192.30.120.0/25", "mesh:prefixes.ipv4", "/24"),
    ("too long an IPv6", "prefixes/ipv6", "2620:71:4000::/56", "mesh:prefixes.ipv6", "/48"),
    ("a private aggregate", "prefixes/ipv4", "10.0.0.0/16", "mesh:prefixes.ipv4", "not global"),
    (
        "longitude first",
        "regions/lax/location",
        [-118.41, 33.94],
        "mesh:regions.lax.location",
        "latitude comes first",
    ),
    (
        "neither comes first",
        "regions/lax/location",
        [-118.41, 133.94],
        "mesh:regions.lax.location.0",
        "less than -90",
    ),
    (
        "a place as a map",
        "regions/lax/location",
        {"-118": 0, "33": 0},
        "mesh:regions.lax.location",
        "not a list",
    ),
    (
        "a place in words",
        "regions/lax/location",
        "Los Angeles",
        "mesh:regions.lax.location",
        "not a list",
    ),
    ("no prefix at all", "prefixes/ipv4", "lax", "mesh:prefixes.ipv4", "not an IPv4 network"),
    ("public tunnels", "tunnels/ipv4", "8.8.8.0/24", "mesh:tunnels.ipv4", "private"),
    ("tunnels too small", "tunnels/ipv4", "10.10.10.0/30", "mesh:nodes.mia-vultr-1.number", "no"),
    ("ports beyond 65535", "tunnels/port", 65534, "mesh:tunnels.port", "65535"),
    ("a link of one end", "tunnels/links", {"lax-vultr-1": {}}, "mesh:tunnels.links", "two nodes"),
    ("an open admin", "admin/ssh", ["0.0.0.0/0"], "mesh:admin.ssh", "opens SSH to the world"),
    ("an open IPv6 admin", "admin/ssh", ["::/0"], "mesh:admin.ssh", "opens SSH to the world"),
    ("half the world", "admin/ssh", ["128.0.0.0/1"], "mesh:admin.ssh", "opens SSH to the world"),
    ("all of IPv6", "admin/ssh", ["2000::/3"], "mesh:admin.ssh", "opens SSH to the world"),
    ("an admin without list", "admin/ssh", "192.0.2.1/32", "mesh:admin.ssh", "not a list"),
    ("a network of names", "admin/ssh", ["home"], "mesh:admin.ssh.0", "not a network"),
    ("nobody may log in", "admin/ssh", [], "mesh:admin.ssh", "nobody"),
    ("a key that is none", "admin/keys", ["ssh-ed25519 AAAA"], "mesh:admin.keys[0]", "not an SSH"),
    ("a key twice", "admin/keys", [ssh_key("a")] * 2, "mesh:admin.keys[1]", "twice"),
    (
        "a block outside",
        "regions/lax/block",
        "192.30.122.0/29",
        "mesh:regions.lax.block",
        "outside the aggregate",
    ),
    ("a block too large", "regions/lax/block", "192.30.120.0/28", "mesh:regions.lax.block", "/29"),
    (
        "blocks that overlap",
        "regions/eu/block",
        "192.30.120.0/29",
        "mesh:regions.eu.block",
        "overlaps",
    ),
    (
        "two nodes in one slot",
        "regions/lax/slots/vultr-2",
        "192.30.120.1",
        "mesh:regions.lax.slots.vultr-2",
        "two nodes in one slot",
    ),
    (
        "a slot outside its region",
        "regions/lax/slots/vultr-2",
        "192.30.120.9",
        "mesh:regions.lax.slots.vultr-2",
        "not a host address",
    ),
    (
        "the broadcast address",
        "regions/lax/slots/vultr-2",
        "192.30.120.7",
        "mesh:regions.lax.slots.vultr-2",
        "not a host address",
    ),
    ("no region", "nodes/sea-vultr-1", {"number": 9}, "mesh:nodes.sea-vultr-1", "no region sea"),
    (
        "a region without that slot",
        "nodes/eu-vultr-1",
        {"number": 9},
        "mesh:nodes.eu-vultr-1",
        "no slot vultr-1",
    ),
    ("a number twice", "nodes/lax-vultr-2", {"number": 1}, "mesh:nodes", "has it already"),
    ("an unknown provider", "nodes/lax-acme-1", {"number": 9}, "mesh:nodes.lax-acme-1", "unknown"),
    (
        "a node at AWS that is to announce",
        "nodes/lax-aws-1",
        {"number": 9, "announce": True},
        "mesh:nodes.lax-aws-1.announce",
        "AWS takes no",
    ),
    (
        "a node at GCP that is to announce",
        "nodes/lax-gcp-1",
        {"number": 9, "announce": True},
        "mesh:nodes.lax-gcp-1.announce",
        "GCP takes no",
    ),
    (
        "a host that is to announce without a session",
        "nodes/lax-buyvm-1",
        {"number": 9, "announce": True, "host": {"ipv4": "203.0.113.77"}},
        "mesh:nodes.lax-buyvm-1.announce",
        "session is not known",
    ),
    (
        "a plan that no provider would call so",
        "nodes/lax-vultr-2",
        {"number": 9, "plan": "t3.small"},
        "mesh:nodes.lax-vultr-2.plan",
        "vultr has no plan of this form",
    ),
    (
        "a size for a host that exists",
        "nodes/lax-buyvm-1",
        {"number": 9, "plan": "vc2-1c-1gb", "host": {"ipv4": "203.0.113.77"}},
        "mesh:nodes.lax-buyvm-1.plan",
        "exists already",
    ),
    (
        "bare metal where there is none",
        "nodes/lax-aws-1",
        {"number": 9, "bareMetal": True},
        "mesh:nodes.lax-aws-1.bareMetal",
        "no bare metal of aws",
    ),
    (
        "a region that the provider does not have",
        "regions/lax/at",
        {"aws": "us-middle-9"},
        "mesh:regions.lax.at.aws",
        "aws has no such region",
    ),
    (
        "a region of a provider that nobody knows",
        "regions/lax/at",
        {"acme": "lax"},
        "mesh:regions.lax.at.acme",
        "no provider acme",
    ),
    (
        "an option of a provider that nobody knows",
        "providers",
        {"acme": {}},
        "mesh:providers.acme",
        "unknown",
    ),
    (
        "a VPC that is none",
        "providers",
        {"aws": {"given": {"us-west-1": {"vpc": "mine", "subnet": "s", "routeTable": "r"}}}},
        "mesh:providers.aws.given.us-west-1.vpc",
        "not of the form",
    ),
    (
        "too long an id",
        "nodes/lax-hetznerrobotauction-1",
        {"number": 9},
        "mesh:nodes.lax-hetznerrobotauction-1",
        "at most 24",
    ),
    (
        "an id of another form",
        "nodes/LAX1",
        {"number": 9},
        "mesh:nodes.LAX1",
        "<region>-<provider>-<n>",
    ),
    ("a region in capitals", "regions/LAX", {}, "mesh:regions.LAX", "small letters"),
    ("a slot of another form", "regions/lax/slots/a", "192.30.120.5", ".slots.a", "<provider>-<n>"),
    ("a reflector's form", "reflectors", ["LAX"], "mesh:reflectors.0", "<region>-<provider>-<n>"),
    ("a number in words", "nodes/lax-vultr-1/number", "one", ".number", "whole number from 1"),
    ("too fast a BFD", "tunnels/bfd", {"interval": 1}, "mesh:tunnels.bfd.interval", "less than 50"),
    ("neither true nor false", "whoami", "perhaps", "mesh:whoami", "neither true nor false"),
    ("a service in capitals", "services/Web", {}, "mesh:services.Web", "small letters"),
    ("no reflector", "reflectors", [], "mesh:reflectors", "at least 1"),
    ("a reflector that is none", "reflectors", ["lax-vultr-9"], "mesh:reflectors", "no such node"),
    ("a registry that is none", "registries", ["lax-vultr-9"], "mesh:registries", "no such node"),
    ("without its registry", "without", ["lax-vultr-1"], "mesh:without", "cannot be left out"),
    (
        "a service outside",
        "services/web/addresses/ipv4",
        "192.30.122.1",
        "mesh:services.web.addresses.ipv4",
        "outside the aggregate",
    ),
    (
        "a service in a region's block",
        "services/web/addresses/ipv4",
        "192.30.120.10",
        "mesh:services.web.addresses.ipv4",
        "inside 192.30.120.8/29 of region ord",
    ),
    (
        "an IPv6 service in a region's block",
        "services/web/addresses/ipv6",
        "2620:71:4000::10",
        "mesh:services.web.addresses.ipv6",
        "region ord",
    ),
    (
        "an IPv6 service without IPv6",
        "prefixes/ipv6",
        None,
        "mesh:services.web.addresses.ipv6",
        "no IPv6",
    ),
    (
        "one address for two",
        "services/dns",
        {**WEB, "addresses": {"ipv4": "192.30.120.100"}},
        "mesh:services.dns.addresses.ipv4",
        "web has it already",
    ),
    (
        "a service without check",
        "services/web/checks",
        [],
        "mesh:services.web.checks",
        "at least 1",
    ),
    (
        "a check's path",
        "services/web/checks",
        [{"kind": "http", "port": 80, "path": "health"}],
        "mesh:services.web.checks.0.path",
        "begins with /",
    ),
    (
        "a check of a kind that there is none of",
        "services/web/checks",
        [{"kind": "ftp", "port": 80}],
        "mesh:services.web.checks.0.kind",
        "it is none of 'http', 'https', 'tcp', 'dns', 'udp' or 'exec'",
    ),
    (
        "a check without its kind",
        "services/web/checks",
        [{"port": 80}],
        "mesh:services.web.checks.0.kind",
        "the key is missing",
    ),
    (
        "a check that is no map",
        "services/web/checks",
        ["http"],
        "mesh:services.web.checks.0",
        "not a map",
    ),
    (
        "a key that a check has not",
        "services/web/checks",
        [{"kind": "tcp", "port": 80, "host": "a"}],
        "mesh:services.web.checks.0.host",
        "the key is unknown here",
    ),
    (
        "a service on no node",
        "services/web/nodes",
        ["sea-vultr-1"],
        "mesh:services.web.nodes",
        "no such node",
    ),
    ("a service without ports", "services/web/ports", {}, "mesh:services.web.ports", "no port"),
    ("an unknown key", "asns", 1, "mesh:asns", "unknown"),
    ("an unknown key inside", "tunnels/prot", 1, "mesh:tunnels.prot", "unknown"),
    ("a missing key", "nodes", None, "mesh:nodes", "missing"),
    ("a twin of nobody", "twin", "nobody", "mesh:twin", "Pulumi.nobody.yaml"),
    ("a twin with a path", "twin", "../prod", "mesh:twin", "names the stack"),
    ("an unneeded secret", "bgpPassword-acme", "s3cretvalue", "mesh:bgpPassword-acme", "no node"),
    ("an empty secret", "bgpPassword-vultr", "", "mesh:bgpPassword-vultr", "empty"),
    ("a placeholder", "bgpPassword-vultr", "changeme", "mesh:bgpPassword-vultr", "placeholder"),
    ("a placeholder in <>", "bgpPassword-vultr", "<md5>", "mesh:bgpPassword-vultr", "placeholder"),
    ("a quote in a secret", "bgpPassword-vultr", 'ab"c', "mesh:bgpPassword-vultr", "BIRD"),
    ("a number as a slot", "regions/lax/slots/vultr-1", 1, "slots.vultr-1", "not a host address"),
    ("nobody serves", "services/web/nodes", [], "mesh:services.web.nodes", "at least 1 is needed"),
    ("too long a secret", "bgpPassword-vultr", "a" * 81, "mesh:bgpPassword-vultr", "80 bytes"),
]

IPV6_ALONE: list[tuple[str, str, Any, str, str]] = [
    # the same of a network with IPv6 alone
    ("no prefix", "prefixes", {}, "mesh:prefixes", "no prefix that could be announced"),
    ("a block", "regions/lax/block", "192.30.120.0/29", "mesh:regions.lax.block", "no IPv4 prefix"),
    ("no slots", "regions/lax/slots", {}, "mesh:regions.lax.slots", "no slot"),
    (
        "an address",
        "regions/lax/slots/vultr-1",
        "192.30.120.1",
        "mesh:regions.lax.slots.vultr-1",
        "a slot is a host number",
    ),
    ("host 0", "regions/lax/slots/vultr-1", 0, "mesh:regions.lax.slots.vultr-1", "1 to 9999"),
    ("another's", "regions/lax/slots/vultr-1", 9, "slots.vultr-1", "belongs to lax-vultr-1"),
    ("no slot", "nodes/lax-vultr-3", {"number": 9}, "mesh:nodes.lax-vultr-3", "has no slot"),
    ("no IPv6", "nodes/lax-vultr-1/ipv6", False, "mesh:nodes.lax-vultr-1.ipv6", "IPv6 only"),
    (
        "IPv4 of a service",
        "services/web/addresses/ipv4",
        "192.30.120.100",
        "mesh:services.web.addresses.ipv4",
        "no IPv4",
    ),
    (
        "a node's address",
        "services/web/addresses/ipv6",
        "2620:71:4000::9",
        "mesh:services.web.addresses.ipv6",
        "address of a node in region ord",
    ),
    ("no address", "services/web/addresses", {}, "mesh:services.web.addresses", "no address"),
    (
        "a session for IPv4",
        "nodes/ewr-buyvm-1",
        {"number": 7, "host": one_family()},
        "mesh:nodes.ewr-buyvm-1.host.upstream.ipv6",
        "the session is for IPv4",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "key", "reason"), [row[1:] for row in IPV6_ALONE],
    ids=[row[0] for row in IPV6_ALONE],
)  # fmt: skip
def test_each_mistake_in_a_network_with_ipv6_alone(
    path: str, value: Any, key: str, reason: str
) -> None:
    values = without_ipv4()
    values["regions"]["ewr"]["slots"]["buyvm-1"] = 21
    assert not [p for p in load("prod", values, ROOT).problems if p.severity == "error"]
    *parents, last = path.split("/")
    place = values
    for parent in parents:
        place = place[parent]
    place[last] = value
    with pytest.raises(SpecError) as refused:
        load("prod", values, ROOT)
    named = [p for p in refused.value.problems if key in p.key and reason in p.reason]
    assert named, refused.value
    assert all(problem.cure for problem in refused.value.problems)


PARSERS_OWN = ("Input should", "String should", "Tuple should", "Field required", "^[a-z]")
"""Words that mean nothing to who writes a stack file."""


@pytest.mark.parametrize(
    ("path", "value", "key", "reason"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_each_mistake_is_named_with_its_reason_and_a_cure(
    path: str, value: Any, key: str, reason: str
) -> None:
    with pytest.raises(SpecError) as refused:
        load("prod", bent(path, value), ROOT)
    named = [p for p in refused.value.problems if key in p.key and reason in p.reason]
    assert named, refused.value
    assert all(problem.cure for problem in refused.value.problems)
    assert not [word for word in PARSERS_OWN if word in str(refused.value)]


@pytest.mark.parametrize(
    ("path", "value", "reason", "cure"),
    [
        ("asn", True, "an ASN is a whole number", "give the number"),
        ("nodes/lax-vultr-1/number", True, "a node's number is a whole number", "never used"),
        ("tunnels/port", False, "this is not a whole number", "give a whole number"),
        ("tunnels/bfd/multiplier", True, "this is not a whole number", "give a whole number"),
        ("services/web/ports/tcp/0", True, "this is not a whole number", "give a whole number"),
        ("services/web/checks/0/rise", True, "this is not a whole number", "give a whole number"),
        ("nodes/ewr-buyvm-1/host/upstream/multihop", True,
         "this is not a whole number", "give a whole number"),
    ],
)  # fmt: skip
def test_true_and_false_are_no_numbers(path: str, value: bool, reason: str, cure: str) -> None:
    *parents, last = path.split("/")
    values = copy.deepcopy(with_members())
    place: Any = values
    for step in parents:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    place[int(last) if isinstance(place, list) else last] = value
    with pytest.raises(SpecError) as refused:
        load("prod", values, ROOT)
    key = f"mesh:{path.replace('/', '.')}"
    (problem,) = (each for each in refused.value.problems if each.key == key)
    assert problem.value == ("true" if value else "false")
    assert reason in problem.reason
    assert cure in problem.cure


CURES: list[tuple[str, str, Any, str]] = [
    ("host bits", "prefixes/ipv4", "192.30.120.5/23", "write 192.30.120.0/23"),
    (
        "an unknown provider",
        "nodes/lax-acme-1",
        {"number": 9},
        "use aws or gcp or vultr, or give the node a `host:`",
    ),
    ("an id of another form", "nodes/LAX1", {"number": 9}, "for example lax-vultr-1"),
    ("a network of names", "admin/ssh", ["home"], "write it as 192.0.2.0/24"),
    ("host bits in a list", "admin/ssh", ["192.0.2.1/24"], "write 192.0.2.0/24"),
    ("a list left out", "admin/ssh", "192.0.2.1/32", "brackets"),
    ("longitude first", "regions/lax/location", [-118.41, 33.94], "write [33.94, -118.41]"),
    ("longitude first, as text", "regions/lax/location", ["118", "-33.9"], "write [-33.9, 118]"),
    ("a latitude of no place", "regions/lax/location", [91, 91], "give a value of at most 90"),
]


@pytest.mark.parametrize(
    ("path", "value", "cure"), [row[1:] for row in CURES], ids=[row[0] for row in CURES]
)
def test_a_cure_is_what_to_write(path: str, value: Any, cure: str) -> None:
    with pytest.raises(SpecError) as refused:
        load("prod", bent(path, value), ROOT)
    (problem,) = refused.value.problems
    assert cure in problem.cure


def test_an_id_that_an_unknown_provider_makes_too_long_names_the_provider() -> None:
    with pytest.raises(SpecError) as refused:
        load("prod", bent("nodes/lax-hetznerrobotauction-1", {"number": 9}), ROOT)
    reasons = {problem.value: problem.reason for problem in refused.value.problems}
    assert reasons["hetznerrobotauction"] == "the provider is unknown"
    assert "at most 24" in reasons["lax-hetznerrobotauction-1"]


def test_an_id_of_an_existing_host_that_is_too_long_is_that_only() -> None:
    values = bent("nodes/lax-hetznerrobotauction-1", {"number": 9, "host": EXISTING})
    with pytest.raises(SpecError) as refused:
        load("prod", values, ROOT)
    (problem,) = refused.value.problems
    assert "at most 24" in problem.reason


def test_two_nodes_whose_tunnels_would_have_one_name_are_refused() -> None:
    """Twenty-eight bits of a digest: found by a search, and unlikely otherwise."""
    values = prod()
    hosts = {"nyc-hetznerarte-1": "192.30.120.41", "nyc-hetznerayyx-1": "192.30.120.42"}
    values["regions"]["nyc"] = {
        "name": "New York", "location": [40.7, -74.0], "block": "192.30.120.40/29",
        "slots": {node.removeprefix("nyc-"): slot for node, slot in hosts.items()},
    }  # fmt: skip
    del values["regions"]["apac"]
    for number, node in enumerate(hosts, 8):
        host = one_family() | {"ipv4": f"203.0.113.{number}", "ipv6": f"2001:db8::{number}"}
        values["nodes"][node] = {"number": number, "host": host}
    with pytest.raises(SpecError) as refused:
        load("prod", values, ROOT)
    (problem,) = [each for each in refused.value.problems if each.severity == "error"]
    assert (problem.key, problem.value) == ("mesh:nodes.nyc-hetznerayyx-1", "nyc-hetznerayyx-1")
    assert "wg-nyc-f4474e2, as those of nyc-hetznerarte-1" in problem.reason


def test_your_own_large_network_may_log_in() -> None:
    values = bent("admin/ssh", ["10.0.0.0/8", "2001::/16"])
    assert len(load("prod", values, ROOT).spec.admin.ssh) == 2


def test_all_mistakes_are_told_at_once() -> None:
    values = bent("asn", 64512)
    values["typo"] = 1
    values["prefixes"]["ipv6"] = "2620:71:4000::1/48"
    values["nodes"]["sea-vultr-1"] = {"number": 1}
    with pytest.raises(SpecError) as refused:
        load("prod", values, ROOT)
    keys = {problem.key for problem in refused.value.problems}
    assert {"mesh:asn", "mesh:typo", "mesh:prefixes.ipv6"} <= keys
    assert {"mesh:nodes.sea-vultr-1", "mesh:nodes.sea-vultr-1.number"} <= keys


def test_a_full_block_says_so() -> None:
    values = bent("regions/lax/slots", {f"vultr-{n}": f"192.30.120.{n}" for n in range(1, 7)})
    values["nodes"]["lax-vultr-7"] = {"number": 9}
    with pytest.raises(SpecError, match=r"192\.30\.120\.0/29 is full"):
        load("prod", values, ROOT)


def test_a_missing_slot_is_offered_the_free_addresses() -> None:
    with pytest.raises(SpecError, match=r"192\.30\.120\.5, 192\.30\.120\.6"):
        load("prod", bent("nodes/lax-vultr-3", {"number": 9}), ROOT)


def test_no_error_ever_shows_a_secret() -> None:
    for value in ('hunter2"x', "hunter2" * 20):
        with pytest.raises(SpecError) as refused:
            load("prod", bent("bgpPassword-vultr", value), ROOT)
        assert "hunter2" not in str(refused.value)


MALFORMED = {
    "not YAML": "config: [",
    "not a map": "- config",
    "no config": "other: {}",
    "empty": "",
    "a key twice": "config:\n  mesh:asn: 1\n  mesh:asn: 2\n",
    "a tag of Python's": "config: !!python/object/apply:os.system ['true']",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_file_that_is_no_stack_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Pulumi.bad.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as refused:
        read_stack_file(path)
    assert refused.value.problems[0].key == str(path)
    assert refused.value.problems[0].value != "None"


LONG_KEY = "mesh:" + "k" * 90
MENDED = {
    # name: (the file, the parser's error, the cure)
    "a tab": ("config:\n\tmesh:asn: 1\n",
              r"line 2, column 1: found character '\t' that cannot start any token",
              "write spaces in place of the tab"),
    "another indentation": ("config:\n  mesh:asn: 1\n mesh:glass: {}\n",
                            "line 3, column 2: expected <block end>, but found "
                            "'<block mapping start>'",
                            "give the line the indentation of those that it belongs to"),
    "an open bracket": ("config: {a: [1\n", "line 2, column 1: expected ',' or ']', but got "
                        "'<stream end>'", "mend that line"),
    "a long key twice": (f"config:\n  {LONG_KEY}: 1\n  {LONG_KEY}: 1\n",
                         f"line 3, column 3: the key {LONG_KEY} is set twice",
                         "write what both have under one of them"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "error", "cure"), MENDED.values(), ids=MENDED)
def test_what_the_parser_says_of_a_line_is_shown_whole(
    tmp_path: Path, text: str, error: str, cure: str
) -> None:
    path = tmp_path / "Pulumi.bad.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as refused:
        read_stack_file(path)
    assert refused.value.problems == (Problem(str(path), error, "this is not YAML", cure),)


def test_an_endless_error_of_the_parser_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.bad.yaml"
    path.write_text(f"config:\n  {'k' * 999}: 1\n  {'k' * 999}: 1\n")
    with pytest.raises(SpecError) as refused:
        read_stack_file(path)
    (problem,) = refused.value.problems
    assert len(problem.value) < 300
    assert problem.value.endswith("...")


def test_the_seeds_network_is_valid_and_says_what_is_still_to_be_given() -> None:
    problems = load_file("prod", ROOT).problems
    assert {p.key for p in problems if p.severity == "preview"} == {
        "mesh:admin.keys",
        "mesh:bgpPassword-vultr",
    }
    assert [p.key for p in problems if p.severity == "warning"] == ["mesh:reflectors"]


@pytest.mark.parametrize(
    ("value", "warned"), [(False, True), ("false", True), (True, False), ("true", False)]
)
def test_protection_that_is_off_is_said_with_the_cure(value: object, warned: bool) -> None:
    """`pulumi config set` writes it as a string."""
    problems = load("prod", prod() | {"protect": value}, ROOT).problems
    found = [problem for problem in problems if problem.key == "mesh:protect"]
    assert bool(found) == warned
    assert all("pulumi config rm mesh:protect" in p.cure and p.severity == "warning" for p in found)


def test_members_whose_replies_find_no_way_out_in_a_family_are_told_of() -> None:
    def warned(host: dict[str, Any]) -> list[tuple[str, str]]:
        values = with_members()
        for node_id in ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"):
            values["nodes"][node_id]["ipv6"] = False
        values["nodes"]["ord-gcp-1"]["ipv6"] = False
        values["nodes"]["ewr-buyvm-1"]["host"] = host
        problems = load("prod", values, ROOT).problems
        return [(p.value, p.reason.split(",")[0]) for p in problems if p.key == "mesh:nodes"]

    assert warned(one_family()) == [("lax-aws-1", "no edge has an upstream for IPv6")]
    assert warned(EXISTING) == []


@pytest.mark.parametrize(
    ("network", "warned"),
    [
        ("203.0.113.7/32", True),
        ("192.0.2.0/24", True),
        ("198.51.100.128/25", True),
        ("2001:db8:7::/48", True),
        ("3fff:7::/32", True),
        ("207.231.1.46/32", False),
        ("203.0.112.0/23", False),
        ("2001:db9::/48", False),
    ],
)
def test_an_address_of_the_documentation_is_nobodys(network: str, warned: bool) -> None:
    problems = load("prod", bent("admin/ssh", [network, "207.231.1.47/32"]), ROOT).problems
    found = [(p.severity, p.value) for p in problems if p.key == "mesh:admin.ssh"]
    assert found == ([("warning", network)] if warned else [])
    twin = load("lab", {"twin": "prod", "admin": {"ssh": [network]}}, ROOT)
    assert "mesh:admin.ssh" not in {p.key for p in twin.problems}


def test_a_preview_refuses_what_is_missing() -> None:
    with pytest.raises(SpecError) as refused:
        for_preview(load_file("prod", ROOT))
    assert {p.key for p in refused.value.problems} == {"mesh:admin.keys", "mesh:bgpPassword-vultr"}


def test_a_preview_takes_a_complete_stack() -> None:
    values = bent("admin/keys", [ssh_key("a"), ssh_key("b")])
    values["bgpPassword-vultr"] = "k7Qz0nW2"
    assert for_preview(load("prod", values, ROOT)).asn == 27218


def test_a_secret_that_cannot_be_read_here_is_no_problem_offline() -> None:
    values = bent("bgpPassword-vultr", {"secure": "v1:abc"})
    assert not [p for p in load("prod", values, ROOT).problems if "bgpPassword" in p.key]


def test_the_engines_strings_mean_the_same_as_the_file() -> None:
    import json

    strings = {f"mesh:{k}": json.dumps(v) for k, v in prod().items()}
    strings["mesh:bgpPassword-vultr"] = "12345678"  # a secret of digits stays a string
    values = from_engine({**strings, "aws:region": "us-west-2"})
    assert values.pop("bgpPassword-vultr") == "12345678"
    assert load("prod", values, ROOT).spec == load("prod", prod(), ROOT).spec


def test_a_twin_differs_only_where_it_says_so_and_never_reads_the_originals_secrets(
    tmp_path: Path,
) -> None:
    original = (ROOT / "Pulumi.prod.yaml").read_text()
    (tmp_path / "Pulumi.prod.yaml").write_text(
        original + "  mesh:bgpPassword-vultr: {secure: 'v1:abc'}\n"
    )
    twin = load("lab", {"twin": "prod", "admin": {"ssh": ["198.51.100.250/32"]}}, tmp_path)
    source = load("prod", prod(), ROOT)
    assert twin.spec.twin == "prod"
    assert twin.spec.nodes == source.spec.nodes
    assert [str(n) for n in twin.spec.admin.ssh] == ["198.51.100.250/32"]
    assert "mesh:bgpPassword-vultr" in {p.key for p in twin.problems if p.severity == "preview"}


def test_a_twins_original_lies_beside_it_or_among_the_examples(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    examples.mkdir()
    text = (ROOT / "examples" / "Pulumi.mixed.yaml").read_text()
    (examples / "Pulumi.mixed.yaml").write_text(text)
    assert load("lab", {"twin": "mixed"}, tmp_path).spec.asn == 27218
    (tmp_path / "Pulumi.mixed.yaml").write_text(text.replace("mesh:asn: 27218", "mesh:asn: 3320"))
    assert load("lab", {"twin": "mixed"}, tmp_path).spec.asn == 3320
