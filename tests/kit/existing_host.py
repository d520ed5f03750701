"""A host that exists already: a Debian 13 container with real systemd, sshd, and a life of its own
before the mesh came: a firewall, a BIRD, users with and without sudo."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from mesh import netns
from mesh.lab import containers, namespaces
from mesh.lab.lab_files import files_of
from mesh.lab.underlay import OPERATOR4
from mesh.lab.world import clear_world, raise_world
from mesh.plan import Network, Plan, make
from mesh.render import Seed, user_data
from mesh.spec import load
from mesh.ssh import Load, Target
from tests.kit.lab_node import LabNode
from tests.kit.stacks import ROOT, prod, ssh_key
from tests.kit.wait import patience

T = TypeVar("T")

NODE = "ewr-buyvm-1"
PASSWORD = "a-session-key"
ADMIN = f"{OPERATOR4}/32"
OPERATOR = "b3BlcmF0b3JzLXB1YmxpYy1rZXktb2YtdGhpcy10ZXN0cw=="
LOGIN = asyncssh.generate_private_key("ssh-ed25519", comment="delivery")
STRANGER = asyncssh.generate_private_key("ssh-ed25519", comment="stranger")

RULES = """#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  set friends { type ipv4_addr; elements = { 192.0.2.7 } }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    meta l4proto ipv6-icmp accept
    tcp dport 22 accept
  }
}
"""
BIRD = "router id 192.0.2.9;\nprotocol device { }\n# the host's own\n"

BACKUPS = ("passwd-", "group-", "shadow-", "gshadow-")
"""What useradd(8) and the like write beside these files before each change (passwd(5))."""
QUESTIONS = r"""
systemctl is-enabled nftables bird ssh anycast-mesh-agent anycast-mesh-bootstrap; echo --
systemctl is-active nftables bird ssh anycast-mesh-agent anycast-mesh-bootstrap |
  sed -E 's/^(de)?activating$/active/'; echo --
nft list tables | sort | while read -r _ table; do nft list table $table; done; echo --
ip -o link | cut -d: -f2; ip -o address | tr -s ' ' | cut -d' ' -f2,4; echo --
ip rule; ip -6 rule; echo --
sysctl net.ipv4.ip_forward net.ipv4.tcp_mtu_probing net.ipv4.conf.all.rp_filter \
  net.ipv4.conf.default.accept_redirects net.ipv4.conf.enp1s0.send_redirects \
  net.ipv6.conf.all.forwarding net.ipv6.conf.enp1s0.accept_ra net.ipv6.conf.enp1s0.forwarding
"""
"""What a delivery may touch and is no file; asked at once, since entering a box takes a moment.
The bootstrap tries again and again, and is ``activating`` or ``deactivating`` in between."""

# Who knocks in vain as often as these tests do is shut out for a while (sshd_config(5)).
USER_DATA = """#cloud-config
disable_root: false
users:
- {name: root, ssh_authorized_keys: [KEY]}
- {name: carol, ssh_authorized_keys: [KEY], sudo: "ALL=(ALL) NOPASSWD:ALL", shell: /bin/bash}
- {name: dave, ssh_authorized_keys: [KEY], shell: /bin/bash}
write_files:
- {path: /etc/nftables.conf, permissions: "0750", content: RULES}
- {path: /etc/bird/bird.conf, owner: "root:bird", permissions: "0640", defer: true, content: BIRD}
- {path: /etc/ssh/sshd_config.d/tests.conf, content: "PerSourcePenalties no\\n"}
- {path: /etc/wireguard/wg-home.conf, permissions: "0600", content: "# the operator's own\\n"}
runcmd:
- systemctl restart ssh
- systemctl enable --now nftables
- systemctl enable --now bird
- nft add table ip elsewhere
- touch /var/lib/has-booted
"""


def key_text(key: asyncssh.SSHKey) -> str:
    """A private key as the secret of a stack holds it."""
    return key.export_private_key("openssh").decode()


def stack(ssh: dict[str, Any] | None = None, **host: Any) -> dict[str, Any]:
    """A stack whose only node is that host."""
    values = prod()
    values["admin"] = {"ssh": [ADMIN], "keys": [ssh_key("a"), ssh_key("b")]}
    values["regions"]["ewr"]["slots"]["buyvm-1"] = "192.30.120.21"
    upstream = {
        "peerAsn": 53667, "ipv4": "169.254.169.254", "ipv6": "2001:19f0:ffff::1", "multihop": 2,
        "password": True,
    }  # fmt: skip
    ipv6 = "2001:db8:ffff::77"
    given = {"ipv4": "203.0.113.21", "ipv6": ipv6, "ssh": ssh or {"trustFirst": True}} | host
    values["nodes"] = {NODE: {"number": 7, "host": {"upstream": upstream} | given}}
    values["reflectors"] = values["registries"] = [NODE]
    return values


def planned(**host: Any) -> Plan:
    """The plan of that stack."""
    return make(load("prod", stack(**host), ROOT).spec)


@dataclass
class ExistingHost(LabNode):
    """The host, and who reaches it."""

    host_key: str

    @property
    def ipv6(self) -> str:
        """Its main IPv6 address."""
        return str(self.world.node(NODE).ipv6)

    def operator(self, work: Callable[[], T]) -> T:
        """What a call gives when it is made from the operator's network."""
        return netns.inside(self.place.namespace("operator"), work)

    def client(self, work: Callable[[], T]) -> T:
        """What a call gives when it is made by somebody else."""
        return netns.inside(self.place.namespace("client-ewr"), work)

    def target(self, **changes: Any) -> Target:
        """How the operator reaches it."""
        target = Target(
            NODE, "buyvm", self.address, 22, "root", (self.host_key,), False, key_text(LOGIN)
        )
        return replace(target, **changes)

    def given(self, bundle: bytes = b"", token: str = "A" * 43 + "=") -> Load:
        """What is delivered to it."""
        values = stack(ssh={"hostKeys": [self.host_key]})
        values["nodes"]["lax-vultr-1"] = {"number": 1}
        values["registries"] = ["lax-vultr-1"]
        plan = make(load("prod", values, ROOT).spec)
        digest = hashlib.sha256(bundle).hexdigest()
        seed = Seed(("https://203.0.113.99:8443",), OPERATOR, digest, token)
        admin: list[Network] = list(plan.access.admin)
        return Load(user_data(plan, NODE, seed), bundle, self.ipv6, admin)

    def as_it_is(self) -> dict[str, object]:
        """Everything of the host that a delivery may touch."""
        found: dict[str, object] = {}
        root = self.root  # it is looked up anew each time
        for top in ("etc", "usr/local", "root", "home", "var/lib/anycast-mesh", "var/lib/cloud"):
            for path in sorted((root / top).rglob("*")):
                if path.name in BACKUPS:
                    continue
                found[str(path.relative_to(root))] = _kind(path)
        said = self.run("sh", "-c", QUESTIONS).split("\n--\n")
        found |= {
            f"question {number}": sorted(text.splitlines()) for number, text in enumerate(said)
        }
        return found

    def delivered_files(self) -> set[str]:
        """What of ours is there."""
        return {name for name in map(str, self.as_it_is()) if "anycast-mesh" in name}


def _kind(path: Path) -> object:
    status = path.lstat()
    owner = (oct(status.st_mode), status.st_uid, status.st_gid)
    if path.is_symlink():
        return (*owner, str(path.readlink()))
    return (*owner, hashlib.sha256(path.read_bytes()).hexdigest()) if path.is_file() else owner


@contextmanager
def host(lab: str) -> Iterator[ExistingHost]:
    """A host that has booted, in a lab of that name; nothing of it stays."""
    clear_world(lab)
    try:
        plan = planned()
        world = raise_world(plan, lab, {"buyvm": PASSWORD})
        public = LOGIN.export_public_key("openssh").decode().strip()
        text = USER_DATA
        for word, value in (("KEY", public), ("RULES", RULES), ("BIRD", BIRD)):
            text = text.replace(word, json.dumps(value))
        containers.start_node(lab, NODE, world, text)
        box = ExistingHost(files_of(lab), world, NODE, "")
        namespaces.wait_until(
            lambda: containers.is_running(box.place, NODE)
            and (box.root / "var/lib/has-booted").exists()
            and box.run("systemctl", "is-system-running").strip() in ("running", "degraded")
            # By router advertisement, which may come after all else.
            and f" {box.ipv6}/" in box.run("ip", "-o", "-6", "address", "show", "-tentative"),
            patience(60), "the host to boot",
        )  # fmt: skip
        shown = (box.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        yield replace(box, host_key=" ".join(shown[:2]))
    finally:
        clear_world(lab)
