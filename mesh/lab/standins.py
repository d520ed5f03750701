"""Stand-ins: daemons that play the external services of a twin on its nodes.

In production the operator installs them; a twin has nothing of theirs, and without a daemon that
passes its checks no such service would be announced. What a stand-in needs goes onto a node's disk
before it boots, and onto a running node when services change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from mesh.lab import authority, dns, standin
from mesh.lab.lab_files import LabFiles
from mesh.lab.services import LabService
from mesh.lab.underlay import World
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.dns_message import TYPES
from mesh.services.checks.exec import ExecCheck
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.https import HttpsCheck
from mesh.services.checks.udp import UdpCheck, octets

FOLDER = Path("usr/lib/anycast-mesh-lab")
UNITS = Path("usr/lib/systemd/system")
WANTED = Path("etc/systemd/system/multi-user.target.wants")
CHECKS = Path("etc/anycast-mesh/checks")
RUNNING = "anycast-mesh-lab"
"""Folder in /run with one for each service that is played at the moment."""
TRUSTED = Path("etc/ssl/certs/ca-certificates.crt")

UNIT = """[Unit]
Description=Lab: plays {names}
After=network.target

[Service]
Environment=PYTHONPATH=/{folder}
ExecStart=/usr/bin/python3 -B -m mesh.lab.standin /{folder}/{unit}.json
RuntimeDirectory={running}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
PROGRAM = """#!/bin/sh
# The lab's: good while the stand-in runs.
{tests}
"""


@dataclass(frozen=True, slots=True)
class Placed:
    """A file of a stand-in."""

    text: str
    mode: int = 0o644


def prepare(files: LabFiles, world: World) -> None:
    """Make the certificates that the stand-ins of a world need."""
    for service in _played(world):
        if _hosts(service):
            authority.certificate(files, _hosts(service))


def install(
    files: LabFiles, world: World, node: str, root: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write what a node's stand-ins need below a root directory. The units whose files are new or
    changed, and those that are gone."""
    services = [each for each in _played(world) if node in each.nodes]
    before = {path.stem for path in (root / FOLDER).glob("*.json")}
    changed, now = [], set[str]()
    for unit, played in _by_unit(services):
        now.add(unit)
        placed = [_put(root / path, file) for path, file in _files(files, node, unit, played)]
        if any(placed):
            changed.append(unit)
        _link(root / WANTED / unit, Path("/") / UNITS / unit)
    for path, file in _programs(services):
        _put(root / path, file)
    for unit in before - now:
        for path in (FOLDER / f"{unit}.json", UNITS / unit, WANTED / unit):
            (root / path).unlink(missing_ok=True)
    if any(map(_hosts, services)):
        _trust(files, root)
    return tuple(changed), tuple(sorted(before - now))


def _played(world: World) -> Iterator[LabService]:
    return (each for each in world.services if each.kind == "external")


def _by_unit(services: Iterable[LabService]) -> Iterator[tuple[str, list[LabService]]]:
    """One daemon may answer for several services."""
    ordered = sorted(services, key=lambda each: (each.daemon, each.name))
    for unit, played in groupby(ordered, lambda each: each.daemon):
        yield unit, list(played)


def _files(
    files: LabFiles, node: str, unit: str, services: list[LabService]
) -> Iterator[tuple[Path, Placed]]:
    for module in (standin, dns):
        source = Path(str(module.__file__))
        yield FOLDER / "mesh/lab" / source.name, Placed(source.read_text())
    for service in services:
        if _hosts(service):
            pem = authority.certificate(files, _hosts(service))
            yield FOLDER / f"{service.name}.pem", Placed(pem, 0o600)
    played = standin.Play(node, tuple(map(_part, services)))
    yield FOLDER / f"{unit}.json", Placed(json.dumps(asdict(played), indent=1) + "\n")
    names = [each.name for each in services]
    running = " ".join(f"{RUNNING}/{name}" for name in names)
    text = UNIT.format(names=", ".join(names), folder=FOLDER, unit=unit, running=running)
    yield UNITS / unit, Placed(text)


def _programs(services: Iterable[LabService]) -> Iterator[tuple[Path, Placed]]:
    """The programs of ``exec`` checks: each is good while all services run that have it."""
    owners: dict[str, list[str]] = {}
    for service in services:
        for check in service.checks:
            if isinstance(check, ExecCheck):
                owners.setdefault(check.command, []).append(service.name)
    for command, names in owners.items():
        tests = "".join(f"test -d /run/{RUNNING}/{name} || exit 1\n" for name in names)
        yield CHECKS / command, Placed(PROGRAM.format(tests=tests.strip()), 0o755)


def _part(service: LabService) -> standin.Played:
    tcp, udp = set(service.ports.tcp), set(service.ports.udp)
    for check in service.checks:
        if isinstance(check, UdpCheck | DnsCheck):
            udp.add(check.port)
        if not isinstance(check, UdpCheck | ExecCheck):
            tcp.add(check.port)
    ports = [_port(service, number, udp=False) for number in sorted(tcp)]
    ports += [_port(service, number, udp=True) for number in sorted(udp)]
    return standin.Played(tuple(map(str, service.addresses)), tuple(ports))


def _port(service: LabService, number: int, *, udp: bool) -> standin.Port:
    there = [
        check
        for check in service.checks
        if not isinstance(check, ExecCheck) and check.port == number
    ]
    secured = any(isinstance(check, HttpsCheck) for check in there)
    web = tuple(_http(check) for check in there if isinstance(check, HttpCheck | HttpsCheck))
    names = tuple(_dns(check) for check in there if isinstance(check, DnsCheck))
    sent = tuple(_datagram(check) for check in there if isinstance(check, UdpCheck))
    return standin.Port(
        number=number,
        udp=udp,
        http=() if udp else web,
        dns=names,
        datagrams=sent if udp else (),
        speaks_http=not udp and not names and (bool(web) or number == WEB),
        certificate=f"/{FOLDER}/{service.name}.pem" if secured and not udp else None,
    )


WEB = 80


def _http(check: HttpCheck | HttpsCheck) -> standin.HttpAnswer:
    status = check.status[0] if check.status else 200
    return standin.HttpAnswer(
        check.path, status, check.contains or "", check.host.lower() if check.host else None
    )


def _dns(check: DnsCheck) -> standin.DnsAnswer:
    name = check.name.rstrip(".").lower()
    return standin.DnsAnswer(name, TYPES[check.type], check.serial or 1)


def _datagram(check: UdpCheck) -> standin.UdpAnswer:
    expected = b"" if check.expect is None else octets(check.expect)
    return standin.UdpAnswer(octets(check.send).hex(), expected.hex())


def _hosts(service: LabService) -> tuple[str, ...]:
    """The hosts for which a service's certificate has to be."""
    return tuple(sorted({check.host for check in service.checks if isinstance(check, HttpsCheck)}))


def _trust(files: LabFiles, root: Path) -> None:
    """Have a node trust the lab's authority, beside those that it trusts anyway."""
    own, path = authority.trusted(files), root / TRUSTED
    trusted = (path if path.exists() else files.image() / TRUSTED).read_text()
    if own not in trusted:
        _put(path, Placed(trusted + own))


def _put(path: Path, file: Placed) -> bool:
    """Write a file unless it is there; whether it was not."""
    if path.exists() and path.read_text() == file.text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.touch(mode=file.mode)
    beside.chmod(file.mode)
    beside.write_text(file.text)
    beside.replace(path)
    return True


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
