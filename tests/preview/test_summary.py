"""What a preview is said to touch: servers, sessions, prefixes, and no more than that."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from mesh.infra.dynamic.vultr import former
from mesh.plan import Plan
from mesh.preview.display import markdown, terminal
from mesh.preview.sessions import sessions_of
from mesh.preview.steps import UNKNOWN, Unreadable, read
from mesh.preview.summary import Summary, summarise
from mesh.publish import Fleet, Member, dump_fleet
from mesh.publish.rendered import digests
from mesh.render import placeholder_facts, placeholder_placements
from mesh.services.content import Content, Zone
from mesh.spec.problems import Problem
from tests.kit.previews import (
    ADDRESS,
    RENDERED,
    STACK,
    VULTR_SERVER,
    generation,
    preview,
    step,
    text,
)
from tests.kit.stacks import bent, one_node_without_ipv6, plan_of, prod

BEFORE = plan_of(prod())
FIVE = plan_of(bent("nodes/lax-vultr-2", {"number": 9}))


def three() -> dict[str, Any]:
    """The seed's network without Miami."""
    return bent("nodes/mia-vultr-1", None)


def fates(sessions: Any) -> dict[tuple[str, str], int]:
    """How many sessions of each kind have which fate."""
    found: dict[tuple[str, str], int] = {}
    for each in sessions:
        key = (each.fate, each.session.kind)
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize(
    ("after", "steps", "expected"),
    [
        pytest.param(BEFORE, [], {}, id="another bundle restarts nothing"),
        pytest.param(
            FIVE,
            [step("create", "lax-vultr-2")],
            {("added", "upstream"): 2, ("added", "reflector"): 2, ("added", "direct"): 6,
             ("added", "underlay"): 4},
            id="one node more",
        ),
        pytest.param(
            plan_of(three()),
            [step("delete", "mia-vultr-1")],
            {("removed", "upstream"): 2, ("removed", "reflector"): 2, ("removed", "direct"): 4,
             ("removed", "underlay"): 3},
            id="one node less",
        ),
        pytest.param(
            BEFORE,
            [step("replace", "mia-vultr-1", reasons=("region",))],
            {("restarted", "upstream"): 2, ("restarted", "reflector"): 2,
             ("restarted", "direct"): 4, ("restarted", "underlay"): 3},
            id="another server",
        ),
        pytest.param(
            plan_of(one_node_without_ipv6()),
            [],
            {("removed", "upstream"): 1},
            id="a node without IPv6",
        ),
        pytest.param(
            plan_of(bent("tunnels/bfd", {"interval": 300})), [], {("changed", "underlay"): 6},
            id="slower BFD",
        ),
        pytest.param(
            plan_of(prod() | {"routing": {"import": "full"}}), [], {("restarted", "upstream"): 8},
            id="full tables everywhere",
        ),
        pytest.param(
            plan_of(prod() | {"asn": 27219}), [],
            {("restarted", "upstream"): 8, ("restarted", "reflector"): 6,
             ("restarted", "direct"): 6},
            id="another ASN",
        ),
        pytest.param(
            plan_of(prod() | {"routing": {"maxPrefixes": {"ipv4": 2_000_000}}}), [],
            {("changed", "upstream"): 4},
            id="more prefixes",
        ),
        pytest.param(
            plan_of(bent("reflectors", ["lax-vultr-1", "mia-vultr-1"])),
            [],
            {("added", "reflector"): 4, ("changed", "reflector"): 2, ("removed", "direct"): 4},
            id="a second reflector",
        ),
    ],
)  # fmt: skip
def test_the_sessions_that_a_change_touches(
    after: Any, steps: list[Any], expected: dict[tuple[str, str], int]
) -> None:
    found = summarise(preview(*steps, generation(BEFORE, after, bundle="1")))
    assert fates(found.sessions) == expected


def test_a_change_of_a_timer_is_told_with_both_values() -> None:
    after = plan_of(bent("tunnels/bfd", {"interval": 300}))
    change = summarise(preview(generation(BEFORE, after))).sessions[0]
    assert change.why == "bfd 150 x 3 -> 300 x 3"


def test_an_upstream_session_that_starts_anew_is_told_with_its_reason() -> None:
    full = prod() | {"routing": {"import": "full"}}
    servers = {"rpki": {"servers": ["rtr://192.0.2.1:3323"]}}
    before, after = plan_of(full), plan_of(full | servers)
    changes = summarise(preview(generation(before, after))).sessions
    assert {(each.fate, each.why) for each in changes} == {("restarted", "validators none -> some")}


def test_a_change_of_steering_is_told_in_an_operators_words() -> None:
    rules = [{"name": "less-in-new-york", "nodes": ["ewr-vultr-1"], "prepend": 2, "med": 50}]
    after = plan_of(prod() | {"traffic": rules})
    changes = summarise(preview(generation(BEFORE, after))).sessions
    assert [(str(each.session), each.fate) for each in changes] == [
        ("ewr-vultr-1:vultr4", "changed"),
        ("ewr-vultr-1:vultr6", "changed"),
    ]
    assert {each.why for each in changes} == {
        "steering none -> AS20473 prepended 2x to all, MED 50"
    }


WANTED = {"plan": "0", "sessions-vultr": "0", "sessions-gcp": "0"}


@pytest.mark.parametrize(
    ("name", "restarted"), [("vultr", {("restarted", "upstream"): 8}), ("gcp", {}), (None, {})]
)
def test_a_changed_password_restarts_the_sessions_that_use_it_and_no_other(
    name: str | None, restarted: dict[tuple[str, str], int]
) -> None:
    """The engine hides them; their digests beside the publication tell which it is."""
    after = WANTED | ({f"sessions-{name}": "1"} if name else {})
    found = summarise(preview(generation(BEFORE, BEFORE, old={"wanted": WANTED}, wanted=after)))
    assert fates(found.sessions) == restarted
    if name:
        assert found.because == (f"mesh:bgpPassword-{name}",)
    assert not any("password" in note for note in found.notes)


def test_a_changed_receiver_of_alerts_is_a_reason_and_restarts_nothing() -> None:
    old = WANTED | {"receivers-noc": "0"}
    after = WANTED | {"receivers-noc": "1"}
    found = summarise(preview(generation(BEFORE, BEFORE, old={"wanted": old}, wanted=after)))
    assert found.because == ("mesh:alertReceiver-noc",)
    assert not fates(found.sessions)


def test_what_an_earlier_version_published_may_differ_by_its_passwords_too() -> None:
    found = summarise(preview(generation(BEFORE, BEFORE, outputs={"generation": 7})))
    assert fates(found.sessions) == {("restarted", "upstream"): 8}
    assert found.because == ("an earlier version of this code, which published last",)


CANDIDATE = "pulumi-python:dynamic/mesh:Candidate"


def candidate(op: str, before: int, after: int) -> dict[str, Any]:
    """The step of what is to be published, with the serial that the state has and the next."""
    states = [{"type": CANDIDATE, "custom": True, "inputs": {"serial": n}} for n in (before, after)]
    urn = f"{STACK}mesh:index:Mesh${CANDIDATE}::mesh-candidate"
    return {"op": op, "urn": urn, "oldState": states[0], "newState": states[1]}


UNFINISHED = "an earlier update that began after generation 7 and did not finish"


@pytest.mark.parametrize(
    ("step", "seen", "new", "because"),
    [
        pytest.param(candidate("update", 4, 5), 4, {"bundle": "1"}, ("bundle",), id="a change"),
        pytest.param(
            candidate("same", 5, 5), 4, {"bundle": "1"}, (UNFINISHED, "bundle"), id="repeated"
        ),
        pytest.param(
            candidate("update", 5, 6), 4, {"unfinished": True}, (UNFINISHED,), id="taken back"
        ),
    ],
)
def test_a_publication_is_told_with_its_reason(
    step: dict[str, Any], seen: int, new: dict[str, Any], because: tuple[str, ...]
) -> None:
    now = step["newState"]["inputs"]["serial"]
    old = {"candidate": seen, "wanted": WANTED}
    told = generation(BEFORE, BEFORE, old=old, candidate=now, wanted=WANTED, **new)
    found = summarise(preview(step, told))
    assert found.because == because
    assert found.counts == {"updated": 1}, "the candidate is the state's own"
    assert found.others == ()


def test_registries_that_hold_another_generation_are_a_reason() -> None:
    lost = RENDERED | {"held": False}
    told = generation(BEFORE, BEFORE, outputs=lost, old={"wanted": WANTED}, wanted=WANTED)
    (reason,) = summarise(preview(told)).because
    assert reason == "registries that do not hold generation 7, or hold one above it"


def test_files_that_are_rendered_otherwise_are_told_by_node() -> None:
    facts, places = placeholder_facts(BEFORE), placeholder_placements(BEFORE)
    members = {n: Member(one.instance_id, one.identity, one) for n, one in facts.items()}
    rendered = digests(BEFORE, facts, places, {}) | {"mia-vultr-1": "0"}
    instances = {
        n: {"ipv4": str(place.ipv4), "ipv6": str(place.ipv6)} for n, place in places.items()
    }
    same = {"instances": instances, "registries": {}, "wanted": WANTED}
    outputs = RENDERED | {"rendered": rendered, "fleet": dump_fleet(Fleet(7, "0" * 64, members))}
    found = summarise(preview(generation(BEFORE, BEFORE, outputs=outputs, old=same, **same)))
    assert found.because == ("rendered files: mia-vultr-1",)


def test_where_more_changes_nobody_claims_to_know_about_passwords() -> None:
    found = summarise(preview(generation(BEFORE, BEFORE, bundle="1")))
    assert found.sessions == ()
    assert any("password" in note for note in found.notes)


def test_the_first_preview_says_everything_although_no_address_is_known() -> None:
    found = summarise(
        preview(
            *(step("create", node.id, inputs={"ipv4": UNKNOWN}) for node in BEFORE.nodes),
            generation(None, BEFORE, instances=UNKNOWN),
        )
    )
    assert found.generation == "first"
    assert [each.node for each in found.servers] == [node.id for node in BEFORE.nodes]
    assert len(found.sessions) == len(sessions_of(BEFORE)) == 26
    assert {each.prefix for each in found.prefixes} == {"192.30.120.0/23", "2620:71:4000::/48"}


@pytest.mark.parametrize("plan", [UNKNOWN, "{}", "[secret]"])
def test_a_plan_that_cannot_be_read_is_said_and_no_obstacle(plan: str) -> None:
    found = summarise(preview(step("replace", "mia-vultr-1"), generation(plan, BEFORE)))
    assert [each.node for each in found.servers] == ["mia-vultr-1"]
    assert found.sessions == ()
    assert any("another version" in note for note in found.notes)


def test_who_announces_a_prefix_meanwhile() -> None:
    found = summarise(
        preview(step("replace", "mia-vultr-1"), generation(BEFORE, BEFORE, bundle="1"))
    )
    everybody = tuple(node.id for node in BEFORE.nodes)
    for change in found.prefixes:
        assert (change.before, change.after) == (everybody, everybody)
        assert change.away == ("mia-vultr-1",)
    assert len(found.prefixes) == 2
    assert "withdrawn at mia-vultr-1 meanwhile; by the plan 3 of 4" in markdown(found)


def test_a_node_without_ipv6_takes_that_prefix_off_one_place() -> None:
    found = summarise(preview(generation(BEFORE, plan_of(one_node_without_ipv6()))))
    assert [change.prefix for change in found.prefixes] == ["2620:71:4000::/48"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("services/web/addresses/ipv4", "192.30.120.102",
         {"192.30.120.100": "removed", "192.30.120.102": "added"}),
        ("regions/mia/slots/vultr-1", "192.30.120.29",
         {"192.30.120.25": "removed", "192.30.120.29": "added",
          "2620:71:4000::25": "removed", "2620:71:4000::29": "added"}),
    ],
)  # fmt: skip
def test_addresses_that_come_and_go(path: str, value: Any, expected: dict[str, str]) -> None:
    found = summarise(preview(generation(BEFORE, plan_of(bent(path, value)))))
    assert {change.what: change.fate for change in found.announced} == expected


def test_a_content_that_changes_is_named_with_its_size_and_its_serials() -> None:
    def serving(letter: str, serial: int) -> Plan:
        content = Content(letter * 64, 20480, 2, (Zone("example.com", serial),))
        (web,) = BEFORE.services
        return replace(BEFORE, services=(replace(web, content=content),))

    found = summarise(preview(generation(serving("a", 41), serving("b", 42))))
    assert [(each.what, each.fate, each.why) for each in found.services] == [
        (
            "web",
            "changed",
            "content aaaaaaaaaaaa (2 files, 20,480 bytes, example.com serial 41) -> "
            "bbbbbbbbbbbb (2 files, 20,480 bytes, example.com serial 42)",
        )
    ]
    assert found.sessions == () and found.prefixes == ()


def test_an_address_that_another_service_takes_over_has_moved() -> None:
    values = prod()
    values["services"]["shop"] = values["services"].pop("web")
    found = summarise(preview(generation(BEFORE, plan_of(values))))
    assert {(c.what, c.fate, c.why) for c in found.announced} == {
        ("192.30.120.100", "moved", "service web -> service shop"),
        ("2620:71:4000::100", "moved", "service web -> service shop"),
    }


def test_a_service_that_another_daemon_answers_is_told() -> None:
    values = prod()
    values["services"]["web"] = {
        "kind": "web", "content": "site", "names": ["example.net"],
        "addresses": values["services"]["web"]["addresses"],
    }  # fmt: skip
    (change,) = summarise(preview(generation(BEFORE, plan_of(values)))).services
    assert (change.what, change.fate) == ("web", "changed")
    assert change.why.startswith("kind unset -> web; ports 80/tcp 443/tcp -> 80/tcp")
    assert "names any -> example.net" in change.why


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("services/web/ports", {"tcp": [80]}, [("service-tcp-443", "removed")]),
        ("services/web/ports", {"tcp": [80, 443], "udp": [53]}, [("service-udp-53", "added")]),
        ("admin/ssh", ["198.51.100.0/24"], [("networks of admin", "changed")]),
        ("registry", {"sources": ["198.51.100.0/24"]}, [("networks of registry", "changed")]),
    ],
)
def test_ports_that_open_and_close(path: str, value: Any, expected: list[Any]) -> None:
    found = summarise(preview(generation(BEFORE, plan_of(bent(path, value)))))
    assert [(change.what, change.fate) for change in found.ports] == expected


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("vultr:index/instance:Instance", "servers"),
        ("vultr:index/bareMetalServer:BareMetalServer", "servers"),
        ("pulumi-python:dynamic/vultr:Instance", "servers"),
        ("pulumi-python:dynamic/vultr:BareMetal", "servers"),
        ("aws:ec2/instance:Instance", "servers"),
        ("gcp:compute/instance:Instance", "servers"),
        ("pulumi-python:dynamic/host:Host", "servers"),
        ("pulumi-python:dynamic/lab:Instance", "servers"),
        ("vultr:index/reservedIp:ReservedIp", "addresses"),
        ("pulumi-python:dynamic/vultr:Address", "addresses"),
        ("aws:ec2/eip:Eip", "addresses"),
        ("aws:ec2/networkInterface:NetworkInterface", "addresses"),
        ("gcp:compute/address:Address", "addresses"),
        ("vultr:index/firewallRule:FirewallRule", "firewalls"),
        ("pulumi-python:dynamic/vultr:Firewall", "firewalls"),
        ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "firewalls"),
        ("gcp:compute/firewall:Firewall", "firewalls"),
        ("aws:ec2/subnet:Subnet", "others"),
    ],
)
@pytest.mark.parametrize(
    ("op", "fate"),
    [("create", "created"), ("replace", "replaced"), ("delete", "deleted"), ("update", "updated")],
)
def test_every_provider_has_servers_addresses_and_firewalls(
    type_: str, kind: str, op: str, fate: str
) -> None:
    found = summarise(preview(step(op, "mia-vultr-1", type_)))
    for each in ("servers", "addresses", "firewalls", "others"):
        wanted = [(fate, "mia-vultr-1")] if each == kind else []
        assert [(t.fate, t.node) for t in getattr(found, each)] == wanted


def test_a_replacement_in_two_steps_is_one() -> None:
    parts = [step(op, "mia-vultr-1") for op in ("delete-replaced", "create-replacement")]
    found = summarise(preview(*parts))
    assert [(each.fate, each.node) for each in found.servers] == [("replaced", "mia-vultr-1")]
    assert found.counts == {"replaced": 1}


def test_what_is_protected_is_told_with_the_cure() -> None:
    gone = step("delete", "mia-vultr-1", ADDRESS)
    found = summarise(preview(gone, errors=("cannot be deleted\nbecause it is protected.",)))
    assert any("mesh release mia-vultr-1" in note for note in found.notes)


def test_what_the_program_notes_is_told_and_nothing_else_that_it_prints() -> None:
    document = json.loads(text(step("create", "mia-vultr-1")))
    document["diagnostics"] = [
        {"severity": "info", "message": "note: Vultr costs 20.00 US dollars a month\n"},
        {"severity": "info", "message": "debugging by print\n"},
    ]
    found = summarise(read(json.dumps(document)))
    assert "Vultr costs 20.00 US dollars a month" in found.notes
    assert not any("debugging" in note for note in found.notes)


def test_what_drifted_is_the_reason_of_the_update_that_repairs_it() -> None:
    mended = step("update", "mia-vultr-1", VULTR_SERVER)
    mended["oldState"] = {**mended["oldState"], "outputs": {"drift": ["its label is x, not y"]}}
    (server,) = summarise(preview(mended)).servers
    assert (server.fate, server.reasons) == ("updated", ("its label is x, not y",))


def test_a_stack_of_the_plugins_is_told_how_it_is_moved() -> None:
    said = f"resource 'mesh-mia-vultr-1-address' has a problem: {former.NEEDS_ADOPTION}"
    found = summarise(preview(step("same", "mia-vultr-1"), errors=(said,)))
    assert any("mesh adopt --stack lab" in note for note in found.notes)


def test_a_stack_of_the_apis_is_told_that_there_is_no_way_back() -> None:
    going, coming = (
        step("delete", "mia-vultr-1", VULTR_SERVER),
        step("create", "mia-vultr-1", "vultr:index/instance:Instance"),
    )
    found = summarise(preview(going, coming, errors=("it is protected",)))
    assert any("no way back to the plugin" in note for note in found.notes)
    # To lift the protection of an address that is to stay is no cure.
    assert not any("mesh release" in note for note in found.notes)


def test_nothing_from_the_stack_file_becomes_markup_of_the_comment() -> None:
    bad = "mesh:asn = </pre><img src=x> @everyone | [x](http://example.com)"
    values = prod()
    values["services"]["web"]["checks"] = [{"kind": "http", "port": 80, "path": "/`<b>|@all"}]
    found = summarise(preview(generation(BEFORE, plan_of(values)), errors=(bad,)))
    shown = markdown(found)
    assert "<img" not in shown and "<b>" not in shown
    assert shown.count("</pre>") == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("see_that", "see&#95;that"),
        ("a # b", "a #\u200b b"),
        ("&#64; & <b>", "&#38;#\u200b64; &#38; &#60;b&#62;"),
        ("@everyone, a@b.example", "@\u200beveryone, a@\u200bb.example"),
        ("#12, GH-12", "#\u200b12, GH-\u200b12"),
        ("https://x.example WWW.x.example", "https:\u200b//x.example WWW\u200b.x.example"),
        ("![a](b) `c` *d* ~e~ $f$ \\|", "!&#91;a&#93;(b) &#96;c&#96; &#42;d&#42; &#126;e&#126; "
         "&#36;f&#36; &#92;&#124;"),
        ("2620:71:4000::/48 -> mia-vultr-1", "2620:71:4000::/48 -&#62; mia-vultr-1"),
    ],
)  # fmt: skip
def test_a_comment_shows_what_was_said_and_calls_nobody(said: str, shown: str) -> None:
    """Entities are not enough: GitHub looks for mentions, references and links behind them."""
    problem = Problem("key", said, "reason", "cure")
    (line,) = [line for line in markdown(summarise(preview()), [problem]).splitlines()
               if line.startswith("- key")]  # fmt: skip
    assert line == f"- key = {shown}: reason; cure"


ESCAPES = "\x1b]0;title\x07\x1b[2J\x1b[31mno\x1b[0m\r\u202e\x9b2J \t one"


def test_what_a_provider_says_is_printable_and_no_line_of_it_begins_as_a_command() -> None:
    errors = (f"400: {ESCAPES}\n::error file=x::y\n\n##[error]z",)
    steps = [step("replace", "mia-vultr-1", reasons=(ESCAPES,))]
    found = summarise(preview(*steps, errors=errors))
    assert found.errors == ("400: no", "2J one", ": :error file=x::y", "# #[error]z")
    problem = Problem("key", f"a\n::error::{ESCAPES}", "reason", "cure")
    shown = printed(found, problem)
    assert "error: 400: no" in shown
    assert shown.replace("\n", "").isprintable()
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())


def printed(summary: Summary, *problems: Problem) -> str:
    """The summary as a terminal gets it."""
    out = io.StringIO()
    Console(file=out, width=200).print(terminal(summary, problems))
    return out.getvalue()


@pytest.mark.parametrize("bad", ["", "null", "[]", "{}", '{"steps": [1]}', '{"steps": [{}]}'])
def test_what_is_no_preview_is_refused(bad: str) -> None:
    with pytest.raises(Unreadable, match="pulumi preview --json"):
        read(bad)


def test_the_same_change_is_told_in_the_same_words_whatever_the_order() -> None:
    steps = [step("create", node.id) for node in BEFORE.nodes]
    last = generation(None, BEFORE)
    one = markdown(summarise(read(text(*steps, last))))
    other = markdown(summarise(read(text(*reversed(steps), last))))
    assert one == other


def test_an_engine_that_got_nowhere_is_told_of_in_its_own_words() -> None:
    said = {"message": "error: no resource plugin vultr found\n", "severity": "error"}
    found = summarise(read(json.dumps({"config": {}, "diagnostics": [said]})))
    assert found.errors == ("no resource plugin vultr found",)
    assert not found.servers
