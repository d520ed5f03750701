"""The queries to Vultr at every preview, before anything is made: one client, each list once, all
in parallel. They need no plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from mesh.infra.ending import is_ending
from mesh.infra.providers.protocol import StackConfiguration
from mesh.infra.providers.vultr import account, catalog, cost, images
from mesh.infra.providers.vultr.catalog import Catalog
from mesh.infra.providers.vultr.tags import TAG
from mesh.infra.providers.vultr.v2 import ApiError, Client, connect
from mesh.infra.providers.vultr.v2.answers import Bgp, Server
from mesh.infra.providers.vultr.v2.errors import NO_KEY
from mesh.operating_systems import OperatingSystem
from mesh.plan import Node, Plan
from mesh.spec import Note, Problem, Spec

T = TypeVar("T")

RETRY_SECONDS = 30.0
"""Seconds for which a query is repeated while Vultr answers 429."""
OF_THE_KEY = ("unset", "key", "source")
"""Kinds of error that every query would get: one is shown."""


NO_IMAGE = 0
"""In place of the id of an image that is not known."""


@dataclass(frozen=True)
class Answers:
    """Vultr's answers: what it sells, the servers of the account, and the account's BGP, None where
    it was not asked for. The last two may be errors: a preview works without them."""

    catalog: Catalog
    servers: Sequence[Server] | ApiError
    bgp: Bgp | ApiError | None = field(repr=False)


# The driver is made after the queries, in the same run: Vultr is asked once.
_image_ids: ContextVar[Mapping[OperatingSystem, int]] = ContextVar("image ids")


def image_ids() -> Mapping[OperatingSystem, int]:
    """The ids of the images that nodes boot from, by their system. LookupError where Vultr was not
    asked; a run that ends the network makes no server, and goes on without."""
    if is_ending():
        return {**dict.fromkeys(OperatingSystem, NO_IMAGE), **_image_ids.get({})}
    return _image_ids.get()


def problems(configuration: StackConfiguration) -> Iterator[Problem | Note]:
    """What Vultr would refuse of this stack, its BGP included, and what it will cost."""
    key = account.api_key()
    if key is None:
        yield NO_KEY
        return
    spec, nodes = configuration.spec, nodes_of(configuration.plan)
    yield from _without_the_plugin(spec, nodes)
    try:
        with connect(key, retry_seconds=RETRY_SECONDS) as client:
            answers = ask(client, spec, nodes)
    except ApiError as error:
        yield error.problem
        return
    own = _own(configuration.plan.stack, answers.servers)
    standing = {node.id for node in nodes if _stands(node, own)}
    # Two nodes with the same plan may have the same problem.
    refused = dict.fromkeys(catalog.problems(spec, nodes, answers.catalog, standing))
    yield from refused
    yield from _bgp(spec, answers.bgp)
    there, today = answers.catalog.images, datetime.now(UTC).date()
    yield from images.outdated(spec, nodes, there, standing, today)
    yield from images.installed_otherwise(nodes, _known(own), there)
    _image_ids.set(images.ids(spec, nodes, there, _known(own)))
    if all(problem.severity == "warning" for problem in refused):
        yield from images.notes(spec, nodes, there, standing)
        yield cost.note(configuration.plan.stack, spec, nodes, answers.catalog, own)


def _without_the_plugin(spec: Spec, nodes: Sequence[Node]) -> Iterator[Problem]:
    """OpenBSD nodes that the plugin would have to make."""
    if spec.providers.vultr.through != "plugin":
        return
    for node in nodes:
        if node.os is OperatingSystem.OPENBSD:
            yield Problem(
                f"mesh:nodes.{node.id}.os", node.os,
                "its server needs a startup script, which is made through Vultr's API only",
                "set mesh:providers.vultr.through to api",
            )  # fmt: skip


def _own(stack: str, servers: Sequence[Server] | ApiError) -> Sequence[Server] | ApiError:
    """The servers with the tags of this stack."""
    if isinstance(servers, ApiError):
        return servers
    return [server for server in servers if {TAG, stack} <= set(server.tags)]


def _known(own: Sequence[Server] | ApiError) -> Sequence[Server]:
    """The servers; none where they are not known."""
    return () if isinstance(own, ApiError) else own


def _stands(node: Node, own: Sequence[Server] | ApiError) -> bool:
    """Whether the node's server exists with the planned size and region."""
    wanted = (node.id, node.size, node.place)
    return any((server.label, server.plan, server.region) == wanted for server in _known(own))


def nodes_of(plan: Plan) -> list[Node]:
    """The nodes that this driver makes."""
    return [node for node in plan.nodes if node.provider == "vultr" and not node.existing]


def ask(client: Client, spec: Spec, nodes: Sequence[Node]) -> Answers:
    """Ask all that these nodes need; :class:`ApiError` where Vultr does not answer. A problem with
    the key comes before others."""
    metal = any(node.bare_metal for node in nodes)
    with ThreadPoolExecutor(max_workers=7) as together:

        def asked(question: Callable[[], T]) -> Future[T | ApiError]:
            return together.submit(_kept, question)

        bgp = asked(client.bgp) if spec.providers.vultr.check_account else None
        regions, images, plans = asked(client.regions), asked(client.images), asked(client.plans)
        metal_plans = asked(client.metal_plans)
        instances, bare_metals = asked(client.instances), asked(client.bare_metals)
    needed = [regions.result(), images.result(), plans.result()]
    needed += [metal_plans.result()] if metal else []
    errors = [each for each in needed if isinstance(each, ApiError)]
    if errors:
        raise min(errors, key=lambda each: each.kind not in OF_THE_KEY)
    catalog = Catalog(
        _answered(regions), _answered(images),
        {plan.id: plan for plan in _answered(plans)},
        {plan.id: plan for plan in _answered(metal_plans)},
    )  # fmt: skip
    running = [instances.result(), bare_metals.result(), metal_plans.result()]
    unknown = next((each for each in running if isinstance(each, ApiError)), None)
    servers = unknown or (*_answered(instances), *_answered(bare_metals))
    return Answers(catalog, servers, None if bgp is None else bgp.result())


def _answered(question: Future[tuple[T, ...] | ApiError]) -> tuple[T, ...]:
    found = question.result()
    return () if isinstance(found, ApiError) else found


def _kept(question: Callable[[], T]) -> T | ApiError:
    """The answer, or the error: the other queries go on."""
    try:
        return question()
    except ApiError as error:
        return error


def _bgp(spec: Spec, found: Bgp | ApiError | None) -> Iterator[Problem]:
    if found is None:
        return
    if isinstance(found, ApiError):
        # A key may have all permissions but this.
        yield account.unclear(found.problem.reason)
        return
    try:
        yield from list(account.compared(spec, found, account.password()))
    except ValueError:
        yield account.unclear("it lists an invalid network")
