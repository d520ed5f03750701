"""All that a network has beside the operator's key, from the stack's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pulumi import Input, Output, ResourceHook, ResourceOptions

from mesh.content import folders
from mesh.content.serials import write_contents
from mesh.infra import drain, outputs, providers, sources
from mesh.infra.dynamic.candidate import Candidate
from mesh.infra.dynamic.operator import Operator
from mesh.infra.dynamic.publish import Publish, PublishArgs
from mesh.infra.node import Node
from mesh.infra.providers import Driver, Machine, StackConfiguration
from mesh.infra.region import Region, RegionArgs
from mesh.infra.seed import SeedSource
from mesh.plan.document import write_plan


@dataclass(frozen=True)
class Network:
    """What was registered, and what the stack's outputs say of it."""

    regions: list[Region]
    nodes: dict[str, Node]
    published: Publish
    registries: Mapping[str, Output[str]]
    topology: dict[str, Any]
    access: dict[str, Mapping[str, Input[str]]]
    glass: dict[str, Mapping[str, Input[str]]]


def make(
    name: str, given: StackConfiguration, operator: Operator, child: ResourceOptions
) -> Network:
    """Register everything below the component ``name``."""
    given, plan = replace(given, operator=operator.public), given.plan
    drivers = providers.make(name, given, child)
    regions = _regions(name, given, drivers, child)
    nodes = {k: node for region in regions for k, node in region.nodes.items()}
    for driver in drivers.values():
        driver.make_firewall({node_id: node.reserved.ipv4 for node_id, node in nodes.items()})
    urls = {
        node_id: Output.format("https://{0}:{1}", node.reserved.ipv4, plan.access.registry_port)
        for node_id, node in nodes.items()
        if node.is_registry
    }
    seed = SeedSource(plan, operator, list(urls.values()), given.bundle)
    namespace = next((d.namespace for d in drivers.values() if d.namespace), None)
    drained = drain.hook(name, operator.private, urls, namespace, plan.linger)
    machines = boot(nodes, seed, drained)
    publication = PublishArgs(
        plan=write_plan(plan),
        operator_key=operator.private,
        passwords=given.passwords,
        instances={
            node_id: {
                "id": machine.instance_id,
                "created": machine.created,
                **nodes[node_id].placement(),
            }
            for node_id, machine in machines.items()
        },
        bundle=given.bundle,
        registries=urls,
        namespace=namespace,
        deadline=max(driver.publish_deadline for driver in drivers.values()),
        contents=write_contents(
            {each.name: each.content for each in plan.services if each.content is not None}
        ),
        folders={name: str(path) for name, path in folders(given.root, given.spec).items()} or None,
        receivers=given.receivers,
    )
    # In the state before anything is signed, so that an unfinished update is known later.
    wanted = publication.candidate()
    # Once all else is known: a preview of a new stack has nothing to compare with.
    written = wanted.apply(lambda _: sources.written())
    candidate = Candidate(f"{name}-candidate", wanted, written, child)
    published = Publish(f"{name}-generation", publication, candidate, child)
    access = outputs.access(nodes)
    return Network(
        regions=regions,
        nodes=nodes,
        published=published,
        registries=urls,
        topology=outputs.topology(plan, nodes, list(urls.values())),
        access=access,
        glass=outputs.glass(plan, access),
    )


def _regions(
    name: str, given: StackConfiguration, drivers: Mapping[str, Driver], child: ResourceOptions
) -> list[Region]:
    used = {node.region for node in given.plan.nodes}
    return [
        Region(f"{name}-{region.id}", RegionArgs(region, given, drivers), child)
        for region in given.plan.regions
        if region.id in used
    ]


def boot(nodes: Mapping[str, Node], seed: SeedSource, drained: ResourceHook) -> dict[str, Machine]:
    """Boot every node, the registries first, which the others need. The hook ``drained`` drains a
    node before its server is deleted."""
    machines: dict[str, Machine] = {}
    for node_id, node in nodes.items():
        if node.is_registry:
            machines[node_id] = node.boot(seed, (), drained)
    registries = [machine.resource for machine in machines.values()]
    for node_id, node in nodes.items():
        if not node.is_registry:
            machines[node_id] = node.boot(seed, registries, drained)
    return machines
