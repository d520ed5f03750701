"""What a person is told of the keys that say what nodes believe."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.spec import Problem, SpecError, load
from tests.kit.stacks import ROOT, with_members


def told(**sections: Any) -> dict[str, Problem]:
    """All that is said, by key."""
    values = with_members()
    for name, value in sections.items():
        values[name] = values[name] | value if name == "nodes" else value
    try:
        problems = load("prod", values, ROOT).problems
    except SpecError as error:
        problems = error.problems
    return {each.key: each for each in problems}


MISTAKES: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("no such mode", {"routing": {"import": "some"}}, "mesh:routing.import", "some", "full"),
    (
        "an IXP list that is not prefixes", {"routing": {"ixpLans": ["DE-CIX"]}},
        "mesh:routing.ixpLans.0", "DE-CIX", "192.0.2.0/24",
    ),
    (
        "a LAN with host bits", {"routing": {"ixpLans": ["193.0.22.5/24"]}},
        "mesh:routing.ixpLans.0", "193.0.22.5/24", "193.0.22.0/24",
    ),
    (
        "a LAN that is half of the Internet", {"routing": {"ixpLans": ["128.0.0.0/1"]}},
        "mesh:routing.ixpLans.0", "128.0.0.0/1", "PeeringDB",
    ),
    (
        "our own prefix as a LAN", {"routing": {"ixpLans": ["192.30.120.0/24"]}},
        "mesh:routing.ixpLans.0", "192.30.120.0/24", "remove it",
    ),
    (
        "no prefixes at all", {"routing": {"maxPrefixes": {"ipv4": 0}}},
        "mesh:routing.maxPrefixes.ipv4", "0", "1",
    ),
    (
        "an action that is none", {"routing": {"maxPrefixes": {"action": "panic"}}},
        "mesh:routing.maxPrefixes.action", "panic", "block",
    ),
    (
        "a member that imports", {"nodes": {"lax-aws-1": {"number": 5, "import": "full"}}},
        "mesh:nodes.lax-aws-1.import", "full", "announces",
    ),
    (
        "a validator by name", {"rpki": {"servers": ["rtr://rtr.example.net:3323"]}},
        "mesh:rpki.servers.0", "rtr://rtr.example.net:3323", "address",
    ),
    (
        "a validator over the Web", {"rpki": {"servers": ["https://192.0.2.1/vrps.json"]}},
        "mesh:rpki.servers.0", "https://192.0.2.1/vrps.json", "rtr://",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "key", "value", "cure"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_names_key_value_and_cure(
    sections: dict[str, Any], key: str, value: str, cure: str
) -> None:
    problem = told(**sections)[key]
    assert problem.severity == "error"
    assert value in problem.value
    assert cure in problem.reason + problem.cure


def test_validators_without_anything_to_judge_are_a_warning() -> None:
    servers = {"servers": ["rtr://192.0.2.1:3323"]}
    assert told(rpki=servers)["mesh:rpki.servers"].severity == "warning"
    assert "mesh:rpki.servers" not in told(rpki=servers, routing={"import": "full"})
