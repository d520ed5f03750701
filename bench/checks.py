"""What health checks cost a node: the CPU of one look of each kind, and of twenty checks at once.

``exec`` is not among them: it needs systemd, and is asked for seldom.
"""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mesh import netns
from mesh.agent.check_runner import CheckRunner
from mesh.services.checks import Check
from mesh.services.checks.check import Target
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.dns_message import question
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.https import HttpsCheck
from mesh.services.checks.tcp import TcpCheck
from mesh.services.checks.udp import UdpCheck
from tests.kit.daemons import NAME, WAYS, authority, nginx, nsd, running
from tests.kit.serving import Place, place

LOOKS = 500
CHECKS = 20
SECONDS = 10.0
PATIENT = 5.0
QUERY = "0x" + question(7, "example.net", "SOA").hex()
KINDS: tuple[Check, ...] = (
    TcpCheck(port=80, timeout=PATIENT),
    HttpCheck(port=80, host=NAME, timeout=PATIENT),
    HttpCheck(port=80, host=NAME, contains="hello", timeout=PATIENT),
    HttpsCheck(host=NAME, ca=authority(), timeout=PATIENT),
    UdpCheck(port=53, send=QUERY, timeout=PATIENT),
    DnsCheck(name="example.net", nsid=True, timeout=PATIENT),
)


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        place(Path(scratch)) as where,
        running(where, nginx(WAYS["wildcard"])),
        running(where, nsd(WAYS["the service's address"])),
    ):
        for check in KINDS:
            for version in (4, 6):
                target = where.target(version)
                cost = netns.inside(where.node, partial(_look, check, target))
                yield f"a look by {_name(check)}, IPv{version} (CPU)", cost, "ms"
        for check in (KINDS[1], KINDS[3], KINDS[5]):
            name = f"{CHECKS} checks by {_name(check)} at {check.interval:g} s, both families"
            yield f"{name} (CPU per second)", _together(where, check), "ms"


def _name(check: Check) -> str:
    return check.kind + (" with contains" if getattr(check, "contains", None) else "")


def _look(check: Check, target: Target) -> float:
    """Milliseconds of CPU of this thread for one look."""
    for _ in range(10):
        assert (wrong := check.problem(target)) == "", wrong
    began = _cpu(resource.RUSAGE_THREAD)
    for _ in range(LOOKS):
        check.problem(target)
    return (_cpu(resource.RUSAGE_THREAD) - began) * 1000 / LOOKS


def _together(where: Place, check: Check) -> float:
    """Milliseconds of CPU of this process in a second with all runners."""
    gone = threading.Event()
    runners = [
        CheckRunner(check, where.target(version), lambda problem: False, gone.is_set)
        for _ in range(CHECKS)
        for version in (4, 6)
    ]
    threads = [threading.Thread(target=netns.inside, args=(where.node, r.run)) for r in runners]
    for thread in threads:
        thread.start()
    time.sleep(1)
    began, cpu = time.monotonic(), _cpu(resource.RUSAGE_SELF)
    time.sleep(SECONDS)
    cost = (_cpu(resource.RUSAGE_SELF) - cpu) * 1000 / (time.monotonic() - began)
    gone.set()
    for thread in threads:
        thread.join()
    return cost


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime
