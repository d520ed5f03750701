"""The lab as a cloud: its world, its addresses, and its instances.

An instance follows the rules of a real one (Vultr's, of its Terraform provider): user data,
hostname, image, SSH keys and region are fixed at its creation, and an address can be at one
instance only, so the old instance is deleted before the new one is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, Stub, changed, difference, gone


class WorldProvider(Stub):
    """Upstreams, transits, clients: everything around the nodes."""

    def create(self, props: Properties) -> CreateResult:
        """Make the world, or complete what a killed run left of it."""
        return CreateResult(props["lab"], _raised(props))

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Change the world to the plan; what is the same stays."""
        return UpdateResult(_raised(news))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """A plan that changes nothing around the nodes is no change of the world, unless an update
        that did not finish has begun to make another one."""
        if changed(("lab", "passwords"), olds, news) or not _same_world(olds, news):
            return difference(olds, news, updates=("plan", "passwords"), replaces=("lab",))
        return DiffResult(changes=not _is_raised(news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether the world exists; after a reboot of the machine it does not."""
        from mesh.lab.errors import LabError
        from mesh.lab.world import load

        try:
            load(props["lab"])
        except LabError:
            return gone()
        return ReadResult(id_, props)

    def delete(self, _id: str, props: Properties) -> None:
        """Remove everything of this lab."""
        from mesh.lab.world import clear_world

        clear_world(props["lab"])


def _raised(props: Properties) -> Properties:
    from mesh.lab import note
    from mesh.lab.errors import LabError
    from mesh.lab.world import raise_world
    from mesh.plan.document import read_plan

    if os.geteuid() != 0:
        raise LabError(
            "the lab needs root, for its namespaces and containers: run `sudo make up` "
            "(a preview needs nothing)"
        )
    digest = note.digest(props["plan"], props["passwords"])
    raise_world(read_plan(props["plan"]), props["lab"], dict(props["passwords"]), digest)
    return dict(props)


def _is_raised(news: Properties) -> bool:
    from mesh.lab import note
    from mesh.lab.lab_files import files_of

    # Nearly always true, and cheaper than reading the plan.
    if note.has_inputs(files_of(news["lab"]), note.digest(news["plan"], news["passwords"])):
        return True
    from mesh.lab.world import is_raised
    from mesh.plan.document import read_plan

    return is_raised(news["lab"], read_plan(news["plan"]), dict(news["passwords"]))


def _same_world(olds: Properties, news: Properties) -> bool:
    if olds["plan"] == news["plan"]:
        return True
    from mesh.lab.errors import LabError
    from mesh.lab.underlay import underlay
    from mesh.plan.document import read_plan

    try:
        before = underlay(read_plan(olds["plan"]))
    except (ValueError, LabError):
        return False  # the plan of another version of this code, or one that is refused now
    return before == underlay(read_plan(news["plan"]))


class LabWorld(Resource, module="lab", name="World"):
    """The world of one lab, by its name; all resources in it depend on it."""

    def __init__(
        self,
        name: str,
        lab: str,
        plan: str,
        passwords: Input[Mapping[str, str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            "lab": lab,
            "plan": plan,
            "passwords": Output.secret(passwords),
        }
        super().__init__(WorldProvider(), name, props, opts)


class AddressProvider(Stub):
    """Reserved addresses: given by the world, kept when the instance goes."""

    def create(self, props: Properties) -> CreateResult:
        """Reserve the addresses that the world has for this node."""
        outs = _reserved(props)
        return CreateResult(outs["ipv4"], outs)

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Take or give back the IPv6 address."""
        return UpdateResult(_reserved(news))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """An address belongs to its slot; IPv6 changes without moving IPv4."""
        return difference(olds, news, updates=("with_ipv6",), replaces=("lab", "node", "slot"))


def _reserved(props: Properties) -> Properties:
    from mesh.lab.world import load

    uplink = load(props["lab"]).node(props["node"])
    ipv6 = str(uplink.ipv6) if props["with_ipv6"] and uplink.ipv6 else None
    return {
        **props,
        "ipv4": str(uplink.ipv4),
        "ipv6": ipv6,
        "inside": str(uplink.inside) if uplink.inside else None,
        "routers": [str(router) for router in uplink.routers],
    }


class LabAddress(Resource, module="lab", name="Address"):
    """The public addresses of a node, reserved before the node exists; with the one that it holds
    itself where its provider translates, and the BGP speakers of its VPC."""

    ipv4: Output[str]
    ipv6: Output[str | None]
    inside: Output[str]
    routers: Output[list[str]]

    def __init__(
        self,
        name: str,
        lab: str,
        node: str,
        slot: int,
        with_ipv6: bool,
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            "lab": lab,
            "node": node,
            "slot": slot,
            "with_ipv6": with_ipv6,
            "ipv4": None,
            "ipv6": None,
            "inside": None,
            "routers": None,
        }
        super().__init__(AddressProvider(), name, props, opts)


FIXED_AT_CREATION = ("user_data", "image", "ssh_keys", "hostname")
"""Inputs whose change would replace an instance, and is ignored on a running one."""


class InstanceProvider(Stub):
    """Servers as system containers."""

    def create(self, props: Properties) -> CreateResult:
        """Start an instance, or adopt one that a killed run started with the same user data."""
        from mesh.lab.containers import start_node
        from mesh.lab.world import load

        lab, node = props["lab"], props["node"]
        state = start_node(lab, node, load(lab), props["user_data"])
        outs = {**props, "instance_id": state.instance_id, "created": state.created}
        return CreateResult(state.instance_id, outs)

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Every change replaces, and the old instance has to release the address first."""
        replaces = ("lab", "node", "region", *FIXED_AT_CREATION, "ipv4", "ipv6")
        return difference(olds, news, replaces=replaces, delete_before_replace=True)

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether this very instance runs; if not, `up` makes another."""
        from mesh.lab.containers import node_alive

        alive = node_alive(props["lab"], props["node"], props["instance_id"])
        return ReadResult(id_, props) if alive else gone()

    def delete(self, id_: str, props: Properties) -> None:
        """Stop this instance and drop its disk; never a later one of the same node."""
        from mesh.lab.containers import read_state, stop_node
        from mesh.lab.lab_files import files_of

        state = read_state(files_of(props["lab"]), props["node"])
        if state is None or state.instance_id == id_:
            stop_node(props["lab"], props["node"])


@dataclass(frozen=True)
class LabInstanceArgs:
    """The inputs of a server: ``lab`` by name, the rest as in a cloud."""

    lab: str
    node: str
    region: str
    image: str
    hostname: str
    ssh_keys: Sequence[str]
    user_data: Input[str]
    ipv4: Input[str]
    ipv6: Input[str | None]


class LabInstance(Resource, module="lab", name="Instance"):
    """A running server. ``created`` is RFC 3339."""

    instance_id: Output[str]
    created: Output[str]

    def __init__(
        self, name: str, args: LabInstanceArgs, opts: ResourceOptions | None = None
    ) -> None:
        props: dict[str, Any] = {
            **vars(args),
            "ssh_keys": list(args.ssh_keys),
            "user_data": Output.secret(args.user_data),
            "instance_id": None,
            "created": None,
        }
        super().__init__(InstanceProvider(), name, props, opts)
