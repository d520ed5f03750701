"""What may be healed: what has a fault, and what could have one."""

from __future__ import annotations

import pytest

from mesh.lab import faults
from mesh.lab.errors import LabError
from mesh.lab.underlay import underlay
from mesh.plan import Plan

LAB = "nothing-broken"


@pytest.fixture(autouse=True)
def world(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A world on paper: nothing in it is broken, so nothing is touched."""
    monkeypatch.setattr(faults, "load", lambda _: underlay(plan))


@pytest.mark.parametrize("target", ["lax-vultr-1", "lax-vultr-1:mia-vultr-1"])
def test_what_is_whole_has_nothing_to_heal(target: str) -> None:
    assert faults.heal(LAB, target) == ()


@pytest.mark.parametrize("target", ["nope", "lax-vultr-1:nope", "lax-vultr-1:lax-vultr-1", ""])
def test_what_does_not_exist_is_refused_with_what_does(target: str) -> None:
    with pytest.raises(LabError, match="mia-vultr-1"):
        faults.heal(LAB, target)
