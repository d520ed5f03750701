"""The facts of a node. Interfaces are found by address and route, never by name."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.agent.keys import NodeKeys
from mesh.agent.network import Network
from mesh.agent.system import System
from mesh.facts import Facts
from mesh.operating_systems import OperatingSystem
from mesh.trust import keys
from mesh.trust.encoding import sha256

_MTU = 1500
"""That of an uplink that does not tell it."""


class NoFacts(Exception):
    """The facts are not complete yet: no address, or no instance id."""


def facts(
    host: Host, network: Network, own: NodeKeys, versions: HostVersions, registry: bool
) -> Facts:
    """The current facts. Raises :class:`NoFacts` while address or instance id are missing."""
    content = host.read(file_paths.GIVEN_INSTANCE_ID) or host.read(file_paths.INSTANCE_ID) or b""
    instance = content.decode("utf-8", "replace").strip()
    if not instance:
        raise NoFacts("no instance id yet")
    four, six = network.uplink(4), network.uplink(6)
    if four is None:
        raise NoFacts("no IPv4 default route yet")
    return Facts(
        instance_id=instance,
        uplink=four.interface,
        ipv4=IPv4Address(four.address),
        ipv6=None if six is None else IPv6Address(six.address),
        gateway4=None if four.gateway is None else IPv4Address(four.gateway),
        gateway6=None if six is None or six.gateway is None else IPv6Address(six.gateway),
        mtu=network.mtu(four.interface) or _MTU,
        bird=versions.bird,
        kernel=versions.kernel,
        os=versions.os,
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
    os: OperatingSystem
    release: str
    kernel_wireguard: bool


def versions(system: System) -> HostVersions:
    """Versions, and whether the kernel has WireGuard."""
    version = system.host.run("bird", "--version")
    match = re.search(r"version ([0-9][0-9.]*)", version.out + version.err)
    return HostVersions(
        bird=match[1] if match else "",
        kernel=os.uname().release,
        os=system.os,
        release=system.release(),
        kernel_wireguard=system.network.has_wireguard(),
    )


def certificate(host: Host) -> str | None:
    """SHA-256 (hex) of the registry's certificate in DER, the form that a client receives."""
    pem = host.read(file_paths.CERTIFICATE)
    if pem is None:
        return None
    return sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))
