"""What Vultr is asked at every preview, before anything is made: one client, each list once, all of
them side by side. Neither way of making resources needs a plugin for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.infra.providers.protocol import Setting
from mesh.infra.providers.vultr import account, cost, offer
from mesh.infra.providers.vultr.offer import Offer
from mesh.infra.providers.vultr.tags import TAG
from mesh.infra.providers.vultr.v2 import ApiError, Client, connect
from mesh.infra.providers.vultr.v2.answers import Bgp, Server
from mesh.infra.providers.vultr.v2.errors import NO_KEY
from mesh.plan import Node, Plan
from mesh.spec import Note, Problem, Spec

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a question is repeated while Vultr answers that there are too many."""
OF_THE_KEY = ("unset", "key", "source")
"""Kinds of error that every question would meet: one is told."""


@dataclass(frozen=True)
class Answers:
    """What Vultr said: what it sells, the servers of the account, and the account's BGP, which is
    None where it was not asked for. What a preview can do without is an error where it was not
    answered."""

    offer: Offer
    servers: Sequence[Server] | ApiError
    bgp: Bgp | ApiError | None = field(repr=False)


# The driver is made after the questions, in the same run: Vultr is asked once.
_image: ContextVar[int] = ContextVar("image")


def image() -> int:
    """The id of the image that nodes boot from: ids differ over time, names do not. LookupError
    where nobody has asked."""
    return _image.get()


def problems(setting: Setting) -> Iterator[Problem | Note]:
    """What Vultr would refuse of this stack, its BGP included, and what it will cost."""
    key = account.api_key()
    if key is None:
        yield NO_KEY
        return
    spec, nodes = setting.spec, nodes_of(setting.plan)
    try:
        with connect(key, patience=PATIENCE) as client:
            answers = ask(client, spec, nodes)
    except ApiError as error:
        yield error.problem
        return
    own = _own(setting.plan.stack, answers.servers)
    standing = {node.id for node in nodes if _stands(node, own)}
    # Two nodes may have the same plan, and be told the same of it.
    refused = dict.fromkeys(offer.problems(spec, nodes, answers.offer, standing))
    yield from refused
    yield from _bgp(spec, answers.bgp)
    found = offer.image(spec, answers.offer)
    if found is not None:
        _image.set(found)
    if all(problem.severity == "warning" for problem in refused):
        yield cost.note(setting.plan.stack, spec, nodes, answers.offer, own)


def _own(stack: str, servers: Sequence[Server] | ApiError) -> Sequence[Server] | ApiError:
    """The servers with the tags of this stack."""
    if isinstance(servers, ApiError):
        return servers
    return [server for server in servers if {TAG, stack} <= set(server.tags)]


def _stands(node: Node, own: Sequence[Server] | ApiError) -> bool:
    """Whether the node's server is there, where and as large as it is wanted."""
    wanted = (node.id, node.size, node.place)
    servers = () if isinstance(own, ApiError) else own
    return any((server.label, server.plan, server.region) == wanted for server in servers)


def nodes_of(plan: Plan) -> list[Node]:
    """The nodes that this driver makes."""
    return [node for node in plan.nodes if node.provider == "vultr" and not node.existing]


def ask(client: Client, spec: Spec, nodes: Sequence[Node]) -> Answers:
    """Ask all that these nodes need; :class:`ApiError` where Vultr does not answer. What is wrong
    with the key is told before anything else."""
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
    offer = Offer(
        _answered(regions), _answered(images),
        {plan.id: plan for plan in _answered(plans)},
        {plan.id: plan for plan in _answered(metal_plans)},
    )  # fmt: skip
    running = [instances.result(), bare_metals.result(), metal_plans.result()]
    unknown = next((each for each in running if isinstance(each, ApiError)), None)
    servers = unknown or (*_answered(instances), *_answered(bare_metals))
    return Answers(offer, servers, None if bgp is None else bgp.result())


def _answered(question: Future[tuple[T, ...] | ApiError]) -> tuple[T, ...]:
    found = question.result()
    return () if isinstance(found, ApiError) else found


def _kept(question: Callable[[], T]) -> T | ApiError:
    """The answer, or why there is none: the other questions are asked all the same."""
    try:
        return question()
    except ApiError as error:
        return error


def _bgp(spec: Spec, found: Bgp | ApiError | None) -> Iterator[Problem]:
    if found is None:
        return
    if isinstance(found, ApiError):
        # A key may be let do all but this.
        yield account.unclear(found.problem.reason)
        return
    try:
        yield from list(account.compared(spec, found, account.password()))
    except ValueError:
        yield account.unclear("it lists a network that is none")
