"""Who announces in effect, asked for a command that judges a change: of the stack's state, where
the registries are, and of them, what the nodes say."""

from __future__ import annotations

from mesh.cli.deployed import NoState, NothingPublished, published
from mesh.netns import NamespaceError, inside
from mesh.preview.gate import Heard
from mesh.publish.announcers import announcers, doubtful
from mesh.publish.status import ask


def heard(stack: str) -> Heard:
    """Who announces in effect, of a deployed stack; nobody where nothing was published from it.
    Where that cannot be asked the answer says why; nothing is raised."""
    try:
        own = published(stack)
        plan = own.known_plan()
        if plan is None:
            return Heard(None, why="the plan in the stack's state is of another version")
        told = inside(own.namespace, lambda: ask(own.operator_key, own.registries, own.fleet))
    except NothingPublished:
        return Heard({})
    except (NoState, NamespaceError) as error:
        return Heard(None, why=" ".join(str(error).split()))
    if told.held is None:
        why = "; ".join(f"{url}: {word}" for url, word in told.registries.items() if word != "ok")
        return Heard(None, why=f"no registry answers, or holds a generation: {why or 'none'}")
    if told.held.retired:
        return Heard({})
    said = (plan, told.reports, told.now, told.drained)
    logins = {node: one.health.logins for node, one in told.reports.items()}
    return Heard(
        announcers(*said),
        doubtful(*said),
        logins={node: used for node, used in logins.items() if used is not None},
    )


def last(found: Heard, node: str) -> list[str]:
    """The prefixes that a node announces, or may, and of no other it is known that it does."""
    return [
        str(prefix)
        for prefix, nodes in (found.announcing or {}).items()
        if node in nodes | found.unsure.get(prefix, frozenset()) and not nodes - {node}
    ]
