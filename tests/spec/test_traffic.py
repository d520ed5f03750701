"""What a person is told of ``mesh:traffic``: everything that an upstream would not do as asked."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.spec import Problem, SpecError, load
from tests.kit.stacks import ROOT, prod, with_members

Rule = dict[str, Any]
HOST = "ewr-buyvm-1"


def told(*rules: Any, base: Any = with_members) -> tuple[Problem, ...]:
    """All that is said of these rules, whether it stops anything or not."""
    values = base()
    values["traffic"] = list(rules)
    try:
        problems = load("prod", values, ROOT).problems
    except SpecError as error:
        problems = error.problems
    return tuple(each for each in problems if each.key.startswith("mesh:traffic"))


def at_vultr(**asked: Any) -> Rule:
    """A rule for New York's edge at Vultr."""
    return {"name": "a", "nodes": ["ewr-vultr-1"], **asked}


def at_host(**asked: Any) -> Rule:
    """A rule for the host at BuyVM, whose upstream's communities are not in any table here."""
    return {"name": "a", "nodes": [HOST], **asked}


def to_as(asn: int, **asked: Any) -> Rule:
    """A rule for one AS, at Vultr."""
    return at_vultr(toAs=[{"asn": asn, **asked}])


TAKEN: dict[str, list[Rule]] = {
    "nothing": [],
    "everybody prepends once": [{"name": "a", "prepend": 1}],
    "as often as Vultr does it": [at_vultr(prepend=3)],
    "one AS as often as Vultr does it": [to_as(174, prepend=3)],
    "a 32-bit AS": [to_as(212345, export=False)],
    "a region": [{"name": "a", "regions": ["ewr", "lax"], "med": 5}],
    "an aggregate": [{"name": "a", "prefix": "2620:71:4000::/48", "med": 0}],
    "the largest MED": [at_vultr(med=4294967295)],
    "everything at once": [
        at_vultr(
            prepend=2, scope="ixpOnly", med=50, zeroMed=True, communities=["174:3001", "no-peer"],
            toAs=[{"asn": 174, "prepend": 2}, {"asn": 3356, "export": False},
                  {"asn": 6939, "export": True, "zeroMed": True}],
        )
    ],
    "an exception from nobody": [
        at_vultr(scope="providerOnly", toAs=[{"asn": 6939, "export": True, "prepend": 1}])
    ],
    "two rules that say the same": [at_vultr(prepend=1), {"name": "b", "prepend": 1}],
    "two rules for two prefixes": [
        {"name": "a", "prefix": "192.30.120.0/23", "prepend": 1},
        {"name": "b", "prefix": "2620:71:4000::/48", "prepend": 2},
    ],
    "a host's own path": [at_host(prepend=5)],
    "what a host's provider documents": [at_host(communities=["53667:1234", "53667:1:4200"])],
    "to all from a host": [at_host(scope="all", prepend=1)],
    "our own communities": [at_vultr(communities=["27218:1", "27218:0:1"])],
    "a large action for a 16-bit AS": [at_vultr(communities=["20473:6000:15169"])],
}  # fmt: skip


@pytest.mark.parametrize("rules", TAKEN.values(), ids=TAKEN.keys())
def test_what_an_upstream_does_is_taken(rules: list[Rule]) -> None:
    assert told(*rules) == ()


REFUSED: list[tuple[str, list[Any], str, str]] = [
    # what is wrong, rules, key that is named, reason that is given
    ("no list", [{"name": "a", "prepend": [1]}], "mesh:traffic.0.prepend", "whole number"),
    ("a rule without a name", [{"prepend": 1}], "mesh:traffic.0.name", "every rule has a name"),
    ("a rule with a bad name", [{"name": "New York", "med": 1}], "mesh:traffic.0.name", "small"),
    ("no rule", ["prepend"], "mesh:traffic.0", "a map of options"),
    ("two of one name", [at_vultr(med=1), at_vultr(prepend=1)], "mesh:traffic.a", "two rules"),
    ("no such option", [at_vultr(prepends=1)], "mesh:traffic.0.prepends", "no option of that"),
    (
        "no such action",
        [to_as(174, withhold=True)],
        "mesh:traffic.0.toAs.0.withhold",
        "no such action",
    ),
    ("a rule that asks nothing", [at_vultr()], "mesh:traffic.a", "asks for nothing"),
    ("an AS without a wish", [to_as(174)], "mesh:traffic.a.toAs.174", "asks for nothing towards"),
    ("no such node", [{"name": "a", "nodes": ["sea-vultr-1"], "med": 1}], ".nodes", "no such node"),
    ("a member", [{"name": "a", "nodes": ["lax-aws-1"], "med": 1}], ".nodes", "no upstream"),
    ("no node at all", [{"name": "a", "nodes": [], "med": 1}], ".nodes", "at least 1"),
    ("no such region", [{"name": "a", "regions": ["sea"], "med": 1}], ".regions", "no such region"),
    ("an empty region", [{"name": "a", "regions": ["eu"], "med": 1}], ".regions", "no node there"),
    ("nodes and regions", [at_vultr(regions=["ewr"], med=1)], ".regions", "names nodes as well"),
    (
        "a more-specific",
        [{"name": "a", "prefix": "192.30.120.0/24", "med": 1}],
        ".prefix",
        "only aggregates",
    ),
    ("another's prefix", [{"name": "a", "prefix": "8.8.8.0/24", "med": 1}], ".prefix", "none of"),
    ("a prefix of words", [{"name": "a", "prefix": "lax", "med": 1}], ".prefix", "not a network"),
    ("more than Vultr prepends", [at_vultr(prepend=4)], ".a.prepend", "3 times at most"),
    ("more than that to an AS", [to_as(174, prepend=4)], ".toAs.174.prepend", "3 times at most"),
    ("no times", [at_vultr(prepend=0)], ".prepend", "less than 1"),
    ("a path that is too long", [at_host(prepend=6)], ".prepend", "move no more traffic"),
    ("a MED beyond 32 bits", [at_vultr(med=1 << 32)], ".med", "more than 4294967295"),
    ("a MED below 0", [at_vultr(med=-1)], ".med", "less than 0"),
    ("no preference at all", [at_vultr(localPreference=0)], ".localPreference", "less than 1"),
    ("no such scope", [at_vultr(scope="europe")], ".scope", "none of 'all', 'noIxp'"),
    ("AS0", [to_as(0, prepend=1)], ".toAs.0.asn", "RFC 7607"),
    ("AS_TRANS", [to_as(23456, prepend=1)], ".toAs.23456.asn", "AS_TRANS"),
    ("a private AS", [to_as(64515, prepend=1)], ".toAs.64515.asn", "private (RFC 6996)"),
    ("a documentation AS", [to_as(64496, prepend=1)], ".toAs.64496.asn", "documentation"),
    ("an AS beyond 32 bits", [to_as(1 << 32, prepend=1)], ".toAs.0.asn", "more than"),
    ("our own AS", [to_as(27218, prepend=1)], ".toAs.27218.asn", "this network's own"),
    ("the provider itself", [to_as(20473, export=False)], ".toAs.20473.asn", "provider itself"),
    ("no scope at a host", [at_host(scope="noIxp")], ".scope", "AS53667 does this is not known"),
    ("no MED 0 at a host", [at_host(zeroMed=True)], ".zeroMed", "not known here"),
    (
        "no AS at a host",
        [at_host(toAs=[{"asn": 174, "prepend": 1}])],
        "mesh:traffic.a.toAs",
        "not known here",
    ),
    ("a scope for all edges", [{"name": "a", "scope": "noIxp"}], ".scope", "AS53667"),
    (
        "told and not told",
        [to_as(174, export=False, prepend=1)],
        ".toAs.174.prepend",
        "nothing is announced to AS",
    ),
    (
        "told by one, not by the other",
        [to_as(174, prepend=1), {"name": "b", "nodes": ["ewr-vultr-1"],
                                 "toAs": [{"asn": 174, "export": False}]}],
        "mesh:traffic.a.toAs.174.prepend",
        "nothing is announced to AS",
    ),
    (
        "an AS that hears nothing",
        [at_vultr(scope="providerOnly", toAs=[{"asn": 174, "prepend": 1}])],
        ".toAs.174.prepend",
        "announces nothing to AS174",
    ),
    ("everybody, who hears nothing", [at_vultr(scope="providerOnly", prepend=1)], ".prepend",
     "announces it to no other AS"),
    ("an exception from no rule", [to_as(174, export=True)], ".toAs.174.export", "to all ASes"),
    (
        "an exception that lifts nothing",
        [at_vultr(scope="noIxp", toAs=[{"asn": 174, "export": True}])],
        ".toAs.174.export",
        "does not lift scope",
    ),
    (
        "two that differ",
        [at_vultr(prepend=1), {"name": "b", "regions": ["ewr", "lax"], "nodes": None, "prepend": 2,
                               "prefix": "192.30.120.0/23"}],
        "mesh:traffic.b.prepend",
        "a sets 1, and both apply to ewr-vultr-1 IPv4",
    ),
    (
        "two that differ about an AS",
        [to_as(174, prepend=1), {"name": "b", "nodes": ["ewr-vultr-1"],
                                 "toAs": [{"asn": 174, "prepend": 2}]}],
        "mesh:traffic.b.toAs.174.prepend",
        "a sets 1",
    ),
    ("a name of nobody's", [at_vultr(communities=["nopeer"])], ".communities.0", "no community of"),
    ("no numbers", [at_vultr(communities=["174:x"])], ".communities.0", "no community of"),
    ("too many numbers", [at_vultr(communities=["1:2:3:4"])], ".communities.0", "no community of"),
    ("a number too large", [at_vultr(communities=["212345:1"])], ".communities.0", "to 65535"),
    ("what YAML calculates", [at_vultr(communities=[10470])], ".communities.0", "one number"),
    ("no-export", [at_vultr(communities=["no-export"])], ".communities.0", "would not reach"),
    ("its numbers", [at_vultr(communities=["65535:65281"])], ".communities.0", "no-export:"),
    ("no-advertise", [at_vultr(communities=["no-advertise"])], ".communities.0",
     "to no other router"),
    ("blackhole", [at_vultr(communities=["65535:666"])], ".communities.0", "discarded"),
    ("shutdown", [at_vultr(communities=["graceful-shutdown"])], ".communities.0",
     "to be withdrawn"),
    ("unheard of", [at_vultr(communities=["65535:777"])], ".communities.0", "well-known ones"),
    ("AS0's", [at_vultr(communities=["0:1:2"])], ".communities.0", "RFC 8092"),
    ("Vultr's at a host", [at_host(communities=["20473:6601"])], ".communities", "for AS20473"),
    ("Vultr's large", [at_host(communities=["20473:6000:174"])], ".communities", "for AS20473"),
    ("no action", [at_vultr(communities=["20473:6009"])], ".communities", "no such action"),
    ("Vultr's own mark", [at_vultr(communities=["20473:17"])], ".communities", "(LAX)"),
    ("Vultr's blackhole", [at_vultr(communities=["20473:666"])], ".communities",
     "discard all traffic"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "key", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_no_upstream_does_is_refused_before_anything_changes(
    rules: list[Any], key: str, reason: str
) -> None:
    errors = [each for each in told(*rules) if each.severity == "error"]
    assert any(key in each.key and reason in each.reason and each.cure for each in errors), errors
    assert len(errors) == 1, "one mistake, one error"


def test_the_community_with_which_a_host_discards_is_for_no_rule() -> None:
    def base() -> dict[str, Any]:
        values = with_members()
        upstream = values["nodes"][HOST]["host"]["upstream"] | {"blackhole": "53667:666"}
        values["nodes"][HOST]["host"] = values["nodes"][HOST]["host"] | {"upstream": upstream}
        return values

    (problem,) = told(at_host(communities=["53667:666"]), base=base)
    assert "AS53667 would discard all traffic" in problem.reason


OPTIONS = [
    ("20473:6002", "prepend: 2"),
    ("20473:6601", "scope: noIxp"),
    ("20473:6602", "scope: routeServersOnly"),
    ("20473:6603", "scope: ixpOnly"),
    ("20473:6000", "scope: providerOnly"),
    ("20473:64609", "zeroMed: true"),
    ("64600:174", "toAs: [{asn: 174, export: false}]"),
    ("64603:174", "toAs: [{asn: 174, prepend: 3}]"),
    ("64609:174", "toAs: [{asn: 174, zeroMed: true}]"),
    ("20473:6099:212345", "toAs: [{asn: 212345, export: true}]"),
]


@pytest.mark.parametrize(("community", "option"), OPTIONS)
def test_a_community_that_an_option_stands_for_is_written_as_the_option(
    community: str, option: str
) -> None:
    """Else what one rule asks by an option, another could undo unseen."""
    (problem,) = told(at_vultr(communities=[community]))
    assert problem.cure == f"write {option} instead"


def test_an_unknown_option_is_answered_with_all_that_there_are() -> None:
    (problem,) = told(at_vultr(prepends=1))
    for option in ("prepend", "scope", "med", "zeroMed", "toAs", "communities", "localPreference"):
        assert option in problem.cure


def test_an_aggregate_that_every_provider_keeps_to_itself_is_warned_of() -> None:
    found = told({"name": "a", "scope": "providerOnly"}, base=prod)
    assert {each.severity for each in found} == {"warning"}
    assert [p for each in found for p in ("192.30.120.0/23", "2620:71:4000::/48")
            if p in each.reason] == ["192.30.120.0/23", "2620:71:4000::/48"]  # fmt: skip


@pytest.mark.parametrize(
    "rules",
    [
        [{"name": "a", "scope": "providerOnly", "regions": ["lax", "ord", "mia"]}],
        [{"name": "a", "scope": "providerOnly", "toAs": [{"asn": 6939, "export": True}]}],
        [{"name": "a", "scope": "ixpOnly"}],
    ],
)
def test_an_aggregate_that_somebody_still_hears_is_not(rules: list[Rule]) -> None:
    assert told(*rules, base=prod) == ()


def test_actions_of_another_provider_in_private_numbers_are_warned_of() -> None:
    """Any provider may give 64600:AS a meaning of its own."""
    (problem,) = told(at_host(communities=["64600:174"]))
    assert problem.severity == "warning"
    assert "AS53667" in problem.reason


@pytest.mark.parametrize(("imports", "warned"), [("none", True), ("full", False)])
def test_a_preference_for_what_is_not_imported_is_warned_of(imports: str, warned: bool) -> None:
    def base() -> dict[str, Any]:
        return prod() | {"routing": {"import": imports}}

    found = told({"name": "a", "localPreference": 120}, base=base)
    assert [each.severity for each in found] == ["warning"] * warned
