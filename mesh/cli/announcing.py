"""Who announces in effect, for commands that judge a change: the stack's state holds the
registries' addresses, and the registries hold the nodes' reports."""

from __future__ import annotations

from mesh.cli.deployed import NoState, NothingPublished, published
from mesh.netns import NamespaceError, inside
from mesh.preview.gate import LiveAnnouncers
from mesh.publish.announcers import announcers, uncertain
from mesh.publish.status import ask


def live_announcers(stack: str) -> LiveAnnouncers:
    """Who announces in a deployed stack; nobody where nothing was published from it. Where it
    cannot be asked, the result holds the reason; nothing is raised."""
    try:
        own = published(stack)
        plan = own.known_plan()
        if plan is None:
            return LiveAnnouncers(None, why="the plan in the stack's state is of another version")
        found = inside(own.namespace, lambda: ask(own.operator_key, own.registries, own.fleet))
    except NothingPublished:
        return LiveAnnouncers({})
    except (NoState, NamespaceError) as error:
        return LiveAnnouncers(None, why=" ".join(str(error).split()))
    if found.held is None:
        why = "; ".join(
            f"{url}: {state}" for url, state in found.registries.items() if state != "ok"
        )
        return LiveAnnouncers(
            None, why=f"no registry answers, or holds a generation: {why or 'none'}"
        )
    if found.held.retired:
        return LiveAnnouncers({})
    known = (plan, found.reports, found.now, found.drained)
    logins = {node: one.health.logins for node, one in found.reports.items()}
    return LiveAnnouncers(
        announcers(*known),
        uncertain(*known),
        logins={node: used for node, used in logins.items() if used is not None},
        waveless=frozenset(n for n, one in found.reports.items() if one.health.update is None),
    )


def last(found: LiveAnnouncers, node: str) -> list[str]:
    """The prefixes that a node announces, or may, and no other node is known to announce."""
    return [
        str(prefix)
        for prefix, nodes in (found.announcing or {}).items()
        if node in nodes | found.unsure.get(prefix, frozenset()) and not nodes - {node}
    ]
