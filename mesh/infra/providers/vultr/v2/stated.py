"""The objects at Vultr in a stack's state (``pulumi stack export``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from typing import Any

from mesh.infra.providers.vultr.v2.holdings import ObjectKind
from mesh.infra.providers.vultr.v2.mark import NETWORK, Mark
from mesh.infra.providers.vultr.v2.strays import Begun, StateObject

IDENTITY = "pulumi-python:dynamic/mesh:Identity"
"""The resource that keeps the network's identity."""

TYPES = {
    "pulumi-python:dynamic/vultr:Instance": ObjectKind.INSTANCE,
    "pulumi-python:dynamic/vultr:BareMetal": ObjectKind.BARE_METAL,
    "pulumi-python:dynamic/vultr:Address": ObjectKind.ADDRESS,
    "pulumi-python:dynamic/vultr:Firewall": ObjectKind.GROUP,
    "pulumi-python:dynamic/vultr:SSHKey": ObjectKind.KEY,
    "pulumi-python:dynamic/vultr:StartupScript": ObjectKind.SCRIPT,
}
"""The types of resources that are one object each (:mod:`mesh.infra.dynamic.vultr`)."""

RESOURCES = {
    ObjectKind.INSTANCE: "instance",
    ObjectKind.BARE_METAL: "bare-metal",
    ObjectKind.ADDRESS: "address",
    ObjectKind.GROUP: "firewall",
    ObjectKind.SCRIPT: "startup-script",
}
"""The last part of the marks of a kind."""


def identity(document: Mapping[str, Any]) -> str | None:
    """The network's identity; None where the state has none yet."""
    for each in _resources(document):
        if each["type"] == IDENTITY:
            return str((each.get("outputs") or {}).get("identity") or "") or None
    return None


def known(document: Mapping[str, Any]) -> Iterator[StateObject]:
    """The objects in the state, with those that are yet to be deleted."""
    for each in _resources(document):
        kind = TYPES.get(each["type"])
        if kind is not None and each.get("id"):
            yield StateObject(kind, str(each["id"]), str(each["urn"]).rpartition("::")[2])


def begun(document: Mapping[str, Any]) -> Iterator[Begun]:
    """The creations that an update has begun and not finished: it runs now, or was killed.

    The engine keeps those of a killed one until a refresh clears them
    (``--clear-pending-creates``), also when the next update has made the resource.
    """
    made = {each["urn"] for each in _resources(document)}
    for operation in (document.get("deployment") or {}).get("pending_operations") or ():
        found = _begun(operation)
        if found is not None and operation["resource"].get("urn") not in made:
            yield found


def forget(document: dict[str, Any], begun: Collection[Begun]) -> None:
    """Remove the unfinished creations of these objects from a state."""
    deployment = document["deployment"]
    pending = deployment.pop("pending_operations", None) or ()
    left = [operation for operation in pending if _begun(operation) not in begun]
    if left:
        deployment["pending_operations"] = left


def _begun(operation: Mapping[str, Any]) -> Begun | None:
    resource = operation.get("resource") or {}
    kind = TYPES.get(str(resource.get("type")))
    if kind is None or operation.get("type") != "creating":
        return None
    found = mark("", kind, resource.get("inputs") or {})
    return found.node, found.resource


def mark(identity: str, kind: ObjectKind, inputs: Mapping[str, Any]) -> Mark:
    """The mark of an object whose resource has these inputs."""
    if kind is ObjectKind.KEY:
        digest = sha256(str(inputs.get("ssh_key")).encode()).hexdigest()[:8]
        return Mark(identity, NETWORK, f"key-{digest}")
    return Mark(identity, str(inputs.get("node", NETWORK)), RESOURCES[kind])


def _resources(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = (document.get("deployment") or {}).get("resources") or []
    return found
