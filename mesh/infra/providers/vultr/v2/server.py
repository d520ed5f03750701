"""Servers of both kinds: finding one that was left behind, comparing it with what is wanted, and
waiting until it is ready."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from mesh.infra.providers.vultr.v2 import errors
from mesh.infra.providers.vultr.v2.answers import Address, BareMetal, Instance, Server, Upgrades
from mesh.infra.providers.vultr.v2.client import Client
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.mark import Mark
from mesh.infra.providers.vultr.v2.waiting import Observed, Progress, until
from mesh.spec.problems import Problem, shown

S = TypeVar("S", bound=Server)
T = TypeVar("T")

STRAYS = "`mesh strays --stack STACK --remove`"

COUNTED = 300.0
"""Seconds for which a deleted server may count against a limit of the account. Vultr says nothing
of it; users' scripts for replacements report some minutes."""
FREED = 180.0
"""Seconds until a deleted server releases its address and firewall group, at most."""
DDOS, IPV6 = "ddos_protection", "ipv6"
"""Values of ``features``."""
PENDING, ACTIVE, SUSPENDED = "pending", "active", "suspended"
"""Values of ``status``; any other is waited for to pass."""
STOPPED = "stopped"
"""A value of ``power_status``; any other counts as running."""


@dataclass(frozen=True, slots=True)
class ServerApi(Generic[S]):
    """A kind of server in the API; ``bound`` is how many seconds its creation may take."""

    path: str
    name: str
    model: type[S]
    bound: float


INSTANCE = ServerApi("/instances", "instance", Instance, 600.0)
BARE_METAL = ServerApi("/bare-metals", "bare_metal", BareMetal, 1800.0)


@dataclass(frozen=True)
class Wanted:
    """A wanted server, in Vultr's ids. ``tags`` include the mark's; ``group`` is None for bare
    metal, which has no provider's firewall. ``user_data`` is text, and secret. ``script`` is the
    startup script, None for none."""

    mark: Mark
    label: str
    hostname: str
    region: str
    plan: str
    os_id: int
    address: str
    ssh_keys: Sequence[str]
    ipv6: bool
    ddos: bool
    group: str | None
    tags: tuple[str, ...]
    user_data: str
    script: str | None = None

    def body(self) -> dict[str, Any]:
        """The body of the POST."""
        body: dict[str, Any] = {
            "region": self.region,
            "plan": self.plan,
            "os_id": self.os_id,
            "reserved_ipv4": self.address,
            "label": self.label,
            "hostname": self.hostname,
            "tags": list(self.tags),
            "sshkey_id": list(self.ssh_keys),
            "enable_ipv6": self.ipv6,
            "user_data": base64.b64encode(self.user_data.encode()).decode(),
            "activation_email": False,
        }
        if self.script is not None:
            body["script_id"] = self.script
        if self.group is not None:
            body |= {
                "firewall_group_id": self.group,
                "backups": "disabled",
                "ddos_protection": self.ddos,
            }
        return body


def left_behind(listed: Iterable[S], mark: Mark) -> S | None:
    """The server with this mark, the oldest of them."""
    own = [each for each in listed if Mark.read_tags(each.tags) == mark]
    return min(own, key=lambda each: (each.date_created, each.id), default=None)


def refuse_misfit(client: Client, kind: ServerApi[S], found: S, wanted: Wanted) -> None:
    """A server that an earlier run has left behind can be adopted if it was created as this one
    would be; else ApiError. It is not deleted here: it may be in use, by a network whose state is
    lost."""
    differs = [
        name
        for name, its, ours in (
            ("region", found.region, wanted.region),
            ("image", found.os_id, wanted.os_id),
            ("plan", found.plan, wanted.plan if kind.model is BareMetal else found.plan),
            ("user data", _user_data(client, kind, found.id), wanted.user_data),
        )
        if its is not None and its != ours
    ]
    if differs:
        reason = (
            f"an earlier run has left a server with this node's mark and another "
            f"{' and '.join(differs)} (id {found.id})"
        )
        cure = f"{STRAYS} deletes it (see that it is not in use); then run `pulumi up` again"
        raise ApiError("foreign", Problem(f"mesh:nodes.{wanted.mark.node}", found.id, reason, cure))


def _user_data(client: Client, kind: ServerApi[S], identity: str) -> str | None:
    """The user data of a server; None where Vultr does not answer them."""
    try:
        encoded = client.user_data(f"{kind.path}/{identity}").data
    except ApiError as error:
        if error.kind not in ("gone", "refused"):
            raise
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def until_free(client: Client, address: str, what: str, progress: Progress) -> None:
    """Wait until no server holds a reserved address: a deleted one releases it after a while, an
    existing one is an ApiError."""

    def look() -> Observed[bool]:
        held = client.get(f"/reserved-ips/{address}", "reserved_ip", Address)
        if not held.instance_id:
            return Observed("free", True)
        _refuse_living(client, held)
        return Observed(f"its address {held.subnet} is still at the server before")

    until(look, what, FREED, progress, at_once=True)


def _refuse_living(client: Client, held: Address) -> None:
    """ApiError where the server that holds an address is still listed."""
    listed: tuple[Server, ...] = (*client.instances(), *client.bare_metals())
    holder = next((each for each in listed if each.id == held.instance_id), None)
    if holder is not None:
        reason = f"its address is attached to the server {shown(holder.label)} (id {holder.id})"
        cure = "detach it in Vultr's console, or delete that server, and run `pulumi up` again"
        raise ApiError("foreign", Problem(held.id, held.subnet, reason, cure))


def refuse_suspended(found: Server, node: str) -> None:
    """ApiError where Vultr has suspended a server, which cannot be changed then."""
    if found.status == SUSPENDED:
        cure = "see the account's billing and tickets, and run `pulumi up` again"
        problem = Problem(node, found.id, f"Vultr has suspended it (id {found.id})", cure)
        raise ApiError("refused", problem)


def until_ready(
    client: Client, kind: ServerApi[S], identity: str, wanted: Wanted, progress: Progress
) -> S:
    """Wait until a server runs on the wanted plan, and its addresses are known."""

    def look() -> Observed[S]:
        found = client.get(f"{kind.path}/{identity}", kind.name, kind.model)
        lacks = _lacks(found, wanted)
        return Observed(lacks) if lacks else Observed("ready", found)

    node = wanted.mark.node
    cure = (
        "look at it in Vultr's console; `pulumi up` waits for it again, and after "
        f"{STRAYS} makes {node} anew"
    )
    return until(look, node, kind.bound, progress, cure=cure)


def within_limit(make: Callable[[], T], what: str, deleted: float | None, progress: Progress) -> T:
    """What ``make`` makes. Where a limit of the account refuses it, that is repeated while a server
    that was deleted at ``deleted`` (monotonic seconds, None for none) may still count."""
    left = 0.0 if deleted is None else deleted + COUNTED - time.monotonic()
    if left <= 0:
        return make()

    def look() -> Observed[T]:
        try:
            return Observed("made", make())
        except ApiError as error:
            if error.kind != "limit":
                raise
            return Observed(f"{error.problem.reason}; the server just deleted may still count")

    return until(look, what, left, progress, at_once=True, goal="made", cure=errors.LIMITS)


def _lacks(found: Server, wanted: Wanted) -> str:
    """Why a server is not ready; empty where it is."""
    if found.status != ACTIVE:
        return found.status
    if isinstance(found, Instance) and found.power_status == STOPPED:
        return "active, and powered off"
    if found.plan != wanted.plan:
        return f"still of the plan {found.plan}"
    if not found.ipv4:
        return "active, without an IPv4 address"
    if wanted.ipv6 and not found.v6_main_ip:
        return "active, without an IPv6 address"
    return ""


def changes(found: Server, wanted: Wanted) -> dict[str, Any]:
    """The body of the PATCH; IPv6 is only switched on, since Vultr cannot switch it off."""
    body: dict[str, Any] = {}
    if found.label != wanted.label:
        body["label"] = wanted.label
    if set(found.tags) != set(wanted.tags):
        body["tags"] = list(wanted.tags)
    if found.plan != wanted.plan:
        body["plan"] = wanted.plan
    if wanted.ipv6 and IPV6 not in found.features:
        body["enable_ipv6"] = True
    if isinstance(found, Instance):
        if found.firewall_group_id != wanted.group:
            body["firewall_group_id"] = wanted.group
        if (DDOS in found.features) != wanted.ddos:
            body["ddos_protection"] = wanted.ddos
    return body


def change(client: Client, path: str, body: dict[str, Any], node: str) -> None:
    """Send the PATCH. Where Vultr refuses the plan, the error says how to have it."""
    try:
        client.send("PATCH", path, body)
    except ApiError as error:
        if error.kind != "refused" or "plan" not in body or "plan" not in error.problem.reason:
            raise
        raise ApiError("plan", replace(error.problem, cure=other_plan(node))) from None


def refuse_plan(client: Client, identity: str, plan: str, node: str) -> None:
    """ApiError where Vultr does not offer this plan to an instance that exists: a smaller one never
    (docs.vultr.com, "How to Resize"). Where it offers none at all, one with a smaller disk."""
    path = f"{INSTANCE.path}/{identity}"
    found = client.get(path, INSTANCE.name, Instance)
    if found.plan == plan:
        return
    offered = client.get(f"{path}/upgrades", "upgrades", Upgrades).plans
    if plan in offered:
        return
    if offered:
        why = f"it offers {', '.join(sorted(offered))}"
    elif any(each.id == plan and 0 < each.disk < found.disk for each in client.plans()):
        why = "its disk is larger"
    else:
        return
    reason = f"Vultr does not change a server of the plan {found.plan} to this one: {why}"
    raise ApiError("plan", Problem(node, plan, reason, other_plan(node)))


def other_plan(node: str) -> str:
    """What to do where Vultr does not change a server's plan."""
    return (
        f"keep its plan (mesh:nodes.{node}.plan), or `mesh replace {node}` makes a new server of "
        f"the new plan; nodes whose turn comes later keep theirs until then"
    )


def drift(found: Server, wanted: Wanted, held: Address | None) -> list[str]:
    """The differences that an update repairs, as texts; ``held`` is the server's reserved address,
    None where that is not known."""
    texts = {
        "label": f"its label is {shown(found.label)}, not {wanted.label}",
        "tags": f"its tags are {shown(', '.join(found.tags))}, not {', '.join(wanted.tags)}",
        "plan": f"its plan is {shown(found.plan)}, not {wanted.plan}",
        "enable_ipv6": "its IPv6 is off",
        "firewall_group_id": "it is not behind its firewall group",
        "ddos_protection": f"its DDoS protection is {'off' if wanted.ddos else 'on'}",
    }
    differences = [texts[key] for key in changes(found, wanted)]
    if isinstance(found, Instance) and found.power_status == STOPPED:
        differences.append("it is powered off")
    if held is not None and held.instance_id != found.id:
        differences.append(f"its address {held.subnet} is not attached to it")
    return differences


def beyond_repair(found: Server, wanted: Wanted, held: Address | None) -> list[str]:
    """The differences that no update repairs, with what to do about them."""
    differences = []
    if found.os_id != wanted.os_id:
        differences.append(
            f"it was reinstalled with another image ({found.os_id}, not {wanted.os_id}), and is "
            f"not the node that joined; `mesh replace {wanted.mark.node}` makes it anew"
        )
    if found.status == SUSPENDED:
        differences.append("Vultr has suspended it; see the account's billing and tickets")
    attached = held is not None and held.instance_id == found.id
    if held is not None and attached and found.ipv4 and found.ipv4 != held.subnet:
        differences.append(
            f"its main address is {found.ipv4}, not {held.subnet}; "
            f"`mesh replace {wanted.mark.node}` makes it anew"
        )
    return differences


def start(client: Client, found: Server) -> None:
    """Switch on an instance that is off."""
    if isinstance(found, Instance) and found.power_status == STOPPED:
        client.send("POST", f"{INSTANCE.path}/{found.id}/start")


def attach(client: Client, server: str, wanted: Wanted, progress: Progress) -> None:
    """Attach the reserved address to a server that has lost it."""
    path = f"/reserved-ips/{wanted.address}"
    held = client.get(path, "reserved_ip", Address)
    if held.instance_id == server:
        return
    until_free(client, wanted.address, wanted.mark.node, progress)
    client.send("POST", f"{path}/attach", {"instance_id": server})

    def look() -> Observed[bool]:
        at = client.get(path, "reserved_ip", Address).instance_id
        return (
            Observed("attached", True)
            if at == server
            else Observed("its address is not attached yet")
        )

    until(look, wanted.mark.node, FREED, progress, at_once=True)


def delete(
    client: Client, kind: ServerApi[Any], identity: str, node: str, progress: Progress
) -> None:
    """Delete a server if it is there. Vultr deletes none that is locked or pending, so that this is
    repeated for as long as a creation may take."""

    cure = (
        f"see in Vultr's console what locks it (id {identity}), and run the same again; if {node} "
        f"is to stay, it is drained until `mesh replace {node}` or `mesh undrain {node}`"
    )
    until(
        lambda: deletion(client, f"{kind.path}/{identity}"),
        node,
        kind.bound,
        progress,
        at_once=True,
        goal="deleted",
        cure=cure,
    )


def deletion(client: Client, path: str) -> Observed[bool]:
    """Send the DELETE: there is a value once the object is gone, and none while it is locked."""
    try:
        client.send("DELETE", path)
    except ApiError as error:
        if error.kind == "gone":
            return Observed("gone", True)
        if error.kind == "locked":
            return Observed(error.problem.reason)
        raise
    return Observed("deleted", True)


def until_unlisted(
    listed: Callable[[], Iterable[S]], identity: str, what: str, progress: Progress
) -> None:
    """Wait until a deleted server is no longer listed. While it is listed it would be taken for one
    that an earlier run has left behind; and a 404 may be about the path, not the server."""

    def look() -> Observed[bool]:
        found = next((each for each in listed() if each.id == identity), None)
        return (
            Observed("gone", True)
            if found is None
            else Observed(f"deleted, and still {found.status}")
        )

    until(look, what, FREED, progress, at_once=True)
