"""How notifications are read, and that the proof has a case for each fault of the lab."""

from __future__ import annotations

from mesh.lab.faults import FAULTS
from mesh.lab.receivers import Alert, Delivery
from tests.monitoring.cases import CASES, FAILED
from tests.monitoring.rung import BOX, DEADMAN, rung


def told(at: float, status: str, receiver: str = BOX, **labels: str) -> Delivery:
    given = {"alertname": "MeshUpstreamDown", "node": "lax-vultr-1"} | labels
    return Delivery(at, receiver, (Alert(given["alertname"], status, given, ""),))


def test_each_fault_of_the_lab_has_a_case() -> None:
    assert {case.verb for case in CASES} == {*FAULTS, FAILED}


def test_an_alert_rings_from_its_first_notification_until_all_of_it_is_resolved() -> None:
    both = [told(1.0, "firing", session="a"), told(2.0, "firing", session="b")]
    ring = ("MeshUpstreamDown", "lax-vultr-1")
    half = rung([*both, told(3.0, "resolved", session="a")])
    assert half.first == {ring: 1.0}
    assert half.ringing == {ring}
    whole = rung([*both, told(3.0, "resolved", session="a"), told(4.0, "resolved", session="b")])
    assert not whole.ringing


def test_the_dead_mans_switch_is_no_alert() -> None:
    assert not rung([told(1.0, "firing", DEADMAN, alertname="MeshWatchdog")]).first
