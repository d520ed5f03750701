"""``mesh:monitoring``: its nodes, its receivers, and the looking glass that it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.spec.alerting import Receiver, ReceiverKind
from mesh.spec.examples import for_example
from mesh.spec.glass import free_port, glass_of, holder
from mesh.spec.model import Glass, Monitoring, Node
from mesh.spec.problems import Problem
from mesh.spec.section import Sections

OF_KIND: Mapping[str, ReceiverKind] = {
    "to": "email",
    "sender": "email",
    "server": "email",
    "user": "email",
    "channel": "slack",
}
"""The kind of receiver that has a key, by the key's name in the model."""
NEEDED = ("to", "sender", "server")
"""What ``email`` needs."""
KEY = "mesh:monitoring"


def check_monitoring(sections: Sections) -> Iterator[Problem]:
    """Its nodes are in the stack, the glass is on, and each receiver has what its kind needs."""
    monitoring: Monitoring | None = sections.get("monitoring")
    if monitoring is None:
        return
    yield from _check_glass(sections)
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    if nodes is not None:
        yield from _check_nodes(monitoring.nodes, nodes)
    for name, receiver in monitoring.receivers.items():
        yield from _missing(name, receiver)
        yield from _unused(name, receiver)
    yield from _check_watchdog(monitoring)
    if not monitoring.receivers:
        yield Problem(
            f"{KEY}.receivers", "unset", "nobody hears of an alert",
            for_example("name somebody", "monitoring", "receivers"), "warning",
        )  # fmt: skip


def _check_glass(sections: Sections) -> Iterator[Problem]:
    glass: Glass | None = sections.get("glass")
    if glass is None or glass_of(sections) is not None:
        return
    why, cure = "mesh:glass.enabled is false", "remove mesh:glass.enabled"
    if glass.enabled:
        other = free_port(sections, glass.port)
        why = f"{holder(sections, glass.port)} has its port, so that there is none"
        cure = f"give it a port of its own, for example mesh:glass: {{port: {other}}}"
    yield Problem(
        KEY, "set", f"it asks the looking glass of every node, and {why}",
        f"{cure}, or remove mesh:monitoring",
    )  # fmt: skip


def _check_nodes(names: tuple[str, ...], nodes: Mapping[str, Node]) -> Iterator[Problem]:
    for name in names:
        if name not in nodes:
            yield Problem(
                f"{KEY}.nodes", name, "there is no such node",
                f"name one of {', '.join(sorted(nodes))}",
            )  # fmt: skip
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(f"{KEY}.nodes", name, "it is listed twice", "name it once")


def _missing(name: str, receiver: Receiver) -> Iterator[Problem]:
    if receiver.kind != "email":
        return
    for option in NEEDED:
        if getattr(receiver, option) is None:
            written = _written(option)
            yield Problem(
                f"{KEY}.receivers.{name}.{written}", "unset", "a receiver of kind email needs it",
                for_example("add it", "monitoring", "receivers", name, written),
            )  # fmt: skip


def _unused(name: str, receiver: Receiver) -> Iterator[Problem]:
    """Keys of other kinds."""
    for option, kind in OF_KIND.items():
        value = getattr(receiver, option)
        if value is not None and receiver.kind != kind:
            yield Problem(
                f"{KEY}.receivers.{name}.{_written(option)}", value,
                f"it is for receivers of kind {kind}, and this one's kind is {receiver.kind}",
                f"remove it, or write kind: {kind}",
            )  # fmt: skip


def _check_watchdog(monitoring: Monitoring) -> Iterator[Problem]:
    name = monitoring.watchdog
    if name is None:
        return
    receiver = monitoring.receivers.get(name)
    if receiver is None:
        there = ", ".join(sorted(monitoring.receivers))
        yield Problem(
            f"{KEY}.watchdog", name, "there is no such receiver",
            f"name one of {there}" if there else f"add it to {KEY}.receivers",
        )  # fmt: skip
    elif receiver.severities is not None:
        yield Problem(
            f"{KEY}.receivers.{name}.severities", ", ".join(receiver.severities),
            "it is the dead man's switch, which gets no alert but the one that always fires",
            "remove severities there, or name another receiver in mesh:monitoring.watchdog",
        )  # fmt: skip


def _written(option: str) -> str:
    """The name of a receiver's key in the stack file."""
    return Receiver.model_fields[option].alias or option
