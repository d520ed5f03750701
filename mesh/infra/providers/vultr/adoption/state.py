"""Changes the types of some resources in a stack's state (``pulumi stack export``).

Nothing is decrypted: a secret stays the text that the engine encrypted. What is not named here
stays as it is: a resource's parent, protection, hooks, times.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
"""What ``pulumi stack export`` prints."""
Resource = dict[str, Any]
"""One entry of ``deployment.resources``."""
Reference = tuple[str, str]
"""URN and id of a resource: a URN may occur twice, once for one that is yet to be deleted."""

STACK = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Successor:
    """What replaces a resource; its name stays, and its id unless another is given.

    ``keys`` maps the old type's inputs to the new one's. ``needs`` are inputs that the old type did
    not have, with the URNs (of the old state) that they come from.
    """

    type: str
    provider: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    keys: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True)
class StateChange:
    """A change of a state. ``absorbed`` are resources that are left out, with the URN of what they
    become part of, or None; ``added`` are new entries."""

    successors: Mapping[Reference, Successor]
    absorbed: Mapping[Reference, str | None] = field(default_factory=dict)
    added: Sequence[Mapping[str, Any]] = ()


def resources(document: Document) -> list[Resource]:
    """The entries of a state, in its order."""
    found: list[Resource] = (document.get("deployment") or {}).get("resources") or []
    return found


def reference(resource: Mapping[str, Any]) -> Reference:
    """The key of a resource in a change."""
    return str(resource["urn"]), str(resource.get("id", ""))


def rewritten(document: Document, change: StateChange) -> dict[str, Any]:
    """The state after the change; ``document`` itself is not changed."""
    kept = [each for each in resources(document) if reference(each) not in change.absorbed]
    named = _renamed([*change.added, *kept], change.successors)
    gone = {urn for urn, _ in change.absorbed} - {each["urn"] for each in kept}
    instead = {urn: by for (urn, _), by in change.absorbed.items() if urn in gone}
    moved = [_successor(each, change.successors) for each in [*change.added, *kept]]
    result = deepcopy(dict(document))
    pointed = (_pointed(each, named, instead) for each in moved)
    result["deployment"]["resources"] = ordered(list(pointed))
    return result


def _renamed(
    found: Iterable[Mapping[str, Any]], successors: Mapping[Reference, Successor]
) -> dict[str, str]:
    """The new URN of each resource: a URN contains the types of all its parents."""
    types: dict[str, str] = {}
    parents: dict[str, str | None] = {}
    for each in found:
        successor = successors.get(reference(each))
        types[each["urn"]] = successor.type if successor else each["type"]
        parents[each["urn"]] = each.get("parent")

    def chain(urn: str) -> str:
        parent = parents.get(urn)
        if parent is None or types.get(parent, STACK) == STACK:
            return types[urn]
        return f"{chain(parent)}${types[urn]}"

    named = {}
    for urn in types:
        place, _, name = urn.removeprefix("urn:pulumi:").partition("::")
        project, _, rest = name.partition("::")
        named[urn] = f"urn:pulumi:{place}::{project}::{chain(urn)}::{rest.partition('::')[2]}"
    return named


def _successor(resource: Mapping[str, Any], successors: Mapping[Reference, Successor]) -> Resource:
    """The entry with its new type; its references are still the old ones."""
    successor = successors.get(reference(resource))
    if successor is None:
        return deepcopy(dict(resource))
    # ``outputs`` come from the provider, so errors of an earlier creation do not matter.
    dropped = ("additionalSecretOutputs", "initErrors")
    moved = {key: deepcopy(value) for key, value in resource.items() if key not in dropped}
    moved |= {
        "id": resource["id"] if successor.id is None else successor.id,
        "type": successor.type,
        "provider": successor.provider,
        "inputs": deepcopy(dict(successor.inputs)),
        "outputs": deepcopy(dict(successor.outputs)),
        "propertyDependencies": {
            successor.keys[key]: list(urns)
            for key, urns in (resource.get("propertyDependencies") or {}).items()
            if key in successor.keys
        }
        | {key: list(urns) for key, urns in successor.needs.items()},
        "dependencies": _unique(
            [
                *(resource.get("dependencies") or ()),
                *(urn for urns in successor.needs.values() for urn in urns),
            ]
        ),
    }
    if "ignoreChanges" in resource:
        ignored = resource["ignoreChanges"]
        moved["ignoreChanges"] = [successor.keys[key] for key in ignored if key in successor.keys]
    return moved


def _pointed(
    resource: Resource, named: Mapping[str, str], instead: Mapping[str, str | None]
) -> Resource:
    """The entry with the new references."""

    def lead(urn: str) -> str | None:
        there = instead.get(urn, urn)
        return None if there is None else named.get(there, there)

    def leads(urns: Iterable[str]) -> list[str]:
        there = _unique(found for urn in urns if (found := lead(urn)) is not None)
        return [urn for urn in there if urn != pointed["urn"]]

    pointed: Resource = _deep(resource, named)
    if "dependencies" in resource:
        pointed["dependencies"] = leads(resource["dependencies"])
    if "propertyDependencies" in resource:
        found = resource["propertyDependencies"].items()
        pointed["propertyDependencies"] = {key: leads(urns) for key, urns in found}
    if provider := resource.get("provider"):
        urn, _, identity = provider.rpartition("::")
        pointed["provider"] = f"{named.get(urn, urn)}::{identity}"
    return pointed


def _deep(value: Any, named: Mapping[str, str]) -> Any:
    """The value with new URNs: a component's outputs may also contain references."""
    if isinstance(value, str):
        return named.get(value, value)
    if isinstance(value, Mapping):
        return {key: _deep(each, named) for key, each in value.items()}
    if isinstance(value, list):
        return [_deep(each, named) for each in value]
    return value


def ordered(found: Sequence[Resource]) -> list[Resource]:
    """The entries sorted so that each comes after all that it refers to, as the engine demands, and
    otherwise in the same order.

    ValueError for a circle of references, or a reference to a missing entry.
    """
    by_urn: dict[str, list[Resource]] = {}
    for each in found:
        by_urn.setdefault(each["urn"], []).append(each)
    done: dict[int, Resource] = {}
    open_: set[int] = set()

    def place(each: Resource) -> None:
        if id(each) in done:
            return
        if id(each) in open_:
            raise ValueError(f"{each['urn']} refers to itself by others")
        open_.add(id(each))
        for urn in _referred(each):
            if urn not in by_urn:
                raise ValueError(f"{each['urn']} refers to {urn}, which the state does not have")
            # A resource that is yet to be deleted comes last of its name; no new one refers to it.
            place(min(by_urn[urn], key=lambda one: bool(one.get("delete"))))
        open_.remove(id(each))
        done[id(each)] = each

    for each in found:
        place(each)
    return list(done.values())


def _referred(resource: Mapping[str, Any]) -> Iterator[str]:
    if parent := resource.get("parent"):
        yield parent
    if provider := resource.get("provider"):
        yield provider.rpartition("::")[0]
    yield from resource.get("dependencies") or ()
    for urns in (resource.get("propertyDependencies") or {}).values():
        yield from urns
    if deleted_with := resource.get("deletedWith"):
        yield deleted_with


def unused(found: Sequence[Resource], providers: Collection[str]) -> list[Resource]:
    """The entries without the provider resources of these types (``providers``) that no resource
    uses any more."""
    used = {str(each.get("provider", "")).rpartition("::")[0] for each in found}
    return [each for each in found if each["type"] not in providers or each["urn"] in used]


def _unique(urns: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(urns))
