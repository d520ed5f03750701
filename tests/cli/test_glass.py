"""``mesh glass``: how it reaches a node, what it makes of answers, and how it ends."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

from mesh.cli import glass_client, glass_doors
from mesh.cli.glass_client import Asked, Unanswered, first_answer, in_order
from mesh.cli.glass_doors import Door
from mesh.cli.main import app
from mesh.glass.answers import Answer, NodeAnswer, Route, Routes
from mesh.lab import namespaces
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet
from tests.cli.glass import AT, Glass, Login, ssh_server, stack_state
from tests.kit.namespaces import spaces
from tests.kit.registry import Fleet
from tests.kit.stacks import ROOT
from tests.kit.wait import PATIENCE, until

FLEET = dump_fleet(State(7, "0" * 64, Fleet().members()))
LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"
ROUTE = Route(prefix="8.8.8.0/24", table="internet4", session="vultr4", kind="upstream", used=True)
FOUND: Answer[Routes] = Answer(
    asked={"for": "8.8.8.8", "node": "all"}, at=AT,
    nodes={LAX: NodeAnswer(ok=True, took_ms=1.0, data=Routes(routes=(ROUTE,)))},
)  # fmt: skip
PARTLY: Answer[Routes] = Answer(
    asked={}, at=AT, nodes=FOUND.nodes | {EWR: NodeAnswer(ok=False, why="no answer within 2 s")}
)
ROUTES = TypeAdapter(Answer[Routes])
MISTAKE = json.dumps(
    {"error": {"key": "for", "value": "x", "reason": "is no address", "cure": "give one"}}
).encode()

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs the program ssh")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log-in takes a processor a tenth of a second, of which a busy machine has little."""
    monkeypatch.setattr(glass_doors, "CONNECT", int(PATIENCE))
    monkeypatch.setattr(glass_client, "TIMES", httpx.Timeout(PATIENCE))


@pytest.fixture
def glass() -> Iterator[Glass]:
    with Glass().serving() as found:
        yield found


@pytest.fixture
def login(glass: Glass, tmp_path: Path) -> Iterator[Login]:
    """Lets ssh forward to that glass."""
    with ssh_server(tmp_path, glass.port) as found:
        yield found


def door(node: str, glass: Glass, login: Login) -> Door:
    return Door(node, glass.port, tuple(shlex.split(login.line)[1:]))


Run = Callable[..., Any]


@pytest.fixture
def run(glass: Glass, login: Login, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``mesh glass`` with these arguments, on a stack whose nodes are all reached by that SSH
    server."""
    state = stack_state(FLEET, glass.port, dict.fromkeys((LAX, ORD, MIA, EWR), login.line))
    monkeypatch.setattr(glass_doors, "exported", lambda _: state)
    return lambda *arguments: CliRunner().invoke(app, ["glass", *arguments])


def test_a_question_goes_through_ssh_to_the_loopback_address_of_the_node(
    glass: Glass, run: Run
) -> None:
    glass.says("route", FOUND)
    done = run("route", "8.8.8.8", "--more")
    assert (done.exit_code, done.stderr) == (0, "")
    assert glass.asked == ["/api/v1/route?for=8.8.8.8&node=all&more=1"]
    assert glass.hosts == [f"[::1]:{glass.port}"]
    assert f"{LAX} (1 ms)" in done.stdout
    assert "  8.8.8.0/24 in internet4, used" in done.stdout


ASKED: dict[str, tuple[tuple[str, ...], str]] = {
    "a prefix with a slash": (("route", "8.0.0.0/8"), "route?for=8.0.0.0%2F8&node=all"),
    "what is no address": (("route", "a&node=b\n"), "route?for=a%26node%3Db%0A&node=all"),
    "one node": (("route", "::1", "--node", ORD), f"route?for=%3A%3A1&node={ORD}"),
    "refused": (("refused",), "refused?node=all"),
    "refused of a session": (
        ("refused", "--node", LAX, "--session", "vultr4", "--reason", "4"),
        f"refused?node={LAX}&session=vultr4&reason=4"),
    "a way": (("way", LAX, EWR), f"way?from={LAX}&to={EWR}"),
    "a service": (("service", "web"), "service/web"),
    "the nodes": (("nodes",), "nodes"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "asked"), ASKED.values(), ids=ASKED)
def test_each_command_asks_its_question(
    glass: Glass, run: Run, arguments: tuple[str, ...], asked: str
) -> None:
    run(*arguments)
    assert glass.asked[0] == f"/api/v1/{asked}"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "%2e"])
def test_what_is_no_name_of_a_service_is_not_asked(glass: Glass, run: Run, name: str) -> None:
    assert run("service", name).exit_code == 2
    assert glass.asked == []


def test_a_machine_gets_the_answer_of_the_glass(glass: Glass, run: Run) -> None:
    glass.says("route", PARTLY)
    done = run("route", "8.8.8.8", "--json")
    document = json.loads(done.stdout)
    assert ROUTES.validate_python(document) == PARTLY
    assert (done.exit_code, done.stderr) == (1, "")


def test_a_node_without_an_answer_ends_it_with_1_and_is_named(glass: Glass, run: Run) -> None:
    glass.says("route", PARTLY)
    done = run("route", "8.8.8.8")
    assert done.exit_code == 1
    assert f"{EWR}: no answer within 2 s" in done.stdout
    assert done.stderr == f"asked at {EWR}; answered: {LAX}\n"


def test_a_question_that_the_glass_refuses_ends_with_2_and_the_cure(glass: Glass, run: Run) -> None:
    glass.says("route", MISTAKE, status=400)
    done = run("route", "x")
    assert done.exit_code == 2
    assert done.stderr == "error: for = x: is no address; give one\n"
    assert len(glass.asked) == 1


BROKEN: dict[str, tuple[int, bytes, str]] = {
    "a page": (200, b"<h1>It works!</h1>", "what answers there is no glass of this version"),
    "another document": (200, b"[]", "what answers there is no glass of this version"),
    "an error without a reason": (500, b"", "its glass answers with the status 500"),
    "not found": (404, b"<h1>no</h1>", "its glass answers with the status 404"),
    "too busy": (503, MISTAKE, "for = x: is no address; give one"),
    "too much": (200, b" " * (2 << 20), "its glass answers with more than 1 MiB"),
}


@pytest.mark.parametrize(("status", "body", "why"), BROKEN.values(), ids=BROKEN)
def test_an_answer_that_is_none_is_the_reason(
    glass: Glass, login: Login, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, why: str
) -> None:
    monkeypatch.setattr(glass_client, "MOST", 1 << 20)
    glass.says("route", body, status)
    with pytest.raises(Unanswered) as caught:
        first_answer([door(LAX, glass, login)], Asked("route"), ROUTES)
    assert str(caught.value) == f"no looking glass answers: {LAX}: {why}"


def test_the_next_node_is_asked_where_one_does_not_answer(glass: Glass, login: Login) -> None:
    glass.says("route", FOUND)
    nowhere = Door(EWR, glass.port, ("-p", "1", "root@127.0.0.1"))
    by, answer = first_answer([nowhere, door(LAX, glass, login)], Asked("route"), ROUTES)
    assert (by, answer) == (LAX, FOUND)


def test_another_node_is_asked_where_one_hears_nobody(glass: Glass, tmp_path: Path) -> None:
    heard = replace(FOUND, nodes=FOUND.nodes | {EWR: NodeAnswer(ok=True, data=Routes(routes=()))})
    with Glass().serving() as other, ssh_server(tmp_path, glass.port, other.port) as login:
        glass.says("route", PARTLY)
        other.says("route", heard)
        alone, further = door(LAX, glass, login), door(EWR, other, login)
        assert first_answer([alone, further], Asked("route"), ROUTES) == (EWR, heard)
        other.away()
        assert first_answer([alone, further], Asked("route"), ROUTES) == (LAX, PARTLY)


def test_a_glass_that_does_not_run_is_the_reason(login: Login, glass: Glass) -> None:
    """The SSH server lets it through, and nothing listens there."""
    away = door(LAX, glass, login)
    glass.away()
    with pytest.raises(
        Unanswered, match=r"its glass does not answer: .*ssh: channel .* open failed"
    ):
        first_answer([away], Asked("route"), ROUTES)


def test_another_port_is_not_forwarded(glass: Glass, login: Login) -> None:
    other = Door(LAX, login.port, tuple(shlex.split(login.line)[1:]))
    with pytest.raises(Unanswered, match="open failed"):
        first_answer([other], Asked("route"), ROUTES)


REFUSES: dict[str, tuple[str, str]] = {
    "nobody listens": ("ssh -p 1 -F none root@127.0.0.1", "Connection refused"),
    "an unknown host": (
        "ssh -p {port} -F none -o UserKnownHostsFile=/dev/null root@127.0.0.1",
        "Host key verification failed",
    ),
    "no call of ssh": ("telnet 127.0.0.1", f"the stack has no output access.{LAX}.ssh"),
}


@pytest.mark.parametrize(("line", "why"), REFUSES.values(), ids=REFUSES)
def test_why_there_is_no_log_in_is_said(glass: Glass, login: Login, line: str, why: str) -> None:
    words = shlex.split(line.format(port=login.port))
    given = tuple(words[1:]) if words[0] == "ssh" else ()
    with pytest.raises(Unanswered) as caught:
        first_answer([Door(LAX, glass.port, given)], Asked("route"), ROUTES)
    assert why in str(caught.value)


def test_ssh_ends_with_the_question(glass: Glass, login: Login) -> None:
    with glass_doors.connected(door(LAX, glass, login)) as connection:
        assert connection.socket is not None
        folder = connection.socket.parent
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    until(lambda: login.connections() == 0, 5, "the SSH server has no connection")


@pytest.mark.parametrize(
    ("preferred", "order"),
    [((), [EWR, LAX, MIA]), ((MIA,), [MIA, EWR, LAX]), (("all",), [EWR, LAX, MIA])],
)
def test_the_named_node_is_asked_first(preferred: tuple[str, ...], order: list[str]) -> None:
    known = {node: Door(node, 8080) for node in (EWR, LAX, MIA)}
    assert [each.node for each in in_order(known, *preferred)] == order


def test_via_asks_that_node_alone(glass: Glass, run: Run) -> None:
    glass.says("nodes", b"x")
    done = run("nodes", "--via", MIA)
    assert done.exit_code == 1
    assert MIA in done.stderr and LAX not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("route", "8.8.8.8", "--node", "nowhere"), ("nodes", "--via", "nowhere"),
     ("way", "nowhere", LAX), ("open", "nowhere")],
)  # fmt: skip
def test_an_unknown_node_is_refused_with_the_names(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert (
        f"nowhere: is no node of the stack lab with a looking glass; it has {EWR}, {LAX}"
        in done.stderr
    )


def test_a_network_without_a_glass_says_how_it_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glass_doors, "exported", lambda _: stack_state(FLEET, None, {}))
    done = CliRunner().invoke(app, ["glass", "nodes"])
    assert done.exit_code == 2
    assert "the looking glass of the stack lab is off" in done.stderr
    assert "mesh:glass.enabled" in done.stderr and "mesh:glass.port" in done.stderr


def test_in_a_lab_the_way_is_the_namespace_of_the_node() -> None:
    state = stack_state(FLEET, 8080, {}, "mesh-x-operator")
    assert glass_doors.of_document(state, "lab")[LAX] == Door(LAX, 8080, (), f"mesh-x-{LAX}")


def test_the_call_of_ssh_can_be_printed(run: Run, login: Login) -> None:
    """Some shells take brackets that stand in the open for a pattern of files."""
    line = run("open", LAX, "--print", "--port", "18080").stdout
    assert "'127.0.0.1:18080:[::1]:" in line
    shown = shlex.split(line)
    assert shown[0] == "ssh" and "127.0.0.1:18080:[::1]:" in " ".join(shown)
    assert "BatchMode=yes" in shown and shown[-1] == "root@127.0.0.1"


def test_a_port_that_is_taken_is_said(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("open", LAX, "--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert "is taken (--port)" in done.stderr


@pytest.mark.root
def test_in_a_lab_the_node_is_asked_in_its_namespace(tmp_path: Path) -> None:
    with in_a_lab() as (glass, state):
        glass.says("route", FOUND)
        found = glass_doors.of_document(state, "lab")
        by, answer = first_answer([found[LAX]], Asked("route"), ROUTES)
        assert (by, answer) == (LAX, FOUND)
        with pytest.raises(Unanswered, match=f"{EWR}: namespace .*{EWR}: No such file"):
            first_answer([found[EWR]], Asked("route"), ROUTES)


@pytest.mark.root
def test_in_a_lab_open_leads_a_browser_into_the_namespace(tmp_path: Path) -> None:
    with in_a_lab() as (glass, state):
        glass.says("nodes", b"{}")
        with opened(state, tmp_path) as (process, url):
            with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as browser:
                answers = [browser.get("api/v1/nodes").json() for _ in range(3)]
            assert answers == [{}] * 3
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0


@contextmanager
def in_a_lab() -> Iterator[tuple[Glass, dict[str, Any]]]:
    """A glass in the network namespace of a lab's node, and the stack's state."""
    with spaces("glass", LAX) as (space,):
        namespaces.ip(["link set lo up"], space)
        with Glass().serving(space) as glass:
            operator = space.removesuffix(LAX) + "operator"
            yield glass, stack_state(FLEET, glass.port, {}, operator)


OPEN = """
import sys
from mesh.cli import glass_doors
from mesh.cli.main import app
import json
state = json.load(open(sys.argv[1]))
glass_doors.exported = lambda _: state
glass_doors.CONNECT = 60
sys.argv[1:] = ["glass", "open", sys.argv[2]]
app()
"""


@contextmanager
def opened(state: Mapping[str, Any], folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``mesh glass open`` on a stack with that state, and the URL that it says."""
    (folder / "state").write_text(json.dumps(state))
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder / "state"), LAX],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url, _, words = process.stdout.readline().partition(" ")
        assert words == f"is the looking glass of {LAX}; Ctrl-C ends it\n"
        yield process, url
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_open_forwards_a_port_until_it_is_ended(
    glass: Glass, login: Login, tmp_path: Path, number: signal.Signals
) -> None:
    glass.says("nodes", b"{}")
    state = stack_state(FLEET, glass.port, {LAX: login.line})
    with opened(state, tmp_path) as (process, url):
        answer = httpx.get(f"{url}api/v1/nodes", timeout=PATIENCE, trust_env=False)
        assert answer.json() == {}
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
    until(lambda: login.connections() == 0, 5, "the SSH server has no connection")
