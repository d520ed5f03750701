"""A stand-in passes the checks of the service that it plays, over both families, and says which
node answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from mesh import netns
from mesh.lab import authority, dns, standins
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles
from mesh.lab.probe import asked_once
from mesh.lab.questions import Http, Question, Tcp, question
from mesh.lab.services import LabService
from mesh.lab.underlay import World, underlay
from mesh.plan import Plan
from mesh.services.checks import Check
from mesh.services.checks.check import Target
from mesh.services.service import Ports
from tests.kit.namespaces import settle, spaces
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.root

NODE = "lax-vultr-1"
ADDRESSES = ("192.30.120.150", "2620:71:4000::150")
CHECKS = [
    {"kind": "tcp", "port": 25},
    {"kind": "http", "port": 80},
    {"kind": "http", "port": 80, "path": "/health", "contains": "all is well"},
    {"kind": "http", "port": 8080, "path": "/old", "host": "old.example.net", "status": [301]},
    {"kind": "https", "host": "www.example.net", "contains": "welcome"},
    {"kind": "dns", "name": "example.net", "serial": 2026112901, "nsid": True},
    {"kind": "dns", "name": "www.example.net.", "type": "AAAA"},
    {"kind": "udp", "port": 5000, "send": "0xff0a", "expect": "pong"},
]
OF_ANY_CHECK: TypeAdapter[Check] = TypeAdapter(Check)


def a_service(*checks: object, unit: str | None = None) -> LabService:
    return LabService(
        name="all",
        kind="external",
        addresses=tuple(map(ip_address, ADDRESSES)),
        nodes=(NODE,),
        ports=Ports((25, 53, 80, 443, 8080), (53, 5000)),
        checks=tuple(map(OF_ANY_CHECK.validate_python, checks)),
        unit=unit,
    )


@dataclass(frozen=True)
class Stage:
    """Where a stand-in plays: a namespace that has its addresses."""

    space: str
    service: LabService


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabFiles]:
    """A lab on paper, with a folder for its certificates."""
    place = LabFiles(f"standins-{os.getpid()}")
    place.runtime.mkdir(parents=True)
    yield place
    for path in place.runtime.iterdir():
        path.unlink()
    place.runtime.rmdir()


@pytest.fixture(scope="module")
def stage(files: LabFiles, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stand-in as a node has it, but for systemd and for where its files are."""
    root = tmp_path_factory.mktemp("root")
    service = a_service(*CHECKS)
    world = with_services(plan, service)
    (root / standins.TRUSTED).parent.mkdir(parents=True)
    (root / standins.TRUSTED).touch()
    standins.prepare(files, world)
    standins.install(files, world, NODE, root)
    play = root / standins.FOLDER / f"{service.daemon}.json"
    play.write_text(play.read_text().replace(f"/{standins.FOLDER}/", f"{root / standins.FOLDER}/"))
    with spaces("standin", "node") as (space,):
        settle(space, "lo", ADDRESSES, ())
        with subprocess.Popen(
            ["ip", "netns", "exec", space, sys.executable, "-m", "mesh.lab.standin", str(play)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root / standins.FOLDER)},
            cwd=root,
        ) as process:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SSL_CERT_FILE", str(root / standins.TRUSTED))
                until(lambda: answers(space, ADDRESSES[1]), 20, "the stand-in listens")
                yield Stage(space, service)
            process.kill()


def with_services(plan: Plan, *services: LabService) -> World:
    return replace(underlay(plan), services=services)


def answers(space: str, address: str) -> bool:
    return asked_once(space, ip_address(address), Http(80)) is not None


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("number", range(len(CHECKS)), ids=lambda n: str(CHECKS[n]["kind"]))
def test_each_check_is_passed(stage: Stage, number: int, address: str) -> None:
    check = replace(stage.service.checks[number], timeout=PATIENCE)
    target = Target(ip_address(address), NODE)
    assert netns.inside(stage.space, lambda: check.problem(target)) == ""
    assert netns.inside(stage.space, lambda: check.warning(target)) == ""


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_probe_of_each_kind_hears_which_node_answers(stage: Stage, address: str) -> None:
    at, services = ip_address(address), (stage.service,)
    for asked in (
        question(services, at, "http"),
        question(services, at, "tcp"),
        question(services, at, "dns"),
        question((), at, "dns"),  # id.server
        question(services, at, "dns", name="www.example.net", type="aaaa"),
    ):
        hears(stage, address, asked, NODE)
    hears(stage, address, question(services, at, "dns", name="ID.server"), NODE)
    hears(stage, address, Tcp(443), "-")  # it does not greet
    assert asked_once(stage.space, at, Tcp(1)) is None, "there is nobody"
    elsewhere = question(services, at, "dns", name="example.org")
    assert asked_once(stage.space, at, elsewhere) is None, "a refusal is no answer"


def hears(stage: Stage, address: str, asked: Question, answer: str) -> None:
    """A question gets that answer: what comes after a second does not count, and is late on a busy
    machine."""
    at = ip_address(address)
    until(lambda: asked_once(stage.space, at, asked) == answer, 1, f"{answer} answers {asked}")


def test_a_service_that_changes_or_goes_takes_its_files_along(
    files: LabFiles, plan: Plan, tmp_path: Path
) -> None:
    def install(*services: LabService) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return standins.install(files, with_services(plan, *services), NODE, tmp_path)

    web = {"kind": "http", "port": 80}
    own, named = "anycast-mesh-lab-standin@all.service", "caddy.service"
    assert install(a_service(web)) == ((own,), ())
    assert install(a_service(web)) == ((), ())
    assert install(a_service(web | {"path": "/other"})) == ((own,), ())
    assert install(a_service(web, unit=named)) == ((named,), (own,))
    assert (tmp_path / standins.WANTED / named).is_symlink()
    assert install() == ((), (named,))
    assert not list((tmp_path / standins.UNITS).iterdir())


def test_a_program_of_a_check_is_good_while_its_stand_in_runs(
    files: LabFiles, plan: Plan, tmp_path: Path
) -> None:
    service = a_service({"kind": "exec", "command": "look"})
    standins.install(files, with_services(plan, service), NODE, tmp_path)
    program = tmp_path / standins.CHECKS / "look"
    assert program.stat().st_mode & 0o777 == 0o755
    assert subprocess.run([program], check=False).returncode == 1
    unit = (tmp_path / standins.UNITS / service.daemon).read_text()
    folder = "anycast-mesh-lab/all"
    assert f"RuntimeDirectory={folder}\n" in unit
    assert f"test -d /run/{folder} " in program.read_text()


def test_certificates_are_made_once_and_read_by_root_alone(files: LabFiles) -> None:
    hosts = ("one.example.net", "192.0.2.1")
    assert authority.certificate(files, hosts) == authority.certificate(files, hosts)
    assert authority.certificate(files, hosts) != authority.certificate(files, hosts[:1])
    assert {path.stat().st_mode & 0o777 for path in files.runtime.glob("*.pem")} == {0o600}


@pytest.mark.parametrize("message", [b"", b"\0" * 11, b"\0" * 12, b"\0" * 5 + b"\1" + b"\xff" * 30])
def test_what_is_no_query_is_left(message: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        dns.read(message)
    assert dns.answerer(message, 0) is None


@pytest.mark.parametrize(
    ("options", "says"),
    [({"type": "ANY"}, "--type 'ANY': use A, NS"), ({"name": "x" * 64}, "is no name"),
     ({"name": "größe.example"}, "is no name")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(LabError, match=says):
        question((), ip_address(ADDRESSES[0]), "dns", **options)  # type: ignore[arg-type]
