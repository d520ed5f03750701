"""A provider takes the password of before beside the new one, and no session ends for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from mesh.lab import bird, rotation
from mesh.lab.errors import LabError
from mesh.lab.routers import session_name, upstream_config
from mesh.lab.underlay import underlay
from mesh.lab.world import TAKES, raise_world
from tests.kit.stacks import plan_of, prod
from tests.kit.uptimes import restarted, since
from tests.kit.wait import until
from tests.lab.conftest import Raised
from tests.lab.speaker import PASSWORDS, speaker
from tests.lab.test_world import established, md5_failures

HERE, THERE = "ord-vultr-1", "mia-vultr-1"
CHANGED = PASSWORDS | {"vultr": "another-session-key"}
OLD, NEW = PASSWORDS["vultr"], CHANGED["vultr"]

ACCEPTED: list[tuple[str, str, str, tuple[str, ...], str, tuple[str, ...]]] = [
    # case, wanted, in use, known before, what the provider takes, what it takes now
    ("the first password", "a", "", (), "both", ("a",)),
    ("the first one, of a provider that learns of no change", "a", "", (), "old", ("a",)),
    ("no change", "a", "a", (), "both", ("a",)),
    ("a change", "b", "a", (), "both", ("b", "a")),
    ("the same once more, in use", "b", "b", ("b", "a"), "both", ("b", "a")),
    ("the same once more, not in use yet", "b", "a", ("b", "a"), "both", ("b", "a")),
    ("back", "a", "b", ("b", "a"), "both", ("a", "b")),
    ("a third one, while the first is in use", "c", "a", ("b", "a"), "both", ("c", "a")),
    ("a change, nothing kept", "b", "a", (), "new", ("b",)),
    ("nothing kept any longer", "b", "a", ("b", "a"), "new", ("b",)),
    ("a change that the provider does not learn of", "b", "a", (), "old", ("a",)),
    ("a third one that the provider does not learn of", "c", "b", ("b", "a"), "old", ("b",)),
]


@pytest.mark.parametrize(
    ("wanted", "used", "before", "takes", "now"),
    [row[1:] for row in ACCEPTED],
    ids=[row[0] for row in ACCEPTED],
)
def test_what_a_provider_takes_when_a_password_is_set(
    wanted: str, used: str, before: tuple[str, ...], takes: str, now: tuple[str, ...]
) -> None:
    known = {"n_a": before} if before else {}
    in_use = {"n_a": used} if used else {}
    assert rotation.accepted({"n_a": wanted}, in_use, known, takes) == {"n_a": now}


def test_a_session_goes_on_with_the_password_that_it_has_while_that_is_taken() -> None:
    taken = {"n_a": ("new", "old"), "n_b": ("new",)}
    assert rotation.chosen(taken, {"n_a": "old", "n_b": "old"}) == {"n_a": "old", "n_b": "new"}


def test_the_passwords_of_a_session_that_is_down_come_in_turn() -> None:
    taken = {"n_a": ("new", "old"), "n_b": ("new", "old"), "n_c": ("new", "old")}
    used = {"n_a": "old", "n_b": "new", "n_c": "old"}
    assert rotation.turned(taken, used, {"n_a", "n_b"}) == {"n_a": "new", "n_b": "old"}


def test_one_session_gets_another_password_and_the_rest_stays_as_it_is() -> None:
    world = underlay(plan_of(prod()))
    upstream = world.upstreams[0]
    one, other = (session_name(upstream.nodes[0], family) for family in ("ipv4", "ipv6"))
    config = upstream_config(world, upstream, {"vultr": "old"})
    assert rotation.passwords_of(config) == {one: "old", other: "old"}
    changed = rotation.with_passwords(config, {one: "\\1 new"})
    assert rotation.passwords_of(changed) == {one: "\\1 new", other: "old"}
    assert rotation.with_passwords(changed, {one: "old"}) == config


@pytest.fixture
def rotated(raised: Raised, monkeypatch: pytest.MonkeyPatch) -> Iterator[Raised]:
    """The world, whose providers know the first passwords alone afterwards."""
    yield raised
    monkeypatch.setenv(TAKES, rotation.NEW)
    raise_world(raised.plan, raised.name, PASSWORDS)


@pytest.mark.lab
def test_each_node_has_its_session_with_the_old_password_and_with_the_new_one(
    rotated: Raised,
) -> None:
    with speaker(rotated.place, rotated.world, THERE, []):
        with speaker(rotated.place, rotated.world, HERE, []):
            for node in (HERE, THERE):
                until(partial(established, rotated, node), 10, f"the session of {node}")
            before = {node: since(shown(rotated, node)) for node in (HERE, THERE)}
            raise_world(rotated.plan, rotated.name, CHANGED)
            for node, was in before.items():
                assert restarted(was, since(shown(rotated, node))) == [], "none has ended"
        for password in (NEW, OLD):
            with speaker(rotated.place, rotated.world, HERE, [], password=password):
                until(partial(established, rotated, HERE), 15, f"the session with {password}")
        ended = restarted(before[THERE], since(shown(rotated, THERE)))
        assert ended == [], "the other node's goes on all the while"


@pytest.mark.lab
@pytest.mark.parametrize(
    ("takes", "good", "bad"),
    [(rotation.NEW, NEW, OLD), (rotation.OLD, OLD, NEW)],
    ids=["the new one alone", "the old one alone"],
)
def test_a_provider_may_take_one_of_the_passwords_alone(
    rotated: Raised, monkeypatch: pytest.MonkeyPatch, takes: str, good: str, bad: str
) -> None:
    monkeypatch.setenv(TAKES, takes)
    raise_world(rotated.plan, rotated.name, CHANGED)
    box = rotated.world.node(HERE).upstream
    refused = md5_failures(rotated, box)
    with (
        speaker(rotated.place, rotated.world, HERE, [], password=bad),
        speaker(rotated.place, rotated.world, THERE, [], password=good),
    ):
        until(partial(established, rotated, THERE), 10, f"the session with {good}")
        # One more than the number of passwords that it could try in turn.
        until(lambda: md5_failures(rotated, box) > refused + 3, 10, "its kernel to refuse")
        assert not established(rotated, HERE)


@pytest.mark.lab
def test_what_providers_take_is_one_of_three(
    rotated: Raised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TAKES, "none")
    with pytest.raises(LabError, match=f"{TAKES} 'none': say which .* both, new or old"):
        raise_world(rotated.plan, rotated.name, PASSWORDS)


def shown(raised: Raised, node: str) -> str:
    """A node's session at its upstream, as BIRD shows it."""
    box, session = raised.world.node(node).upstream, session_name(node, "ipv4")
    return bird.ask(raised.place, box, f"show protocols {session}")
