"""What the rules of ``mesh:traffic`` come to on each session."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plan import Plan, Steering, UpstreamSession
from mesh.spec import SpecError
from tests.kit.stacks import plan_of, prod, with_members

Rule = dict[str, Any]
NODE, HOST = "ewr-vultr-1", "ewr-buyvm-1"

# values.md, "Vultr's BGP communities"; scopes as Vultr's page has them since 2025.
ACTIONS: list[tuple[Rule, set[tuple[int, ...]]]] = [
    ({"prepend": 1}, {(20473, 6001)}),
    ({"prepend": 2}, {(20473, 6002)}),
    ({"prepend": 3}, {(20473, 6003)}),
    ({"zeroMed": True}, {(20473, 64609)}),
    ({"scope": "all"}, set()),
    ({"scope": "noIxp"}, {(20473, 6601)}),
    ({"scope": "routeServersOnly"}, {(20473, 6000), (20473, 6602)}),
    ({"scope": "ixpOnly"}, {(20473, 6000), (20473, 6603)}),
    ({"scope": "providerOnly"}, {(20473, 6000)}),
    ({"toAs": [{"asn": 174, "prepend": 1}]}, {(64601, 174)}),
    ({"toAs": [{"asn": 174, "prepend": 2}]}, {(64602, 174)}),
    ({"toAs": [{"asn": 174, "prepend": 3}]}, {(64603, 174)}),
    ({"toAs": [{"asn": 3356, "export": False}]}, {(64600, 3356)}),
    ({"toAs": [{"asn": 2914, "zeroMed": True}]}, {(64609, 2914)}),
    (
        {"scope": "providerOnly", "toAs": [{"asn": 6939, "export": True}]},
        {(20473, 6000), (64699, 6939)},
    ),
    ({"toAs": [{"asn": 212345, "prepend": 1}]}, {(20473, 6001, 212345)}),
    ({"toAs": [{"asn": 212345, "prepend": 2}]}, {(20473, 6002, 212345)}),
    ({"toAs": [{"asn": 212345, "prepend": 3}]}, {(20473, 6003, 212345)}),
    ({"toAs": [{"asn": 212345, "export": False}]}, {(20473, 6000, 212345)}),
    ({"toAs": [{"asn": 212345, "zeroMed": True}]}, {(20473, 6009, 212345)}),
    (
        {"scope": "providerOnly", "toAs": [{"asn": 212345, "export": True}]},
        {(20473, 6000), (20473, 6099, 212345)},
    ),
    ({"communities": ["174:3001", "174:0:3001", "no-peer"]},
     {(174, 3001), (174, 0, 3001), (65535, 65284)}),
]  # fmt: skip


def planned(*rules: Rule) -> Plan:
    """A fleet of edges at Vultr, a host at BuyVM and members, with these rules."""
    return plan_of(with_members() | {"traffic": list(rules)})


def steering(plan: Plan, node: str, family: str = "ipv4") -> Steering:
    """What one session is asked for."""
    return next(s.steering for s in plan.node(node).upstreams if s.family == family)


def communities(found: Steering) -> set[tuple[int, ...]]:
    """The communities that an announcement carries."""
    return {tag.community for tag in found.tags}


@pytest.mark.parametrize(
    ("asked", "expected"), ACTIONS, ids=[", ".join(map(str, row[0].items())) for row in ACTIONS]
)
def test_vultr_is_asked_in_its_own_communities(asked: Rule, expected: set[tuple[int, ...]]) -> None:
    found = steering(planned({"name": "a", "nodes": [NODE], **asked}), NODE)
    assert communities(found) == expected
    assert (found.prepend, found.med) == (0, None)


def test_where_nobody_knows_the_communities_our_own_asn_is_prepended() -> None:
    plan = planned({"name": "a", "prepend": 2, "med": 50})
    assert steering(plan, HOST) == Steering(rules=("a",), prepend=2, med=50)
    assert communities(steering(plan, NODE)) == {(20473, 6002)}
    assert steering(plan, NODE).med == 50


@pytest.mark.parametrize(
    ("where", "sessions"),
    [
        ({"nodes": [NODE]}, {(NODE, "ipv4"), (NODE, "ipv6")}),
        (
            {"regions": ["ewr"]},
            {(NODE, "ipv4"), (NODE, "ipv6"), (HOST, "ipv4"), (HOST, "ipv6")},
        ),
        ({"nodes": [NODE], "prefix": "2620:71:4000::/48"}, {(NODE, "ipv6")}),
        ({"regions": ["ewr"], "prefix": "192.30.120.0/23"}, {(NODE, "ipv4"), (HOST, "ipv4")}),
    ],
)
def test_a_rule_holds_where_it_says(where: Rule, sessions: set[tuple[str, str]]) -> None:
    plan = planned({"name": "a", "med": 7, **where})
    assert sessions == {
        (node.id, session.family)
        for node in plan.nodes
        for session in node.upstreams
        if session.steering.med == 7
    }


def test_without_rules_nothing_is_asked_of_anybody() -> None:
    sessions = [s for node in plan_of(prod()).nodes for s in node.upstreams]
    assert {session.steering for session in sessions} == {Steering()}


def test_rules_add_up_and_what_two_say_is_said_once() -> None:
    found = steering(
        planned(
            {"name": "everywhere", "prepend": 1, "communities": ["174:3001"]},
            {"name": "here", "nodes": [NODE], "prepend": 1, "localPreference": 120},
        ),
        NODE,
    )
    assert found.rules == ("everywhere", "here")
    assert [(t.community, t.rule) for t in found.tags] == [
        ((20473, 6001), "everywhere"),
        ((174, 3001), "everywhere"),
    ]
    assert found.local_preference == 120


def test_what_is_asked_is_told_in_words() -> None:
    rule = {
        "name": "a",
        "nodes": [NODE],
        "prepend": 2,
        "med": 50,
        "toAs": [{"asn": 3356, "export": False}],
    }
    words = steering(planned(rule), NODE).descriptions()
    assert words == ("AS20473 prepended 2x to all", "not to AS3356", "MED 50")


# --- For whatever is asked -------------------------------------------------------------------

PUBLIC = st.one_of(st.integers(1, 20000), st.integers(131072, 4199999999)).filter(
    lambda asn: asn != 27218
)
TOWARDS = st.fixed_dictionaries(
    {"asn": PUBLIC},
    optional={"prepend": st.integers(1, 3), "zeroMed": st.just(True)},
).filter(lambda entry: len(entry) > 1)


@given(
    prepend=st.none() | st.integers(1, 3),
    med=st.none() | st.integers(0, 4294967295),
    zero=st.booleans(),
    towards=st.lists(TOWARDS, max_size=4, unique_by=lambda entry: entry["asn"]),
    family=st.sampled_from([None, "192.30.120.0/23", "2620:71:4000::/48"]),
)
def test_no_session_carries_what_its_upstream_does_not_know(
    prepend: int | None,
    med: int | None,
    zero: bool,
    towards: list[Rule],
    family: str | None,
) -> None:
    rules: list[Rule] = [
        {"name": "all", "prepend": prepend, "med": med, "localPreference": 90},
        {"name": "vultr", "nodes": ["lax-vultr-1", "mia-vultr-1"], "toAs": towards,
         "zeroMed": zero, "scope": "all"},
    ]  # fmt: skip
    if family is not None:
        rules[0]["prefix"] = family
    plan = planned(*rules)
    assert plan == planned(*rules), "the same rules, the same plan"
    for node in plan.nodes:
        for session in node.upstreams:
            _judge(session, prepend, family)


def _judge(session: UpstreamSession, prepend: int | None, family: str | None) -> None:
    found = session.steering
    held = family is None or ("." in family) == (session.family == "ipv4")
    if session.peer_asn != 64515:
        assert found.tags == ()
        assert found.prepend == (prepend or 0) * held
        return
    assert found.prepend == 0
    for community in communities(found):
        if len(community) == 3:
            assert community[0] == 20473 and community[2] > 65535
        else:
            assert community[0] == 20473 or 64600 <= community[0] < 64700
            assert max(community) <= 65535


TIMES = st.sampled_from([1, 1, 2, 3, 4])
OTHERS = st.sampled_from([174, 3356, 6939, 212345])
ASKED: dict[str, st.SearchStrategy[Any]] = {
    "prefix": st.sampled_from(["192.30.120.0/23", "2620:71:4000::/48"]),
    "prepend": TIMES,
    "scope": st.sampled_from(["all", "noIxp", "routeServersOnly", "ixpOnly", "providerOnly"]),
    "med": st.sampled_from([0, 50]),
    "zeroMed": st.booleans(),
    "localPreference": st.sampled_from([90, 120]),
    "communities": st.lists(
        st.sampled_from(["no-peer", "no-export", "20473:6001", "64600:174", "174:1", "1:2:3"]),
        max_size=2,
    ),
    "toAs": st.lists(
        st.fixed_dictionaries(
            {"asn": OTHERS}, optional={"prepend": TIMES, "zeroMed": st.just(True)}
        )
        | st.fixed_dictionaries({"asn": OTHERS, "export": st.booleans()}),
        min_size=1,
        max_size=3,
    ),
}


@st.composite
def rule_lists(draw: st.DrawFn) -> list[Rule]:
    """Up to three rules of up to three options each, most of which some upstream does."""
    where = st.sampled_from([{"nodes": [NODE]}, {"nodes": [NODE]}, {"regions": ["lax"]}, {}])
    rules: list[Rule] = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        options = draw(st.lists(st.sampled_from(sorted(ASKED)), max_size=3, unique=True))
        rules.append({"name": name, **draw(where), **{o: draw(ASKED[o]) for o in options}})
    return rules


@given(rules=rule_lists())
def test_rules_are_refused_in_words_or_planned_without_contradiction(rules: list[Rule]) -> None:
    try:
        plan = planned(*rules)
    except SpecError as error:
        assert all(each.reason and each.cure for each in error.problems)
        return
    for node in plan.nodes:
        for session in node.upstreams:
            carried = communities(session.steering)
            assert len(carried & {(20473, 6001), (20473, 6002), (20473, 6003)}) <= 1
            for asn in (174, 3356):
                withheld = (64600, asn) in carried
                asked = {(64600 + n, asn) for n in (1, 2, 3, 9)} | {(64699, asn)}
                assert not (withheld and carried & asked)
