"""``mesh drain`` where a prefix has one place only: what is named, asked and done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.main import app
from mesh.plan.document import write_plan
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet
from mesh.trust.orders import DRAIN
from tests.cli.test_status import secret, state
from tests.kit.nodes import Nodes, speaking
from tests.kit.registry import Fleet, Live, holding
from tests.kit.stacks import plan_of, several_prefixes

FLEET = Fleet(plan_of(several_prefixes()))
LAX, EWR = "lax-vultr-1", "ewr-vultr-1"
"""Los Angeles announces 2620:71:4001::/48 alone; New York nothing that no other node announces."""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A deployed stack whose registry listens, with nodes that report."""
    with holding(tmp_path, FLEET) as one:
        document = state(
            operator_key=secret(FLEET.key),
            registries={LAX: one.url},
            plan=write_plan(FLEET.plan),
            fleet=dump_fleet(State(5, "0" * 64, FLEET.members())),
        )
        monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: document)
        with speaking(Nodes(FLEET, one)):
            yield one


def mesh(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=given)


def drained(registry: Live) -> tuple[str, ...]:
    order = registry.registry.standing(DRAIN)
    return () if order is None else order.order.nodes


def test_a_prefix_that_goes_dark_is_named_and_asked_for_once(registry: Live) -> None:
    no = mesh("drain", LAX, given="n\n")
    assert no.exit_code == 1
    assert f"{LAX}: no other node announces 2620:71:4001::/48" in no.output
    assert "192.30.12" not in no.output, "what others announce stays"
    assert "(--yes does not ask)" in no.output, "who has no terminal reads what to write"
    assert drained(registry) == ()
    yes = mesh("drain", LAX, given="y\n")
    assert (yes.exit_code, drained(registry)) == (0, (LAX,))
    again = mesh("drain", LAX)
    assert again.exit_code == 0, "it is drained already, and nothing is asked"


def test_a_script_says_yes_and_needs_no_force(registry: Live) -> None:
    done = mesh("drain", LAX, "--yes")
    assert "no other node announces 2620:71:4001::/48" in done.output
    assert (done.exit_code, drained(registry)) == (0, (LAX,))
    shown = mesh("status")
    assert (
        "2620:71:4001::/48: off the Internet while the only node that announces it" in shown.output
    )
    assert "2620:71:4001::/48: no node announces it" not in shown.output


def test_where_others_announce_all_of_it_nothing_is_asked(registry: Live) -> None:
    assert mesh("drain", EWR).exit_code == 0
    refused = mesh("drain", LAX, "--yes")
    assert refused.exit_code == 3, "the second IPv4 aggregate has two places, and one is drained"
    assert "192.30.124.0/23" in refused.output
    assert drained(registry) == (EWR,)
