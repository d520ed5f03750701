"""Servers that are the lab's own: Debian 13 containers in the underlay, booted by cloud-init from
the user data that the API was given, with upstreams, transits and clients around them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import IPv6Network
from typing import Any

from mesh.lab import containers
from mesh.lab.lab_files import files_of
from mesh.lab.underlay import World
from mesh.lab.world import load
from mesh.plan import Node, Plan
from tests.kit.vultr_api.faults import Refused
from tests.kit.vultr_api.objects import Server


class Containers:
    """The lab of that name as the machines of an account; its world stands.

    The lab has one address for each node of the plan: a region's addresses are handed out to the
    nodes that are planned there, by the node that a label names, else in order.
    """

    def __init__(self, plan: Plan, lab: str) -> None:
        self._nodes = [node for node in plan.nodes if node.provider == "vultr"]
        self._lab, self._world = lab, load(lab)
        self._given: dict[str, str] = {}
        """Nodes by the address that was given for them."""
        self._working = {node.id: ThreadPoolExecutor(1) for node in self._nodes}
        """One thing after the other is done to a node."""
        self._started: dict[str, Future[Any]] = {}

    @property
    def world(self) -> World:
        """What stands around the nodes."""
        return self._world

    def address(self, number: int, region: str, label: str) -> str:
        there = [node for node in self._nodes if node.place == region]
        named = [node for node in there if node.id in label]
        free = [node for node in named or there if node.id not in self._given.values()]
        if not free:
            raise Refused("Reserved IP limit reached: this lab has no other address here")
        address = str(self._world.node(free[0].id).ipv4)
        self._given[address] = free[0].id
        return address

    def released(self, address: str) -> None:
        self._given.pop(address, None)

    def ipv6(self, number: int, region: str, main_ip: str) -> tuple[str, str]:
        main = self._world.node(self._node(main_ip).id).ipv6
        if main is None:
            return "", ""
        return str(IPv6Network((main, 64), strict=False).network_address), str(main)

    def boot(self, server: Server) -> None:
        node = self._node(server.main_ip).id
        self._started[server.id] = self._working[node].submit(
            containers.start_node, self._lab, node, self._world, server.cloud_config, server.id
        )

    def ready(self, server: Server) -> bool:
        started = self._started[server.id]
        if not started.done():
            return False
        started.result()  # raises what went wrong
        return True

    def power(self, server: Server, on: bool) -> None:
        node = self._node(server.main_ip).id
        if on:
            self._working[node].submit(containers.reboot_node, self._lab, node, self._world)
        else:
            self._working[node].submit(containers.power_off, files_of(self._lab), node)

    def gone(self, server: Server) -> None:
        self._working[self._node(server.main_ip).id].submit(self._stop, server)

    def _stop(self, server: Server) -> None:
        """Of a node that has another server by now, that one stays."""
        node, here = self._node(server.main_ip).id, files_of(self._lab)
        state = containers.read_state(here, node)
        if state is not None and state.instance_id == server.id:
            containers.stop_node(self._lab, node)

    def _node(self, main_ip: str) -> Node:
        for node in self._nodes:
            if str(self._world.node(node.id).ipv4) == main_ip:
                return node
        raise Refused("Server add failed: this lab has no machine for an address of its own")

    def close(self) -> None:
        """Wait until what was asked for is done."""
        for one in self._working.values():
            one.shutdown()
