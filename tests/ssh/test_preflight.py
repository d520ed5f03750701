"""What a host says of itself, and what keeps it from becoming a node."""

from __future__ import annotations

import asyncio
import subprocess
from ipaddress import ip_network
from typing import cast

import pytest

from mesh.ssh import Target
from mesh.ssh.connection import HostConnection
from mesh.ssh.preflight import QUESTIONS, Answers, ask, problems
from tests.kit.existing_host import NODE
from tests.ssh.test_hostile import GOOD

PLANNED = "203.0.113.21"
WORDS = GOOD | {"connection": "198.51.100.250 1 203.0.113.21 22"}
TOOLS = ("python3", "nft", "ip", "apt-get")


def found(*held: str, sends: str | None) -> list[str]:
    """The problems of a host that is fit but for these addresses, as sentences."""
    words = {word: [value] for word, value in WORDS.items()} | {"tool": TOOLS, "address": held}
    words |= {} if sends is None else {"sends": [sends]}
    target = Target(NODE, "buyvm", PLANNED, 22, "root", (), True, "")
    admin = [ip_network("198.51.100.250/32")]
    return [str(problem) for problem in problems(target, words, None, admin)]


@pytest.mark.parametrize("sends", [PLANNED, None])
def test_a_host_that_sends_from_its_planned_address_is_fit(sends: str | None) -> None:
    """So is one without a default route: it is on its way."""
    assert found(PLANNED, "203.0.113.22", sends=sends) == []


def test_a_host_that_sends_from_another_address_is_refused_before_anything_changes() -> None:
    (text,) = found(PLANNED, "203.0.113.22", sends="203.0.113.22")
    assert text.startswith(f"mesh:nodes.{NODE}.host.ipv4 = {PLANNED}: the host sends to the")
    assert "from 203.0.113.22" in text
    assert f"src {PLANNED}" in text


def test_an_address_that_the_host_does_not_hold_is_one_problem() -> None:
    (text,) = found("203.0.113.22", sends="203.0.113.22")
    assert "no interface of the host has it" in text


def test_an_openbsd_host_that_was_not_said_to_be_one_is_told_the_key() -> None:
    target = Target(NODE, "buyvm", PLANNED, 22, "puffy", (), True, "")
    (problem,) = problems(target, {"kernel": ["OpenBSD"], "system": [""]}, None, [])
    assert str(problem).startswith(f"mesh:nodes.{NODE}.os = debian: {PLANNED} runs OpenBSD; ")
    assert "write os: openbsd" in problem.cure


class Shell:
    """The end of a connection whose far side is a fresh network namespace."""

    def __init__(self, *before: str) -> None:
        self._before = before

    async def sh(self, script: str) -> str:
        """What a script prints there, after what was set up."""
        assert script == QUESTIONS
        whole = "\n".join(("set -e", *self._before, "set +e", script))
        done = subprocess.run(
            ["unshare", "--net", "sh", "-c", whole], capture_output=True, text=True, check=False
        )
        return done.stdout


def _said(*before: str) -> Answers:
    return asyncio.run(ask(cast(HostConnection, Shell(*before))))


@pytest.mark.root
@pytest.mark.parametrize(
    ("source", "sends"), [("", PLANNED), (" src 203.0.113.22", "203.0.113.22")]
)
def test_the_kernel_is_asked_from_where_a_host_sends(source: str, sends: str) -> None:
    words = _said(
        "ip link add up0 type veth peer name up1", "ip link set up0 up", "ip link set up1 up",
        f"ip address add {PLANNED}/24 dev up0", "ip address add 203.0.113.22/24 dev up0",
        f"ip route add default via 203.0.113.254{source}",
    )  # fmt: skip
    assert list(words["sends"]) == [sends]
    assert {PLANNED, "203.0.113.22"} <= set(words["address"])


@pytest.mark.root
def test_a_host_without_a_default_route_says_nothing_of_it() -> None:
    assert "sends" not in _said()
