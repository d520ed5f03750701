"""Prints what each check sees of each daemon, for each way of listening, and what a client sees.

Daemons that the node image lacks are left out; MESH_IMAGE names another one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from mesh import netns
from mesh.agent.check_runner import asked
from mesh.services.checks import Check
from mesh.services.checks.check import Target
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.dns_message import question
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.https import HttpsCheck
from mesh.services.checks.tcp import TcpCheck
from mesh.services.checks.udp import UdpCheck
from tests.kit.daemons import NAME, Setup, authority, running, setups
from tests.kit.serving import Place, place

PATIENT = 2.0
QUERY = "0x" + question(0x1234, "example.net", "SOA").hex()
WEB: dict[str, Check] = {
    "tcp 80": TcpCheck(port=80, timeout=PATIENT),
    "http": HttpCheck(port=80, timeout=PATIENT),
    "http, host and contains": HttpCheck(port=80, host=NAME, contains="hello", timeout=PATIENT),
    "https": HttpsCheck(host=NAME, ca=authority(), timeout=PATIENT),
}
DNS: dict[str, Check] = {
    "tcp 53": TcpCheck(port=53, timeout=PATIENT),
    "udp": UdpCheck(port=53, send=QUERY, timeout=PATIENT),
    "dns": DnsCheck(name="example.net", nsid=True, timeout=PATIENT),
}


def rows() -> Iterator[tuple[str, ...]]:
    """Daemon, way of listening, check, what it says by family, and whether clients are served."""
    with tempfile.TemporaryDirectory() as scratch, place(Path(scratch)) as where:
        for name, way, setup in setups():
            if where.machine.output(
                "sh", "-c", 'command -v "$1"', "sh", program(setup), check=False
            ):
                yield from _rows(where, name, way, setup)


def program(setup: Setup) -> str:
    """The program of a setup's command."""
    return next(each for each in setup.command if "=" not in each and each != "env")


def _rows(where: Place, name: str, way: str, setup: Setup) -> Iterator[tuple[str, ...]]:
    with running(where, setup):
        checks = DNS if setup.port == 53 else WEB
        for kind, check in checks.items():
            seen = [_ask(where.node, check, where.target(v)) or "good" for v in (4, 6)]
            outside = [_ask(where.client, check, where.from_outside(v)) or "good" for v in (4, 6)]
            yield name, way, kind, *seen, *outside


def _ask(space: str, check: Check, target: Target) -> str:
    return netns.inside(space, lambda: asked(check, target))


def main() -> None:
    """Prints the table."""
    head = ("daemon", "listens at", "check", "IPv4", "IPv6", "a client, IPv4", "a client, IPv6")
    print(f"| {' | '.join(head)} |")
    print("|" + " --- |" * len(head))
    for row in rows():
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
