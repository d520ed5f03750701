"""What an operator is told of the aggregates of a plan: verdict, why, cure, and dangers beside."""

from __future__ import annotations

import pytest

from mesh.rpki import Finding, State, announcements, objects, preflight
from mesh.spec import Problem
from tests.kit.stacks import bent, plan_of, prod, with_members, without_ipv6
from tests.rpki.vrps import vrps

BOTH = ("192.30.120.0/23 27218", "2620:71:4000::/48 27218")


def found(*known: str) -> Finding:
    """What is found of the IPv4 aggregate."""
    finding, _ = preflight(announcements(plan_of(prod())), vrps(*known))
    return finding


def problem(*known: str, demanded: bool = False) -> Problem:
    made = found(*known).problem(demanded)
    assert made is not None
    return made


def test_every_aggregate_that_is_announced_is_judged_with_our_asn() -> None:
    said = [(str(each.prefix), each.origin) for each in announcements(plan_of(prod()))]
    assert said == [("192.30.120.0/23", 27218), ("2620:71:4000::/48", 27218)]
    assert len(announcements(plan_of(without_ipv6()))) == 1


def test_what_no_edge_announces_is_not_judged() -> None:
    nodes = {name: node | {"ipv6": False} for name, node in prod()["nodes"].items()}
    (only,) = announcements(plan_of(bent("nodes", nodes)))
    assert only.key == "mesh:prefixes.ipv4"


def test_minimal_roas_leave_nothing_to_say() -> None:
    for finding in preflight(announcements(plan_of(prod())), vrps(*BOTH)):
        assert finding.verdict.state is State.VALID
        assert (finding.problem(True), finding.warnings, finding.cure) == (None, (), "")


@pytest.mark.parametrize(
    ("known", "why", "cure"),
    [
        (
            ["192.30.120.0/23 64496"],
            "Invalid: the ROAs that cover it have other origins than AS27218: "
            "192.30.120.0/23 maxLength 23 AS64496",
            "make a ROA at the RIR that holds the prefix: AS27218, 192.30.120.0/23, maxLength 23",
        ),
        (
            ["192.30.120.0/22 27218"],
            "Invalid: a /23 is beyond the maxLength of 192.30.120.0/22 maxLength 22 AS27218",
            "AS27218, 192.30.120.0/23, maxLength 23",
        ),
        (
            ["192.30.0.0/16-24 0"],
            "Invalid: AS0 forbids anybody to announce it: 192.30.0.0/16 maxLength 24 AS0",
            "ask it first",
        ),
    ],
)
def test_an_invalid_aggregate_is_an_error_with_the_roas_and_the_cure(
    known: list[str], why: str, cure: str
) -> None:
    said = problem(*known)
    assert said.severity == "error"
    assert said.key == "mesh:prefixes.ipv4"
    assert said.value == "192.30.120.0/23 from AS27218"
    assert said.reason == why
    assert cure in said.cure


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ([], "NotFound: no ROA covers it"),
        (
            ["192.30.121.0/24 27218", "192.30.120.0/24 27218"],
            "only parts of it: 192.30.120.0/24 maxLength 24 AS27218; "
            "192.30.121.0/24 maxLength 24 AS27218",
        ),
    ],
)
def test_not_found_is_a_warning_until_it_is_demanded(known: list[str], why: str) -> None:
    assert why in problem(*known).reason
    assert problem(*known).severity == "warning"
    assert problem(*known, demanded=True).severity == "error"


def test_many_roas_are_counted_instead_of_named() -> None:
    said = problem(*(f"192.30.120.0/23 {asn}" for asn in range(64496, 64506)))
    assert "AS64499 and 6 more" in said.reason


@pytest.mark.parametrize(
    ("known", "warning"),
    [
        ("192.30.120.0/23-24 27218", "also authorises /24 in 192.30.120.0/23"),
        ("192.30.120.0/23-32 27218", "also authorises /24 to /32 in 192.30.120.0/23"),
        ("192.30.0.0/16-24 27218", "also authorises /24 in 192.30.120.0/23"),
        ("192.30.121.0/24-26 27218", "also authorises /24 to /26 in 192.30.120.0/23"),
        ("192.30.121.0/24 64496", "AS64496 may announce a part of 192.30.120.0/23"),
    ],
)
def test_more_than_is_announced_is_a_warning_beside_a_valid_aggregate(
    known: str, warning: str
) -> None:
    finding = found(*BOTH, known)
    assert finding.problem(True) is None
    (said,) = finding.warnings
    assert warning in said.reason
    assert said.severity == "warning"
    assert said.value.startswith(known.split("-")[0].split()[0])


@pytest.mark.parametrize(
    "known",
    ["192.30.120.0/22 64496", "192.30.121.0/24 0", "192.30.120.0/23 64496", "192.30.0.0/16 27218"],
)
def test_what_takes_nothing_away_is_no_warning(known: str) -> None:
    assert found(*BOTH, known).warnings == ()


def test_a_blackhole_order_that_is_sent_upstream_is_known_to_be_invalid() -> None:
    four, six = preflight(announcements(plan_of(prod())), vrps(*BOTH))
    assert "longer than /23 is Invalid by these ROAs, so the /32 of a blackhole" in four.notes[0]
    assert "longer than /48 is Invalid by these ROAs, so the /128 of a blackhole" in six.notes[0]


def test_where_no_upstream_takes_orders_there_is_nothing_to_know() -> None:
    values = with_members()
    values["nodes"] = {"ewr-buyvm-1": values["nodes"]["ewr-buyvm-1"]}
    values["reflectors"] = values["registries"] = ["ewr-buyvm-1"]
    for finding in preflight(announcements(plan_of(values)), vrps(*BOTH)):
        assert finding.verdict.state is State.VALID
        assert finding.notes == ()


def test_a_roa_for_hosts_leaves_no_note_on_blackholes() -> None:
    assert found("192.30.120.0/23-32 27218").notes == ()


def test_the_objects_say_what_the_plan_announces_and_nothing_else() -> None:
    wanted = objects(announcements(plan_of(prod())))
    assert wanted.roas == (
        "AS27218, 192.30.120.0/23, maxLength 23",
        "AS27218, 2620:71:4000::/48, maxLength 48",
    )
    assert wanted.irr == (
        "route:   192.30.120.0/23\norigin:  AS27218",
        "route6:  2620:71:4000::/48\norigin:  AS27218",
        "as-set:  AS27218:AS-MESH\nmembers: AS27218",
    )
