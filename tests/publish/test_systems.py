"""Which operating systems are published for, and what the operator hears of old ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from mesh.operating_systems import OperatingSystem
from mesh.plan.waves import Wave
from mesh.publish import PublishError, publish
from mesh.publish.generation import placements
from mesh.publish.order import Fleet as State
from mesh.publish.order import Member, dump_fleet, load_fleet
from mesh.publish.rendered import differing, digests
from mesh.publish.systems import outdated, unfit
from mesh.publish.witnesses import witnesses
from mesh.trust import joining, keys
from mesh.trust.encoding import dump
from tests.kit.registry import PLACES, Fleet, live
from tests.kit.stacks import bent, plan_of

NODE = "mia-vultr-1"
FLEET = Fleet(plan_of(bent(f"nodes/{NODE}/os", "openbsd")))
TODAY = date(2026, 11, 30)


def members(release: str, system: str = "openbsd") -> dict[str, Member]:
    found = FLEET.members()
    facts = replace(found[NODE].facts, os=OperatingSystem(system), release=release)
    return found | {NODE: replace(found[NODE], facts=facts)}


OLD = f"{NODE}: it runs OpenBSD 7.6, whose support ended on 2025-11-30"
LATELY = f"warning: {NODE}: it runs OpenBSD 7.7, whose support ended on 2026-05-31"

JUDGED = {
    "the current one": ("7.9", date(2026, 11, 30), False, None, None),
    "the one before it, on its last day": ("7.8", date(2026, 11, 30), False, None, None),
    "one that ended lately, if none was late": (
        "7.7", date(2026, 6, 20), False, None, LATELY,
    ),
    "one that ended long ago": ("7.6", TODAY, False, OLD, None),
    "the same on a server that is a node": ("7.6", TODAY, True, None, f"warning: {OLD}"),
    "what has no release": ("snapshot", TODAY, False, None, None),
}  # fmt: skip


@pytest.mark.parametrize(
    ("release", "today", "is_known", "refused", "warned"), JUDGED.values(), ids=JUDGED.keys()
)
def test_a_new_server_runs_a_release_that_is_supported(
    release: str, today: date, is_known: bool, refused: str | None, warned: str | None
) -> None:
    there = members(release)
    for found, words in (
        (unfit(FLEET.plan, there, there if is_known else {}, today), refused),
        (outdated(FLEET.plan, there, there if is_known else {}, today), warned),
    ):
        lines = list(found)
        assert [words is not None and words in line for line in lines] == [True] * bool(words)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_server_with_another_system_than_planned_gets_no_files(is_known: bool) -> None:
    there = members("13.1", "debian")
    (refused,) = unfit(FLEET.plan, there, there if is_known else {}, TODAY)
    assert refused == (
        f"{NODE}: it runs Debian 13.1, and mesh:nodes.{NODE}.os is openbsd: mesh replace {NODE} "
        f"makes a node of OpenBSD, and os: debian keeps this one"
    )


def test_nothing_is_published_and_nobody_waits_where_a_server_is_another(tmp_path: Path) -> None:
    with live(tmp_path, keys.signing_public(FLEET.key), b"a bundle") as registry:
        registry.registry.accept_planned(dump(FLEET.planned()))
        there = FLEET.facts | {
            NODE: replace(FLEET.facts[NODE], os=OperatingSystem.DEBIAN, release="13")
        }
        for node, place in PLACES.items():
            request = joining.join_request(FLEET.token(node), node, there[node])
            registry.raw("POST", "/api/v1/join", body=dump(request), source=place)
        order = FLEET.order(registries={"lax-vultr-1": registry.url}, deadline=300.0)
        with pytest.raises(PublishError, match=f"{NODE}: it runs Debian 13, and .*os is openbsd: "):
            publish(order, None, lambda _: None)
        assert registry.registry.current() is None


def test_a_state_of_an_earlier_version_has_nodes_with_debian_and_publishes_nothing_anew() -> None:
    fleet = Fleet()
    document = json.loads(dump_fleet(State(5, "0" * 64, fleet.members())))
    for member in document["members"].values():
        member["facts"]["debian"] = member["facts"].pop("release")
        del member["facts"]["os"]
    former = load_fleet(json.dumps(document)).members
    assert former == fleet.members()
    assert not [*unfit(fleet.plan, former, former, TODAY)]
    places, registries = placements(fleet.order()), fleet.order().registries
    before, now = (
        digests(fleet.plan, {node: one.facts for node, one in each.items()}, places, registries)
        for each in (former, fleet.members())
    )
    assert differing(before, now) == ""


def test_a_node_with_openbsd_is_examined_and_examines_none() -> None:
    nodes = [node.id for node in FLEET.plan.nodes]
    waves = [Wave((node,), frozenset(), "") for node in nodes]
    found = witnesses(FLEET.plan, waves, nodes)
    assert NODE not in {who for by in found.values() for who in by}
    assert len(found[NODE]) == 2
