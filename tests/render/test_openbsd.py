"""The files of a node on OpenBSD: what they say, and that their readers take them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from mesh.bird.constants import served
from mesh.plan import Plan
from mesh.render import File, node_files, node_secrets, placeholder_facts
from tests.kit import hostname_if
from tests.kit.machine import IMAGES, NEWEST, OLDEST, Debian
from tests.kit.stacks import example, plan_of, several_prefixes
from tests.kit.systems import OPENBSD, on

NODE, HOST, DEBIAN = "mia-vultr-1", "ewr-buyvm-1", "ewr-vultr-1"
PASSWORDS = {"vultr": "s3cret", "buyvm": "s3cret"}


@cache
def plan() -> Plan:
    """Two systems in one network (examples/Pulumi.openbsd.yaml)."""
    return plan_of(example("openbsd"))


def files(of: Plan, node: str, bird: str = IMAGES) -> Mapping[str, File]:
    """A node's files by path, with what is sealed to it."""
    facts = {each: replace(found, bird=bird) for each, found in placeholder_facts(of).items()}
    made = (*node_files(of, facts)[node].files, *node_secrets(of, node, PASSWORDS))
    return {file.path: file for file in made}


def interfaces(node: str) -> dict[str, hostname_if.Interface]:
    """The interfaces of a node, as netstart(8) makes them."""
    found = {}
    for path, file in files(plan(), node).items():
        if path.startswith("/etc/hostname."):
            name = path.removeprefix("/etc/hostname.")
            found[name] = hostname_if.read(name, file.content)
            assert (file.mode, file.group) == (0o640, "wheel"), "netstart says that it is insecure"
    return found


def test_each_tunnel_has_an_interface_with_an_ipv4_address_of_its_own() -> None:
    """BIRD names an interface to the kernel by that address: two with the same one are one."""
    node, found = plan().node(NODE), interfaces(NODE)
    own: set[IPv4Interface | IPv6Interface] = set()
    for link in node.links:
        made = found[link.interface]
        assert (made.up, made.mtu, made.description) == (True, link.mtu, link.peer)
        first, second = made.addresses
        assert second == IPv6Interface(f"{link.local}/64")
        assert first.ip.is_link_local and first.network.prefixlen == 32
        own.add(first)
        told = dict(zip(made.wireguard[::2], made.wireguard[1::2], strict=True))
        assert told["listen-port"] == str(link.port)
        assert told["endpoint"].endswith(f":{link.peer_port}")
        assert told["private-key"] == "/var/lib/anycast-mesh/keys/wireguard.key"
        assert told["allowed-ips"] == "0.0.0.0/0,::/0"
    assert len(own) == len(node.links) == len(found) - 1
    assert IPv4Address("169.254.169.254") not in {each.ip for each in own}, "the metadata service"


def test_lo1_holds_all_own_addresses_and_nothing_anycast_is_a_source() -> None:
    node, lo1 = plan().node(NODE), interfaces(NODE)["lo1"]
    services = [a for each in plan().services for a in each.addresses.both()]
    held = {each.ip for each in lo1.addresses}
    assert held == {*node.tunnel.both(), *node.announced.both(), *services}
    assert all(each.network.prefixlen == each.max_prefixlen for each in lo1.addresses)
    anycast = {*node.announced.both(), *services}
    assert lo1.deprecated == {each for each in anycast if each.version == 6}


def test_what_no_other_node_serves_is_answered_by_this_one() -> None:
    """Table 1 has a route to this node for each address of its services, behind BIRD's."""
    routes = interfaces(NODE)["lo1"].routes
    assert {each.table for each in routes} == {1}
    services = {str(a) for each in plan().services for a in each.addresses.both()}
    last = [each for each in routes if each.priority is not None]
    assert {each.target for each in last} == services
    assert all(each.gateway.is_loopback and each.priority > 56 for each in last if each.priority)
    rest = [each for each in routes if each.priority is None]
    assert [(each.target, each.reject) for each in rest] == [("default", True)] * 2


def test_a_node_that_serves_nothing_has_the_table_all_the_same() -> None:
    """pf loads no rule that names a table which does not exist."""
    values = example("openbsd")
    for service in values["services"].values():
        service["nodes"] = [DEBIAN]
    made = files(plan_of(values), NODE)["/etc/hostname.lo1"]
    read = hostname_if.read("lo1", made.content)
    assert [(r.table, r.target) for r in read.routes] == [(1, "default"), (1, "default")]


def test_its_units_are_services_of_rc_in_the_order_of_their_start() -> None:
    made = node_files(plan(), placeholder_facts(plan()))
    assert made[NODE].units == ("anycast_mesh_bird", "anycast_mesh_whoami")
    assert "bird.service" in made[DEBIAN].units


# sysdep/linux/netlink.Y and the Linux-only options of doc/bird.sgml, in BIRD's tree; then what
# Linux and Debian alone have, in any file.
NETLINK = re.compile(r"\b(krt_(?!metric|source)\w+|netlink|vrf|authentication ao|tcp-ao)\b")
LINUX = re.compile(
    r"dummy0|\bwg-|(?<!/var)/run/|systemd|systemctl|nft|\bip (?:link|address|route|rule)\b|sysfs"
    r"|/proc|\bapt\b|dpkg|\bbash\b|/usr/bin/python3|\b(?:root:)?bird:bird\b|net\.ipv[46]"
)


@pytest.mark.parametrize("node", [NODE, HOST])
def test_nothing_of_linux_is_in_its_files(node: str) -> None:
    for path, file in files(plan(), node).items():
        assert not LINUX.findall(file.content), path
        assert not NETLINK.findall(file.content), path
        assert file.group == "wheel", path


def test_the_words_of_linux_are_found_where_they_are() -> None:
    """Else the test above could not fail."""
    text = "".join(file.content for file in files(plan(), DEBIAN).values())
    assert {"dummy0", "wg-", "/run/", "systemd", "nft"} <= set(LINUX.findall(text))
    assert "krt_prefsrc" in NETLINK.findall(text)


def several() -> Plan:
    """Prefixes that come and go each by itself."""
    return on(OPENBSD, plan_of(several_prefixes()), "ewr-vultr-1")


@pytest.mark.image
@pytest.mark.parametrize("bird", [OLDEST, IMAGES, NEWEST])
@pytest.mark.parametrize("of", [plan, several])
def test_birds_read_its_files(of: Callable[[], Plan], bird: str, tmp_path: Path) -> None:
    """At a start, as the rc.d script resets them, and with services in service."""
    made = of()
    node = NODE if of is plan else "ewr-vultr-1"
    found = files(made, node, bird)
    machine = Debian(tmp_path, bird)
    machine.put(found.values())
    announced = found["/etc/bird/mesh/out-of-service.conf"].content
    machine.put([File("/run/anycast-mesh/bird/announce.conf", announced)])
    addresses = [a for each in made.services for a in each.addresses.both()]
    for now in (found["/etc/bird/mesh/not-served.conf"].content, served(addresses)):
        machine.put([File("/run/anycast-mesh/bird/served.conf", now)])
        answer = machine.run("bird", "-p")
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("script", ["/etc/rc.d/anycast_mesh_bird", "/etc/rc.d/anycast_mesh_whoami"])
def test_a_shell_reads_the_scripts_of_rc(script: str, tmp_path: Path) -> None:
    """mksh, the nearest to OpenBSD's own."""
    file = files(plan(), NODE)[script]
    assert file.mode == 0o755 and file.content.startswith("#!/bin/ksh\n")
    path = tmp_path / "script"
    path.write_text(file.content)
    done = subprocess.run(["mksh", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


STANDS_IN = """
rc_cmd() { rc_pre; }
sysctl() { print -r -- "$@" >>ROOT/sysctl; [[ $2 != *ip6.redirect* ]]; }
"""


class Script:
    """The rc.d script of BIRD with all its paths below a folder, and a BIRD that takes a
    configuration or does not."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "var/run/anycast-mesh/bird"
        for path, file in files(plan(), NODE).items():
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root / path[1:]).write_text(
                re.sub(r"(?<![\w.])/(etc|var|usr)/", rf"{root}/\1/", file.content)
            )
        (root / "etc/rc.d/rc.subr").write_text(STANDS_IN.replace("ROOT", str(root)))
        self.takes(True)

    def takes(self, it: bool) -> None:
        """Whether BIRD takes the configuration."""
        bird = self.root / "usr/local/sbin/bird"
        bird.parent.mkdir(parents=True, exist_ok=True)
        bird.write_text(f"#!/bin/sh\n{'exit 0' if it else 'exit 1'}\n")
        bird.chmod(0o755)

    def starts(self) -> bool:
        """Whether BIRD would be started."""
        command = ["mksh", str(self.root / "etc/rc.d/anycast_mesh_bird"), "start"]
        return subprocess.run(command, check=False).returncode == 0


def test_whenever_bird_starts_it_announces_and_serves_nothing(tmp_path: Path) -> None:
    script = Script(tmp_path)
    assert script.starts(), "after a boot, with no volatile file"
    for word in ("announce", "served"):
        (script.run / f"{word}.conf").write_text("what the agent has said before a crash")
    assert script.starts()
    assert "IN_SERVICE = false" in (script.run / "announce.conf").read_text()
    assert (script.run / "served.conf").read_text().endswith(served(()))


def test_settings_of_the_kernel_are_made_before_bird_starts(tmp_path: Path) -> None:
    """Also where a release does not know one of them."""
    script = Script(tmp_path)
    assert script.starts()
    assert (tmp_path / "sysctl").read_text().splitlines() == [
        "-q net.inet.ip.forwarding=1", "-q net.inet6.ip6.forwarding=1",
        "-q net.inet.ip.redirect=0", "-q net.inet6.ip6.redirect=0",
    ]  # fmt: skip


def test_a_configuration_that_bird_refuses_starts_nothing(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.takes(False)
    assert not script.starts()


def test_a_session_with_a_password_has_its_own_address_written() -> None:
    """The port's patch of setkey.h makes a security association of both ends."""
    for node in (NODE, HOST):
        text = files(plan(), node)["/etc/bird/bird.conf"].content
        sessions = re.findall(r"^protocol bgp \w+ from password_\w+ \{\n(?:\t.*\n){2}", text, re.M)
        assert len(sessions) == 2
        for each in sessions:
            assert re.search(r"\tlocal [0-9a-f.:]+ as NETWORK_ASN;\n$", each), each


def test_debian_nodes_are_as_they_were_beside_it() -> None:
    """The looking glass alone says what its peers run."""
    values = example("openbsd")
    for node in values["nodes"].values():
        node.pop("os", None)
    before = plan_of(values)
    now, then = files(plan(), DEBIAN), files(before, DEBIAN)
    assert {path for path in {*now, *then} if now.get(path) != then.get(path)} == {
        "/etc/anycast-mesh/glass.json"
    }
