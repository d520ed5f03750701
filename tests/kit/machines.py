"""Machines for tests of the agent: Debian 13, its daemons and the real bundle, in namespaces.

All boxes hang on one wire. A box is one process tree: when its first process ends, all of it ends,
and its mounts and interfaces with it. Only systemd is stood in for (``systemctl``, beside this
file), for it would want to be process 1 of a machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from mesh import netns
from mesh.agent import bundle
from mesh.bird.client import BirdError
from mesh.facts import Placement
from mesh.lab import namespaces
from mesh.plan import Plan, Role
from mesh.publish import Instance, Order, SealedBefore
from mesh.render import File
from mesh.render.debian_boot import base_firewall
from mesh.trust import keys
from tests.kit.machine import Machine, bird_of
from tests.kit.wait import patience

T = TypeVar("T")

GATEWAY = 254
"""The host of the wire that default routes lead to; nobody, unless a test puts somebody there."""


@dataclass
class AgentMachine:
    """One machine. ``address`` is its main address of each family."""

    name: str
    machine: Machine
    address: Placement
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def path(self, absolute: str) -> Path:
        """A file of the box as the host sees it."""
        return self.machine.path(absolute)

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a command in the box; what it printed."""
        return self.machine.output(*command, check=check)

    def start(self, command: str) -> None:
        """Starts a command of the bundle."""
        log = self._log(command).open("a")
        self.running[command] = subprocess.Popen(
            [*self.machine.enter, "python3", "/var/lib/anycast-mesh/bundle.pyz", command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True,
        )  # fmt: skip

    def kill(self, command: str) -> None:
        """Ends it as a power cut would: without a word. nsenter hands signals to nobody, so the
        process itself is looked up among its children."""
        process = self.running.pop(command)
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
        process.kill()
        process.wait()

    def log(self, command: str) -> str:
        """What it wrote."""
        file = self._log(command)
        return file.read_text() if file.exists() else ""

    def bound(self) -> set[str]:
        """Addresses on dummy0."""
        links = json.loads(self.run("ip", "-json", "address", "show", "dev", "dummy0"))
        return {a["local"] for a in links[0]["addr_info"]}

    def sessions(self) -> dict[str, str]:
        """BIRD's protocols and their state."""
        try:
            lines = bird_of(self.machine.pid).ask("show protocols").lines
        except BirdError:
            return {}
        return {text.split()[0]: text for code, text in lines if code == 1002}

    def stop(self) -> None:
        """Ends the box and all in it."""
        self.machine.close()
        for process in self.running.values():
            process.kill()
            process.wait()

    def _log(self, command: str) -> Path:
        return self.machine.folder / f"{command}.log"


@dataclass
class Wire:
    """A bridge in a namespace of its own, the boxes on it, and one namespace for the operator."""

    folder: Path
    boxes: dict[str, AgentMachine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prefix = f"trust{os.getpid()}"
        self.switch, self.operator = f"{self.prefix}-s", f"{self.prefix}-o"
        for namespace in (self.switch, self.operator):
            namespaces.create([namespace])
        _run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self.switch, "link", "set", "br0", "up")
        self.plug(self.operator, 250)

    def box(self, name: str, host: int) -> AgentMachine:
        """A fresh machine on the wire, at 203.0.113.<host> and 2001:db8::<host>."""
        namespace = f"{self.prefix}-{host}"
        namespaces.create([namespace])
        self.plug(namespace, host)
        namespaces.ip(["link add dummy0 type bridge"], namespace)
        machine = Machine(self.folder / f"{name}-{host}", namespace)
        systemctl = Path(__file__).with_name("systemctl").read_text()
        machine.put([File("/usr/bin/systemctl", systemctl, 0o755)])
        box = AgentMachine(name, machine, _pair(host))
        self.boxes[name] = box
        return box

    def close(self) -> None:
        """Everything goes."""
        for box in self.boxes.values():
            box.stop()
        namespaces.delete(
            path.name for path in netns.FOLDER.iterdir() if path.name.startswith(f"{self.prefix}-")
        )

    def plug(self, namespace: str, host: int) -> None:
        """Connects a namespace to the wire, as 203.0.113.<host> and 2001:db8::<host>."""
        here = ["ip", "-n", namespace]
        _run("ip", "-n", self.switch, "link", "add", f"p{host}", "type", "veth", "peer", "name",
             "enp9s0", "netns", namespace)  # fmt: skip
        _run("ip", "-n", self.switch, "link", "set", f"p{host}", "master", "br0", "up")
        pair = _pair(host)
        _run(*here, "address", "add", f"{pair.ipv4}/24", "dev", "enp9s0")
        _run(*here, "address", "add", f"{pair.ipv6}/64", "dev", "enp9s0", "nodad")
        _run(*here, "link", "set", "lo", "up")
        _run(*here, "link", "set", "enp9s0", "up")
        if host != GATEWAY:
            _run(*here, "route", "add", "default", "via", str(_pair(GATEWAY).ipv4))
            _run(*here, "-6", "route", "add", "default", "via", str(_pair(GATEWAY).ipv6))


@dataclass
class Network:
    """A plan, its operator's key, and the boxes that are its nodes."""

    wire: Wire
    plan: Plan
    key: str = field(default_factory=lambda: keys.new_operator_key()[0])
    bundle: bytes = field(default_factory=bundle.build)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    linger: int = 0
    """In place of the plan's: no client waits here."""

    def boot(self, node: str, host: int, instance: str | None = None) -> AgentMachine:
        """A box as cloud-init and bootstrap leave it: seed, bundle, certificate on a registry."""
        box = self.wire.box(node, host)
        registry = Role.REGISTRY in self.plan.node(node).roles
        # The firewall of the first second, from the user data: it also starts tracking connections.
        base = base_firewall(self.plan, self.plan.node(node))
        box.path("/etc/nftables.conf").write_text(base)
        box.run("nft", "-f", "/etc/nftables.conf")
        box.run("ssh-keygen", "-A")
        seed = {
            "node": node,
            "registries": list(self.registries().values()),
            "operator": keys.signing_public(self.key),
            "bundle": bundle.digest(self.bundle),
            "token": keys.join_token(self.key, node),
            "registry": registry,
            "registry_port": 8443,
        }
        home = box.path("/var/lib/anycast-mesh")
        (home / "bundles").mkdir(parents=True)
        name = bundle.digest(self.bundle) + ".pyz"
        (home / "bundles" / name).write_bytes(self.bundle)
        (home / "bundle.pyz").symlink_to(f"bundles/{name}")
        box.path("/etc/anycast-mesh").mkdir(parents=True)
        box.path("/etc/anycast-mesh/seed.json").write_text(json.dumps(seed))
        box.path("/var/lib/cloud/data").mkdir(parents=True, exist_ok=True)
        box.path("/var/lib/cloud/data/instance-id").write_text(f"{instance or node}-i\n")
        if registry:
            (home / "registry").mkdir(mode=0o700)
            box.run(
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                "/var/lib/anycast-mesh/registry/tls.key", "-out",
                "/var/lib/anycast-mesh/registry/tls.crt", "-days", "10", "-subj", "/CN=test",
            )  # fmt: skip
            box.start("registry")
        box.start("agent")
        return box

    def registries(self) -> dict[str, str]:
        """URLs of the registries, the first box being .11."""
        return {
            node.id: f"https://203.0.113.{10 + node.number}:8443"
            for node in self.plan.nodes
            if Role.REGISTRY in node.roles
        }

    def order(self, **changed: Any) -> Order:
        """The operator's order for the boxes that are there."""
        values: dict[str, Any] = {
            "plan": replace(self.plan, linger=self.linger),
            "operator_key": self.key,
            "passwords": {"vultr": "s3cret-of-the-session"},
            "instances": self.instances(),
            "bundle": self.bundle,
            "registries": self.registries(),
            "namespace": self.wire.operator,
            "deadline": patience(60),
            "settle": 0.0,  # nobody plays the upstream here
            "sealed_before": SealedBefore(1, since=1),  # the passwords are always the same
        }
        return Order(**(values | changed))

    def instances(self, **ids: str) -> Mapping[str, Instance]:
        """The instances as their provider knows them."""
        return {
            node.id: Instance(
                ids.get(node.id, f"{node.id}-i"),
                self.created,
                keys.join_token(self.key, node.id),
                _pair(10 + node.number),
            )
            for node in self.plan.nodes
        }


def _pair(host: int) -> Placement:
    from ipaddress import IPv4Address, IPv6Address

    return Placement(IPv4Address(f"203.0.113.{host}"), IPv6Address(f"2001:db8::{host:x}"))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
