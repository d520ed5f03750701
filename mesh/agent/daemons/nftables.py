"""nftables: the whole ruleset in one transaction, and never one that locks the operator out."""

from __future__ import annotations

import json
from typing import Any

from mesh.agent.daemons.kind import Changes, Kind, Node
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage

RULESET = "/etc/nftables.conf"
SSH_PORT = 22


def _validate(stage: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is None:
            raise CommandFailed(f"{change.path}: a node without a firewall is refused")
        stage.must("nft", "-c", "-f", stage.path(change.path))


def _apply(node: Node, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            node.host.must("nft", "-f", change.path)
    if any(change.new is not None for change in changes) and not lets_in_ssh(
        node.host.must("nft", "-j", "list", "ruleset")
    ):
        raise CommandFailed(f"{RULESET}: no rule lets SSH in; the operator would be locked out")


def lets_in_ssh(ruleset: str) -> bool:
    """Whether a ruleset (nft's JSON) accepts TCP port 22 somewhere."""
    rules = (entry.get("rule") for entry in json.loads(ruleset).get("nftables", []))
    return any(rule is not None and _accepts_ssh(rule.get("expr", [])) for rule in rules)


def _accepts_ssh(expressions: list[dict[str, Any]]) -> bool:
    port = any(
        expression.get("match", {}).get("left", {})
        == {"payload": {"protocol": "tcp", "field": "dport"}}
        and _names(expression["match"].get("right"), SSH_PORT)
        for expression in expressions
    )
    return port and any("accept" in expression for expression in expressions)


def _names(value: Any, port: int) -> bool:
    if isinstance(value, dict):
        return any(_names(inner, port) for inner in value.get("set", []))
    return bool(value == port)


KIND = Kind(name="nftables", patterns=(RULESET,), validate=_validate, apply=_apply)
