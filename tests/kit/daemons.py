"""Daemons of Debian, and how each listens: files, command, and the port at which it is ready."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.kit.serving import LOOPBACK, NODE, SERVICE, Daemon, Place

NAME = "www.example.net"
WAYS: Mapping[str, tuple[str, str]] = {
    "wildcard": ("0.0.0.0", "::"),
    "the service's address": (SERVICE[4], SERVICE[6]),
    "loopback only": (LOOPBACK[4], LOOPBACK[6]),
}
"""Ways of listening: an address of each family."""


@dataclass(frozen=True)
class Setup:
    """A daemon's files by path, its command, and a TCP port of it."""

    files: Mapping[str, str]
    command: tuple[str, ...]
    port: int
    folders: tuple[str, ...] = field(default=())


@contextmanager
def running(where: Place, setup: Setup) -> Iterator[Daemon]:
    """Runs a daemon, which serves from here on."""
    for path, content in setup.files.items():
        where.put(path, content)
    daemon = where.start(*setup.command)
    where.listens(setup.port)
    try:
        yield daemon
    finally:
        daemon.kill()
        where.is_silent(setup.port)


def nginx(at: tuple[str, str], site: str = NAME, certificate_of: str = NAME) -> Setup:
    """A page at 80 and 443; other hosts than ``site`` get 404."""
    ports = "".join(
        f"listen {at[0]}:{port}{also}; listen [{at[1]}]:{port}{also};\n"
        for port, also in ((80, ""), (443, " ssl"))
    )
    config = f"""
worker_processes 1; error_log stderr; pid /run/nginx.pid; user www-data;
events {{ worker_connections 64; }}
http {{
access_log off;
ssl_certificate /etc/tls/cert.pem; ssl_certificate_key /etc/tls/key.pem;
server {{ {ports.replace(";", " default_server;")} return 404; }}
server {{ {ports} server_name {site}; location / {{ return 200 "hello from {NODE}\\n"; }} }}
}}
"""
    command = ("nginx", "-c", "/etc/nginx.conf", "-g", "daemon off;")
    return Setup({"/etc/nginx.conf": config, **certificate(certificate_of)}, command, 80)


def caddy(at: tuple[str, str], site: str = NAME, automatic: bool = False) -> Setup:
    """A page at 80; with automatic HTTPS a redirect there, and the page at 443."""
    where, tls = f"http://{site}", ""
    if automatic:
        where, tls = site, "tls /etc/tls/cert.pem /etc/tls/key.pem"
    bind = "" if at == WAYS["wildcard"] else f"default_bind {at[0]} [{at[1]}]"
    config = f"""
{{
    admin off
    {bind}
}}
{where} {{
    {tls}
    respond "hello from {NODE}"
}}
"""
    command = ("env", "HOME=/var/lib/caddy", "caddy", "run", "--config", "/etc/Caddyfile",
               "--adapter", "caddyfile")  # fmt: skip
    return Setup({"/etc/Caddyfile": config, **certificate(NAME)}, command, 80)


def nsd(at: tuple[str, str], node: str = NODE) -> Setup:
    """A zone. NSD binds no address that is not there yet without ``ip-freebind``."""
    config = f"""
server:
    ip-address: {at[0]}
    ip-address: {at[1]}
    ip-freebind: yes
    username: ""
    zonesdir: /etc
    pidfile: ""
    database: ""
    xfrdfile: ""
    zonelistfile: "/run/zone.list"
    nsid: "ascii_{node}"
    server-count: 1
remote-control:
    control-enable: no
zone:
    name: example.net
    zonefile: example.net.zone
"""
    files = {"/etc/nsd.conf": config, "/etc/example.net.zone": zone()}
    return Setup(files, ("nsd", "-d", "-c", "/etc/nsd.conf"), 53)


def knot(at: tuple[str, str], node: str = NODE) -> Setup:
    """The same zone."""
    config = f"""
server:
    listen: [ "{at[0]}@53", "{at[1]}@53" ]
    nsid: "{node}"
    rundir: /run
    background-workers: 1
    udp-workers: 1
    tcp-workers: 1
database:
    storage: /run
template:
  - id: default
    storage: /etc
    semantic-checks: off
zone:
  - domain: example.net
    file: example.net.zone
"""
    files = {"/etc/knot.conf": config, "/etc/example.net.zone": zone()}
    return Setup(files, ("knotd", "-c", "/etc/knot.conf"), 53)


def zone(serial: int = 42) -> str:
    """A zone with an answer that is too long for UDP."""
    long = "\n".join(f'long IN TXT "{number:03} {"x" * 240}"' for number in range(12))
    return f"""$ORIGIN example.net.
$TTL 300
@ IN SOA ns.example.net. hostmaster.example.net. {serial} 3600 600 604800 300
@ IN NS ns
ns IN A {SERVICE[4]}
ns IN AAAA {SERVICE[6]}
www IN A {SERVICE[4]}
{long}
"""


def certificate(name: str, days: int = 90, since: int = 1) -> dict[str, str]:
    """Files of a key and of a certificate for a name, by the authority of :func:`authority`."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(_authority()[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=since))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(_authority()[1], hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    cert = made.public_bytes(serialization.Encoding.PEM)
    return {"/etc/tls/cert.pem": cert.decode(), "/etc/tls/key.pem": pem.decode()}


def authority() -> str:
    """The certificate of the authority of these tests."""
    return _authority()[0].public_bytes(serialization.Encoding.PEM).decode()


@cache
def _authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1000))
        .not_valid_after(now + datetime.timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made, key


def setups() -> Iterator[tuple[str, str, Setup]]:
    """Every daemon with each way of listening: name, way, setup."""
    for way, at in WAYS.items():
        yield "nginx", way, nginx(at)
        yield "Caddy", way, caddy(at)
        yield "NSD", way, nsd(at)
        yield "Knot", way, knot(at)
    wildcard = WAYS["wildcard"]
    yield "nginx", "wildcard, without the site", nginx(wildcard, site="other.example.net")
    yield "nginx", "wildcard, wrong certificate", nginx(wildcard, certificate_of="example.org")
    yield "Caddy", "wildcard, without the site", caddy(wildcard, site="other.example.net")
    yield "Caddy", "wildcard, automatic HTTPS", caddy(wildcard, automatic=True)
    yield "NSD", "the service's address, NSID of another", nsd(WAYS["the service's address"], "x")
