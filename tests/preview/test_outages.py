"""What an update takes off the Internet, judged by who announces in effect, and by sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.plan import Plan
from mesh.preview.display import markdown
from mesh.preview.gate import Asked, Limit, LiveAnnouncers, gate, wants_announcers
from mesh.preview.summary import summarise
from tests.kit.previews import by_plan, generation, preview, step
from tests.kit.stacks import bent, plan_of, prod, several_prefixes

PLAN = plan_of(prod())
EWR, LAX, MIA, ORD = NODES = tuple(sorted(node.id for node in PLAN.nodes))
OTHER_ASN = plan_of(prod() | {"asn": 13335})
SEVERAL = plan_of(several_prefixes())
FULL = plan_of(prod() | {"routing": {"import": "full"}})
ALONE = plan_of(bent("nodes", {LAX: {"number": 1}}))
PAIR = plan_of(bent("nodes", {LAX: {"number": 1}, EWR: {"number": 4}}))
GO = Asked(frozenset(NODES), frozenset(NODES))
RESTART = Asked(frozenset(NODES), frozenset(NODES), restart_sessions=True)
V4, V6 = "mesh:prefixes.ipv4", "mesh:prefixes.ipv6"
SESSIONS = "upstream sessions"


def full_at(*nodes: str) -> Plan:
    """The network with full tables at these nodes: another import mode starts a session anew."""
    values = prod()
    for node in nodes:
        values["nodes"][node] = values["nodes"][node] | {"import": "full"}
    return plan_of(values)


def keys(
    before: Plan,
    after: Plan,
    live: LiveAnnouncers,
    *steps: Any,
    asked: Asked = GO,
    most: str = "1/3",
) -> set[str]:
    """The keys of what is refused."""
    seen = preview(*steps, generation(before, after, bundle="1"))
    return {problem.key for problem in gate(seen, asked, Limit.of(most), live)}


def at_once(plan: Plan) -> Plan:
    """The same network with `mesh:waves: off`."""
    return replace(plan, waves=False)


def replaced(*nodes: str) -> list[Any]:
    return [step("replace", node) for node in nodes]


@pytest.mark.parametrize(
    ("silent", "steps", "most", "expected"),
    [
        pytest.param((), replaced(MIA), "1/3", set(), id="one of four"),
        pytest.param((ORD,), replaced(MIA), "1/3", {"mesh:nodes"}, id="with one away already"),
        pytest.param((ORD,), replaced(MIA), "1/2", set(), id="which a half allows"),
        pytest.param((MIA,), replaced(MIA), "1/3", set(), id="the one that is away"),
        pytest.param((MIA, ORD), replaced(MIA), "1/3", set(), id="one of those that are away"),
        pytest.param(
            (EWR, LAX, ORD), replaced(MIA), "1", {V4, V6}, id="the last one in effect"
        ),
        pytest.param((LAX, MIA, ORD), replaced(MIA), "1/3", set(), id="not the last in effect"),
        pytest.param(NODES, replaced(MIA), "1/3", set(), id="nobody announces anything"),
        pytest.param(
            (), [step("delete", EWR), *replaced(LAX, MIA)], "1", set(), id="one stays"
        ),
        pytest.param(
            (ORD,), [step("delete", EWR), *replaced(LAX, MIA)], "1", {V4, V6},
            id="the one that stays by the plan does not announce",
        ),
    ],
)  # fmt: skip
def test_a_node_that_should_announce_and_does_not_counts_as_away(
    silent: tuple[str, ...], steps: list[Any], most: str, expected: set[str]
) -> None:
    assert keys(PLAN, PLAN, LiveAnnouncers(by_plan(PLAN, *silent)), *steps, most=most) == expected


def test_each_family_is_judged_by_itself() -> None:
    """IPv6 is live at one node alone, which is to be replaced; IPv4 everywhere."""
    once = {p: n if p.version == 4 else frozenset({MIA}) for p, n in by_plan(PLAN).items()}
    live = LiveAnnouncers(once)
    assert keys(PLAN, PLAN, live, *replaced(MIA), most="1") == {V6}
    assert keys(PLAN, PLAN, live, *replaced(ORD), most="1") == set()


@pytest.mark.parametrize(
    ("going", "expected"),
    [((LAX,), set()), ((MIA,), set()), ((EWR, MIA), set()), ((LAX, EWR), {V4})],
    ids=["with one of its own", "with a part of its own", "two", "both places of a prefix"],
)
def test_each_prefix_is_judged_by_its_own_announcers(
    going: tuple[str, ...], expected: set[str]
) -> None:
    """The second IPv4 aggregate has two places; what only one node announces goes with its server,
    where somebody asks for that."""
    live = LiveAnnouncers(by_plan(SEVERAL))
    assert keys(SEVERAL, SEVERAL, live, *replaced(*going), most="1") == expected
    unasked = keys(SEVERAL, SEVERAL, live, *replaced(LAX), asked=Asked(), most="1")
    assert V6 in unasked


def test_a_preview_names_each_prefix_whose_announcers_change() -> None:
    values = several_prefixes()
    values["prefixes"]["ipv6"][1]["announcedBy"] = ["lax", "mia"]
    summary = summarise(preview(generation(SEVERAL, plan_of(values), bundle="1")))
    assert [(each.prefix, each.before, each.after) for each in summary.prefixes] == [
        ("2620:71:4001::/48", (LAX,), (LAX, MIA))
    ]


def test_a_node_of_which_nobody_can_tell_is_not_counted_on_and_not_given_up() -> None:
    """Its agent is silent; its BIRD may announce all the same."""
    nobody = by_plan(PLAN, *NODES)
    dark = LiveAnnouncers(nobody, by_plan(PLAN))
    assert keys(PLAN, PLAN, dark, *replaced(MIA), most="1") == {V4, V6}
    others = LiveAnnouncers(by_plan(PLAN, MIA), by_plan(PLAN, EWR, LAX, ORD))
    assert keys(PLAN, PLAN, others, *replaced(MIA)) == set()


@pytest.mark.parametrize(
    ("before", "after", "steps", "refused"),
    [
        (PLAN, PLAN, replaced(MIA), True),
        (PLAN, PLAN, [step("delete", MIA)], True),
        (PLAN, full_at(MIA), [], True),
        (PLAN, plan_of(bent("nodes/mia-vultr-1/announce", False)), [], True),
        (PLAN, PLAN, [], False),
        (PLAN, PLAN, [step("create", MIA)], False),
        (PLAN, plan_of(prod() | {"whoami": False}), [], False),
    ],
)
def test_where_nobody_can_be_asked_no_announcer_is_disturbed_unless_the_plan_is_believed(
    before: Plan, after: Plan, steps: list[Any], refused: bool
) -> None:
    seen = preview(*steps, generation(before, after, bundle="1"))
    unheard = LiveAnnouncers(None, why="no registry answers")
    found = gate(seen, GO, Limit(), unheard)
    assert [problem.key for problem in found] == (["announcers"] if refused else [])
    assert all("no registry answers" in p.reason and "--by-plan" in p.cure for p in found)
    assert wants_announcers(seen) == refused
    believed = Asked(GO.replace, GO.remove, by_plan=True)
    assert gate(seen, believed, Limit(), unheard) == ()


def test_a_fleet_whose_publication_the_state_has_lost_is_no_first_deployment() -> None:
    seen = preview(*replaced(*NODES), generation(None, PLAN))
    assert {problem.key for problem in gate(seen, GO, Limit(), LiveAnnouncers(by_plan(PLAN)))} >= {
        V4,
        V6,
    }
    assert gate(seen, GO, Limit(), LiveAnnouncers({})) == ()


@pytest.mark.parametrize(
    ("before", "after", "silent", "most", "expected"),
    [
        pytest.param(PLAN, full_at(MIA), (), "1/3", set(), id="one of four"),
        pytest.param(PLAN, full_at(MIA, ORD), (), "1/3", {SESSIONS}, id="two of four"),
        pytest.param(PLAN, full_at(MIA, ORD), (), "1/2", set(), id="two, when a half may"),
        pytest.param(PLAN, FULL, (), "1", {V4, V6}, id="never all"),
        pytest.param(PLAN, full_at(MIA), (ORD,), "1/3", {SESSIONS}, id="with one away already"),
        pytest.param(
            PLAN, full_at(MIA), (EWR, LAX, ORD), "1", {V4, V6}, id="the last one in effect"
        ),
        pytest.param(PLAN, full_at(MIA), NODES, "1/3", set(), id="sessions that are down"),
        pytest.param(
            ALONE, plan_of(bent("nodes", {LAX: {"number": 1, "import": "full"}})), (), "1",
            {V4, V6}, id="the only edge",
        ),
        pytest.param(PLAN, OTHER_ASN, (), "1", {"mesh:asn"}, id="another ASN"),
        pytest.param(
            ALONE, plan_of(bent("nodes", {LAX: {"number": 1}}) | {"asn": 13335}), (), "1",
            {"mesh:asn"}, id="another ASN of one edge",
        ),
        pytest.param(PLAN, OTHER_ASN, NODES, "1", {"mesh:asn"}, id="while nobody announces"),
    ],
)  # fmt: skip
def test_without_waves_sessions_start_anew_at_a_few_nodes_only_unless_that_is_asked_for(
    before: Plan, after: Plan, silent: tuple[str, ...], most: str, expected: set[str]
) -> None:
    live = LiveAnnouncers(by_plan(before, *silent))
    assert keys(before, at_once(after), live, most=most) == expected
    assert keys(before, at_once(after), live, most=most, asked=RESTART) == set()


@pytest.mark.parametrize(
    ("before", "after", "silent", "expected"),
    [
        pytest.param(PLAN, full_at(MIA, ORD), (), set(), id="two of four"),
        pytest.param(PLAN, FULL, (), set(), id="all, one after the other"),
        pytest.param(PLAN, FULL, (EWR, ORD), set(), id="the two that announce"),
        pytest.param(PLAN, FULL, (EWR, LAX, ORD), {V4, V6}, id="the last one in effect"),
        pytest.param(PLAN, full_at(MIA), NODES, set(), id="sessions that are down"),
        pytest.param(
            ALONE, plan_of(bent("nodes", {LAX: {"number": 1, "import": "full"}})), (), {V4, V6},
            id="the only edge",
        ),
        pytest.param(
            SEVERAL, plan_of(several_prefixes() | {"routing": {"import": "full"}}), (), {V4, V6},
            id="the only edge of some prefixes",
        ),
        pytest.param(PLAN, OTHER_ASN, (), {"mesh:asn"}, id="another ASN"),
    ],
)  # fmt: skip
def test_in_waves_sessions_start_anew_wherever_another_node_announces_meanwhile(
    before: Plan, after: Plan, silent: tuple[str, ...], expected: set[str]
) -> None:
    live = LiveAnnouncers(by_plan(before, *silent))
    assert keys(before, after, live) == expected
    assert keys(before, after, live, asked=RESTART) == set()


def test_nodes_of_an_earlier_version_restart_their_sessions_at_once() -> None:
    """They know no waves: the update that brings them a version that does reaches all at once."""
    live = LiveAnnouncers(by_plan(PLAN), waveless=frozenset({EWR, LAX}))
    found = gate(preview(generation(PLAN, FULL, bundle="1")), GO, Limit(), live)
    assert {problem.key for problem in found} == {V4, V6}
    assert all("ewr-vultr-1, lax-vultr-1: of an earlier version" in p.cure for p in found)


def test_a_refusal_says_what_the_gate_and_the_update_have_to_be_told() -> None:
    after = plan_of(bent("nodes", {LAX: {"number": 1, "import": "full"}}))
    seen = preview(generation(ALONE, after, bundle="1"))
    found = gate(seen, GO, Limit(), LiveAnnouncers(by_plan(ALONE)))
    assert str(found[0]) == (
        "mesh:prefixes.ipv4 = 192.30.120.0/23: the upstream sessions of lax-vultr-1 would start "
        "anew, and no other node is known to announce it meanwhile; let another node announce it "
        "first, or let it go off the Internet for that time: --restart-sessions here, and "
        "`mesh rollout --accept-outage` for the update"
    )


def test_a_password_starts_the_sessions_anew_that_use_it() -> None:
    live = LiveAnnouncers(by_plan(PLAN))
    seen = preview(generation(at_once(PLAN), at_once(PLAN)))
    assert {p.key for p in gate(seen, GO, Limit.of("1"), live)} == {V4, V6}
    assert gate(seen, RESTART, Limit(), live) == ()
    assert gate(preview(generation(PLAN, PLAN)), GO, Limit(), live) == ()


def test_servers_that_go_and_sessions_that_start_anew_at_once_are_added_up() -> None:
    live = LiveAnnouncers(by_plan(PLAN))
    assert keys(PLAN, at_once(full_at(MIA)), live, *replaced(ORD)) == {SESSIONS}
    assert keys(PLAN, at_once(full_at(MIA)), live, *replaced(MIA)) == set()
    three = at_once(full_at(EWR, LAX, MIA))
    assert keys(PLAN, three, live, *replaced(ORD), most="1") == {V4, V6}


def test_in_waves_a_server_that_goes_is_no_other_node_that_announces() -> None:
    live = LiveAnnouncers(by_plan(PLAN))
    assert keys(PLAN, full_at(MIA), live, *replaced(ORD)) == set()
    assert V4 in keys(PLAN, full_at(MIA), live, *replaced(EWR, LAX, ORD), most="1")


def test_sessions_of_a_plan_that_cannot_be_read_are_not_let_go() -> None:
    seen = preview(generation("{}", PLAN))
    assert [p.key for p in gate(seen, GO, Limit(), LiveAnnouncers(by_plan(PLAN)))] == [
        "the plan in force"
    ]
    assert gate(seen, RESTART, Limit(), LiveAnnouncers(by_plan(PLAN))) == ()
    unread = preview(generation(PLAN, "{}"))
    assert [p.key for p in gate(unread, GO, Limit(), LiveAnnouncers(by_plan(PLAN)))] == ["preview"]


def test_another_number_of_a_node_is_another_router_id_and_starts_its_sessions_anew() -> None:
    after = plan_of(bent("nodes/mia-vultr-1/number", 9))
    changes = [
        change
        for change in summarise(preview(generation(PLAN, after, bundle="1"))).sessions
        if change.session.kind == "upstream"
    ]
    assert {(change.session.node, change.fate) for change in changes} == {(MIA, "restarted")}
    assert all("router id" in change.why for change in changes)


def test_a_preview_says_plainly_that_nobody_announces_meanwhile() -> None:
    found = summarise(preview(generation(PLAN, OTHER_ASN, bundle="1")))
    assert sum("no node announces it meanwhile" in note for note in found.notes) == 2
    shown = markdown(found)
    assert "sessions start anew at ewr-vultr-1, lax-vultr-1, mia-vultr-1, ord-vultr-1" in shown
    assert "by the plan 0 of 4 announce it meanwhile" in shown
    off = summarise(preview(generation(PLAN, at_once(FULL), bundle="1")))
    assert sum("no node announces it meanwhile" in note for note in off.notes) == 2
    assert "by the plan 0 of 4 announce it meanwhile" in markdown(off)
    one = summarise(preview(generation(PLAN, full_at(MIA), bundle="1")))
    assert "by the plan 3 of 4 announce it meanwhile" in markdown(one)
    assert not any("no node announces" in note for note in one.notes)


def test_a_preview_says_that_sessions_start_anew_in_turn() -> None:
    found = summarise(preview(generation(PLAN, FULL, bundle="1")))
    shown = markdown(found)
    assert "mia-vultr-1, ord-vultr-1, one after the other" in shown
    assert "by the plan 3 of 4 announce it meanwhile" in shown
    assert not any("no node announces" in note for note in found.notes)


def test_a_preview_names_the_only_announcer_that_restarts_its_sessions() -> None:
    after = plan_of(bent("nodes", {LAX: {"number": 1, "import": "full"}}))
    notes = summarise(preview(generation(ALONE, after, bundle="1"))).notes
    assert (
        "192.30.120.0/23: its upstream sessions start anew at lax-vultr-1, which alone is to "
        "announce it, so no node announces it meanwhile; --gate refuses that without "
        "--restart-sessions" in notes
    )
