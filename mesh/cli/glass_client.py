"""Questions to a looking glass, and its answers as types."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from mesh.cli.glass_doors import Connection, Door, NoWay, connected
from mesh.foreign import printable
from mesh.glass.answers import Answer, Mistake
from mesh.netns import NamespaceError

API = "/api/v1/"
MOST = 20 << 20
"""Bytes of an answer: 64 nodes with 256 KiB each are 16 MiB."""
TIMES = httpx.Timeout(10.0, connect=5.0)
"""Seconds: a glass waits two for the other nodes."""

FURTHER = 2
"""How many more glasses are asked where one has no way to any other node."""

T = TypeVar("T")


class Refused(Exception):
    """The glass does not take the question, with its reason and the cure."""


class Unanswered(Exception):
    """No glass answers, with the reason of each."""


@dataclass(frozen=True)
class Asked:
    """A question: what is below ``/api/v1/``, with its parameters."""

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def first_answer(
    doors: Iterable[Door], asked: Asked, adapter: TypeAdapter[Answer[T]]
) -> tuple[str, Answer[T]]:
    """The answer of the first glass that gives one, and its node. One that hears no other node may
    be cut off itself: then a few more are asked, and its answer counts where they hear none either.
    :class:`Refused` where one does not take the question, :class:`Unanswered` where none answers.
    """
    reasons: dict[str, str] = {}
    lonely: list[tuple[str, Answer[T]]] = []
    for door in doors:
        try:
            with connected(door) as connection:
                found = door.node, ask(connection, asked, adapter)
        except (NoWay, NamespaceError) as error:
            reasons[door.node] = str(error)
            continue
        if not _is_lonely(*found):
            return found
        lonely.append(found)
        if len(lonely) > FURTHER:
            break
    if lonely:
        return lonely[0]
    raise Unanswered(f"no looking glass answers: {_grouped(reasons)}")


def _is_lonely(by: str, answer: Answer[T]) -> bool:
    """Whether a glass has asked others, and none of them has answered."""
    others = [each.ok for node, each in answer.nodes.items() if node != by]
    return by in answer.nodes and bool(others) and not any(others)


def _grouped(reasons: Mapping[str, str]) -> str:
    """Nodes with the same reason together."""
    nodes: dict[str, list[str]] = {}
    for node, reason in reasons.items():
        nodes.setdefault(reason, []).append(node)
    return "; ".join(f"{', '.join(each)}: {reason}" for reason, each in nodes.items())


def ask(connection: Connection, asked: Asked, adapter: TypeAdapter[Answer[T]]) -> Answer[T]:
    """The answer of a glass. :class:`NoWay` where it gives none, or something else."""
    try:
        status, body = connection.run(lambda: _fetch(connection, asked))
    except httpx.HTTPError as error:
        said = connection.complaints()
        why = f"{_why(error)}" + (f" (ssh: {said})" if said else "")
        raise NoWay(f"its glass does not answer: {why}") from None
    if status != httpx.codes.OK:
        raise _refusal(status, body)
    try:
        return adapter.validate_json(body)
    except ValidationError:
        raise NoWay("what answers there is no glass of this version") from None


def _fetch(connection: Connection, asked: Asked) -> tuple[int, bytes]:
    """Status and body. Runs where the door's URL leads to the glass."""
    uds = None if connection.socket is None else str(connection.socket)
    # The way is ssh or a lab's own network, and TLS is not used: to read the authorities of this
    # machine, which httpx does otherwise, takes longer than an answer.
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = httpx.HTTPTransport(verify=unused, uds=uds)
    with (
        httpx.Client(
            transport=transport, base_url=connection.door.url, timeout=TIMES, trust_env=False
        ) as client,
        client.stream("GET", API + asked.path, params=dict(asked.parameters)) as response,
    ):
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MOST:
                raise NoWay(f"its glass answers with more than {MOST >> 20} MiB")
        return response.status_code, bytes(body)


def _why(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return printable(str(error)) or type(error).__name__


def _refusal(status: int, body: bytes) -> Exception:
    """Why the glass does not answer a question, in its own words where it has some."""
    try:
        document = json.loads(body)
        mistake = TypeAdapter(Mistake).validate_python(document["error"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return NoWay(f"its glass answers with the status {status}")
    text = printable(f"{mistake.key} = {mistake.value}: {mistake.reason}; {mistake.cure}")
    return Refused(text) if status in (400, 403, 404) else NoWay(text)


def in_order(doors: Mapping[str, Door], *preferred: str | None) -> Sequence[Door]:
    """The doors, those of the preferred nodes first."""
    first = [doors[node] for node in preferred if node is not None and node in doors]
    return list(dict.fromkeys([*first, *doors.values()]))
