"""The whole network as one component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pulumi import ComponentResource, Output, ResourceHook, ResourceOptions
from pulumi.runtime import is_dry_run

from mesh.infra import drain, outputs, providers, sdk, sources
from mesh.infra.configuration import asked
from mesh.infra.dynamic.candidate import Candidate
from mesh.infra.dynamic.operator import Operator
from mesh.infra.dynamic.publish import Publish, PublishArgs
from mesh.infra.node import Node
from mesh.infra.providers import Driver, Machine, StackConfiguration
from mesh.infra.region import Region, RegionArgs
from mesh.infra.seed import SeedSource
from mesh.plan.document import write_plan


@dataclass(frozen=True)
class MeshArgs:
    """The stack's configuration."""

    configuration: StackConfiguration


class Mesh(ComponentResource):
    """Regions with their nodes, the operator's key, and the generation that all nodes run.

    pulumi.RunError where the providers would refuse it (:func:`mesh.infra.configuration.asked`).
    """

    def __init__(self, name: str, args: MeshArgs, opts: ResourceOptions | None = None) -> None:
        given, child = args.configuration, ResourceOptions(parent=self)
        plan = given.plan
        if not is_dry_run():
            asked(given)  # a refused update makes nothing, not even this component
        super().__init__("mesh:index:Mesh", name, None, opts)
        self.operator = Operator(
            f"{name}-operator", ResourceOptions(parent=self, protect=given.spec.protect)
        )
        if is_dry_run():
            # A preview makes nothing, and the process of our own resources can start meanwhile.
            sdk.meanwhile(partial(asked, given))
        drivers = providers.make(name, given, child)
        self.regions = self._regions(name, given, drivers)
        self.nodes = {k: node for region in self.regions for k, node in region.nodes.items()}
        for driver in drivers.values():
            driver.make_firewall(
                {node_id: node.reserved.ipv4 for node_id, node in self.nodes.items()}
            )
        urls = {
            node_id: Output.format("https://{0}:{1}", node.reserved.ipv4, plan.access.registry_port)
            for node_id, node in self.nodes.items()
            if node.is_registry
        }
        seed = SeedSource(plan, self.operator, list(urls.values()), given.bundle)
        namespace = next((d.namespace for d in drivers.values() if d.namespace), None)
        drained = drain.hook(name, self.operator.private, urls, namespace)
        machines = boot(self.nodes, seed, drained)
        publication = PublishArgs(
            plan=write_plan(plan),
            operator_key=self.operator.private,
            passwords=given.passwords,
            instances={
                node_id: {
                    "id": machine.instance_id,
                    "created": machine.created,
                    **self.nodes[node_id].placement(),
                }
                for node_id, machine in machines.items()
            },
            bundle=given.bundle,
            registries=urls,
            namespace=namespace,
            deadline=max(driver.publish_deadline for driver in drivers.values()),
        )
        # In the state before anything is signed, so that an unfinished update is known later.
        wanted = publication.candidate()
        # Once all else is known: a preview of a new stack has nothing to compare with.
        written = wanted.apply(lambda _: sources.written())
        self.candidate = Candidate(f"{name}-candidate", wanted, written, child)
        self.published = Publish(f"{name}-generation", publication, self.candidate, child)
        self.topology = outputs.topology(plan, self.nodes, list(urls.values()))
        self.access = outputs.access(self.nodes)
        # The topology is a stack output already; twice it would cost every preview twice.
        self.register_outputs({"nodes": list(self.nodes), "registries": urls})

    def _regions(
        self, name: str, given: StackConfiguration, drivers: Mapping[str, Driver]
    ) -> list[Region]:
        used = {node.region for node in given.plan.nodes}
        return [
            Region(
                f"{name}-{region.id}",
                RegionArgs(region, given, drivers),
                ResourceOptions(parent=self),
            )
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
