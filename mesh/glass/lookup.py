"""Asks this node's BIRD a typed question, and describes what it has.

Look-ups of an address or a prefix take one command for each table and length of prefix, and BIRD
answers each in less than a tenth of a millisecond. More-specifics and refused routes mean a walk
over a table (:class:`mesh.glass.bird.Walks`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import islice

from mesh.glass import words
from mesh.glass.answers import MAX_ROUTES, Refused, Route, Routes, Served, Validity
from mesh.glass.bird import (
    RECONFIGURED,
    Budget,
    Busy,
    Control,
    Conversation,
    Lines,
    NoAnswer,
    Walks,
)
from mesh.glass.described import Describing, validity
from mesh.glass.network import Network, Node, Prefix
from mesh.glass.parsing import Found, parsed
from mesh.glass.questions import TABLE, RefusedQuestion, RouteQuestion

_KINDS = ("services", "master", "internet")
"""Tables that may hold an answer, in the order in which traffic asks them."""
_WITH_REFUSED = ("master", "internet")
_AGAIN = "BIRD was reconfigured meanwhile, twice: this may not be all"
_SYMBOL = re.compile(r"^(?P<name>[a-z][a-z0-9_]*)\s+routing table$")
MAX_HOPS = 100
"""ASNs of a path that is compared with ASPA records."""
MAX_CHECKED = 60
"""Routes of an answer that are compared with the RPKI: those that are shown first."""


class Unlikely(NoAnswer):
    """A walk that has to wait for others."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Routes of several tables, accepted ones and refused ones."""

    accepted: tuple[Found, ...] = ()
    refused: tuple[Found, ...] = ()
    cut: bool = False
    notes: tuple[str, ...] = ()

    def and_also(self, other: _Answer) -> _Answer:
        """Both, each route once."""
        return _Answer(
            _once(self.accepted, other.accepted),
            _once(self.refused, other.refused),
            self.cut or other.cut,
            tuple(dict.fromkeys((*self.notes, *other.notes))),
        )


class Lookup:
    """Questions to the BIRD of ``here``. ``reduced`` answers are for the public: routes of
    upstreams and of our own prefixes only."""

    def __init__(self, network: Network, here: Node, control: Control) -> None:
        self._network, self._here, self._control = network, here, control
        self._describing = Describing(network, here)
        self._walks = Walks[_Answer]()

    def routes(self, question: RouteQuestion, reduced: bool = False) -> Routes:
        """The routes to a target, in the order in which traffic would take them; refused ones
        last. Raises :class:`NoAnswer`."""
        budget = Budget()
        with self._control.asking(budget) as conversation:
            tables = _tables(conversation)
            chosen, notes = self._chosen(question, tables, reduced)
            answer = self._at_once(conversation, question, chosen)
            if question.more and chosen:
                answer = answer.and_also(self._more(question, chosen, budget))
            routes = self._described(answer, reduced)
            routes = self._validated(conversation, routes, tables, question.version)
        notes = [*notes, *answer.notes, *self._nothing(question, routes)]
        return Routes(routes=tuple(routes[:MAX_ROUTES]), cut=_cut(answer.cut, routes),
                      notes=tuple(notes))  # fmt: skip

    def refused(self, question: RefusedQuestion) -> Refused:
        """The refused routes of this node, with how many there are for each reason. Raises
        :class:`NoAnswer`."""
        budget = Budget()
        with self._control.asking(budget) as conversation:
            tables = _tables(conversation)
        commands = self._refused_commands(question, tables)
        answer = self._walk(commands, budget) if commands else _Answer()
        counts = Counter(self._describing.reason(each) for each in answer.refused)
        routes = self._refused_routes(answer.refused)
        return Refused(counts=dict(counts.most_common()), routes=tuple(routes[:MAX_ROUTES]),
                       cut=_cut(answer.cut, routes), notes=answer.notes)  # fmt: skip

    def served(self, name: str) -> Served:
        """Who serves a service, as this node's routes say. Raises :class:`NoAnswer`."""
        service = next(each for each in self._network.services if each.name == name)
        serves: dict[str, bool] = {}
        taken: dict[str, str] = {}
        with self._control.asking(Budget()) as conversation:
            tables = _tables(conversation)
            for address in service.addresses:
                family = f"ipv{address.version}"
                if family in serves:
                    continue
                table = _first(tables, f"services{address.version}", f"master{address.version}")
                reply = conversation.ask(f"show route {ip_network(address)} table {table} all")
                routes = self._describing.accepted(_of(reply), table)
                best = next((each for each in routes if each.used), None)
                serves[family] = best is not None and best.kind == "device"
                taken[family] = "" if best is None or best.kind == "device" else best.node
        return Served(serves=serves, taken_from=taken)

    # --- Tables -------------------------------------------------------------------------------

    def _chosen(
        self, question: RouteQuestion, tables: Sequence[str], reduced: bool
    ) -> tuple[list[str], list[str]]:
        """The tables of this BIRD that are asked, and what the reader should know."""
        kinds = ("internet",) if reduced and not self._is_ours(question.prefix) else _KINDS
        wanted = [f"{kind}{question.version}" for kind in kinds]
        if question.table:
            wanted = [question.table] if question.table in wanted or not reduced else []
            if question.table not in tables:
                return [], [f"this node has no table {question.table}"]
        return [table for table in wanted if table in tables], []

    def _is_ours(self, prefix: Prefix) -> bool:
        return any(_covers(each.prefix, prefix) for each in self._network.aggregates)

    # --- Look-ups that BIRD answers at once ---------------------------------------------------

    def _at_once(
        self, conversation: Conversation, question: RouteQuestion, tables: Sequence[str]
    ) -> _Answer:
        commands = [
            (table, refused, command)
            for table in tables
            for refused, command in _commands(question, table, conversation.covers)
        ]
        replies = conversation.ask_all(command for _, _, command in commands)
        if any(_is_reconfigured(reply) for reply in replies):
            replies = conversation.ask_all(command for _, _, command in commands)
        answer = _Answer()
        for (table, refused, _), reply in zip(commands, replies, strict=True):
            found = tuple(_of(reply, table))
            if question.is_address and not refused:
                found = tuple(_longest(found))
            answer = _Answer(
                answer.accepted + (() if refused else found),
                answer.refused + (found if refused else ()),
                answer.cut or reply.cut,
                (*answer.notes, *_note(reply)),
            )
        return replace(answer, notes=tuple(dict.fromkeys(answer.notes)))

    # --- Walks ----------------------------------------------------------------------------------

    def _more(self, question: RouteQuestion, tables: Sequence[str], budget: Budget) -> _Answer:
        found = f"where net ~ [{question.prefix}+]"
        commands = [f"show route table {table} {found} all" for table in tables]
        commands += [
            f"show route table {table} {found} filtered all"
            for table in tables
            if table.startswith(_WITH_REFUSED)
        ]
        return self._walk(commands, budget)

    def _refused_commands(self, question: RefusedQuestion, tables: Sequence[str]) -> list[str]:
        conditions = []
        if question.session:
            conditions.append(f'proto = "{question.session}"')
        if question.reason is not None:
            mark = f"({self._network.asn}, {words.REJECTED}, {question.reason})"
            conditions.append(f"{mark} ~ bgp_large_community")
        where = f" where {' && '.join(conditions)}" if conditions else ""
        kept = [each for each in tables if each.startswith(_WITH_REFUSED)]
        return [f"show route table {table} filtered{where} all" for table in kept]

    def _walk(self, commands: Sequence[str], budget: Budget) -> _Answer:
        """What these commands yield, in the seconds that are left of a budget, waiting included."""

        def ask() -> _Answer:
            return self._walked(commands, Budget(max(budget.left, 0.0)))

        try:
            return self._walks.answer("\n".join(commands), ask, budget.left)
        except Busy:
            raise Unlikely("other questions over whole tables are before this one") from None

    def _walked(self, commands: Sequence[str], whole: Budget) -> _Answer:
        """Each command on a connection of its own: one that is cut ends its connection."""
        answer = _Answer()
        for number, command in enumerate(commands):
            if whole.left <= 0:
                return replace(answer, cut=True)
            answer = answer.and_also(self._walked_once(command, whole, len(commands) - number))
        return answer

    def _walked_once(self, command: str, whole: Budget, left: int) -> _Answer:
        part = whole.part(left)
        before = (part.bytes, part.lines)
        reply = self._again(command, part)
        whole.bytes -= before[0] - part.bytes
        whole.lines -= before[1] - part.lines
        found = tuple(_of(reply, command.split(" table ")[1].split()[0]))
        is_refused = " filtered" in command
        return _Answer(
            () if is_refused else found, found if is_refused else (), reply.cut, tuple(_note(reply))
        )

    def _again(self, command: str, budget: Budget) -> Lines:
        """The reply; asked once more where BIRD was reconfigured meanwhile."""
        reply = Lines(())
        for _ in range(2):
            with self._control.asking(budget) as conversation:
                reply = conversation.ask(command)
            if not _is_reconfigured(reply):
                break
        return reply

    # --- Descriptions -----------------------------------------------------------------------------

    def _described(self, answer: _Answer, reduced: bool) -> list[Route]:
        accepted: list[Route] = []
        tables = dict.fromkeys(each.table for each in answer.accepted)
        in_services = {
            (each.prefix, each.session) for each in answer.accepted
            if each.table.startswith("services")
        }  # fmt: skip
        for table in tables:
            found = [each for each in answer.accepted if each.table == table]
            if table.startswith("master"):
                # The same routes, which reach the table of services through a pipe.
                found = [each for each in found if (each.prefix, each.session) not in in_services]
            accepted += self._describing.accepted(found, table)
        accepted.sort(key=lambda each: not each.used)
        routes = accepted + self._refused_routes(answer.refused)
        return [_without_sessions(each) for each in routes] if reduced else routes

    def _refused_routes(self, found: Iterable[Found]) -> list[Route]:
        return [
            route for each in found for route in self._describing.refused([each], each.table)
        ]  # fmt: skip

    def _nothing(self, question: RouteQuestion, routes: Sequence[Route]) -> Iterator[str]:
        if any(each.refused is None for each in routes):
            return
        if not routes and not question.is_address:
            yield (
                f"no table has a route of {question.target} itself: ask for an address in it to "
                "see what covers it"
            )
        elif question.is_address:
            yield "no route of BIRD's leads there: packets take the system's default route"

    # --- RPKI -------------------------------------------------------------------------------------

    def _validated(
        self, conversation: Conversation, routes: Sequence[Route], tables: Sequence[str],
        version: int,
    ) -> list[Route]:  # fmt: skip
        roas = f"roas{version}"
        if roas not in tables:
            return list(routes)
        checks = [self._checks(route, roas, "aspas" in tables) for route in routes[:MAX_CHECKED]]
        try:
            replies = conversation.ask_all(each for some in checks for each in some)
        except OSError:
            return list(routes)  # What was asked for is known; only its states are not.
        answers = iter([_is_true(reply) for reply in replies])
        states = [tuple(islice(answers, len(some))) for some in checks]
        return [
            *(_with_states(route, state) for route, state in zip(routes, states, strict=False)),
            *routes[MAX_CHECKED:],
        ]

    def _checks(self, route: Route, roas: str, with_aspa: bool) -> list[str]:
        """What BIRD is asked about a route: whether it is valid, and whether it is invalid, by ROAs
        and then by ASPA records."""
        origin = self._network.asn if route.kind == "static" else route.origin
        if route.kind not in ("upstream", "static") or origin is None:
            return []
        asked = [
            f"eval roa_check({roas}, {route.prefix}, {origin}) = ROA_{each}" for each in _ASKED
        ]
        path = self._aspa(route) if with_aspa else ""
        return asked + ([f"eval {path} = ASPA_{each}" for each in _ASKED] if path else [])

    def _aspa(self, route: Route) -> str:
        role = next((up.role for up in self._here.upstreams if up.name == route.session), "")
        # A set is no part of a path that was signed for, and BIRD prints long paths in part.
        is_whole = 0 < len(route.path) <= MAX_HOPS and route.path[-1] == route.origin
        if not role or not is_whole:
            return ""
        path = "+empty+"
        for asn in reversed(route.path):
            path = f"prepend({path}, {asn})"
        return f"aspa_check(aspas, {path}, {'false' if role == 'provider' else 'true'})"


_ASKED = ("VALID", "INVALID")


def _is_true(reply: Lines) -> bool | None:
    """What BIRD says of a condition; None where it says nothing."""
    found = [text for code, text in reply.lines if code == 23]
    return found[0] == "TRUE" if found else None


def _with_states(route: Route, answers: Sequence[bool | None]) -> Route:
    return replace(route, rov=_state(answers[:2]), aspa=_state(answers[2:]))


def _state(answers: Sequence[bool | None]) -> Validity:
    if not answers or None in answers:
        return "not checked"
    return validity(bool(answers[0]), bool(answers[1]))


def _tables(conversation: Conversation) -> tuple[str, ...]:
    """The routing tables of this BIRD."""
    reply = conversation.ask("show symbols table")
    found = (_SYMBOL.match(text) for _, text in reply.lines)
    names = [match["name"] for match in found if match is not None]
    if not names:
        raise NoAnswer("BIRD names no table")
    return tuple(each for each in names if TABLE.match(each) or each in _RPKI)


_RPKI = ("roas4", "roas6", "aspas")


def _first(tables: Sequence[str], *wanted: str) -> str:
    return next((each for each in wanted if each in tables), wanted[-1])


def _of(reply: Lines, table: str = "") -> list[Found]:
    """The routes of a reply; of one that is cut without the last, which may not be whole."""
    found = [replace(each, table=table or each.table) for each in parsed(reply.lines)]
    return found[:-1] if reply.cut else found


def _is_reconfigured(reply: Lines) -> bool:
    return reply.refusal is not None and reply.refusal[0] == RECONFIGURED


def _note(reply: Lines) -> Iterator[str]:
    if reply.refusal is not None:
        code, text = reply.refusal
        yield _AGAIN if code == RECONFIGURED else f"BIRD says: {text}"[:200]


def _once(one: Iterable[Found], other: Iterable[Found]) -> tuple[Found, ...]:
    found: dict[tuple[str, ...], Found] = {}
    for each in (*one, *other):
        found.setdefault((each.table, each.prefix, each.session, each.next_hop, each.gateway), each)
    return tuple(found.values())


def _longest(found: Sequence[Found]) -> list[Found]:
    """Those of the longest prefix: BIRD 3 shows all that cover an address."""
    lengths = [int(each.prefix.rpartition("/")[2]) for each in found]
    longest = max(lengths, default=0)
    return [each for each, length in zip(found, lengths, strict=True) if length == longest]


def _commands(question: RouteQuestion, table: str, covers: bool) -> Iterator[tuple[bool, str]]:
    """What BIRD is asked of a table at once; whether it is about refused routes, and the command.

    The table of our own routes is small enough to go over. In one with those of the Internet BIRD 2
    looks a prefix up whose routes are all refused by its length alone: each that could lead to an
    address is asked for, a hundredth of a millisecond each.
    """
    target = question.target
    if not question.is_address:
        yield False, f"show route {target} table {table} all"
        if table.startswith(_WITH_REFUSED):
            yield True, f"show route {target} table {table} filtered all"
        return
    yield False, f"show route for {target} table {table} all"
    if table.startswith("master"):
        yield True, f"show route table {table} filtered where {target} ~ net all"
    elif table.startswith(_WITH_REFUSED) and covers:
        yield True, f"show route for {target} table {table} filtered all"
    elif table.startswith(_WITH_REFUSED):
        for prefix in _covering(question.prefix):
            yield True, f"show route {prefix} table {table} filtered all"


def _covering(prefix: Prefix) -> Iterator[Prefix]:
    """The prefixes with which a refused route could lead to an address. No network of the Internet
    has one between a /64 and a single address."""
    for length in range(prefix.prefixlen, -1, -1):
        if prefix.version == 4 or length <= 64 or length == 128:
            yield prefix.supernet(new_prefix=length)


def _covers(one: Prefix, other: Prefix) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return other.subnet_of(one)
    if isinstance(one, IPv6Network) and isinstance(other, IPv6Network):
        return other.subnet_of(one)
    return False


def _cut(cut: bool, routes: Sequence[Route]) -> str:
    shown = min(len(routes), MAX_ROUTES)
    return f"cut after {shown} routes: there may be more" if cut or shown < len(routes) else ""


def _without_sessions(route: Route) -> Route:
    """For the public: without addresses of neighbors and tunnels."""
    return replace(route, next_hop="", interface="")
