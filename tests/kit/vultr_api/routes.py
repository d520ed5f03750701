"""The routes of the API that the program uses: a method and a path, and what is done."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network

from tests.kit.vultr_api.account import MAX_RULES, Vultr
from tests.kit.vultr_api.faults import Answer, Refused
from tests.kit.vultr_api.objects import (
    Address,
    Group,
    Key,
    Record,
    Rule,
    Script,
    Server,
    is_base64,
)

NOT_FOUND = Refused("Not found.", 404)
PER_PAGE = 100


@dataclass(frozen=True)
class Request:
    """What was asked: the parts of the path that vary, the query, the body."""

    vultr: Vultr
    parts: tuple[str, ...]
    query: Mapping[str, str]
    body: Record

    def text(self, name: str, otherwise: str = "") -> str:
        """A field of the body as text."""
        found = self.body.get(name)
        return otherwise if found is None else str(found)


Handler = Callable[[Request], Answer]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Serve a method on a path; ``*`` is any one part of it."""

    def add(handler: Handler) -> Handler:
        pattern = re.compile(re.escape(path).replace(r"\*", "([^/]+)"))
        ROUTES.append((method, pattern, handler))
        return handler

    return add


def answer(vultr: Vultr, method: str, path: str, query: Mapping[str, str], body: Record) -> Answer:
    """Do what is asked for, and say so."""
    others = False
    for wanted, pattern, handler in ROUTES:
        found = pattern.fullmatch(path)
        if found is None:
            continue
        if wanted == method:
            with vultr.lock:
                vultr.settle()
                return handler(Request(vultr, found.groups(), query, body))
        others = True
    raise Refused("Method not allowed.", 405) if others else NOT_FOUND


def paged(request: Request, name: str, rows: Iterable[Record]) -> Answer:
    """A page of a list. Cursors are opaque to whoever asks."""
    every = list(rows)
    size = min(int(request.query.get("per_page") or PER_PAGE), request.vultr.knobs.page)
    start = _position(request.query.get("cursor", ""))
    after, before = start + size, start - size
    links = {
        "next": f"next__{after}" if after < len(every) else "",
        "prev": f"prev__{max(0, before)}" if start else "",
    }
    meta = {"total": len(every), "links": links}
    return Answer(200, {name: every[start : start + size], "meta": meta})


def _position(cursor: str) -> int:
    if not cursor:
        return 0
    word, _, number = cursor.partition("__")
    if word not in ("next", "prev") or not number.isdigit():
        raise Refused("Invalid cursor.")
    return int(number)


# The account and what is on offer.


@route("GET", "/account")
def _account(request: Request) -> Answer:
    return Answer(200, {"account": {
        "name": "Tests", "email": "tests@example.net", "acls": ["root"], "balance": -100.0,
        "pending_charges": 1.5, "last_payment_date": "2026-01-01T00:00:00+00:00",
        "last_payment_amount": -100.0,
    }})  # fmt: skip


@route("GET", "/account/bgp")
def _bgp(request: Request) -> Answer:
    return Answer(200, {"bgp_info": request.vultr.bgp})


@route("GET", "/regions")
def _regions(request: Request) -> Answer:
    return paged(request, "regions", request.vultr.regions)


@route("GET", "/os")
def _images(request: Request) -> Answer:
    return paged(request, "os", request.vultr.images)


@route("GET", "/plans")
def _plans(request: Request) -> Answer:
    kind = request.query.get("type", "")
    rows = (row for row in request.vultr.plans if kind in ("", "all", row["type"]))
    return paged(request, "plans", rows)


@route("GET", "/plans-metal")
def _metal_plans(request: Request) -> Answer:
    return paged(request, "plans_metal", request.vultr.metal_plans)


# SSH keys.


def _key(request: Request) -> Key:
    found = request.vultr.keys.get(request.parts[0])
    if found is None:
        raise Refused("Invalid SSH Key ID.", 404)
    return found


@route("GET", "/ssh-keys")
def _list_keys(request: Request) -> Answer:
    return paged(request, "ssh_keys", (one.shown() for one in request.vultr.keys.values()))


@route("POST", "/ssh-keys")
def _create_key(request: Request) -> Answer:
    vultr = request.vultr
    _within(vultr, "keys", len(vultr.keys), "SSH Key limit reached")
    if not request.text("name"):
        raise Refused("Unable to create SSH Key: name is required")
    _check_key(request.text("ssh_key"))
    one = Key(vultr.new_id(), vultr.now(), request.text("name"), request.text("ssh_key"))
    vultr.keys[one.id] = one
    return Answer(201, {"ssh_key": one.shown()})


def _check_key(text: str) -> None:
    if not re.match(r"(ssh-|ecdsa-|sk-)\S+ \S+", text):
        raise Refused("Unable to create SSH Key: Invalid SSH key format")


@route("GET", "/ssh-keys/*")
def _get_key(request: Request) -> Answer:
    return Answer(200, {"ssh_key": _key(request).shown()})


@route("PATCH", "/ssh-keys/*")
def _patch_key(request: Request) -> Answer:
    one = _key(request)
    if "ssh_key" in request.body:
        _check_key(request.text("ssh_key"))
    one.name = request.text("name", one.name)
    one.ssh_key = request.text("ssh_key", one.ssh_key)
    return Answer(204)


@route("DELETE", "/ssh-keys/*")
def _delete_key(request: Request) -> Answer:
    del request.vultr.keys[_key(request).id]
    return Answer(204)


# Startup scripts (govultr, startup_script.go).


def _script(request: Request) -> Script:
    found = request.vultr.scripts.get(request.parts[0])
    if found is None:
        raise Refused("Invalid startup script ID.", 404)
    return found


def _check_script(text: str) -> None:
    if not text or not is_base64(text):
        raise Refused("Unable to create script: Invalid script, it must be base64 encoded")


@route("GET", "/startup-scripts")
def _list_scripts(request: Request) -> Answer:
    rows = (one.shown() for one in request.vultr.scripts.values())
    return paged(request, "startup_scripts", rows)


@route("POST", "/startup-scripts")
def _create_script(request: Request) -> Answer:
    vultr, kind = request.vultr, request.text("type", "boot")
    if not request.text("name") or kind not in ("boot", "pxe"):
        raise Refused("Unable to create script: Invalid name or type")
    _check_script(request.text("script"))
    now = vultr.now()
    one = Script(vultr.new_id(), now, now, request.text("name"), kind, request.text("script"))
    vultr.scripts[one.id] = one
    return Answer(201, {"startup_script": one.shown() | {"script": one.script}})


@route("GET", "/startup-scripts/*")
def _get_script(request: Request) -> Answer:
    one = _script(request)
    return Answer(200, {"startup_script": one.shown() | {"script": one.script}})


@route("PATCH", "/startup-scripts/*")
def _patch_script(request: Request) -> Answer:
    one = _script(request)
    if "script" in request.body:
        _check_script(request.text("script"))
    one.name = request.text("name", one.name)
    one.script = request.text("script", one.script)
    one.modified = request.vultr.now()
    return Answer(204)


@route("DELETE", "/startup-scripts/*")
def _delete_script(request: Request) -> Answer:
    del request.vultr.scripts[_script(request).id]
    return Answer(204)


# Reserved addresses.


def _address(request: Request) -> Address:
    found = request.vultr.addresses.get(request.parts[0])
    if found is None:
        raise Refused("Invalid reserved-ip ID.", 404)
    return found


@route("GET", "/reserved-ips")
def _list_addresses(request: Request) -> Answer:
    rows = (one.shown() for one in request.vultr.addresses.values())
    return paged(request, "reserved_ips", rows)


@route("POST", "/reserved-ips")
def _create_address(request: Request) -> Answer:
    vultr, region = request.vultr, request.text("region")
    if region not in {row["id"] for row in vultr.regions}:
        raise Refused("Invalid region.")
    if request.text("ip_type") not in ("v4", "v6"):
        raise Refused("Invalid IP type.")
    _within(vultr, "addresses", len(vultr.addresses), "Reserved IP limit reached")
    number, identity = vultr.count(), vultr.new_id()
    v4 = request.text("ip_type") == "v4"
    label, machines = request.text("label"), vultr.machines
    subnet = machines.address(number, region, label) if v4 else machines.ipv6(number, region, "")[0]
    one = Address(identity, region, request.text("ip_type"), subnet, 32 if v4 else 64, label)
    vultr.addresses[identity] = one
    return Answer(201, {"reserved_ip": one.shown()})


@route("GET", "/reserved-ips/*")
def _get_address(request: Request) -> Answer:
    return Answer(200, {"reserved_ip": _address(request).shown()})


@route("PATCH", "/reserved-ips/*")
def _patch_address(request: Request) -> Answer:
    one = _address(request)
    one.label = request.text("label", one.label)
    return Answer(204)


@route("DELETE", "/reserved-ips/*")
def _delete_address(request: Request) -> Answer:
    one = _address(request)
    if one.instance:
        raise Refused("Unable to detach subnet, please restart your server from the control panel")
    del request.vultr.addresses[one.id]
    request.vultr.machines.released(one.subnet)
    return Answer(204)


@route("POST", "/reserved-ips/*/attach")
def _attach(request: Request) -> Answer:
    one, server = _address(request), request.vultr.servers.get(request.text("instance_id"))
    if server is None:
        raise Refused("Invalid instance ID.", 404)
    if one.instance:
        raise Refused("IP is already attached to a server")
    if one.region != server.region:
        raise Refused("The reserved IP is in another region than the server")
    one.instance = server.id
    return Answer(204)


@route("POST", "/reserved-ips/*/detach")
def _detach(request: Request) -> Answer:
    one = _address(request)
    if not one.instance:
        raise Refused("IP is not attached to a server")
    request.vultr.detach(one)
    return Answer(204)


# Firewall groups and their rules.


def _group(request: Request) -> Group:
    found = request.vultr.groups.get(request.parts[0])
    if found is None:
        raise Refused("Firewall group not found.", 404)
    return found


@route("GET", "/firewalls")
def _list_groups(request: Request) -> Answer:
    vultr = request.vultr
    rows = (vultr.shown_group(one) for one in vultr.groups.values())
    return paged(request, "firewall_groups", rows)


@route("POST", "/firewalls")
def _create_group(request: Request) -> Answer:
    vultr = request.vultr
    _within(vultr, "groups", len(vultr.groups), "Firewall group limit reached")
    one = Group(vultr.new_id(), vultr.now(), vultr.now(), request.text("description"))
    vultr.groups[one.id] = one
    return Answer(201, {"firewall_group": vultr.shown_group(one)})


@route("GET", "/firewalls/*")
def _get_group(request: Request) -> Answer:
    return Answer(200, {"firewall_group": request.vultr.shown_group(_group(request))})


@route("PUT", "/firewalls/*")
def _put_group(request: Request) -> Answer:
    one = _group(request)
    one.description, one.modified = request.text("description"), request.vultr.now()
    return Answer(204)


@route("DELETE", "/firewalls/*")
def _delete_group(request: Request) -> Answer:
    one, vultr = _group(request), request.vultr
    if any(server.firewall_group == one.id for server in vultr.servers.values()):
        raise Refused("Unable to delete firewall group: it is in use by an instance")
    del vultr.groups[one.id]
    return Answer(204)


@route("GET", "/firewalls/*/rules")
def _list_rules(request: Request) -> Answer:
    filled = request.vultr.knobs.filled
    rows = (one.shown(filled) for one in _group(request).rules.values())
    return paged(request, "firewall_rules", rows)


@route("POST", "/firewalls/*/rules")
def _create_rule(request: Request) -> Answer:
    group = _group(request)
    ip_type, protocol = request.text("ip_type"), request.text("protocol").lower()
    if ip_type not in ("v4", "v6"):
        raise Refused("Unable to create firewall rule: invalid ip_type")
    if protocol not in ("icmp", "tcp", "udp", "gre", "esp", "ah"):
        raise Refused("Unable to create firewall rule: invalid protocol")
    try:
        network = ip_network(f"{request.text('subnet')}/{request.text('subnet_size')}")
    except ValueError:
        raise Refused("Unable to create firewall rule: invalid subnet") from None
    if isinstance(network, IPv4Network) != (ip_type == "v4"):
        raise Refused("Unable to create firewall rule: invalid subnet")
    number = max(group.rules, default=0) + 1
    one = Rule(
        number, ip_type, protocol, request.text("port"), str(network.network_address),
        network.prefixlen, request.text("source"), request.text("notes"),
    )  # fmt: skip
    if any(one.same(other) for other in group.rules.values()):
        raise Refused("Unable to create firewall rule: This rule is already defined")
    if len(group.rules) >= MAX_RULES:
        raise Refused("Unable to create firewall rule: maximum number of rules reached")
    group.rules[number], group.modified = one, request.vultr.now()
    return Answer(201, {"firewall_rule": one.shown(request.vultr.knobs.filled)})


def _rule(request: Request) -> Rule:
    number = request.parts[1]
    found = _group(request).rules.get(int(number)) if number.isdigit() else None
    if found is None:
        raise Refused("Firewall rule ID not found.", 404)
    return found


@route("GET", "/firewalls/*/rules/*")
def _get_rule(request: Request) -> Answer:
    filled = request.vultr.knobs.filled
    return Answer(200, {"firewall_rule": _rule(request).shown(filled)})


@route("DELETE", "/firewalls/*/rules/*")
def _delete_rule(request: Request) -> Answer:
    del _group(request).rules[_rule(request).id]
    return Answer(204)


# Servers: instances, and bare metal by the same code where the API is the same.


def _server(request: Request, metal: bool) -> Server:
    found = request.vultr.servers.get(request.parts[0])
    if found is None or found.metal != metal:
        if request.vultr.knobs.gone == "old":
            raise Refused("Invalid bare metal ID." if metal else "invalid instance ID", 400)
        raise Refused("bare metal server not found" if metal else "instance not found", 404)
    return found


def _list_servers(request: Request, metal: bool) -> Answer:
    vultr, query = request.vultr, request.query
    name = "bare_metals" if metal else "instances"
    rows = (
        vultr.shown(one)
        for one in vultr.servers.values()
        if one.metal == metal and (metal or _wanted(one, query))
    )
    return paged(request, name, rows)


def _wanted(server: Server, query: Mapping[str, str]) -> bool:
    """The filters of ``GET /instances``."""
    return all((
        query.get("label", server.label) == server.label,
        "tag" not in query or query["tag"] in server.tags,
        query.get("region", server.region) == server.region,
        query.get("main_ip", server.main_ip) == server.main_ip,
        query.get("hostname", server.hostname) == server.hostname,
        query.get("firewall_group_id", server.firewall_group) == server.firewall_group,
    ))  # fmt: skip


def _create_server(request: Request, metal: bool) -> Answer:
    vultr, body = request.vultr, request.body
    kind = "bare metal" if metal else "instances"
    count = sum(one.metal == metal for one in vultr.servers.values())
    _within(vultr, kind, count, "Server add failed: Instance limit reached")
    _check_server(request, metal)
    _check_fee(request, metal)
    address = vultr.addresses.get(request.text("reserved_ipv4"))
    number, identity = vultr.count(), vultr.new_id()
    region, group = request.text("region"), "" if metal else request.text("firewall_group_id")
    main_ip = address.subnet if address else vultr.machines.address(number, region, "")
    network6, main6 = vultr.machines.ipv6(number, region, main_ip)
    server = Server(
        id=identity, metal=metal, created=vultr.now(), born=vultr.clock(),
        region=region, plan=request.text("plan"), os_id=int(body["os_id"]),
        label=request.text("label"), hostname=request.text("hostname"),
        tags=[str(tag) for tag in body.get("tags") or ()],
        address=address.id if address else "",
        main_ip=main_ip,
        enable_ipv6=body.get("enable_ipv6") is True,
        v6_network=network6, v6_main_ip=main6, firewall_group=group,
        ssh_keys=tuple(body.get("sshkey_id") or ()), user_data=request.text("user_data"),
        ddos_protection=body.get("ddos_protection") is True,
        password=f"default-password-of-{identity}",
        activation_email=body.get("activation_email", True) is not False,
        script=request.text("script_id"),
    )  # fmt: skip
    if address:
        address.instance = server.id
    vultr.servers[server.id] = server
    vultr.machines.boot(server)
    shown = vultr.shown(server) | {"default_password": server.password}
    return Answer(202, {"bare_metal" if metal else "instance": shown})


def _check_server(request: Request, metal: bool) -> None:
    """What the API refuses of a new server."""
    vultr, body = request.vultr, request.body
    region, plan = request.text("region"), request.text("plan")
    rows = {row["id"]: row for row in (vultr.metal_plans if metal else vultr.plans)}
    if region not in {row["id"] for row in vultr.regions}:
        raise Refused("Server add failed: Invalid region.")
    if plan not in rows:
        raise Refused("Server add failed: Invalid plan.")
    if region not in rows[plan]["locations"] or (region, plan) in vultr.sold_out:
        raise Refused("Server add failed: This plan is not available in the selected datacenter")
    if body.get("os_id") not in {row["id"] for row in vultr.images}:
        raise Refused("Cannot add instance. Invalid os_id")
    if request.text("user_data") and not is_base64(request.text("user_data")):
        raise Refused("Server add failed: Invalid user-data, it must be base64 encoded")
    if any(key not in vultr.keys for key in body.get("sshkey_id") or ()):
        raise Refused("Server add failed: Invalid SSH key")
    if body.get("script_id") and request.text("script_id") not in vultr.scripts:
        raise Refused("Server add failed: Invalid script ID")
    group = request.text("firewall_group_id")
    if not metal and group and group not in vultr.groups:
        raise Refused("Server add failed: Invalid firewall group")
    if body.get("ddos_protection") and not _shielded(vultr, region):
        raise Refused("Server add failed: DDOS protection is not available in this region")
    wanted = request.text("reserved_ipv4")
    address = vultr.addresses.get(wanted)
    if wanted and (address is None or address.region != region):
        raise Refused("Server add failed: Invalid reserved IP")
    if address is not None and address.instance:
        raise Refused(
            "Server add failed: Floating IPv4 address is already attached to another server"
        )


def _check_fee(request: Request, metal: bool) -> None:
    """The limit of the account's monthly fee, as users quote its refusal."""
    vultr = request.vultr
    rows = vultr.metal_plans if metal else vultr.plans
    (fee,) = (row["monthly_cost"] for row in rows if row["id"] == request.text("plan"))
    if vultr.fees() + fee > vultr.quotas.get("monthly fee", math.inf):
        raise Refused(
            "Server add failed: You have reached the maximum monthly fee limit for this account. "
            "To deploy additional services, please request a limit increase."
        )


def _shielded(vultr: Vultr, region: str) -> bool:
    return any(row["id"] == region and "ddos_protection" in row["options"]
               for row in vultr.regions)  # fmt: skip


def _patch_server(request: Request, metal: bool) -> Answer:
    vultr, body, one = request.vultr, request.body, _server(request, metal)
    _check_patch(request, one)
    one.label = request.text("label", one.label)
    one.plan = request.text("plan", one.plan)
    one.user_data = request.text("user_data", one.user_data)
    if body.get("tags") is not None:
        one.tags = [str(tag) for tag in body["tags"]]
    if body.get("enable_ipv6") is not None:
        one.enable_ipv6 = body["enable_ipv6"] is True
    if body.get("ddos_protection") is not None:
        one.ddos_protection = body["ddos_protection"] is True
    if body.get("firewall_group_id") is not None and not metal:
        one.firewall_group = request.text("firewall_group_id")
    if body.get("os_id") is not None and body["os_id"] != one.os_id:
        # A change of the image is a reinstallation.
        one.os_id, one.reinstalled = int(body["os_id"]), one.reinstalled + 1
    return Answer(202, {"bare_metal" if metal else "instance": vultr.shown(one)})


def _check_patch(request: Request, one: Server) -> None:
    vultr, body = request.vultr, request.body
    plan = body.get("plan")
    if plan is not None and plan != one.plan:
        rows = {row["id"]: row for row in (vultr.metal_plans if one.metal else vultr.plans)}
        if one.metal or plan not in rows or one.region not in rows[plan]["locations"]:
            raise Refused("Unable to upgrade plan: Invalid plan.")
        if rows[plan]["disk"] < vultr.plan(one)["disk"] and not vultr.knobs.downgrades:
            raise Refused("Unable to upgrade plan: a smaller plan cannot be chosen")
    group = request.text("firewall_group_id")
    if group and group not in vultr.groups:
        raise Refused("Invalid firewall group.", 404)
    if body.get("os_id") is not None and body["os_id"] not in {r["id"] for r in vultr.images}:
        raise Refused("Invalid os_id")
    if body.get("ddos_protection") and not _shielded(vultr, one.region):
        raise Refused("DDOS protection is not available in this region")


@route("GET", "/instances/*/upgrades")
def _upgrades(request: Request) -> Answer:
    """The form is govultr's (instance.go)."""
    one, vultr = _server(request, False), request.vultr
    disk = 0 if vultr.knobs.downgrades else vultr.plan(one)["disk"]
    plans = [
        row["id"]
        for row in vultr.plans
        if row["id"] != one.plan and row["disk"] >= disk and one.region in row["locations"]
    ]
    return Answer(200, {"upgrades": {"applications": [], "os": [], "plans": plans}})


def _power(request: Request, metal: bool, on: bool) -> Answer:
    one = _server(request, metal)
    one.running = on
    request.vultr.machines.power(one, on)
    return Answer(204)


def _within(vultr: Vultr, kind: str, count: int, said: str) -> None:
    """A quota."""
    limit = vultr.quotas.get(kind)
    if limit is not None and count >= limit:
        raise Refused(said)


def _serve(path: str, metal: bool) -> None:
    """The routes that instances and bare metal share."""
    name = "bare_metal" if metal else "instance"

    @route("GET", path)
    def _list(request: Request) -> Answer:
        return _list_servers(request, metal)

    @route("POST", path)
    def _create(request: Request) -> Answer:
        return _create_server(request, metal)

    @route("GET", f"{path}/*")
    def _get(request: Request) -> Answer:
        return Answer(200, {name: request.vultr.shown(_server(request, metal))})

    @route("PATCH", f"{path}/*")
    def _patch(request: Request) -> Answer:
        return _patch_server(request, metal)

    @route("DELETE", f"{path}/*")
    def _delete(request: Request) -> Answer:
        request.vultr.destroy(_server(request, metal))
        return Answer(204)

    @route("GET", f"{path}/*/user-data")
    def _user_data(request: Request) -> Answer:
        return Answer(200, {"user_data": {"data": _server(request, metal).user_data}})

    @route("POST", f"{path}/*/start")
    def _start(request: Request) -> Answer:
        return _power(request, metal, True)

    @route("POST", f"{path}/*/halt")
    def _halt(request: Request) -> Answer:
        return _power(request, metal, False)

    @route("POST", f"{path}/*/reboot")
    def _reboot(request: Request) -> Answer:
        return _power(request, metal, True)

    @route("POST", f"{path}/*/reinstall")
    def _reinstall(request: Request) -> Answer:
        one = _server(request, metal)
        one.reinstalled += 1
        return Answer(202, {name: request.vultr.shown(one)})

    @route("GET", f"{path}/*/ipv4")
    def _ipv4(request: Request) -> Answer:
        one = _server(request, metal)
        return paged(request, "ipv4s", [{
            "ip": one.main_ip, "netmask": "255.255.254.0", "type": "main_ip",
            "gateway": f"{one.main_ip.rpartition('.')[0]}.1", "reverse": one.reverse4,
        }])  # fmt: skip

    @route("GET", f"{path}/*/ipv6")
    def _ipv6(request: Request) -> Answer:
        shown = request.vultr.shown(_server(request, metal))
        return paged(request, "ipv6s", [{
            "ip": shown["v6_main_ip"], "network": shown["v6_network"], "network_size": 64,
            "type": "main_ip",
        }] if shown["v6_main_ip"] else [])  # fmt: skip

    @route("GET", f"{path}/*/vpcs")
    def _vpcs(request: Request) -> Answer:
        _server(request, metal)
        return paged(request, "vpcs", [])

    @route("GET", f"{path}/*/vpc2")
    def _vpc2(request: Request) -> Answer:
        if not request.vultr.knobs.vpc2:
            raise NOT_FOUND
        _server(request, metal)
        return paged(request, "vpcs", [])


_serve("/instances", False)
_serve("/bare-metals", True)


# Reverse names, of instances only.


@route("POST", "/instances/*/ipv4/reverse")
def _set_reverse4(request: Request) -> Answer:
    one = _server(request, False)
    if request.text("ip") != one.main_ip:
        raise Refused("Invalid IP address.")
    one.reverse4 = request.text("reverse")
    return Answer(204)


@route("POST", "/instances/*/ipv4/reverse/default")
def _default_reverse4(request: Request) -> Answer:
    one = _server(request, False)
    if request.text("ip") != one.main_ip:
        raise Refused("Invalid IP address.")
    one.reverse4 = ""
    return Answer(204)


@route("GET", "/instances/*/ipv6/reverse")
def _list_reverse6(request: Request) -> Answer:
    expanded = request.vultr.knobs.expanded
    rows = [
        {"ip": IPv6Address(ip).exploded if expanded else ip, "reverse": name}
        for ip, name in _server(request, False).reverse6.items()
    ]
    return Answer(200, {"reverse_ipv6s": rows})


@route("POST", "/instances/*/ipv6/reverse")
def _set_reverse6(request: Request) -> Answer:
    one = _server(request, False)
    one.reverse6[_within_its_network(one, request.text("ip"))] = request.text("reverse")
    return Answer(204)


@route("DELETE", "/instances/*/ipv6/reverse/*")
def _delete_reverse6(request: Request) -> Answer:
    one = _server(request, False)
    if one.reverse6.pop(_within_its_network(one, request.parts[1]), None) is None:
        raise NOT_FOUND
    return Answer(204)


def _within_its_network(server: Server, text: str) -> str:
    try:
        ip = ip_address(text)
    except ValueError:
        raise Refused("Invalid IP address.") from None
    if not server.enable_ipv6 or ip not in ip_network(f"{server.v6_network}/64"):
        raise Refused("Invalid IP address.")
    return str(ip)


@route("GET", "/vpc2")
def _vpc2(request: Request) -> Answer:
    if not request.vultr.knobs.vpc2:
        raise NOT_FOUND
    return paged(request, "vpcs", [])
