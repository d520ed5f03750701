"""Several aggregates, where each is announced, and what a stack file may not say about them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mesh.limits import MOST_PREFIXES
from mesh.spec import SpecError, load
from mesh.trust.documents import MAX_UPSTREAMS
from tests.kit.stacks import ROOT, several_prefixes, with_members

ANYCAST4, SECOND4 = "192.30.120.0/23", "192.30.124.0/23"
ANYCAST6 = "2620:71:4000::/48"
UNICAST6 = "2620:71:4001::/48"


def problems(values: dict[str, Any]) -> dict[str, str]:
    try:
        load("prod", values, ROOT)
    except SpecError as error:
        return {problem.key: problem.reason for problem in error.problems}
    return {}


def bent(**prefixes: Any) -> dict[str, Any]:
    values = several_prefixes()
    values["prefixes"] = prefixes
    values["services"] = {}
    return values


VALID: dict[str, dict[str, Any]] = {
    "one prefix": {"ipv4": ANYCAST4},
    "one prefix in a list": {"ipv4": [ANYCAST4], "ipv6": [ANYCAST6]},
    "one prefix in a map": {"ipv4": {"prefix": ANYCAST4, "announcedBy": ["lax"]}},
    "two everywhere": {"ipv4": [ANYCAST4, SECOND4]},
    "neighbors": {"ipv4": [ANYCAST4, "192.30.122.0/23"]},
    "a /24 of it at one city": {
        "ipv4": ANYCAST4,
        "moreSpecifics": [{"prefix": "192.30.121.0/24", "announcedBy": ["ord"]}],
    },
    "each half at its own city": {
        "ipv4": ANYCAST4,
        "moreSpecifics": [
            {"prefix": "192.30.120.0/24", "announcedBy": ["lax"]},
            {"prefix": "192.30.121.0/24", "announcedBy": ["ewr"]},
        ],
    },
    "a /48 of a /44": {
        "ipv4": ANYCAST4,
        "ipv6": "2620:71:4000::/44",
        "moreSpecifics": [{"prefix": "2620:71:4002::/48", "announcedBy": ["ord-vultr-1"]}],
    },
}


@pytest.mark.parametrize("prefixes", VALID.values(), ids=VALID.keys())
def test_what_operators_announce_is_valid(prefixes: dict[str, Any]) -> None:
    assert problems(bent(**prefixes)) == {}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no prefix": ({"ipv4": "nonsense"}, "ipv4", "not an IPv4 network"),
    "no prefix in a list": ({"ipv4": [ANYCAST4, "nonsense"]}, "ipv4.1", "not an IPv4 network"),
    "an empty list": ({"ipv4": []}, "ipv4", "at least 1"),
    "no prefix in a map": ({"ipv4": {"announcedBy": ["lax"]}}, "ipv4.prefix", "missing"),
    "a misspelt key": ({"ipv4": {"prefix": ANYCAST4, "at": ["lax"]}}, "ipv4.at", "unknown"),
    "announced by nobody": (
        {"ipv4": {"prefix": ANYCAST4, "announcedBy": []}},
        "ipv4.announcedBy",
        "at least 1",
    ),
    "the same twice": ({"ipv4": [ANYCAST4, ANYCAST4]}, "ipv4.1", "has it already"),
    "an overlap": ({"ipv4": [ANYCAST4, "192.30.121.0/24"]}, "ipv4.1", "it overlaps"),
    "a later one around an earlier one": (
        {"ipv4": [ANYCAST4, "192.30.120.0/22"]},
        "ipv4.1",
        "it overlaps",
    ),
    "too long": ({"ipv4": [ANYCAST4, "192.30.124.0/25"]}, "ipv4.1", "nothing longer than /24"),
    "private": ({"ipv4": [ANYCAST4, "10.9.0.0/16"]}, "ipv4.1", "not global unicast"),
    "the tunnels'": ({"ipv4": ANYCAST4, "ipv6": [ANYCAST6, "fd00:10:10::/48"]}, "ipv6.1", "global"),
    "a more-specific of nothing": (
        {
            "ipv4": ANYCAST4,
            "moreSpecifics": [{"prefix": "192.30.130.0/24", "announcedBy": ["ord"]}],
        },
        "moreSpecifics.0.prefix",
        "inside none of the aggregates",
    ),
    "a more-specific that is the aggregate": (
        {"ipv4": ANYCAST4, "moreSpecifics": [{"prefix": ANYCAST4, "announcedBy": ["ord"]}]},
        "moreSpecifics.0.prefix",
        "inside none of the aggregates",
    ),
    "a more-specific that is too long": (
        {
            "ipv4": ANYCAST4,
            "moreSpecifics": [{"prefix": "192.30.121.0/25", "announcedBy": ["ord"]}],
        },
        "moreSpecifics.0",
        "nothing longer than /24",
    ),
    "a more-specific twice": (
        {
            "ipv4": ANYCAST4,
            "moreSpecifics": [
                {"prefix": "192.30.121.0/24", "announcedBy": ["ord"]},
                {"prefix": "192.30.121.0/24", "announcedBy": ["lax"]},
            ],
        },
        "moreSpecifics.1",
        "has it already",
    ),
    "a more-specific without a place": (
        {"ipv4": ANYCAST4, "moreSpecifics": [{"prefix": "192.30.121.0/24"}]},
        "moreSpecifics.0.announcedBy",
        "missing",
    ),
    "an unknown place": (
        {"ipv4": {"prefix": ANYCAST4, "announcedBy": ["sea"]}},
        "ipv4.announcedBy",
        "no such region or node",
    ),
    "an unknown node": (
        {"ipv4": {"prefix": ANYCAST4, "announcedBy": ["lax-vultr-9"]}},
        "ipv4.announcedBy",
        "no such region or node",
    ),
}


@pytest.mark.parametrize(("prefixes", "key", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_nobody_could_announce_is_refused(
    prefixes: dict[str, Any], key: str, reason: str
) -> None:
    found = problems(bent(**prefixes))
    assert f"mesh:prefixes.{key}" in found, found
    assert reason in found[f"mesh:prefixes.{key}"]


def test_a_member_announces_no_prefix() -> None:
    values = with_members()
    for place in ("lax-aws-1", "ord-gcp-1"):
        values["prefixes"]["ipv6"] = [ANYCAST6, {"prefix": UNICAST6, "announcedBy": [place]}]
        (reason,) = problems(values).values()
        assert "no IPv6 session with an upstream" in reason


def test_a_family_that_no_edge_speaks_is_not_announced_by_any() -> None:
    values = with_members()
    host = copy.deepcopy(values["nodes"]["ewr-buyvm-1"])
    del host["host"]["upstream"]["ipv6"]
    values["nodes"]["ewr-buyvm-1"] = host
    values["prefixes"]["ipv6"] = [ANYCAST6, {"prefix": UNICAST6, "announcedBy": ["ewr-buyvm-1"]}]
    (reason,) = problems(values).values()
    assert "no IPv6 session with an upstream" in reason


SERVICES = {
    "in no prefix": ("2620:71:4009::100", None, "outside all aggregates"),
    "at another city than its prefix": (
        "2620:71:4001::100", ["ord-vultr-1"], "is announced by lax",
    ),
    "the first address": ("2620:71:4002::", ["ord-vultr-1"], "first address"),
}  # fmt: skip


@pytest.mark.parametrize(("address", "nodes", "reason"), SERVICES.values(), ids=SERVICES.keys())
def test_a_service_whose_address_nobody_announces_where_it_runs_is_refused(
    address: str, nodes: list[str] | None, reason: str
) -> None:
    values = several_prefixes()
    values["services"]["laxonly"]["addresses"]["ipv6"] = address
    values["services"]["laxonly"]["nodes"] = nodes
    found = problems(values)
    assert reason in found["mesh:services.laxonly.addresses.ipv6"]


def test_a_rule_for_one_of_several_prefixes_is_refused() -> None:
    values = several_prefixes()
    values["traffic"] = [{"name": "less", "prefix": ANYCAST6, "prepend": 1}]
    assert "several" in problems(values)["mesh:traffic.less.prefix"]


def test_a_node_announces_no_more_than_its_report_names() -> None:
    assert MOST_PREFIXES == MAX_UPSTREAMS
    many = [f"2620:71:{4000 + number}::/48" for number in range(MOST_PREFIXES + 1)]
    assert problems(bent(ipv4=ANYCAST4, ipv6=many[:-1])) == {}
    found = problems(bent(ipv4=ANYCAST4, ipv6=many))
    assert "more than 16 prefixes of IPv6" in found[f"mesh:prefixes.ipv6.{MOST_PREFIXES}"]


def test_a_neighbor_in_any_of_the_aggregates_is_refused() -> None:
    values = with_members()
    values["prefixes"]["ipv4"] = [ANYCAST4, SECOND4]
    host = copy.deepcopy(values["nodes"]["ewr-buyvm-1"])
    host["host"]["upstream"]["ipv4"] = "192.30.124.9"
    values["nodes"]["ewr-buyvm-1"] = host
    (reason,) = problems(values).values()
    assert f"inside the aggregate {SECOND4}" in reason
