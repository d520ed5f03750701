"""Digests of what nodes get: they show whether another checkout renders other bytes.

They cover all of a generation that is the same each time it is made: no number, nonce or
randomness of sealing. A sealed file counts with its path, mode and template, and the name of
a secret in its place, which is an input of its own. The views count as registries show
them, with each node's cloud-init, but without token, operator key and bundle hash, which are
inputs as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.facts import Facts, Placement
from mesh.plan import Node, Plan
from mesh.publish.generation import public_facts, views
from mesh.render import NodeFiles, Seed, node_files, node_secrets
from mesh.trust.encoding import dump, sha256

VIEWS = "what the API shows"
"""The key of the views among the node ids, which have no spaces."""
MOST = 12
"""Names on one line."""


def digests(
    plan: Plan,
    facts: Mapping[str, Facts],
    placements: Mapping[str, Placement],
    registries: Mapping[str, str],
    files: Mapping[str, NodeFiles] | None = None,
) -> dict[str, str]:
    """A digest (hex) of what each node with facts gets, and of what the API shows. ``files`` is
    the rendered files, where they exist already."""
    found: dict[str, str] = {}
    receivers = {name: name for name in plan.receiver_secrets}
    rendered = node_files(plan, facts, placements) if files is None else files
    for node_id, own in rendered.items():
        secret = node_secrets(plan, node_id, _names(plan.node(node_id)), receivers)
        # As the generation has them: content, mode, group; units in the order of their start.
        found[node_id] = _short(b"\n".join(map(dump, (own, *secret))))
    seed = Seed(tuple(url for _, url in sorted(registries.items())), "", "", "")
    found[VIEWS] = _short(dump(views(plan, seed, public_facts(facts, placements))))
    return found


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The names of what differs, for people; empty where nothing does."""
    names = sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
    rest = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + rest


def _names(node: Node) -> dict[str, str]:
    """Each password's name in place of the password."""
    named = [s.password for s in node.upstreams] + [s.password for s in node.vpc]
    return {name: name for name in named if name}


def _short(content: bytes) -> str:
    return sha256(content)[:32]
