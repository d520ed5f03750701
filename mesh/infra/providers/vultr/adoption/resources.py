"""What Vultr's plugin (``ediri_vultr``) made, as resources of our own on Vultr's API.

Every object is found in the account by its id in the state. One that is gone is left out, so that
the next update makes it anew, as after a refresh. The plugin's outputs that are not needed, a
default password and a console address with a token, are left out as well.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi.dynamic.dynamic import PROVIDER_KEY, serialize_provider

from mesh.foreign import printable
from mesh.infra.dynamic.base import Stub
from mesh.infra.dynamic.identity import BYTES, IdentityProvider
from mesh.infra.dynamic.vultr.address import AddressProvider
from mesh.infra.dynamic.vultr.bare_metal import BareMetalProvider
from mesh.infra.dynamic.vultr.drift import NONE
from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.dynamic.vultr.instance import InstanceProvider
from mesh.infra.dynamic.vultr.key import KeyProvider
from mesh.infra.dynamic.vultr.reverse import ReverseProvider
from mesh.infra.providers.accounts import Adopted, StackState, StateToBe
from mesh.infra.providers.vultr.adoption.state import (
    Document,
    Reference,
    Resource,
    StateChange,
    Successor,
    reference,
    resources,
    rewritten,
    unused,
)
from mesh.infra.providers.vultr.strays import account_of
from mesh.infra.providers.vultr.v2 import Mark, marking, stated
from mesh.infra.providers.vultr.v2.answers import Address, Answer, Server
from mesh.infra.providers.vultr.v2.holdings import (
    SERVERS,
    AccountObject,
    Holdings,
    ObjectKind,
    held,
)
from mesh.infra.urns import owner
from mesh.spec import Problem, SpecError

THROUGH = "mesh:providers.vultr.through"
PLUGIN = "vultr:"
"""Prefix of the types of the plugin's resources."""
PROVIDERS = ("pulumi:providers:vultr",)
DYNAMIC = "pulumi-python:dynamic/"
MESH = "mesh:index:Mesh"
IDENTITY_NAME = "mesh-vultr-identity"
"""The name of the identity's resource in the program."""
TAG = "anycast-mesh"
"""Prefix of the plugin's labels for objects without a node."""
RULE = "vultr:index/firewallRule:FirewallRule"

_SERVER = {
    "region": "region", "plan": "plan", "osId": "os_id", "enableIpv6": "enable_ipv6",
    "hostname": "hostname", "sshKeyIds": "ssh_key_ids", "userData": "user_data",
}  # fmt: skip
_REVERSE = {"instanceId": "instance_id", "ip": "ip", "reverse": "reverse"}


@dataclass(frozen=True)
class Translation:
    """``ours`` is our type, ``kind`` what it is at Vultr, None where it is no object of its own;
    ``keys`` maps the plugin's inputs to ours."""

    ours: str
    kind: ObjectKind | None
    provider: type[Stub]
    keys: Mapping[str, str]


TRANSLATIONS = {
    "vultr:index/instance:Instance": Translation(
        f"{DYNAMIC}vultr:Instance", ObjectKind.INSTANCE, InstanceProvider,
        _SERVER | {"reservedIpId": "address_id", "firewallGroupId": "firewall_group_id",
                   "ddosProtection": "ddos_protection"},
    ),
    "vultr:index/bareMetalServer:BareMetalServer": Translation(
        f"{DYNAMIC}vultr:BareMetal", ObjectKind.BARE_METAL, BareMetalProvider,
        _SERVER | {"reservedIpv4": "address_id"},
    ),
    "vultr:index/reservedIp:ReservedIp": Translation(
        f"{DYNAMIC}vultr:Address", ObjectKind.ADDRESS, AddressProvider, {"region": "region"}
    ),
    "vultr:index/firewallGroup:FirewallGroup": Translation(
        f"{DYNAMIC}vultr:Firewall", ObjectKind.GROUP, FirewallProvider, {}
    ),
    "vultr:index/sSHKey:SSHKey": Translation(
        f"{DYNAMIC}vultr:SSHKey", ObjectKind.KEY, KeyProvider, {"sshKey": "ssh_key"}
    ),
    "vultr:index/reverseIpv4:ReverseIpv4": Translation(
        f"{DYNAMIC}vultr:Reverse", None, ReverseProvider, _REVERSE
    ),
    "vultr:index/reverseIpv6:ReverseIpv6": Translation(
        f"{DYNAMIC}vultr:Reverse", None, ReverseProvider, _REVERSE
    ),
}  # fmt: skip
"""By the plugin's type. A firewall rule becomes part of its group."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One object that gets another resource, and its new mark; a server has ``tags`` beside it."""

    name: str
    held: AccountObject
    mark: Mark
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Adoption:
    """``document`` is the new state. ``gone`` are names of what is left out since the account no
    longer has it, ``rules`` is the number of those that become part of their group, ``forgotten``
    are names of unfinished creations. ``alike`` are objects of the account that look like this
    network's and are in no state."""

    document: dict[str, Any]
    identity: str
    taken: tuple[Taken, ...]
    reverse: tuple[str, ...]
    rules: int
    gone: tuple[str, ...]
    forgotten: tuple[str, ...]
    alike: tuple[AccountObject, ...]


class VultrAdoption:
    """Moves a stack from the plugin to our own resources, for `mesh adopt`."""

    provider = "Vultr"
    former, present = "Vultr's plugin", "its API"

    def __init__(self, stack: StackState) -> None:
        self._stack = stack
        self._taken: tuple[Taken, ...] = ()

    @staticmethod
    def is_left(document: Document) -> bool:
        """Whether a state has resources of the plugin."""
        return bool(held_by_plugin(document))

    def prepare(self, document: dict[str, Any]) -> StateToBe:
        """The new state. SpecError where the stack file selects the plugin: its next update would
        make all objects again."""
        if _through(self._stack.setting("mesh:providers") or "{}") == "plugin":
            reason = "the stack file asks for the plugin, and adopting leaves it"
            cure = "take this key out of the stack file and adopt again"
            raise SpecError([Problem(THROUGH, "plugin", reason, cure)])
        with account_of(self._stack) as client:
            found = adopt(document, Holdings.of(client), secrets.token_hex(BYTES))
        self._taken = found.taken
        return StateToBe(
            found.document,
            tuple(map(_adopted, found.taken)),
            tuple(_notes(found)),
            tuple(_warnings(found)),
        )

    def mark(self) -> int:
        """Write the mark into every adopted object."""
        with account_of(self._stack) as client:
            for each in self._taken:
                marking.write(client, each.held, each.mark, each.tags)
        return len(self._taken)


def _through(providers: str) -> object:
    """The value of ``through`` in the stack file; a preview shows what is wrong with the file."""
    try:
        return json.loads(providers)["vultr"]["through"]
    except (ValueError, KeyError, TypeError):
        return None


def _adopted(each: Taken) -> Adopted:
    mark = " ".join(each.mark.tags()) if each.held.kind in SERVERS else each.mark.text()
    return Adopted(each.name, f"{each.held.kind} {each.held.where}".rstrip(), each.held.id, mark)


def _notes(found: Adoption) -> Iterator[str]:
    if found.rules:
        yield f"{found.rules} firewall rules become part of their group"
    if found.reverse:
        yield f"and {len(found.reverse)} reverse names"
    if found.gone:
        yield f"gone at Vultr, and left out (`pulumi up` makes them): {', '.join(found.gone)}"
    if found.forgotten:
        yield f"begun by an update that was cut, and forgotten: {', '.join(found.forgotten)}"


def _warnings(found: Adoption) -> Iterator[str]:
    for one in found.alike:
        yield (
            f"{one.kind} {one.id} ({printable(one.label)}) looks like this network's, and is in no "
            "state: see whose it is in Vultr's console"
        )


def held_by_plugin(document: Document) -> list[Resource]:
    """The plugin's resources in a state."""
    return [each for each in resources(document) if each["type"].startswith(PLUGIN)]


def adopt(document: Document, holdings: Holdings, identity: str) -> Adoption:
    """The state with our resources instead of the plugin's. ``identity`` becomes the network's,
    unless the state has one. SpecError where that is not possible."""
    _refuse(document)
    before = _Before(document, holdings, stated.identity(document) or identity)
    staying = [each for each in before.objects if reference(each) not in before.gone]
    if not staying:
        reason = f"none of the {len(before.objects)} objects of the state is in this account"
        raise SpecError(
            [Problem("vultr:apiKey", "[secret]", reason, "give the key of their account")]
        )
    change = StateChange(
        successors={reference(each): _successor(before, each) for each in staying},
        absorbed=_absorbed(before),
        added=() if stated.identity(document) else (before.marker,),
    )
    after = rewritten(document, change)
    after["deployment"]["resources"] = unused(after["deployment"]["resources"], PROVIDERS)
    return Adoption(
        document=after,
        identity=before.identity,
        taken=tuple(_taken(before, staying)),
        reverse=tuple(_name(each) for each in staying if before.kind(each) is None),
        rules=len(before.rules),
        gone=tuple(_name(each) for each in before.objects if reference(each) in before.gone),
        forgotten=_forget(after),
        alike=tuple(_alike(before)),
    )


class _Before:
    """A state of the plugin's, and the account."""

    def __init__(self, document: Document, holdings: Holdings, identity: str) -> None:
        self.identity = identity
        self.holdings = holdings
        self.all = resources(document)
        mine = held_by_plugin(document)
        self.rules = [each for each in mine if each["type"] == RULE]
        self.objects = [each for each in mine if each["type"] != RULE]
        self.there: dict[tuple[ObjectKind, str], Answer] = {
            (kind, held(kind, answer).id): answer for kind, answer in holdings.answers()
        }
        self.parents = {each["urn"]: each.get("parent") for each in self.all}
        self.provider = next(
            each["provider"] for each in self.all if each["type"].startswith(DYNAMIC)
        )
        self.marker = self._marker()
        self.gone = self._gone()

    def kind(self, resource: Resource) -> ObjectKind | None:
        """What a resource is at Vultr; None if it is no object of its own."""
        return TRANSLATIONS[resource["type"]].kind

    def answer(self, resource: Resource) -> Answer | None:
        """A resource's object in the account."""
        kind = self.kind(resource)
        return None if kind is None else self.there.get((kind, resource["id"]))

    def _gone(self) -> set[Reference]:
        """What the account does not have, and the reverse names of such servers."""
        gone = {
            reference(each)
            for each in self.objects
            if self.kind(each) is not None and self.answer(each) is None
        }
        staying = {each["urn"] for each in self.all if reference(each) not in gone}
        return gone | {
            reference(each)
            for each in self.objects
            if self.kind(each) is None and each.get("parent") not in staying
        }

    def _marker(self) -> dict[str, Any]:
        """The identity's resource, at its place in the program."""
        mesh = next(each["urn"] for each in self.all if each["type"] == MESH)
        base, _, _ = mesh.rpartition(f"::{MESH}::")
        provider = {PROVIDER_KEY: serialize_provider(IdentityProvider())}
        return {
            "urn": f"{base}::{MESH}${stated.IDENTITY}::{IDENTITY_NAME}",
            "custom": True,
            "id": self.identity,
            "type": stated.IDENTITY,
            "inputs": provider,
            "outputs": {**provider, "identity": self.identity},
            "parent": mesh,
            "provider": self.provider,
            "propertyDependencies": {PROVIDER_KEY: []},
        }

    def identity_urn(self) -> str:
        """The URN of the identity's resource, in the old state or in the new one."""
        found = (each["urn"] for each in self.all if each["type"] == stated.IDENTITY)
        return str(next(found, self.marker["urn"]))


def _refuse(document: Document) -> None:
    """SpecError for a state that this program does not make by the plugin."""
    types = {each["type"] for each in resources(document)}
    strange = sorted(
        type_ for type_ in types if type_.startswith(PLUGIN) and type_ not in (*TRANSLATIONS, RULE)
    )
    if strange:
        reason = "this program never made one by Vultr's plugin, and has no resource for it"
        cure = "take it out of the stack (`pulumi state delete`) and adopt again"
        raise SpecError([Problem("type", type_, reason, cure) for type_ in strange])
    if MESH not in types or not any(type_.startswith(DYNAMIC) for type_ in types):
        reason = "its first update ended before the operator's key was made"
        cure = "`mesh destroy` ends it; begin anew without the plugin"
        raise SpecError([Problem("state", "half made", reason, cure)])


def _successor(before: _Before, resource: Resource) -> Successor:
    translation = TRANSLATIONS[resource["type"]]
    inputs, needs = _inputs(before, resource, translation), {}
    if "identity" in inputs:
        needs["identity"] = [before.identity_urn()]
    if translation.kind is ObjectKind.GROUP:
        needs["rules"] = [
            urn for rule in _rules_of(before, resource["id"])
            for urn in (rule.get("propertyDependencies") or {}).get("subnet", ())
        ]  # fmt: skip
    named = f"{inputs.get('instance_id')}/{inputs.get('ip')}"
    return Successor(
        type=translation.ours,
        provider=before.provider,
        inputs=inputs,
        outputs={**inputs, **NONE, **_outputs(before.answer(resource))},
        keys=translation.keys,
        needs=needs,
        id=named if translation.kind is None else None,
    )


def _inputs(before: _Before, resource: Resource, translation: Translation) -> dict[str, Any]:
    old, keys = resource["inputs"], translation.keys
    inputs = {new: old[name] for name, new in keys.items() if name in old}
    inputs[PROVIDER_KEY] = serialize_provider(translation.provider())
    if translation.kind is not None:
        inputs["identity"] = before.identity
    if translation.kind in (*SERVERS, ObjectKind.ADDRESS):
        inputs["node"] = owner(resource["urn"], before.parents)
    if translation.kind in SERVERS:
        inputs["tags"] = list(old.get("tags") or ())
    if translation.kind is ObjectKind.GROUP:
        inputs["rules"] = [_rule(each["inputs"]) for each in _rules_of(before, resource["id"])]
    return inputs


def _rules_of(before: _Before, group: str) -> list[Resource]:
    """The rules of a group sorted by name, as the program passes them, without those that are yet
    to be deleted."""
    found = [
        each
        for each in before.rules
        if each["inputs"].get("firewallGroupId") == group and not each.get("delete")
    ]
    return sorted(found, key=lambda each: str(each["inputs"].get("notes", "")))


def _rule(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "notes": inputs.get("notes", ""),
        "family": 4 if inputs["ipType"] == "v4" else 6,
        "protocol": inputs["protocol"],
        "subnet": inputs["subnet"],
        "size": inputs["subnetSize"],
        "port": inputs.get("port", ""),
    }


def _outputs(answer: Answer | None) -> dict[str, str]:
    """The outputs that come from Vultr."""
    if isinstance(answer, Server):
        return {
            "ipv4": answer.ipv4,
            "ipv6": answer.v6_main_ip,
            "created": answer.date_created,
        }
    return {"ipv4": answer.subnet} if isinstance(answer, Address) else {}


def _absorbed(before: _Before) -> dict[Reference, str | None]:
    """What is left out: the objects that are gone, and the rules, each with its group."""
    groups = {
        each["id"]: each["urn"]
        for each in before.objects
        if before.kind(each) is ObjectKind.GROUP and reference(each) not in before.gone
    }
    return dict.fromkeys(before.gone) | {
        reference(rule): groups.get(rule["inputs"].get("firewallGroupId")) for rule in before.rules
    }


def _taken(before: _Before, staying: Iterable[Resource]) -> Iterator[Taken]:
    for each in staying:
        kind, answer = before.kind(each), before.answer(each)
        if kind is not None and answer is not None:
            inputs = _inputs(before, each, TRANSLATIONS[each["type"]])
            mark = stated.mark(before.identity, kind, inputs)
            yield Taken(_name(each), held(kind, answer), mark, tuple(inputs.get("tags", ())))


def _forget(document: dict[str, Any]) -> tuple[str, ...]:
    """Drop the plugin's unfinished creations; returns their names."""
    pending = document["deployment"].get("pending_operations") or []
    begun = [each for each in pending if each["resource"]["type"].startswith(PLUGIN)]
    if begun:
        document["deployment"]["pending_operations"] = [
            each for each in pending if each not in begun
        ]
    return tuple(_name(each["resource"]) for each in begun)


def _alike(before: _Before) -> Iterator[AccountObject]:
    """Objects that the plugin may have left: labelled as this network's, and in no state."""
    stack = str(before.marker["urn"]).split(":")[2]
    nodes = {owner(each["urn"], before.parents) for each in before.all}
    ids = {each.get("id") for each in before.all}
    for one in before.holdings.all():
        named = one.label in nodes or one.label.startswith(f"{TAG} {stack}")
        if named and one.mark is None and one.id not in ids:
            yield one


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["urn"]).rpartition("::")[2]
