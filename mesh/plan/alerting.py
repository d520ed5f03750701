"""Prometheus and Alertmanager of a network, and whom they tell."""

from __future__ import annotations

from mesh.plan.model import Monitoring, Receiver
from mesh.spec.alerting import Receiver as GivenReceiver
from mesh.spec.alerting import Severity
from mesh.spec.model import Monitoring as GivenMonitoring

SEVERITIES: tuple[Severity, ...] = ("critical", "warning")
"""What a receiver gets that asks for nothing else."""


def monitoring(given: GivenMonitoring) -> Monitoring:
    """Nodes and receivers, sorted."""
    return Monitoring(
        nodes=tuple(sorted(given.nodes)),
        receivers=tuple(
            _receiver(name, each, is_watchdog=name == given.watchdog)
            for name, each in sorted(given.receivers.items())
        ),
        watchdog=given.watchdog,
        retention=given.retention,
    )


def _receiver(name: str, given: GivenReceiver, *, is_watchdog: bool) -> Receiver:
    return Receiver(
        name=name,
        kind=given.kind,
        severities=() if is_watchdog else tuple(sorted(set(given.severities or SEVERITIES))),
        secret=given.has_secret,
        to=given.to,
        sender=given.sender,
        server=given.server,
        user=given.user,
        channel=given.channel,
    )
