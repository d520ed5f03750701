"""Delivers a node to an existing host, checks that it is there, and removes it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from pydantic import NonNegativeInt

from mesh.operating_systems import OperatingSystem
from mesh.plan import Network
from mesh.render import (
    CONCERNS,
    DAEMONS,
    FILES,
    GLASS,
    OUT_OF_SERVICE,
    REPLIES,
    WHOAMI,
)
from mesh.spec.problems import Problem
from mesh.ssh import openbsd_delivery, openbsd_preflight, preflight
from mesh.ssh.connection import HostConnection, Receiver, Target, connected, receiver_source
from mesh.ssh.load import HOME, Delivered, Load, Progress, new_instance, now
from mesh.ssh.payload import Item, Payload, payload
from mesh.ssh.problems import DeliveryError, of_another_network

CHUNK = 48 << 10
"""Bytes per request: what a cut connection may lose."""

BY_GENERATIONS = (
    *(each.path for each in (*FILES, OUT_OF_SERVICE, REPLIES, WHOAMI, *DAEMONS.values())),
    *(each.path for each in GLASS),
    *(f"/etc/bird/mesh/{name}.conf" for name in (*CONCERNS, "secrets")),
)
"""Files of generations, without tunnels: saved at delivery, restored at removal."""


def examine(target: Target, ipv6: str | None, admin: Sequence[Network]) -> tuple[Problem, ...]:
    """Problems that a delivery would have; changes nothing. Of a host that is already a node only
    the log-in is checked."""

    async def ask() -> tuple[Problem, ...]:
        async with connected(target) as link:
            if target.os is OperatingSystem.OPENBSD:
                answers = await openbsd_preflight.ask(link)
                judge = openbsd_preflight.problems
            else:
                answers, judge = await preflight.ask(link), preflight.problems
            return () if preflight.instance(answers) else judge(target, answers, ipv6, admin)

    try:
        return asyncio.run(ask())
    except DeliveryError as error:
        return error.problems


def deliver(target: Target, load: Load, progress: Progress) -> Delivered:
    """Delivers a node to its host; continues an interrupted delivery, and does nothing after a
    complete one. Raises DeliveryError, if possible before anything has changed."""
    if target.os is OperatingSystem.OPENBSD:
        return asyncio.run(openbsd_delivery.deliver(target, load, progress))
    return asyncio.run(_deliver(target, load, progress))


def shown_key(target: Target) -> str:
    """The host key that the host presents (type and base64)."""

    async def ask() -> str:
        async with connected(target) as link:
            return link.shown

    return asyncio.run(ask())


def is_there(target: Target, instance_id: str) -> bool:
    """Whether the host is still that instance; raises DeliveryError."""

    async def ask() -> bool:
        async with connected(target) as link:
            # Both systems answer Debian's questions as far as this one.
            return preflight.instance(await preflight.ask(link)) == instance_id

    return asyncio.run(ask())


def is_left(target: Target) -> bool:
    """Whether the host has a delivery of this node, complete or not; raises DeliveryError."""

    async def ask() -> bool:
        if target.os is OperatingSystem.OPENBSD:
            return await openbsd_delivery.is_left(target)
        async with connected(target) as link, _as_root(link) as receiver:
            record = (await receiver.ask("look", _HostRecord)).record
            return record is not None and record.node == target.node

    return asyncio.run(ask())


def withdraw(target: Target, instance_id: str, progress: Progress) -> None:
    """Removes that instance from its host and restores what was there before; leaves another
    instance alone. Raises DeliveryError where the host cannot be reached: it may still announce."""
    if target.os is OperatingSystem.OPENBSD:
        asyncio.run(openbsd_delivery.withdraw(target, instance_id, progress))
    else:
        asyncio.run(_withdraw(target, instance_id, progress))


# The receiver's answers. The host is not trusted: their shape is checked.


@dataclass(frozen=True)
class _Record:
    """The record of an earlier delivery."""

    node: str
    operator: str
    instance: preflight.InstanceId
    digest: str
    done: bool


@dataclass(frozen=True)
class _HostRecord:
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
    """An empty answer."""


async def _withdraw(target: Target, instance_id: str, progress: Progress) -> None:
    async with connected(target) as link, _as_root(link) as receiver:
        record = (await receiver.ask("look", _HostRecord)).record
        if record is not None and record.instance != instance_id:
            progress(f"{target.node}: the host is now {record.instance}, which is left alone")
            return
        progress(f"{target.node}: stopping its units, restoring what was there")
        await receiver.ask("remove", _Done, paths=list(BY_GENERATIONS))


async def _deliver(target: Target, load: Load, progress: Progress) -> Delivered:
    parts = payload(load.user_data)
    async with connected(target) as link:
        progress(f"{target.node}: logged in as {target.user} at {target.address}")
        async with _as_root(link) as receiver:
            record = await _own_record(link, receiver, parts)
            if record is None or not record.done:
                await _examined(link, load)
            elif record.digest == parts.digest:
                progress(f"{target.node}: it is already there")
                return Delivered(record.instance, now(), ())
            else:
                progress(f"{target.node}: removing an earlier delivery first")
                await receiver.ask("remove", _Done, paths=list(BY_GENERATIONS))
                record = None
            if record is not None:
                progress(f"{target.node}: continuing an interrupted delivery")
            bundle = _bundle(parts, load.bundle)
            items = (*bundle, *parts.items)
            instance = await _begin(receiver, parts, items)
            written = await _send(target, receiver, items, progress)
            if bundle:
                await receiver.ask(
                    "link", _Done, path=f"{HOME}/bundle.pyz", to=f"bundles/{parts.bundle}.pyz"
                )
            await receiver.ask("keys", _Done, user=target.user, keys=list(parts.keys))
            closed = await receiver.ask("close", _Closed)
            progress(
                f"{target.node}: firewall closed; undone in {closed.seconds} s without a log-in"
            )
    # A new connection with the same host key shows that the firewall lets the operator in.
    same = replace(target, host_keys=(link.shown,))
    async with connected(same) as again, again.receiver() as receiver:
        await receiver.ask("settle", _Done)
        await receiver.ask("start", _Done)
    progress(f"{target.node}: {len(written)} files delivered, its bootstrap runs")
    return Delivered(instance, now(), tuple(written))


@asynccontextmanager
async def _as_root(link: HostConnection) -> AsyncIterator[Receiver]:
    """The receiver, after checking that it can be root on the system that it is for."""
    answers = await preflight.ask(link)
    refused = tuple(preflight.unusable(link.target, answers))
    refused = refused or tuple(preflight.root(link.target, answers))
    if refused:
        raise DeliveryError(*refused)
    async with link.receiver() as receiver:
        yield receiver


async def _own_record(link: HostConnection, receiver: Receiver, parts: Payload) -> _Record | None:
    """The record of an earlier delivery of this node; None on a fresh host."""
    target, found = link.target, await receiver.ask("look", _HostRecord)
    record = found.record
    if record is None and not found.born:
        return None
    if record is not None and (record.node, record.operator) == (parts.node, parts.operator):
        return record
    raise of_another_network(target, None if record is None else record.node)


async def _examined(link: HostConnection, load: Load) -> None:
    answers = await preflight.ask(link)
    unfit = preflight.problems(link.target, answers, load.ipv6, load.admin)
    if unfit:
        raise DeliveryError(*unfit)


async def _begin(receiver: Receiver, parts: Payload, items: Sequence[Item]) -> str:
    begun = await receiver.ask(
        "begin",
        _Begun,
        node=parts.node,
        operator=parts.operator,
        instance=new_instance(),
        digest=parts.digest,
        paths=sorted({*BY_GENERATIONS, *(item.path for item in items)}),
        receiver=receiver_source(),
    )
    return begun.instance


async def _send(
    target: Target, receiver: Receiver, items: Sequence[Item], progress: Progress
) -> list[str]:
    """Sends missing files; continues those that were interrupted."""
    have = await receiver.ask("have", _Have, files={item.path: item.sha256 for item in items})
    missing = [item for item in items if item.path in have.offsets]
    for item in missing:
        size = len(item.content)
        for offset in range(have.offsets[item.path], size, CHUNK):
            piece = base64.b64encode(item.content[offset : offset + CHUNK]).decode()
            await receiver.ask("take", _Done, sha256=item.sha256, offset=offset, data=piece)
            if size > CHUNK:
                sent = min(offset + CHUNK, size)
                name = item.path.rpartition("/")[2]
                progress(f"{target.node}: {name}: {sent >> 10} of {size >> 10} kB")
        await receiver.ask("put", _Done, path=item.path, mode=item.mode, sha256=item.sha256)
    return [item.path for item in missing]


def _bundle(parts: Payload, bundle: bytes) -> tuple[Item, ...]:
    """The bundle, where the user data has its hash; other nodes get it from a registry, and
    registries from the operator."""
    item = Item(_bundle_path(parts), bundle, 0o644)
    return (item,) if item.sha256 == parts.bundle and not parts.registry else ()


def _bundle_path(parts: Payload) -> str:
    return f"{HOME}/bundles/{parts.bundle}.pyz"
