"""The hook that every server has: before it goes, its node has drained."""

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
class Way:
    """The way to the registries: the operator's key, their URLs by node id, and the network
    namespace of every connection."""

    operator_key: str = field(repr=False)
    registries: Mapping[str, str]
    namespace: str | None


def hook(
    name: str,
    operator_key: Output[str],
    registries: Mapping[str, Input[str]],
    namespace: str | None,
) -> ResourceHook:
    """The one hook of the network ``name``, for ``before_delete`` of every server.

    It has to be registered at every run: the engine refuses to go on when a resource of the state
    names one that is not. It never fails a deletion: what could not be drained is warned about.
    """
    known = Output.all(key=operator_key, registries=dict(registries))

    async def before_delete(args: ResourceHookArgs) -> None:
        loop = asyncio.get_running_loop()

        def say(line: str) -> None:
            loop.call_soon_threadsafe(pulumi.log.info, printable(line))

        try:
            values: dict[str, Any] | None = await known.future()
            if values is None:
                return  # nothing of the stack was ever up: there is nobody to tell
            way = Way(values["key"], values["registries"], namespace)
            # Beside the program's loop, which other hooks and the engine's questions need.
            warning = await asyncio.to_thread(let_go, name, args.name, way, say)
        except Exception as error:
            # Whatever it is, the server goes. Its type is said, for its words may hold anything.
            warning = f"{args.name}: not drained before it goes: {type(error).__name__}"
        if warning:
            pulumi.log.warn(printable(warning))

    return ResourceHook(f"{name}-drain", before_delete)


def let_go(network: str, resource: str, way: Way, say: Progress) -> str:
    """Drains the node whose server that resource is, and waits for its word. Returns what the
    operator has to be warned of: nothing where all is well, or nobody is left to be told."""
    # Imported here: a preview never comes this far.
    from mesh.netns import NamespaceError, inside

    try:
        return inside(way.namespace, lambda: _let_go(network, resource, way, say))
    except NamespaceError as error:
        say(f"{resource}: not drained: {error}")
        return ""


def _let_go(network: str, resource: str, way: Way, say: Progress) -> str:
    from mesh.publish.drain import DRAIN_SECONDS, Drains
    from mesh.publish.refused import words
    from mesh.publish.registry_pool import RegistryPool, top
    from mesh.registry.client import Unreachable

    pool = RegistryPool(way.operator_key, way.registries)
    refused: dict[str, Refusal] = {}
    try:
        # The key may sign for another network as well, whose nodes have the same names: an order
        # for it would drain them. Its registries are elsewhere.
        urls = set(way.registries.values())
        manifests = pool.manifests().values()
        own = [m for m in manifests if urls & {entry.url for entry in m[1].registries}]
        highest = top(own, None)
        if highest is None:
            say(
                f"{resource}: not drained: no registry answers, or holds a generation of this "
                f"network"
            )
            return ""
        manifest = highest[1]
        node = node_of(network, resource, manifest.nodes)
        if manifest.retired or node is None:
            why = "the network is taken down" if manifest.retired else "its node has left already"
            say(f"{resource}: {why}")
            return ""
        identities = {one: entry.identity for one, entry in manifest.nodes.items()}
        drains = Drains(pool, way.operator_key, manifest.network, identities, warn=say)
        say(f"{node}: draining before its server goes")
        if drains.wait([node], DRAIN_SECONDS, refuses=refused.__setitem__):
            if node in refused:
                return f"{words(node, refused[node])}; its server goes without having drained"
            return (
                f"{node}: no word within {DRAIN_SECONDS:g} s that it has withdrawn; its server "
                f"goes all the same, for a dead node drains no more"
            )
        say(f"{node}: withdrawn")
    except Unreachable as error:
        return f"{resource}: not drained before its server goes: {error}"
    finally:
        pool.close()
    return ""


def node_of(network: str, resource: str, nodes: Iterable[str]) -> str | None:
    """The node that a server's resource belongs to: ``mesh-lax-vultr-1-instance`` is
    ``lax-vultr-1``'s."""
    return next((node for node in nodes if resource.startswith(f"{network}-{node}-")), None)
