"""An account at Vultr: what is in it, how it behaves, what it was asked."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from tests.kit.vultr_api import offers
from tests.kit.vultr_api.faults import Fault
from tests.kit.vultr_api.machines import Loopback, Machines
from tests.kit.vultr_api.objects import Address, Group, Key, Record, Rule, Script, Server

KEY = "THE-API-KEY-OF-THE-TESTS-0123456789"
BGP_PASSWORD = "bgp-password-of-the-account-in-tests"
MAX_RULES = 50


@dataclass
class Knobs:
    """How the API behaves; all times are seconds.

    ``page``: entries of a page, whatever was asked for at most. ``boot``: from POST to active and
    running. ``ipv6``: from POST until IPv6 addresses are told. ``detach``: until an address that
    comes off a server is free. ``counted``: for which a deleted server counts against the account's
    monthly fee. ``latency``: of every answer.
    ``rate``: requests per second above which 429 is answered, 0 for no limit.
    ``filled``: a rule's ``source`` comes back as ``subnet/size`` (reported in 2026). ``gone``: the
    text of today for a server that is gone, or that of 2021. ``expanded``: reverse IPv6 entries
    come back unabbreviated. ``vpc2``: whether the VPC 2.0 endpoint, removed in July 2026, is there.
    ``downgrades``: whether a server takes a plan with a smaller disk; it is assumed that none
    does. ``sources``: addresses that may use the key, None for all.
    """

    page: int = 100
    boot: float = 0.0
    ipv6: float = 0.0
    detach: float = 0.0
    counted: float = 0.0
    latency: float = 0.0
    rate: int = 0
    filled: bool = True
    gone: str = "new"
    expanded: bool = True
    vpc2: bool = False
    downgrades: bool = False
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Call:
    """One request, and what was answered; status 0 where the connection ended before that."""

    number: int
    method: str
    path: str
    query: str
    status: int
    body: Record = field(default_factory=dict)

    @property
    def what(self) -> str:
        """``POST /instances``."""
        return f"{self.method} {self.path}"


How = Literal["before", "after", "on"]


@dataclass
class Stop:
    """At the first request from now on that is of this number or that ``what`` matches (a regular
    expression: ``POST /instances``) ``act`` is called. ``before``: what it asks for is not done,
    ``after``: it is done; either way it is not answered, nor is any later one. ``on``: it is done
    and answered, and so are later ones. ``at`` is the request, once it has come."""

    act: Callable[[], None]
    how: How
    number: int | None = None
    what: str | None = None
    at: str | None = None

    def meets(self, number: int, what: str) -> bool:
        """Whether this request is the one."""
        if self.at is not None:
            return False
        by_name = self.what is not None and re.fullmatch(self.what, what) is not None
        return by_name or number == self.number


@dataclass
class Vultr:
    """One account.

    ``bgp`` is its ``bgp_info``; ``quotas`` is how many there may be of ``addresses``,
    ``instances``, ``bare metal``, ``keys``, ``groups``, and ``monthly fee`` in US dollars of all
    servers; ``sold_out`` are regions and plans that
    are listed and can't be had now. ``machines`` are those behind its servers.
    """

    key: str = KEY
    knobs: Knobs = field(default_factory=Knobs)
    bgp: Record = field(default_factory=lambda: {
        "enabled": True, "asn": 27218, "password": BGP_PASSWORD,
        "networks": [{"v4_subnet": "192.30.120.0", "v4_subnet_len": 23},
                     {"v6_subnet": "2620:71:4000::", "v6_subnet_len": 48}],
    })  # fmt: skip
    regions: list[Record] = field(default_factory=offers.regions)
    images: list[Record] = field(default_factory=offers.images)
    plans: list[Record] = field(default_factory=offers.plans)
    metal_plans: list[Record] = field(default_factory=offers.metal_plans)
    quotas: dict[str, int] = field(default_factory=dict)
    sold_out: set[tuple[str, str]] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    machines: Machines = field(default_factory=Loopback)

    keys: dict[str, Key] = field(default_factory=dict)
    scripts: dict[str, Script] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    deleted: list[tuple[float, float]] = field(default_factory=list)
    """When a server was deleted, and its monthly fee."""
    calls: list[Call] = field(default_factory=list)
    stop: Stop | None = None
    asked: int = 0
    """Requests so far; ``stop`` goes by it."""
    broken: list[str] = field(default_factory=list)
    """What went wrong in this fake itself, as tracebacks."""

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self._number = 0

    def count(self) -> int:
        """A number that never comes again."""
        with self.lock:
            self._number += 1
            return self._number

    def new_id(self) -> str:
        """Ids as Vultr gives them, the same in every session."""
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"api.vultr.com-{self.count()}"))

    @staticmethod
    def now() -> str:
        """As the API writes a date."""
        return datetime.now(UTC).isoformat(timespec="seconds")

    @staticmethod
    def clock() -> float:
        """What lags are counted by."""
        return time.monotonic()

    # For tests: what somebody sees and does in the console.

    @property
    def instances(self) -> dict[str, Server]:
        """Instances by label."""
        return {one.label: one for one in self.servers.values() if not one.metal}

    @property
    def bare_metals(self) -> dict[str, Server]:
        """Bare metal servers by label."""
        return {one.label: one for one in self.servers.values() if one.metal}

    @property
    def rules(self) -> list[Rule]:
        """The rules of all groups."""
        return [rule for group in self.groups.values() for rule in group.rules.values()]

    def server(self, text: str) -> Server:
        """The one whose label has this text."""
        (found,) = (one for one in self.servers.values() if text in one.label)
        return found

    def address(self, text: str) -> Address:
        """The one whose label has this text."""
        (found,) = (one for one in self.addresses.values() if text in one.label)
        return found

    def lose(self, identity: str) -> None:
        """Delete any object behind the engine's back."""
        with self.lock:
            if identity in self.servers:
                self.destroy(self.servers[identity], at_once=True)
            for kept in (self.keys, self.scripts, self.addresses, self.groups):
                kept.pop(identity, None)

    def destroy(self, server: Server, at_once: bool = False) -> None:
        """A server goes, and its address comes off."""
        with self.lock:
            del self.servers[server.id]
            self.deleted.append((self.clock(), self.fee(server)))
            for address in self.addresses.values():
                if address.instance == server.id:
                    self.detach(address, at_once)
        self.machines.gone(server)

    def detach(self, address: Address, at_once: bool = False) -> None:
        """An address comes off its server, after a while."""
        address.leaving = self.clock() + (0 if at_once else self.knobs.detach)
        self.settle()

    def settle(self) -> None:
        """Let happen what is due."""
        with self.lock:
            for address in self.addresses.values():
                if address.leaving is not None and address.leaving <= self.clock():
                    address.instance, address.leaving = "", None

    def fail(self, *faults: Fault) -> None:
        """Let this go wrong from now on."""
        self.faults.extend(faults)

    def stop_at(self, call: int | str, act: Callable[[], None], how: How) -> Stop:
        """Call ``act`` at the request of this number from now on, or the next of this kind."""
        with self.lock:
            if isinstance(call, str):
                self.stop = Stop(act, how, what=call)
            else:
                self.stop = Stop(act, how, number=self.asked + call)
            return self.stop

    def forget_calls(self) -> None:
        """Start a new page."""
        with self.lock:
            self.calls.clear()

    def changes(self) -> list[str]:
        """The requests since then that changed something: ``POST /instances``."""
        return [call.what for call in self.calls
                if call.method != "GET" and 200 <= call.status < 300]  # fmt: skip

    def holdings(self) -> dict[str, int]:
        """How many there are of what."""
        return {"servers": len(self.servers), "addresses": len(self.addresses),
                "groups": len(self.groups), "rules": len(self.rules),
                "keys": len(self.keys), "scripts": len(self.scripts)}  # fmt: skip

    # How a server is told.

    def state(self, server: Server) -> tuple[str, str, str]:
        """Its ``status``, ``power_status`` and ``server_status``."""
        up = self.clock() >= server.born + self.knobs.boot and self.machines.ready(server)
        if not up:
            return "pending", "running" if server.running else "stopped", "none"
        return "active", "running" if server.running else "stopped", "ok"

    def shown(self, server: Server) -> Record:
        """A server as the API tells of it."""
        status, power, health = self.state(server)
        active = status == "active"
        told6 = server.enable_ipv6 and self.clock() >= server.born + self.knobs.ipv6
        plan = self.plan(server)
        common = {
            "id": server.id, "os": self.image(server.os_id), "ram": plan["ram"],
            "disk": plan["disk"], "main_ip": server.main_ip if active else "0.0.0.0",
            "region": server.region, "plan": server.plan, "date_created": server.created,
            "status": status,
            "netmask_v4": "255.255.254.0" if active else "",
            "gateway_v4": f"{server.main_ip.rpartition('.')[0]}.1" if active else "0.0.0.0",
            "v6_network": server.v6_network if told6 else "",
            "v6_main_ip": server.v6_main_ip if told6 else "",
            "v6_network_size": 64 if told6 else 0,
            "label": server.label, "tags": list(server.tags),
            "os_id": server.os_id, "app_id": 0, "image_id": "", "snapshot_id": "",
            "features": ["ipv6"] * server.enable_ipv6 + ["ddos_protection"]
            * server.ddos_protection,
            "user_scheme": "root",
        }  # fmt: skip
        if server.metal:
            more: Record = {
                "cpu_count": plan["cpu_count"], "mac_address": 2199756823533,
                # Text, where an instance has numbers (govultr's BareMetalServer).
                "ram": f"{plan['ram']} MB", "disk": f"2x {plan['disk']} GB SSD",
            }  # fmt: skip
        else:
            more = {
                "vcpu_count": plan["vcpu_count"], "allowed_bandwidth": plan["bandwidth"],
                "power_status": power, "server_status": health, "internal_ip": "",
                "hostname": server.hostname, "firewall_group_id": server.firewall_group,
                "kvm": f"https://my.vultr.com/subs/vps/novnc/api.php?data=TOKEN-OF-{server.id}",
            }  # fmt: skip
        return common | more

    def plan(self, server: Server) -> Record:
        """The plan of a server."""
        rows = self.metal_plans if server.metal else self.plans
        return next((row for row in rows if row["id"] == server.plan), offers.UNLISTED)

    def fee(self, server: Server) -> float:
        """What a server costs in a month, in US dollars."""
        return float(self.plan(server).get("monthly_cost", 0))

    def fees(self) -> float:
        """What the account's limit counts."""
        since = self.clock() - self.knobs.counted
        gone = (fee for when, fee in self.deleted if when > since)
        return sum(map(self.fee, self.servers.values())) + sum(gone)

    def image(self, number: int) -> str:
        """The name of an image; one that is no longer sold still runs."""
        return next((row["name"] for row in self.images if row["id"] == number), "unlisted")

    def shown_group(self, group: Group) -> Record:
        """A firewall group as the API tells of it."""
        members = [one for one in self.servers.values() if one.firewall_group == group.id]
        return {"id": group.id, "description": group.description, "date_created": group.created,
                "date_modified": group.modified, "instance_count": len(members),
                "rule_count": len(group.rules), "max_rule_count": MAX_RULES}  # fmt: skip

    def matching(self, method: str, path: str) -> Iterator[Fault]:
        """The first fault that meets this request."""
        with self.lock:
            for fault in self.faults:
                if fault.meets(method, path):
                    fault.times -= 1
                    yield fault
                    return
