"""Delivering a node to a host that exists, seeing that it is there, and taking it back."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pydantic import NonNegativeInt

from mesh.plan import Network
from mesh.render.node_templates import FILES, REPLIES, WHOAMI
from mesh.render.policy import CONCERNS
from mesh.spec.problems import Problem
from mesh.ssh import preflight
from mesh.ssh.connection import Link, Receiver, Target, connected, receiver_source
from mesh.ssh.payload import Item, Payload, payload
from mesh.ssh.problems import DeliveryError

CHUNK = 48 << 10
"""Bytes that go out before the host says that it has them: what a cut connection may cost."""

HOME = "/var/lib/anycast-mesh"
BY_GENERATIONS = (
    *(template.path for template in (*FILES, REPLIES, WHOAMI)),
    *(f"/etc/bird/mesh/{name}.conf" for name in (*CONCERNS, "secrets")),
)
"""What generations put in place beside tunnels: kept aside at delivery, put back at removal."""

Say = Callable[[str], None]


REMOVE = f"python3 {HOME}/state/delivery/receiver.py remove"
"""The command on a host that takes a delivery back, by what was delivered."""


@dataclass(frozen=True)
class Load:
    """What is delivered: the node's user data (secret), the bundle that nodes run, and what has
    to be true of the host: its IPv6 address, and the networks that its firewall lets log in."""

    user_data: str = field(repr=False)
    bundle: bytes = field(repr=False)
    ipv6: str | None
    admin: Sequence[Network]


@dataclass(frozen=True)
class Delivered:
    """A node on its host. ``created`` is RFC 3339, and ``written`` are the files that were not
    there before."""

    instance_id: str
    created: str
    written: tuple[str, ...]


def examine(target: Target, ipv6: str | None, admin: Sequence[Network]) -> tuple[Problem, ...]:
    """What would keep a delivery from success; nothing is changed. A host that is a node already
    has shown it: only the log-in is asked of it."""

    async def ask() -> tuple[Problem, ...]:
        async with connected(target) as link:
            words = await preflight.said(link)
            if preflight.instance(words):
                return ()
            return preflight.problems(target, words, ipv6, admin)

    try:
        return asyncio.run(ask())
    except DeliveryError as error:
        return error.problems


def deliver(target: Target, load: Load, say: Say) -> Delivered:
    """Bring a node to its host; a delivery that was cut is gone on with, and one that is done is
    left alone. DeliveryError where it cannot be, before anything has changed if that is known."""
    return asyncio.run(_deliver(target, load, say))


def shown_key(target: Target) -> str:
    """The host key that is shown to who logs in there (type and base64)."""

    async def ask() -> str:
        async with connected(target) as link:
            return link.shown

    return asyncio.run(ask())


def is_there(target: Target, instance_id: str) -> bool:
    """Whether the host is still that instance. DeliveryError where it cannot be asked."""

    async def ask() -> bool:
        async with connected(target) as link:
            return preflight.instance(await preflight.said(link)) == instance_id

    return asyncio.run(ask())


def is_left(target: Target) -> bool:
    """Whether the host holds a delivery of this node, whole or cut. DeliveryError where it cannot
    be asked."""

    async def ask() -> bool:
        async with connected(target) as link, _rooted(link) as far:
            record = (await far.ask("look", _Looked)).record
            return record is not None and record.node == target.node

    return asyncio.run(ask())


def withdraw(target: Target, instance_id: str, say: Say) -> None:
    """Take that instance from its host, and put back what was there before; another instance is
    left alone. DeliveryError where the host cannot be reached: it would go on announcing."""
    asyncio.run(_withdraw(target, instance_id, say))


# The receiver's answers, of which nothing is believed but the shape: a host may say anything.


@dataclass(frozen=True)
class _Record:
    """What an earlier delivery has written down."""

    node: str
    operator: str
    instance: preflight.InstanceId
    digest: str
    done: bool


@dataclass(frozen=True)
class _Looked:
    born: bool
    record: _Record | None


@dataclass(frozen=True)
class _Begun:
    instance: preflight.InstanceId


@dataclass(frozen=True)
class _Have:
    offsets: Mapping[str, NonNegativeInt]


@dataclass(frozen=True)
class _Closed:
    seconds: int


@dataclass(frozen=True)
class _Done:
    """Nothing more is to be known of it."""


async def _withdraw(target: Target, instance_id: str, say: Say) -> None:
    async with connected(target) as link, _rooted(link) as far:
        record = (await far.ask("look", _Looked)).record
        if record is not None and record.instance != instance_id:
            say(f"{target.node}: the host is {record.instance} by now, which is left alone")
            return
        say(f"{target.node}: stopping its units, putting back what was there")
        await far.ask("remove", _Done, paths=list(BY_GENERATIONS))


async def _deliver(target: Target, load: Load, say: Say) -> Delivered:
    parts = payload(load.user_data)
    async with connected(target) as link:
        say(f"{target.node}: logged in as {target.user} at {target.address}")
        async with _rooted(link) as far:
            record = await _own_record(link, far, parts)
            if record is None or not record.done:
                await _examined(link, load)
            elif record.digest == parts.digest:
                say(f"{target.node}: it is there already")
                return Delivered(record.instance, _now(), ())
            else:
                say(f"{target.node}: what an earlier delivery has left goes first")
                await far.ask("remove", _Done, paths=list(BY_GENERATIONS))
                record = None
            if record is not None:
                say(f"{target.node}: going on with a delivery that was cut")
            bundle = _bundle(parts, load.bundle)
            items = (*bundle, *parts.items)
            instance = await _begin(far, parts, items)
            written = await _send(target, far, items, say)
            if bundle:
                await far.ask(
                    "link", _Done, path=f"{HOME}/bundle.pyz", to=f"bundles/{parts.bundle}.pyz"
                )
            await far.ask("keys", _Done, user=target.user, keys=list(parts.keys))
            closed = await far.ask("close", _Closed)
            say(f"{target.node}: firewall closed; undone in {closed.seconds} s unless we get in")
    # Another connection, by the same key: the firewall lets the operator in.
    same = replace(target, host_keys=(link.shown,))
    async with connected(same) as again, again.receiver() as far:
        await far.ask("settle", _Done)
        await far.ask("start", _Done)
    say(f"{target.node}: {len(written)} files delivered, its bootstrap runs")
    return Delivered(instance, _now(), tuple(written))


@asynccontextmanager
async def _rooted(link: Link) -> AsyncIterator[Receiver]:
    """The host's side, once it is known that it can be root there."""
    refused = tuple(preflight.root(link.target, await preflight.said(link)))
    if refused:
        raise DeliveryError(*refused)
    async with link.receiver() as far:
        yield far


async def _own_record(link: Link, far: Receiver, parts: Payload) -> _Record | None:
    """What an earlier delivery of this very node has written down; None on a fresh host."""
    target, found = link.target, await far.ask("look", _Looked)
    record = found.record
    if record is None and not found.born:
        return None
    if record is not None and (record.node, record.operator) == (parts.node, parts.operator):
        return record
    who = "a node" if record is None else record.node[:60]
    raise DeliveryError(
        Problem(
            target.key("ipv4"), target.address,
            f"the host is {who} of another network already",
            f"remove it there first; or, if that network is no more, on the host, as root: {REMOVE}"
            if record is not None else "install it anew from the provider's panel",
        )
    )  # fmt: skip


async def _examined(link: Link, load: Load) -> None:
    words = await preflight.said(link)
    unfit = preflight.problems(link.target, words, load.ipv6, load.admin)
    if unfit:
        raise DeliveryError(*unfit)


async def _begin(far: Receiver, parts: Payload, items: Sequence[Item]) -> str:
    begun = await far.ask(
        "begin",
        _Begun,
        node=parts.node,
        operator=parts.operator,
        instance=f"host-{secrets.token_hex(8)}",
        digest=parts.digest,
        paths=sorted({*BY_GENERATIONS, *(item.path for item in items)}),
        receiver=receiver_source(),
    )
    return begun.instance


async def _send(target: Target, far: Receiver, items: Sequence[Item], say: Say) -> list[str]:
    """Send what is not there; a file that has come in part goes on where it was cut."""
    have = await far.ask("have", _Have, files={item.path: item.sha256 for item in items})
    missing = [item for item in items if item.path in have.offsets]
    for item in missing:
        size = len(item.content)
        for offset in range(have.offsets[item.path], size, CHUNK):
            piece = base64.b64encode(item.content[offset : offset + CHUNK]).decode()
            await far.ask("take", _Done, sha256=item.sha256, offset=offset, data=piece)
            if size > CHUNK:
                sent = min(offset + CHUNK, size)
                name = item.path.rpartition("/")[2]
                say(f"{target.node}: {name}: {sent >> 10} of {size >> 10} kB")
        await far.ask("put", _Done, path=item.path, mode=item.mode, sha256=item.sha256)
    return [item.path for item in missing]


def _bundle(parts: Payload, bundle: bytes) -> tuple[Item, ...]:
    """The bundle, where it is the one that the user data name; else a registry will have it. A
    registry waits for a push: its bootstrap makes its certificate meanwhile."""
    item = Item(_bundle_path(parts), bundle, 0o644)
    return (item,) if item.sha256 == parts.bundle and not parts.registry else ()


def _bundle_path(parts: Payload) -> str:
    return f"{HOME}/bundles/{parts.bundle}.pyz"


def _now() -> str:
    """RFC 3339: a join token counts from here."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
