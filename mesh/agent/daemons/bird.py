"""BIRD: `bird -p` before, `configure` with its own undo timer, confirmed at the end."""

from __future__ import annotations

from mesh.agent.daemons.kind import Changes, Kind, Node
from mesh.agent.stage import Stage

UNDO_SECONDS = 30
"""BIRD goes back by itself after this, should the agent die between applying and confirming."""


def _validate(stage: Stage, _: Changes) -> None:
    stage.must("bird", "-p", "-c", "/etc/bird/bird.conf")


def _apply_late(node: Node, _: Changes) -> None:
    node.bird.wait()
    node.bird.configure(undo_after=UNDO_SECONDS)


def _confirm(node: Node) -> None:
    node.bird.confirm()


KIND = Kind(
    name="bird",
    patterns=("/etc/bird/bird.conf", "/etc/bird/mesh/*.conf"),
    validate=_validate,
    apply_late=_apply_late,
    confirm=_confirm,
)
