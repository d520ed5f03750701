"""The hook of every server: its node drains before the server is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi import Input, Output, ResourceHook, ResourceHookArgs

from mesh.foreign import printable

if TYPE_CHECKING:
    from mesh.trust.documents import Refusal

Progress = Callable[[str], None]


@dataclass(frozen=True)
class RegistryAccess:
    """What it takes to reach the registries: the operator's key, their URLs by node id, and the
    network namespace of the connections. ``linger`` is the seconds for which a node lingers."""

    operator_key: str = field(repr=False)
    registries: Mapping[str, str]
    namespace: str | None
    linger: int


def hook(
    name: str,
    operator_key: Output[str],
    registries: Mapping[str, Input[str]],
    namespace: str | None,
    linger: int,
) -> ResourceHook:
    """The one hook of the network ``name``, for ``before_delete`` of every server.

    It has to be registered at every run: the engine stops where a resource of the state names one
    that is not. It never fails a deletion; where a node could not be drained, it warns.
    """
    known = Output.all(key=operator_key, registries=dict(registries))

    async def before_delete(args: ResourceHookArgs) -> None:
        loop = asyncio.get_running_loop()

        def progress(line: str) -> None:
            loop.call_soon_threadsafe(pulumi.log.info, printable(line))

        try:
            values: dict[str, Any] | None = await known.future()
            if values is None:
                return  # nothing of the stack was ever up
            access = RegistryAccess(values["key"], values["registries"], namespace, linger)
            # In a thread: other hooks and the engine need the program's loop.
            warning = await asyncio.to_thread(
                drain_before_delete, name, args.name, access, progress
            )
        except Exception as error:
            # The server is deleted all the same. The error's text may hold a secret.
            warning = f"{args.name}: not drained before it goes: {type(error).__name__}"
        if warning:
            pulumi.log.warn(printable(warning))

    return ResourceHook(f"{name}-drain", before_delete)


def drain_before_delete(
    network: str, resource: str, access: RegistryAccess, progress: Progress
) -> str:
    """Drain the node of a server's resource, and wait for its report. Returns a warning for the
    operator; empty where all is well, or the network is down."""
    # Imported here: a preview never comes this far.
    from mesh.netns import NamespaceError, inside

    try:
        return inside(access.namespace, lambda: _drain(network, resource, access, progress))
    except NamespaceError as error:
        progress(f"{resource}: not drained: {error}")
        return ""


def _drain(network: str, resource: str, access: RegistryAccess, progress: Progress) -> str:
    from mesh.publish.drain import DRAIN_SECONDS, Drains
    from mesh.publish.refused import refusal_text
    from mesh.publish.registry_pool import RegistryPool, top
    from mesh.registry.client import Unreachable

    pool = RegistryPool(access.operator_key, access.registries)
    refused: dict[str, Refusal] = {}
    try:
        # The key may also sign for another network with the same node names, which an order would
        # drain. Its registries have other URLs.
        urls = set(access.registries.values())
        manifests = pool.manifests().values()
        own = [m for m in manifests if urls & {entry.url for entry in m[1].registries}]
        highest = top(own, None)
        if highest is None:
            progress(
                f"{resource}: not drained: no registry answers, or holds a generation of this "
                f"network"
            )
            return ""
        manifest = highest[1]
        node = node_of(network, resource, manifest.nodes)
        if manifest.retired or node is None:
            why = "the network is taken down" if manifest.retired else "its node has left already"
            progress(f"{resource}: {why}")
            return ""
        identities = {one: entry.identity for one, entry in manifest.nodes.items()}
        drains = Drains(pool, access.operator_key, manifest.network, identities, warn=progress)
        progress(f"{node}: draining before its server goes")
        seconds = DRAIN_SECONDS + access.linger
        if drains.wait([node], seconds, on_refused=refused.__setitem__):
            if node in refused:
                return f"{refusal_text(node, refused[node])}; its server is deleted without a drain"
            return (
                f"{node}: no report within {seconds:g} s that it has withdrawn; its server "
                f"is deleted all the same, since a dead node cannot drain"
            )
        progress(f"{node}: withdrawn")
    except Unreachable as error:
        return f"{resource}: not drained before its server goes: {error}"
    finally:
        pool.close()
    return ""


def node_of(network: str, resource: str, nodes: Iterable[str]) -> str | None:
    """The node that a server's resource belongs to: ``mesh-lax-vultr-1-instance`` is
    ``lax-vultr-1``'s."""
    return next((node for node in nodes if resource.startswith(f"{network}-{node}-")), None)
