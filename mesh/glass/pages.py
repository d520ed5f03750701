"""The pages of the looking glass: each a pure function from what is known to HTML.

No page has a script, or a style of its own: the server forbids both. Whatever a value holds is
escaped, and what cannot be printed in it is shown as a sign. A page for the public
(:attr:`View.public`) leaves out what only operators need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mesh.glass import condition, overview, phrases, words
from mesh.glass.answers import Answer, Hop, Mistake, Refused, Route, Routes, Served, Way
from mesh.glass.condition import FAMILIES, Condition
from mesh.glass.map import Map, drawn
from mesh.glass.network import Network
from mesh.glass.questions import RefusedQuestion, RouteQuestion, WayQuestion, query
from mesh.glass.snapshot import Channel, Session, Snapshot

STYLE: bytes = files("mesh.glass").joinpath("templates", "style.css").read_bytes()
"""The style sheet of all pages, at ``/style.css``."""
_API = "/api/v1/"
_REFRESH = range(5, 601)
_FEW_TUNNELS = 12
"""Up to so many are listed at once; of more only those that are not up, and all when unfolded."""
MAX_ROUTES, FEWEST = 400, 20
"""Routes on one page, of all nodes together; but so many of each node at least."""
MAX_NOTICES = 100
_NO_SIGN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class View:
    """What each page is shown with: the plan, the id of the node that shows it, whether it is
    reduced for the public, and the time (seconds since the epoch)."""

    network: Network
    here: str
    public: bool
    now: float


def mesh(view: View, answer: Answer[Snapshot], refresh: int = 0) -> str:
    """All nodes, the tunnels between them, what they announce and serve, and what needs a look.
    The page is loaded anew every ``refresh`` seconds, unless that is 0."""
    rows = overview.node_rows(view.network, answer, view.now)
    rows += [] if view.public else overview.without_glass(view.network)
    snapshots = overview.heard(answer)
    tunnels = [] if view.public else overview.tunnels(view.network, snapshots)
    return _page(
        "mesh.html",
        view,
        api="nodes",
        refresh=refresh if refresh in _REFRESH else 0,
        rows=rows,
        map=_map(view, rows, tunnels),
        tunnels=tunnels,
        few_tunnels=len(tunnels) <= _FEW_TUNNELS,
        notices=[] if view.public else overview.all_notices(view.network, answer, view.now),
        max_notices=MAX_NOTICES,
        orders=overview.orders(snapshots, view.now),
        announcers={
            str(each.prefix): tuple(
                name for name, one in snapshots.items() if one.prefixes.get(str(each.prefix))
            )
            for each in view.network.aggregates
        },
        planned={
            str(each.prefix): sum(view.network.by_id[node].has_glass for node in each.nodes)
            for each in view.network.aggregates
        },
        serving={
            each.name: overview.serving(snapshots, each.name) for each in view.network.services
        },
        asked=len(answer.nodes),
        answered=len(snapshots),
    )


def node(view: View, node_id: str, answer: Answer[Snapshot]) -> str:
    """One node: its sessions, tunnels, checks, services, orders and versions."""
    one = answer.nodes.get(node_id)
    snapshot = one.data if one is not None and one.ok else None
    row = None if one is None else overview.node_row(view.network, node_id, one, view.now)
    return _page(
        "node.html",
        view,
        api=f"node/{node_id}",
        id=node_id,
        planned=view.network.by_id.get(node_id),
        state=condition.of_node(one, view.now),
        why="" if one is None else one.why,
        row=row,
        snapshot=snapshot,
        notices=(
            ()
            if view.public or snapshot is None
            else condition.notices(view.network, snapshot, view.now)
        ),
        sessions={} if snapshot is None else _by_kind(view, snapshot),
        services=[] if snapshot is None else [*overview.service_rows(snapshot)],
    )


def route(view: View, question: RouteQuestion | None, answer: Answer[Routes] | None) -> str:
    """The form for a look-up of routes and, node by node, each path that was found."""
    return _form(
        "route",
        view,
        question,
        answer=answer,
        listed=_listed(answer),
        most=_most(answer),
        tables=[f"{name}{n}" for name in words.TABLES for n in (4, 6)],
    )


def refused(view: View, question: RefusedQuestion | None, answer: Answer[Refused] | None) -> str:
    """The form for refused routes and, node by node, how many there are for which reason."""
    return _form(
        "refused",
        view,
        question,
        answer=answer,
        most=_most(answer),
        reasons=words.REASONS,
    )


def service(view: View, name: str, answer: Answer[Served]) -> str:
    """Who serves a service, and from which node each other one takes it."""
    planned = next((each for each in view.network.services if each.name == name), None)
    return _page(
        "service.html", view, api=f"service/{name}", name=name, planned=planned, answer=answer
    )


def way(view: View, question: WayQuestion | None, answer: Answer[Way] | None) -> str:
    """The form for the way between two nodes, and both: the plan's and the one in use."""
    return _form(
        "way",
        view,
        question,
        answer=answer,
        total=lambda hops: sum(hop.cost for hop in hops),
        same=lambda one, other: _ids(one) == _ids(other),
    )


def orders(view: View, answer: Answer[Snapshot]) -> str:
    """The orders in force: blackholed addresses, drained nodes, nodes on hold."""
    snapshots = overview.heard(answer)
    return _page(
        "orders.html",
        view,
        api="orders",
        orders=overview.orders(snapshots, view.now),
        snapshots=snapshots,
        answer=answer,
    )


def rpki(view: View, answer: Answer[Snapshot]) -> str:
    """The sessions with RPKI caches, and the records that they have brought."""
    return _page("rpki.html", view, api="rpki", snapshots=overview.heard(answer), answer=answer)


def help(view: View) -> str:
    """What the names on the pages mean, and what the glass does not do."""
    return _page("help.html", view, api="", words=words)


def mistake(view: View, status: int, mistake: Mistake) -> str:
    """Why a question was not answered."""
    return _page("mistake.html", view, api="", status=status, mistake=mistake)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session in one family, as a row; ``channel`` is None where nothing is known of it."""

    session: Session
    condition: Condition
    family: str
    channel: Channel | None


_KINDS = {
    "upstream": "Sessions with upstreams",
    "tunnel": "Sessions on tunnels",
    "ibgp": "iBGP sessions",
    "vpc": "Sessions with a VPC",
}


def _by_kind(view: View, snapshot: Snapshot) -> dict[str, list[SessionRow]]:
    """The rows of sessions by the caption of their table."""
    found: dict[str, list[SessionRow]] = {}
    for kind, caption in _KINDS.items():
        if view.public and kind != "upstream":
            continue
        sessions = [each for each in snapshot.sessions if each.kind == kind]
        sessions.sort(key=lambda each: (each.up, each.peer, each.name))
        if rows := [row for each in sessions for row in _session_rows(each)]:
            found[caption] = rows
    return found


def _session_rows(session: Session) -> Iterator[SessionRow]:
    state = condition.of_session(session)
    if not session.channels:
        yield SessionRow(session, state, "", None)
    for family, channel in sorted(session.channels.items()):
        yield SessionRow(session, state, FAMILIES.get(family, family), channel)


def _most(answer: Answer[Any] | None) -> int:
    """How many routes of one node are on a page."""
    return max(FEWEST, MAX_ROUTES // max(1, len(answer.nodes))) if answer is not None else 0


def _listed(answer: Answer[Routes] | None) -> dict[str, dict[tuple[str, str], list[Route]]]:
    """By node its routes, grouped."""
    nodes = {} if answer is None else answer.nodes
    return {
        name: _grouped(each.data.routes[: _most(answer)])
        for name, each in nodes.items()
        if each.ok and each.data is not None
    }


def _grouped(routes: Iterable[Route]) -> dict[tuple[str, str], list[Route]]:
    """Routes by prefix and table, the longest prefix first, and of its tables those with one in
    use; in each the one in use first, and the refused ones last."""
    found: dict[tuple[str, str], list[Route]] = {}
    for each in routes:
        found.setdefault((each.prefix, each.table), []).append(each)
    for group in found.values():
        group.sort(key=lambda each: (not each.used, each.refused is not None))

    def place(group: tuple[tuple[str, str], list[Route]]) -> tuple[int, bool, tuple[str, str]]:
        return -_length(group[0][0]), not group[1][0].used, group[0]

    return dict(sorted(found.items(), key=place))


def _length(prefix: str) -> int:
    length = prefix.rpartition("/")[2]
    return int(length) if length.isascii() and length.isdigit() and len(length) < 4 else 0


def of_route(route: Route) -> Condition:
    """Whether a path is used, in words."""
    if route.refused is not None:
        return Condition("bad", "refused")
    return Condition("good", "in use") if route.used else Condition("unknown", "not used")


_VALIDITY = {
    "valid": Condition("good", "valid"),
    "invalid": Condition("bad", "invalid"),
    "unknown": Condition("unknown", "unknown"),
    "not checked": Condition("unknown", "not checked"),
}


def _passed(path: tuple[int, ...]) -> list[tuple[int, int]]:
    """The ASNs of a path, each with how many times it is there in a row."""
    found: list[tuple[int, int]] = []
    for asn in path:
        if found and found[-1][0] == asn:
            found[-1] = (asn, found[-1][1] + 1)
        else:
            found.append((asn, 1))
    return found


def _ids(hops: tuple[Hop, ...] | None) -> tuple[str, ...]:
    return tuple(hop.node for hop in hops or ())


def _map(view: View, rows: list[overview.NodeRow], tunnels: list[overview.Tunnel]) -> Map | None:
    states = overview.regions(view.network, rows)
    return drawn(view.network, states, {each.ends: each.state for each in tunnels})


def _form(
    path: str,
    view: View,
    question: RouteQuestion | RefusedQuestion | WayQuestion | None,
    **values: Any,
) -> str:
    """The page of a path with a form, which holds what was asked."""
    asked = {} if question is None else question.asked
    api = path if question is None else f"{path}?{query(asked)}"
    return _page(f"{path}.html", view, api=api, asked=asked, **values)


def _page(template: str, view: View, **values: Any) -> str:
    network = view.network
    shown: Mapping[str, Any] = {
        "view": view,
        "network": network,
        "place": lambda node_id: condition.place(network, node_id),
        "ago": lambda moment: phrases.ago(moment, view.now),
        "left": lambda moment: phrases.left(moment, view.now),
    }
    return _environment().get_template(template).render({**shown, **values})


def _source(name: str) -> str:
    """A template's text, from a checkout, a wheel or the bundle."""
    return files("mesh.glass").joinpath("templates", name).read_text(encoding="utf-8")


def _plain(value: Any) -> Any:
    """A value as it is put into a page, before it is escaped: what cannot be printed, or changes
    the direction of writing, is shown as a sign."""
    if isinstance(value, Markup) or not isinstance(value, str) or value.isprintable():
        return value
    return "".join(each if each.isprintable() else _NO_SIGN for each in value)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_plain,
    )
    found.filters |= {
        "count": phrases.count,
        "duration": phrases.duration,
        "instant": phrases.instant,
        "machine": phrases.machine,
        "milliseconds": phrases.milliseconds,
        "passed": _passed,
        "size": phrases.size,
    }
    found.globals |= {
        "few": phrases.few,
        "families": FAMILIES,
        "kinds": words.KINDS,
        "of_route": of_route,
        "states": words.STATES,
        "validity": _VALIDITY,
    }
    return found
