"""What the gate lets through, and what it refuses and why."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from mesh.plan import Plan
from mesh.preview.gate import Asked, Limit, LiveAnnouncers, gate
from mesh.preview.kinds import OPERATOR
from tests.kit.previews import (
    ADDRESS,
    PUBLISH,
    SERVER,
    STACK,
    by_plan,
    generation,
    preview,
    step,
)
from tests.kit.stacks import bent, plan_of, prod

NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
ONE = plan_of(prod())


def network(reflectors: list[str], nodes: tuple[str, ...] = NODES, **more: Any) -> Plan:
    """The seed's network with these nodes and reflectors."""
    values = bent("reflectors", reflectors)
    values["nodes"] = {name: values["nodes"].get(name, {"number": 9}) for name in nodes}
    values["registries"] = [nodes[1]]
    values["nodes"] = {name: values["nodes"][name] | more.get(name[:3], {}) for name in nodes}
    return plan_of(values)


TWO = network(["lax-vultr-1", "mia-vultr-1"])
PAIR = network(["lax-vultr-1"], ("ewr-vultr-1", "lax-vultr-1"))
INTERFACE = "aws:ec2/networkInterface:NetworkInterface"
MIAMI = Asked(replace=frozenset({"mia-vultr-1"}))
QUIET = {"announce": False}
BOTH_NO_IPV6 = {"ewr": {"ipv6": False}, "lax": {"ipv6": False}}


def replaced(*nodes: str) -> list[dict[str, Any]]:
    return [step("replace", node) for node in nodes]


def made(*nodes: str) -> list[dict[str, Any]]:
    return [step("create", node) for node in nodes]


def gone(*nodes: str) -> list[dict[str, Any]]:
    return [step("delete", node) for node in nodes]


def refusals(
    before: Plan | None,
    after: Plan,
    steps: list[Any],
    most: str = "1/3",
    asked: Asked | None = None,
    silent: tuple[str, ...] = (),
) -> set[str]:
    """The keys of what is refused; all that is replaced or deleted was asked for, if unsaid. All
    announce in effect that are to by the plan, but for ``silent``."""
    seen = preview(*steps, generation(before, after, bundle="1"))
    if asked is None:
        by = {op: {s.node for s in seen.steps if s.verb == op and s.node} for op in
              ("replace", "delete")}  # fmt: skip
        asked = Asked(frozenset(by["replace"]), frozenset(by["delete"]))
    found = gate(
        seen, asked, Limit.of(most), LiveAnnouncers(by_plan(before, *silent) if before else {})
    )
    for problem in found:
        assert problem.value and problem.reason and problem.cure
    return {problem.key for problem in found}


@pytest.mark.parametrize(
    ("before", "after", "steps", "most", "expected"),
    [
        pytest.param(None, TWO, made(*NODES), "1/3", set(), id="a first deployment"),
        pytest.param(ONE, ONE, [], "1/3", set(), id="another generation"),
        pytest.param(ONE, ONE, replaced("mia-vultr-1"), "1/3", set(), id="one of four"),
        pytest.param(
            ONE, ONE, replaced("mia-vultr-1", "ord-vultr-1"), "1/3", {"mesh:nodes"},
            id="two of four are more than a third",
        ),
        pytest.param(
            ONE, ONE, replaced("mia-vultr-1", "ord-vultr-1"), "1/2", set(),
            id="two of four, when a half was allowed",
        ),
        pytest.param(
            PAIR, PAIR, replaced("ewr-vultr-1"), "1/3", set(), id="one is always allowed",
        ),
        pytest.param(
            ONE, ONE, replaced(*NODES), "1",
            {"mesh:prefixes.ipv4", "mesh:prefixes.ipv6"}, id="never all, whatever was allowed",
        ),
        pytest.param(
            ONE, ONE, made(*NODES), "1/3", set(), id="a fleet that is gone is made again",
        ),
        pytest.param(
            ONE, ONE, [*made("ord-vultr-1"), *replaced("mia-vultr-1")], "1/3", {"mesh:nodes"},
            id="one that is gone counts, when another goes",
        ),
        pytest.param(
            PAIR, PAIR, [*made("ewr-vultr-1"), *replaced("lax-vultr-1")], "1",
            {"mesh:prefixes.ipv4", "mesh:prefixes.ipv6", },
            id="the last one that announces, while the other is gone",
        ),
        pytest.param(
            TWO, TWO, replaced("lax-vultr-1"), "1/3", set(), id="one of two reflectors",
        ),
        pytest.param(
            TWO, TWO, replaced("lax-vultr-1", "mia-vultr-1"), "1/2", {"mesh:reflectors"},
            id="both reflectors",
        ),
        pytest.param(
            TWO, TWO, [*made("lax-vultr-1"), *replaced("mia-vultr-1")], "1/2",
            {"mesh:reflectors"}, id="a reflector, while the other is gone",
        ),
        pytest.param(
            ONE, ONE, replaced("lax-vultr-1"), "1/3", set(),
            id="the only reflector, which somebody asked for",
        ),
        pytest.param(
            ONE, network(["mia-vultr-1"]), replaced("mia-vultr-1"), "1/3", {"mesh:reflectors"},
            id="a reflector's successor that is replaced meanwhile",
        ),
        pytest.param(
            ONE, network(["mia-vultr-1"]), [], "1/3", set(),
            id="the reflector moves by a generation alone",
        ),
        pytest.param(
            ONE, network(["lax-vultr-2"], (*NODES, "lax-vultr-2")), made("lax-vultr-2"), "1/3",
            {"mesh:reflectors"}, id="the only reflector is a server that comes with the change",
        ),
        pytest.param(
            ONE, network(["lax-vultr-1"], NODES[:3]), gone("ord-vultr-1"), "1/3", set(),
            id="one node less",
        ),
        pytest.param(
            PAIR, network(["lax-vultr-1"], ("ewr-vultr-1", "lax-vultr-1"), **BOTH_NO_IPV6),
            [], "1", {"mesh:prefixes.ipv6"},
            id="nobody announces IPv6 any more",
        ),
        pytest.param(
            ONE, network(["lax-vultr-1"], NODES, ewr=QUIET, ord=QUIET), [], "1/3", {"mesh:nodes"},
            id="two stop announcing",
        ),
    ],
)  # fmt: skip
def test_what_one_update_may_do(
    before: Plan | None, after: Plan, steps: list[Any], most: str, expected: set[str]
) -> None:
    assert refusals(before, after, steps, most) == expected


@pytest.mark.parametrize(
    ("steps", "asked", "refused"),
    [
        (replaced("mia-vultr-1"), Asked(), True),
        (replaced("mia-vultr-1"), Asked(replace=frozenset({"ord-vultr-1"})), True),
        (replaced("mia-vultr-1"), Asked(remove=frozenset({"mia-vultr-1"})), True),
        (replaced("mia-vultr-1"), Asked(replace=frozenset({"mia-vultr-1"})), False),
        (gone("mia-vultr-1"), Asked(), True),
        (gone("mia-vultr-1"), Asked(replace=frozenset({"mia-vultr-1"})), True),
        (gone("mia-vultr-1"), Asked(remove=frozenset({"mia-vultr-1"})), False),
        ([step("replace", "mia-vultr-1", ADDRESS)], Asked(), True),
        ([step("replace", "mia-vultr-1", INTERFACE)], Asked(), True),
        ([step("replace", "mia-vultr-1", INTERFACE)], MIAMI, False),
        ([step("update", "mia-vultr-1")], Asked(), False),
        ([step("delete", "mia-vultr-1", "aws:ec2/subnet:Subnet")], Asked(), False),
    ],
)
def test_nothing_is_replaced_or_removed_that_nobody_asked_for(
    steps: list[Any], asked: Asked, refused: bool
) -> None:
    after = network(["lax-vultr-1"], ("ewr-vultr-1", "lax-vultr-1", "ord-vultr-1"))
    keys = refusals(ONE, after if steps[0]["op"] == "delete" else ONE, steps, asked=asked)
    assert bool(keys) == refused


@pytest.mark.parametrize(
    ("op", "type_", "inputs", "refused"),
    [
        ("delete", SERVER, {}, True),
        ("replace", SERVER, {}, True),
        ("delete", ADDRESS, {}, True),
        ("replace", "gcp:compute/address:Address", {"addressType": "EXTERNAL"}, True),
        ("delete", "gcp:compute/address:Address", {"addressType": "INTERNAL"}, False),
        ("create", SERVER, {}, False),
        ("update", ADDRESS, {}, False),
        ("delete", "aws:ec2/subnet:Subnet", {}, False),
        ("delete", OPERATOR, {}, True),
        ("replace", OPERATOR, {}, True),
        ("create", OPERATOR, {}, False),
        ("same", OPERATOR, {}, False),
        ("delete", PUBLISH, {}, True),
        ("replace", PUBLISH, {}, True),
        ("same", PUBLISH, {}, False),
    ],
)
def test_what_is_no_node_s_is_neither_replaced_nor_removed_unattended(
    op: str, type_: str, inputs: dict[str, Any], refused: bool
) -> None:
    alone = step(op, "mia-vultr-1", type_, inputs=inputs)
    for key in ("oldState", "newState"):
        if alone[key]:
            alone[key]["parent"] = f"{STACK}mesh:index:Mesh::mesh"
    everybody = Asked(frozenset(NODES), frozenset(NODES))
    found = gate(preview(alone), everybody, Limit())
    assert [problem.value for problem in found] == ([op] if refused else [])


@pytest.mark.parametrize("is_replaced", [False, True])
def test_another_system_needs_another_server(is_replaced: bool) -> None:
    after = plan_of(bent("nodes/mia-vultr-1/os", "openbsd"))
    steps = replaced("mia-vultr-1") if is_replaced else []
    keys = refusals(ONE, after, steps, asked=MIAMI)
    assert keys == (set() if is_replaced else {"mesh:nodes.mia-vultr-1.os"})


def test_a_publication_in_place_of_the_old_one_is_no_first_deployment() -> None:
    old = step("delete", "mia-vultr-1", PUBLISH)
    found = gate(
        preview(*replaced(*NODES), generation(None, ONE), old), Asked(frozenset(NODES)), Limit()
    )
    assert [(problem.value, problem.cure) for problem in found] == [
        ("delete", "take the change back; a new fleet is a new stack")
    ]


def test_a_refusal_names_what_makes_the_provider_replace_it() -> None:
    found = gate(
        preview(step("replace", "mia-vultr-1", reasons=("osId", "region"))), Asked(), Limit()
    )
    assert "osId, region" in found[0].reason
    assert "--replace mia-vultr-1" in found[0].cure


def test_without_the_plan_nothing_is_let_through_that_takes_a_server() -> None:
    asked = Asked(replace=frozenset({"mia-vultr-1"}))
    assert gate(preview(step("replace", "mia-vultr-1")), asked, Limit())[0].key == "preview"
    assert gate(preview(step("update", "mia-vultr-1")), asked, Limit()) == ()


def test_the_plan_of_another_version_is_judged_by_the_new_one() -> None:
    seen = preview(*replaced(*NODES), generation("{}", ONE))
    asked = Asked(replace=frozenset(NODES))
    assert {p.key for p in gate(seen, asked, Limit())} >= {"mesh:prefixes.ipv4", "mesh:nodes"}


@pytest.mark.parametrize(("text", "part"), [("1/3", Fraction(1, 3)), ("0.25", Fraction(1, 4))])
def test_a_part_is_a_fraction_or_a_decimal(text: str, part: Fraction) -> None:
    assert Limit.of(text).part == part


@pytest.mark.parametrize("text", ["0", "2", "-1/3", "half", "1/0", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"part|above 0"):
        Limit.of(text)
