"""Health checks of services: which can never pass, and which see too little or too late."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping

from mesh.services.checks import Check
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.exec import ExecCheck
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.https import HttpsCheck, trusting
from mesh.services.checks.tcp import TcpCheck
from mesh.services.checks.udp import UdpCheck, octets
from mesh.spec.model import Service
from mesh.spec.problems import Problem, shown
from mesh.spec.section import Sections

WHOAMI = "/whoami"
"""What a web service answers for every name."""
EXEC_FALL = 2
"""How many bad answers of a program it takes at least."""


def check_health(sections: Sections) -> Iterator[Problem]:
    """Each check can pass, and sees a service that hangs in time."""
    services: Mapping[str, Service] = sections.get("services") or {}
    for name, service in services.items():
        for number, check in enumerate(service.checks or ()):
            key = f"mesh:services.{name}.checks.{number}"
            yield from _port(key, service, check)
            yield from _timeout(key, check)
            yield from _of_kind(key, check)
            yield from _page(key, service, check)


def _port(key: str, service: Service, check: Check) -> Iterator[Problem]:
    """A daemon that nodes set up listens at its own ports alone. Another one may listen at a port
    for checks that is not open to clients; without a kind that says nothing, as before."""
    if service.kind is None or isinstance(check, ExecCheck):
        return
    open_ports = service.open_ports
    protocols = {"udp": ("udp",), "dns": ("udp", "tcp")}.get(check.kind, ("tcp",))
    for protocol in protocols:
        listed = getattr(open_ports, protocol)
        if check.port in listed:
            continue
        port = f"{protocol.upper()} {check.port}"
        if service.kind == "external":
            yield Problem(
                f"{key}.port", str(check.port),
                f"{port} is not open, so that the check does not see what clients get",
                f"check a port of the service, or add {check.port} to its ports.{protocol}",
                severity="warning",
            )  # fmt: skip
        else:
            at = ", ".join(map(str, listed))
            yield Problem(
                f"{key}.port", str(check.port),
                f"nobody listens at {port} of a service of kind {service.kind}, so that the check "
                "can never pass",
                f"give {protocol} port {at}" if at else "give a check of another kind",
            )  # fmt: skip


def _page(key: str, service: Service, check: Check) -> Iterator[Problem]:
    """nginx answers a page for the service's names alone, and /whoami for every name."""
    if service.kind != "web" or service.names is None or not isinstance(check, HttpCheck):
        return
    if check.path == WHOAMI or check.host in service.names or check.status:
        return
    yield Problem(
        f"{key}.host", shown(check.host or "unset"),
        f"pages are for the service's names, and every other name gets 404, but for {WHOAMI}, so "
        "that the check can never pass",
        f"write one of the names, for example host: {service.names[0]}",
    )  # fmt: skip


def _timeout(key: str, check: Check) -> Iterator[Problem]:
    longest = check.interval * check.fall
    if check.timeout is None or check.timeout <= longest:
        return
    # The first two kinds could always say so.
    older = isinstance(check, HttpCheck | TcpCheck)
    yield Problem(
        f"{key}.timeout", f"{check.timeout:g}",
        f"it is longer than interval times fall ({longest:g} s), and a daemon that hangs is seen "
        f"after {check.timeout * check.fall:g} s only",
        f"give at most {longest:g}, or leave it out: it is {check.interval:g} then"
        if check.interval <= 1 else f"give at most {longest:g}",
        severity="warning" if older else "error",
    )  # fmt: skip


def _of_kind(key: str, check: Check) -> Iterator[Problem]:
    if isinstance(check, ExecCheck) and check.fall < EXEC_FALL:
        yield Problem(
            f"{key}.fall", str(check.fall),
            "one run of a program that fails, on a machine that is busy, would move the service",
            f"give {EXEC_FALL} or more",
        )  # fmt: skip
    elif isinstance(check, HttpsCheck):
        yield from _authorities(key, check)
    elif isinstance(check, DnsCheck) and check.serial is not None and check.type != "SOA":
        yield Problem(
            f"{key}.serial", str(check.serial), "only a SOA record has a serial",
            f"remove it, or {key}.type",
        )  # fmt: skip
    elif isinstance(check, UdpCheck):
        for name in ("send", "expect"):
            yield from _octets(f"{key}.{name}", getattr(check, name) or "")


def _authorities(key: str, check: HttpsCheck) -> Iterator[Problem]:
    if check.ca is None:
        return
    try:
        trusting(check.ca)
    except ssl.SSLError:
        yield Problem(
            f"{key}.ca", shown(check.ca), "these are no certificates that can be read",
            "write `ca: |`, and below it the file of the authority, with its BEGIN and END lines",
        )  # fmt: skip


def _octets(key: str, text: str) -> Iterator[Problem]:
    try:
        octets(text)
    except ValueError:
        yield Problem(
            key, shown(text), "after 0x there are pairs of hexadecimal digits",
            'write it so, for example "0x0d0a"; text that begins with 0x is written in digits too',
        )  # fmt: skip
