"""What an operator reads when nodes hold something against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest
from typer.testing import CliRunner

from mesh.cli import status as module
from mesh.cli.deployed import Published
from mesh.cli.main import app
from mesh.publish.alarms import warnings
from mesh.publish.status import MeshStatus
from mesh.trust.documents import MAX_ALARMS, MAX_HEARSAY, Alarm, Health, Hearsay, Report
from mesh.trust.encoding import Malformed, dump, parse

NOW = 1_000_000.0
LAX, ORD, MIA = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1"
EWR = "ewr-vultr-1"
KEY, HASH = "A" * 43 + "=", "0" * 64


def report(
    node: str,
    *alarms: Alarm,
    ways: tuple[tuple[str, ...], ...] = (),
    down: str | None = None,
    applied: int = 7,
    age: float = 1.0,
) -> Report:
    sessions = {f"u_{mate.replace('-', '_')}": "Established" for mate in (LAX, ORD, MIA)}
    if down is not None:
        sessions[f"u_{down.replace('-', '_')}"] = "Active"
    health = Health(True, {}, sessions, alarms=alarms, ways=ways)
    spoken = int((NOW - age) * 1e6)
    return Report(node, 7, HASH, KEY, "applied", "", applied, spoken, HASH, health)


def by(*reports: Report) -> dict[str, Report]:
    return {each.node: each for each in reports}


KINDS = [
    ("prefix", "which no node owns"),
    ("owner", "does not own it"),
    ("link", "a tunnel that is not in the plan"),
    ("service", "at a node that does not serve it"),
    ("flood", "more routes than the plan has"),
    ("detour", "does not announce its own address to lax-vultr-1 although their session is up"),
    ("order", "which is not in the signed order"),
    ("of-a-later-version", "is rejected"),
]


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_one_nodes_word_is_no_verdict(kind: str, words: str) -> None:
    (warned,) = warnings(by(report(LAX, Alarm(MIA, kind, "8.8.8.8/32")), report(MIA)), 7, NOW)
    assert (warned.by, warned.mate, warned.kind) == ((LAX,), MIA, kind)
    assert words in warned.text and "8.8.8.8/32" in warned.text
    assert f"{MIA} or {LAX} is broken or compromised" in warned.text
    assert "mesh drain" in warned.text and f"mesh drain {MIA}" not in warned.text


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS if kind != "order"])
def test_what_two_say_is_one(kind: str) -> None:
    alarm = Alarm(MIA, kind, "8.8.8.8/32")
    (warned,) = warnings(by(report(LAX, alarm), report(ORD, alarm), report(MIA)), 7, NOW)
    assert (warned.by, warned.mate, warned.kind) == ((LAX, ORD), MIA, kind)
    assert f"`mesh drain {MIA}`" in warned.text and f"`mesh replace {MIA}`" in warned.text


def test_two_who_say_something_else_do_not_say_the_same() -> None:
    found = warnings(
        by(report(LAX, Alarm(MIA, "prefix", "x")), report(ORD, Alarm(MIA, "link", "y"))), 7, NOW
    )
    assert [(each.by, each.kind) for each in found] == [((LAX,), "prefix"), ((ORD,), "link")]
    assert all("No other node confirms it" in each.text for each in found)


OTHERS = [f"n{number}" for number in range(20)]


def test_who_alone_accuses_everybody_is_named_itself_and_drowns_nothing() -> None:
    """Stolen: it invents an alarm of each kind about everybody, and one that is true of it is said
    by two others."""
    invented = [
        Alarm(mate, kind, "x") for mate in (LAX, ORD, *OTHERS) for kind in ("link", "owner")
    ]
    true = Alarm(MIA, "prefix", "8.8.8.8/32")
    found = warnings(
        by(report(MIA, *invented), report(LAX, true), report(ORD, true), report("n1")), 7, NOW
    )
    first, accuser, *alone = found
    assert (first.by, first.mate, first.kind) == ((LAX, ORD), MIA, "prefix")
    assert (accuser.by, accuser.mate, accuser.kind) == ((), MIA, "accuser")
    assert f"{MIA} itself is probably broken" in accuser.text
    assert "22 nodes" in accuser.text and "and 19 more" in accuser.text
    assert len(alone) == 3
    assert not [each for each in found if f"mesh drain {LAX}" in each.text]


def test_who_accuses_everybody_makes_no_single_word_that_of_two() -> None:
    invented = [Alarm(mate, "link", "x") for mate in (LAX, ORD, *OTHERS)]
    found = warnings(by(report(MIA, *invented), report(LAX, Alarm(ORD, "link", "y"))), 7, NOW)
    assert ((LAX,), ORD) in [(each.by, each.mate) for each in found]
    assert not [each for each in found if f"mesh replace {ORD}" in each.text]


def test_nobody_accuses_himself() -> None:
    assert warnings(by(report(MIA, Alarm(MIA, "prefix", "x"))), 7, NOW) == ()


def test_one_of_several_who_tell_of_an_order_invents_it() -> None:
    """Reflectors pass on what another says."""
    said = (Alarm(MIA, "order", "192.30.120.9/32"), Alarm(EWR, "order", "192.30.120.9/32"))
    found = warnings(by(report(LAX, *said), report(ORD, *said), report(MIA), report(EWR)), 7, NOW)
    assert [each.mate for each in found] == [EWR, MIA]
    for each in found:
        assert f"One of {EWR}, {MIA} originates it" in each.text
    (one,) = warnings(by(report(LAX, said[0]), report(ORD, said[0]), report(MIA)), 7, NOW)
    assert f"{MIA} is broken or compromised: `mesh replace {MIA}`" in one.text


@pytest.mark.parametrize("late", [LAX, MIA])
def test_who_has_not_the_last_order_yet_is_not_called_a_liar(late: str) -> None:
    reports = by(report(LAX, Alarm(MIA, "order", "192.30.120.9/32")), report(MIA))
    for node, each in reports.items():
        health = replace(each.health, blackhole=3 if node == late else 4)
        reports[node] = replace(each, health=health)
    (warned,) = warnings(reports, 7, NOW, 4)
    assert f"{late} not on generation 7 and blackhole order 4 yet" in warned.text
    assert "replace" not in warned.text


@pytest.mark.parametrize("late", [LAX, MIA])
def test_who_is_behind_is_not_called_broken(late: str) -> None:
    reports = by(report(LAX, Alarm(MIA, "prefix", "8.8.8.8/32")), report(MIA))
    reports[late] = replace(reports[late], applied=6)
    (warned,) = warnings(reports, 7, NOW)
    assert f"{late} not on generation 7 yet" in warned.text
    assert "replace" not in warned.text


def test_who_is_behind_and_accuses_several_is_not_called_broken_either() -> None:
    charges = [Alarm(mate, "link", "x") for mate in OTHERS]
    accuser, *alone = warnings(by(report(LAX, *charges, applied=6)), 7, NOW)
    assert accuser.kind == "accuser" and "look again then" in accuser.text
    assert len(alone) == 3
    assert not [each for each in (accuser, *alone) if "replace" in each.text]


THROUGH = ((MIA, ORD),)
AROUND = ((LAX, MIA),)


def test_a_tunnel_that_one_end_vouches_for_and_the_other_calls_down_is_a_warning() -> None:
    reports = by(report(LAX, ways=THROUGH), report(ORD, ways=AROUND, down=MIA), report(MIA))
    (warned,) = warnings(reports, 7, NOW)
    assert (warned.by, warned.mate, warned.kind) == ((LAX,), MIA, "vouched")
    assert "reports it as down" in warned.text and "mesh drain" in warned.text


@pytest.mark.parametrize(
    "reports",
    [
        by(report(LAX, ways=THROUGH), report(ORD)),
        by(report(LAX, ways=THROUGH), report(ORD, down=MIA)),
        by(report(LAX, ways=THROUGH), report(ORD, ways=AROUND)),
        by(report(LAX, ways=THROUGH)),
        by(report(LAX, ways=THROUGH, age=60), report(ORD, ways=AROUND, down=MIA)),
        by(report(LAX, ways=((EWR, ORD),)), report(ORD, ways=AROUND, down=MIA)),
    ],
    ids=["up", "down just now", "up again", "silent", "an old word", "through another"],
)
def test_an_ordinary_way_around_is_none(reports: dict[str, Report]) -> None:
    assert warnings(reports, 7, NOW) == ()


def test_a_report_of_a_node_from_before_there_were_alarms_is_read() -> None:
    text = json.loads(dump(report(LAX)))
    del text["health"]["alarms"], text["health"]["ways"], text["health"]["hearsay"]
    assert parse(Report, json.dumps(text).encode()) == report(LAX)


def test_a_report_holds_so_many_alarms_and_no_more() -> None:
    many = [Alarm(f"n{n}", "prefix", "x") for n in range(MAX_ALARMS + 1)]
    parse(Report, dump(report(LAX, *many[1:])))
    with pytest.raises(Malformed):
        parse(Report, dump(report(LAX, *many)))


def test_a_report_holds_so_much_hearsay_and_no_more() -> None:
    many = tuple(Hearsay(ip_address(f"192.30.120.{n}"), MIA) for n in range(MAX_HEARSAY + 1))
    base = report(LAX)
    parse(Report, dump(replace(base, health=replace(base.health, hearsay=many[1:]))))
    with pytest.raises(Malformed):
        parse(Report, dump(replace(base, health=replace(base.health, hearsay=many))))


def test_status_shows_them_for_people_and_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    warned = warnings(by(report(LAX, Alarm(MIA, "prefix", "8.8.8.8/32\x1b[2J [red]"))), 7, NOW)
    found = MeshStatus(True, 7, 7, False, {}, {}, warned)
    monkeypatch.setattr(module, "published", lambda _: Published("", {}, None, None))  # type: ignore[arg-type]
    monkeypatch.setattr(module, "look", lambda *_: found)
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 1, "somebody is broken, or lies"
    assert "warning: lax-vultr-1: mia-vultr-1 announces" in shown.stdout
    assert "\x1b" not in shown.stdout and "[red]" in shown.stdout
    (told,) = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["warnings"]
    assert (told["by"], told["mate"], told["kind"]) == ([LAX], MIA, "prefix")
