"""The registry's database: bounded tables, in SQLite by default.

Every write is one transaction after everything has been verified: a request that is refused
changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import OperationalError

from mesh.trust.documents import Generation, PackedGeneration
from mesh.trust.encoding import parse
from mesh.trust.envelopes import Signed
from mesh.trust.orders import KINDS

KEPT_GENERATIONS = 4
"""Nodes may have in force the one before an update that was interrupted. That one has two where
something has two ends (:mod:`mesh.plan.transition`), and the next one goes back to what was."""
KEPT_BUNDLES = 3
JOINS_PER_NODE = 8
COMPLAINTS = 600.0
"""Seconds between two warnings that nothing can be stored: each node tries again every few
seconds, and a journal on the same disk needs room as well."""
_log = logging.getLogger("anycast-mesh.registry")

_metadata = MetaData()
_manifests = Table(
    "manifest",
    _metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("envelope", Text, nullable=False),
    Column("views", Text),
    Column("complete", Boolean, nullable=False),
)
_texts = Table(
    "part_text",
    _metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
)
_packed = Table(
    "packed_part",
    _metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("node", String(32), primary_key=True),
    Column("places", JSON, nullable=False),
)
# Of generations that came whole, from an operator of an earlier version.
_parts = Table(
    "part",
    _metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("node", String(32), primary_key=True),
    Column("content", Text, nullable=False),
)
_PER_GENERATION = (_manifests, _texts, _packed, _parts)
_orders: dict[str, Table] = {
    kind.key: Table(
        f"{kind.key}_order",
        _metadata,
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("envelope", Text, nullable=False),
    )
    for kind in KINDS
}
_planned = Table(
    "planned", _metadata, Column("id", Integer, primary_key=True), Column("content", Text)
)
_joins = Table(
    "join_request",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("node", String(32), nullable=False, index=True),
    Column("identity", String(44), nullable=False),
    Column("content", Text, nullable=False),
)
_reports = Table(
    "report",
    _metadata,
    Column("node", String(32), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
)
_bundles = Table(
    "bundle",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("content", LargeBinary, nullable=False),
)
_contents = Table(
    "content",
    _metadata,
    Column("sha256", String(64), primary_key=True),
    Column("complete", Boolean, nullable=False),
)
_chunks = Table(
    "content_chunk",
    _metadata,
    Column("sha256", String(64), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("bytes", LargeBinary, nullable=False),
)

# Built once: that takes as long as the query.
_PLACES = select(_packed.c.places).where(
    _packed.c.number == bindparam("number"), _packed.c.node == bindparam("node")
)
_WHOLE = select(_parts.c.content).where(
    _parts.c.number == bindparam("number"), _parts.c.node == bindparam("node")
)
_TEXTS = select(_texts.c.place, _texts.c.content).where(
    _texts.c.number == bindparam("number"),
    _texts.c.place.in_(bindparam("places", expanding=True)),
)
_REPORT = select(_reports).where(_reports.c.node == bindparam("of"))
_FIRST_REPORT = insert(_reports)
_NEXT_REPORT = update(_reports).where(_reports.c.node == bindparam("of"))
_REPORTS = select(_reports.c.content).order_by(_reports.c.node)


class NotStored(Exception):
    """The database refuses a write: mostly its disk is full or read-only."""


@dataclass(frozen=True, slots=True)
class Held:
    """A manifest that the registry holds. ``complete``: with its parts and views."""

    number: int
    envelope: str
    views: str | None
    complete: bool


class Store:
    """The database at SQLAlchemy's URL. One process writes."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url)
        # Reading before writing is one step: SQLite would let two writers read the same.
        self._writing = threading.Lock()
        self.counted: dict[str, int] | None = None
        """Rows of each table, where they have been counted since the last write."""
        self.refuses = ""
        """Why the last write was refused; empty where it was not."""
        self._complained = -COMPLAINTS
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _durable)
        _metadata.create_all(self._engine)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def highest(self) -> Held | None:
        """The manifest with the highest number."""
        return next(iter(self.generations()), None)

    def generations(self) -> list[Held]:
        """All manifests, the highest number first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_manifests).order_by(_manifests.c.number.desc()))
            return [Held(row.number, row.envelope, row.views, row.complete) for row in rows]

    def put_generation(
        self,
        number: int,
        envelope: str,
        generation: Generation | PackedGeneration,
        in_force: int = 0,
    ) -> bool:
        """Keeps a whole generation, unless a higher one is here, or this number with another
        manifest. True where it is held afterwards. The one that is ``in_force`` is kept too,
        however many have come since."""
        with self._write() as connection:
            top = connection.execute(select(func.max(_manifests.c.number))).scalar()
            same = connection.execute(
                select(_manifests.c.envelope).where(_manifests.c.number == number)
            ).scalar()
            if (top is not None and top > number) or (same is not None and same != envelope):
                return False
            _forget(connection, [number])
            connection.execute(
                insert(_manifests).values(
                    number=number, envelope=envelope, views=generation.views, complete=True
                )
            )
            _insert_parts(connection, number, generation)
            _forget_old(connection, in_force)
            members = list(generation.parts)
            connection.execute(delete(_reports).where(_reports.c.node.not_in(members)))
        return True

    def put_manifest(self, number: int, envelope: str, in_force: int = 0) -> bool:
        """Keeps a higher manifest that a node has brought, without its parts. The generation that
        is ``in_force`` is kept too, as :meth:`put_generation` keeps it."""
        with self._write() as connection:
            top = connection.execute(select(func.max(_manifests.c.number))).scalar()
            if top is not None and top >= number:
                return False
            connection.execute(
                insert(_manifests).values(
                    number=number, envelope=envelope, views=None, complete=False
                )
            )
            _forget_old(connection, in_force)
        return True

    def forget(self, number: int) -> None:
        """Removes a manifest with its parts."""
        with self._write() as connection:
            _forget(connection, [number])

    def part(self, number: int, node: str) -> str | None:
        """A node's part of a generation."""
        with self._engine.connect() as connection:
            one = {"number": number, "node": node}
            places = connection.execute(_PLACES, one).scalar()
            if places is None:
                return connection.execute(_WHOLE, one).scalar()
            found = connection.execute(_TEXTS, {"number": number, "places": places})
            texts = dict(found.all())
        return "".join([texts[place] for place in places])

    def generation(self, number: int) -> PackedGeneration | None:
        """A generation that is here whole."""
        own = _manifests.c.number == number, _manifests.c.complete
        texts = select(_texts.c.content).where(_texts.c.number == number).order_by(_texts.c.place)
        with self._engine.connect() as connection:
            held = connection.execute(select(_manifests).where(*own)).first()
            if held is None:
                return None
            packed = select(_packed.c.node, _packed.c.places).where(_packed.c.number == number)
            parts = {node: tuple(places) for node, places in connection.execute(packed)}
            found = list(connection.execute(texts).scalars())
            whole = select(_parts.c.node, _parts.c.content).where(_parts.c.number == number)
            for node, content in connection.execute(whole):
                parts[node] = (len(found),)
                found.append(content)
        return PackedGeneration(parse(Signed, held.envelope), tuple(found), parts, held.views)

    def order(self, kind: str) -> str | None:
        """The highest order of a kind (its key)."""
        orders = _orders[kind]
        query = select(orders.c.envelope).order_by(orders.c.number.desc()).limit(1)
        return self._text(query)

    def put_order(self, kind: str, number: int, envelope: str) -> bool:
        """Keeps an order that is above the one of its kind that is here, instead of it. True where
        it is held afterwards."""
        orders = _orders[kind]
        with self._write() as connection:
            held = connection.execute(
                select(orders).order_by(orders.c.number.desc()).limit(1)
            ).first()
            if held is not None and held.number >= number:
                return bool(held.number == number and held.envelope == envelope)
            connection.execute(delete(orders))
            connection.execute(insert(orders).values(number=number, envelope=envelope))
        return True

    def forget_order(self, kind: str) -> None:
        """Removes the order of a kind."""
        with self._write() as connection:
            connection.execute(delete(_orders[kind]))

    def planned(self) -> str | None:
        """The list of planned nodes, as the operator gave it last."""
        return self._text(select(_planned.c.content).where(_planned.c.id == 1))

    def put_planned(self, content: str, nodes: Iterable[str]) -> None:
        """Replaces the list of planned nodes, and forgets the requests of all others."""
        with self._write() as connection:
            connection.execute(delete(_joins).where(_joins.c.node.not_in(list(nodes))))
            connection.execute(delete(_planned))
            connection.execute(insert(_planned).values(id=1, content=content))

    def put_join(self, node: str, identity: str, content: str) -> None:
        """Keeps a join request: the last one of each identity, a few identities per node. All of
        them are kept apart, for a second identity is the operator's to see."""
        with self._write() as connection:
            connection.execute(
                delete(_joins).where(_joins.c.node == node, _joins.c.identity == identity)
            )
            connection.execute(insert(_joins).values(node=node, identity=identity, content=content))
            newest = (
                select(_joins.c.id)
                .where(_joins.c.node == node)
                .order_by(_joins.c.id.desc())
                .limit(JOINS_PER_NODE)
            )
            connection.execute(
                delete(_joins).where(_joins.c.node == node, _joins.c.id.not_in(newest))
            )

    def joins(self) -> list[str]:
        """All join requests, oldest first."""
        return self._texts(select(_joins.c.content).order_by(_joins.c.id))

    def put_report(
        self, node: str, sequence: int, content: str, counts: Callable[[str], bool]
    ) -> str | None:
        """Keeps a node's report unless a later one is here that counts still: that one then, None
        where it is kept."""
        with self._write() as connection:
            held = connection.execute(_REPORT, {"of": node}).first()
            row = {"node": node, "sequence": sequence, "content": content}
            if held is None:
                connection.execute(_FIRST_REPORT, row)
            elif held.sequence >= sequence and counts(held.content):
                return None if held.content == content else str(held.content)
            else:
                connection.execute(_NEXT_REPORT, row | {"of": node})
        return None

    def reports(self) -> list[str]:
        """The last report of each node, sorted by node."""
        return self._texts(_REPORTS)

    def bundle(self, sha256: str) -> bytes | None:
        """A bundle by its hash."""
        with self._engine.connect() as connection:
            query = select(_bundles.c.content).where(_bundles.c.sha256 == sha256)
            content = connection.execute(query).scalar()
        return None if content is None else bytes(content)

    def put_bundle(self, sha256: str, content: bytes) -> None:
        """Keeps a bundle, and the few before it."""
        with self._write() as connection:
            connection.execute(delete(_bundles).where(_bundles.c.sha256 == sha256))
            connection.execute(insert(_bundles).values(sha256=sha256, content=content))
            newest = select(_bundles.c.id).order_by(_bundles.c.id.desc()).limit(KEPT_BUNDLES)
            connection.execute(delete(_bundles).where(_bundles.c.id.not_in(newest)))

    def contents(self) -> frozenset[str]:
        """The contents that are here whole, by their hashes."""
        query = select(_contents.c.sha256).where(_contents.c.complete)
        return frozenset(self._texts(query))

    def held_chunks(self, sha256: str) -> int:
        """How many chunks of a content are here, from its beginning."""
        with self._engine.connect() as connection:
            return _held(connection, sha256)

    def put_chunk(self, sha256: str, place: int, content: bytes) -> bool:
        """Keeps the next chunk of a content; one that is here already stays. False where one
        before it is missing."""
        with self._write() as connection:
            held = _held(connection, sha256)
            if place == 0 == held:
                connection.execute(insert(_contents).values(sha256=sha256, complete=False))
            if place == held:
                # Not values(): what is given there is kept with the compiled statement.
                row = {"sha256": sha256, "place": place, "bytes": content}
                connection.execute(insert(_chunks), row)
            return place <= held

    def chunk(self, sha256: str, place: int) -> bytes | None:
        """A chunk of a content."""
        query = select(_chunks.c.bytes).where(_chunks.c.sha256 == sha256, _chunks.c.place == place)
        with self._engine.connect() as connection:
            content = connection.execute(query).scalar()
        return None if content is None else bytes(content)

    def complete_content(self, sha256: str) -> None:
        """Records that a content is here whole."""
        with self._write() as connection:
            connection.execute(
                update(_contents).where(_contents.c.sha256 == sha256).values(complete=True)
            )

    def keep_contents(self, named: Collection[str]) -> None:
        """Removes all other contents."""
        with self._write() as connection:
            for table in (_chunks, _contents):
                connection.execute(delete(table).where(table.c.sha256.not_in(named)))

    def forget_content(self, sha256: str) -> None:
        """Removes a content."""
        with self._write() as connection:
            for table in (_chunks, _contents):
                connection.execute(delete(table).where(table.c.sha256 == sha256))

    def counts(self) -> dict[str, int]:
        """Rows of each table."""
        # No writes meanwhile: ``counted`` stays right until the next one.
        with self._writing, self._engine.connect() as connection:
            self.counted = {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in _metadata.sorted_tables
            }
            return self.counted

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._writing:
            try:
                with self._engine.begin() as connection:
                    self.counted = None
                    yield connection
            except OperationalError as error:
                self._refuse(str(error.orig))
                raise NotStored(self.refuses) from None
            self.refuses = ""

    def _refuse(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._complained >= COMPLAINTS:
            self._complained = now
            _log.warning("nothing can be stored: %s", reason)
        self.refuses = reason

    def _text(self, query: Any) -> str | None:
        with self._engine.connect() as connection:
            value = connection.execute(query).scalar()
        return None if value is None else str(value)

    def _texts(self, query: Any) -> list[str]:
        with self._engine.connect() as connection:
            return [str(value) for value in connection.execute(query).scalars()]


def _durable(connection: Any, _: Any) -> None:
    """What was acknowledged has to survive a power cut: in WAL mode that takes a sync with each
    commit. A writer waits for another instead of failing."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _held(connection: Connection, sha256: str) -> int:
    query = select(func.count()).select_from(_chunks).where(_chunks.c.sha256 == sha256)
    return int(connection.execute(query).scalar_one())


def _forget_old(connection: Connection, in_force: int = 0) -> None:
    """Keeps the newest generations, and the one in force."""
    numbers = connection.execute(
        select(_manifests.c.number).order_by(_manifests.c.number.desc())
    ).scalars()
    _forget(connection, [one for one in list(numbers)[KEPT_GENERATIONS:] if one != in_force])


def _forget(connection: Connection, numbers: list[int]) -> None:
    for table in _PER_GENERATION:
        connection.execute(delete(table).where(table.c.number.in_(numbers)))


def _insert_parts(
    connection: Connection, number: int, generation: Generation | PackedGeneration
) -> None:
    """In the form in which they came: one of an earlier version is brought by an operator who goes
    back to it, and read by the registries that follow."""
    if isinstance(generation, Generation):
        _insert(connection, _parts, [
            {"number": number, "node": node, "content": text}
            for node, text in generation.parts.items()
        ])  # fmt: skip
        return
    _insert(connection, _texts, [
        {"number": number, "place": place, "content": text}
        for place, text in enumerate(generation.texts)
    ])  # fmt: skip
    _insert(connection, _packed, [
        {"number": number, "node": node, "places": list(places)}
        for node, places in generation.parts.items()
    ])  # fmt: skip


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)
