"""The facts of a node. Interfaces are found by address and route, never by name."""

from __future__ import annotations

import json
import os
import re
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.agent.keys import NodeKeys
from mesh.facts import Facts
from mesh.trust import keys
from mesh.trust.encoding import sha256

_PROBE = "mesh-probe"


class NoFacts(Exception):
    """The facts are not complete yet: no address, or no instance id."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """The uplink of one address family: interface, main address, gateway (None without one)."""

    interface: str
    address: str
    gateway: str | None


def facts(host: Host, own: NodeKeys, versions: HostVersions, registry: bool) -> Facts:
    """The current facts. Raises :class:`NoFacts` while address or instance id are missing."""
    content = host.read(file_paths.GIVEN_INSTANCE_ID) or host.read(file_paths.INSTANCE_ID) or b""
    instance = content.decode("utf-8", "replace").strip()
    if not instance:
        raise NoFacts("no instance id yet")
    four, six = uplink(host, 4), uplink(host, 6)
    if four is None:
        raise NoFacts("no IPv4 default route yet")
    return Facts(
        instance_id=instance,
        uplink=four.interface,
        ipv4=IPv4Address(four.address),
        ipv6=None if six is None else IPv6Address(six.address),
        gateway4=None if four.gateway is None else IPv4Address(four.gateway),
        gateway6=None if six is None or six.gateway is None else IPv6Address(six.gateway),
        mtu=_mtu(host, four.interface),
        bird=versions.bird,
        kernel=versions.kernel,
        release=versions.release,
        kernel_wireguard=versions.kernel_wireguard,
        wireguard=keys.exchange_public(own.wireguard),
        identity=keys.signing_public(own.identity),
        sealing=keys.exchange_public(own.sealing),
        tls_sha256=certificate(host) if registry else None,
    )


@dataclass(frozen=True, slots=True)
class HostVersions:
    """What does not change while the agent runs."""

    bird: str
    kernel: str
    release: str
    kernel_wireguard: bool


def versions(host: Host) -> HostVersions:
    """Versions, and whether the kernel has WireGuard."""
    version = host.run("bird", "--version")
    match = re.search(r"version ([0-9][0-9.]*)", version.out + version.err)
    probe = host.run("ip", "link", "add", _PROBE, "type", "wireguard").code == 0
    if probe:
        host.run("ip", "link", "del", _PROBE)
    return HostVersions(
        bird=match[1] if match else "",
        kernel=os.uname().release,
        release=(host.read("/etc/debian_version") or b"").decode("utf-8", "replace").strip(),
        kernel_wireguard=probe,
    )


def uplink(host: Host, version: int) -> Uplink | None:
    """The uplink of one family: the default route with the best metric, and the main address of its
    interface."""
    result = host.run("ip", "-json", f"-{version}", "route", "show", "default")
    routes = [r for r in json.loads(result.out or "[]") if "dev" in r] if result.code == 0 else []
    if not routes:
        return None
    best = min(routes, key=lambda route: int(route.get("metric", 0)))
    interface = str(best["dev"])
    address = best.get("prefsrc") or _main_address(host, interface, version)
    if address is None:
        return None
    gateway = best.get("gateway") or best.get("via", {}).get("host")
    return Uplink(interface, str(address), None if gateway is None else str(gateway))


def _main_address(host: Host, interface: str, version: int) -> str | None:
    result = host.run("ip", "-json", f"-{version}", "address", "show", "dev", interface)
    if result.code != 0:
        return None
    found = [
        address
        for link in json.loads(result.out or "[]")
        for address in link.get("addr_info", [])
        if _is_main(address)
    ]
    return str(found[0]["local"]) if found else None


def _is_main(address: dict[str, Any]) -> bool:
    """Whether it is a global address that is neither temporary, deprecated nor tentative."""
    unfit = ("temporary", "deprecated", "tentative", "dadfailed", "secondary")
    return address.get("scope") == "global" and not any(address.get(flag) for flag in unfit)


def _mtu(host: Host, interface: str) -> int:
    result = host.run("ip", "-json", "link", "show", "dev", interface)
    links = json.loads(result.out or "[]") if result.code == 0 else []
    return int(links[0]["mtu"]) if links else 1500


def certificate(host: Host) -> str | None:
    """SHA-256 (hex) of the registry's certificate in DER, the form that a client receives."""
    pem = host.read(file_paths.CERTIFICATE)
    if pem is None:
        return None
    return sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))
