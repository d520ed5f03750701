"""What a change of one session means for a node that has others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.preview.sessions import Fate, anew, session_changes
from tests.kit.stacks import plan_of, with_sessions

NODE = "ewr-buyvm-1"
Entries = list[dict[str, Any]]


def _changed(
    bend: Callable[[dict[str, Any]], object],
) -> tuple[dict[str, Fate], dict[str, frozenset[str]]]:
    """The fate of each upstream session, and who has none left meanwhile, by family."""
    before, values = plan_of(with_sessions()), with_sessions()
    bend(values["nodes"][NODE])
    after = plan_of(values)
    changes = session_changes(before, after, {}, ())
    fates = {each.session.peer: each.fate for each in changes if each.session.kind == "upstream"}
    return fates, anew(changes, after)


def _first(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda node: node["upstreams"][0].update({key: value})


@pytest.mark.parametrize(
    ("key", "value", "fate"),
    [
        ("holdTime", 90, "restarted"),
        ("ttlSecurity", False, "restarted"),
        ("local", {"ipv4": "192.0.2.11/28"}, "restarted"),
        ("interface", "eth2", "restarted"),
        ("bfd", False, "changed"),
        ("communities", ["64510:200"], "changed"),
        ("limit", 10, "changed"),
    ],
)
def test_one_session_that_starts_anew_withdraws_nothing(
    key: str, value: object, fate: Fate
) -> None:
    fates, away = _changed(_first(key, value))
    assert fates == {"up4_transit_b": fate}
    assert away == {}


def test_a_session_that_is_added_or_removed_withdraws_nothing() -> None:
    fates, away = _changed(lambda node: node["upstreams"].pop(0))
    assert fates == {"up4_transit_b": "removed"}
    assert away == {}


def test_a_node_is_away_where_all_its_sessions_start_anew() -> None:
    def all_of_them(node: dict[str, Any]) -> None:
        for each in node["upstreams"]:
            each["holdTime"] = 120
        node["host"] = node["host"] | {"upstream": node["host"]["upstream"] | {"multihop": 3}}

    _, away = _changed(all_of_them)
    assert away == {"ipv4": {NODE}, "ipv6": {NODE}}
