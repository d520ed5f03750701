"""What nodes get, as digests: they tell whether another checkout renders other bytes.

Everything of a generation that is the same each time it is made counts, and nothing else: neither
number nor nonce, nor the randomness of seals. A sealed file counts by its path, its mode and its
template, with the password's name in its place; a changed password is a changed input anyway. The
views count as the registries show them: with the cloud-init of each node, which a server that is
made again would be given, but without its token, the operator's key and the bundle's hash, which
are inputs as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.facts import Facts, Placement
from mesh.plan import Node, Plan
from mesh.publish.generation import seen, views
from mesh.render import NodeFiles, Seed, node_files, node_secrets
from mesh.trust.encoding import dump, sha256

VIEWS = "what the API shows"
"""The name of the views among those of nodes, which have no spaces."""
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
    what is rendered of the plan by these facts, where that has been done."""
    found: dict[str, str] = {}
    rendered = node_files(plan, facts, placements) if files is None else files
    for node_id, own in rendered.items():
        secret = node_secrets(plan, node_id, _names(plan.node(node_id)))
        # As the generation has them: content, mode, group; units in the order of their start.
        found[node_id] = _short(b"\n".join(map(dump, (own, *secret))))
    seed = Seed(tuple(url for _, url in sorted(registries.items())), "", "", "")
    found[VIEWS] = _short(dump(views(plan, seed, seen(facts, placements))))
    return found


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The names of what differs, as people read them; empty where nothing does."""
    names = sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
    rest = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + rest


def _names(node: Node) -> dict[str, str]:
    """Each password's name in the place of the password."""
    named = [s.password for s in node.upstreams] + [s.password for s in node.vpc]
    return {name: name for name in named if name}


def _short(content: bytes) -> str:
    return sha256(content)[:32]
