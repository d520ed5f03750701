"""``mesh status NODE``: one node by its own signed report."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mesh.cli import mesh_table, node_details
from mesh.cli import status as module
from mesh.cli.main import app
from mesh.cli.watch import print_parts
from mesh.netns import NamespaceError
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet
from mesh.publish.problems import problems_of
from mesh.publish.served import ServiceStatus
from mesh.publish.status import Discarded, MeshStatus, NodeStatus, SessionDown
from mesh.trust.documents import Repair
from tests.cli.test_status import FLEET, GOOD, state

MEMBERS = FLEET.members()
PUBLISH = GOOD["deployment"]["resources"][1]["outputs"]
LAX, EWR = "lax-vultr-1", "ewr-vultr-1"
URL = "https://203.0.113.1:8443"
V4, V6 = "192.30.120.0/23", "2620:71:4000::/48"
WELL = NodeStatus(
    "applied", 7, 2.0, "", True, {"web": True}, {"vultr4": "Established", "u_ewr": "Established"},
    announces={V4: "yes", V6: "yes"}, bird="", expected=("u_ewr", "vultr4"), clock=0.0,
    families={"web": {"ipv4": True, "ipv6": True}}, contents={"web": "a" * 64},
    orders={"drain": 3, "blackhole": 0, "hold": 0}, bundle="b" * 64, reported_to=(URL,), repaired=2,
    system="OpenBSD 7.9",
)  # fmt: skip
DOWN = replace(
    WELL, down={"vultr4": SessionDown("Idle", "BGP Error: [red]Hold timer expired", 300.0)}
)
DRAINED = replace(
    WELL, drain="drained", in_service=False, services={"web": False}, failures={"web": "drained"},
    families={"web": {"ipv4": False, "ipv6": False}}, announces={V4: "no", V6: "no"},
    why_not={V4: "it is drained"},
)  # fmt: skip
SERVED: dict[str, tuple[str, ...]] = {"ipv4": (LAX,), "ipv6": (LAX,)}
NOBODY: dict[str, tuple[str, ...]] = {"ipv4": (), "ipv6": ()}
WEB = ServiceStatus(SERVED, NOBODY, "a" * 64)


def mesh(node: NodeStatus, **changed: Any) -> MeshStatus:
    """A mesh of that node and one that is well."""
    found = MeshStatus(
        True, 7, 7, False, {URL: "ok"}, {EWR: WELL, LAX: node}, services={"web": WEB}, drain=3
    )
    return replace(found, **changed)


def shown(found: MeshStatus, name: str = LAX) -> list[str]:
    """What a terminal of 80 columns shows of a node."""
    console = Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system=None, highlight=False
    )
    print_parts(console, tuple(node_details.parts(name, found, problems_of(name, found))))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


HELD = "2026-11-29T23:00:00Z"
SAID: dict[str, tuple[MeshStatus, tuple[str, ...]]] = {
    "well": (mesh(WELL), (
        f"{LAX}: applied", "report 2 s old, at the registry", "in service yes", "BIRD answers",
        "clock as this machine's", "bundle bbbbbbbbbbbb", "system OpenBSD 7.9", "orders drain 3",
        "repairs 2 since its agent started", f"{V4} yes", "web up aaaaaaaaaaaa -",
        "vultr4 Established")),
    "a session that is down": (mesh(DOWN), (
        "vultr4 Idle 5 min BGP Error: [red]Hold timer expired",
        f"{LAX}: vultr4 is down for 5 min (Idle): BGP Error: [red]Hold timer expired")),
    "drained": (mesh(DRAINED, drained=(LAX,)), (
        f"{LAX}: applied, drained by order 3", "in service no, drained", f"{V4} drained",
        "web drained aaaaaaaaaaaa -")),
    "held": (mesh(replace(WELL, held=HELD)), (f"{LAX}: applied, held until {HELD}",)),
    "blackholed": (
        mesh(WELL, services={"web": replace(WEB, blackholed=("192.30.120.100",),
                                            blackholed_in=("ipv4",))}),
        ("web IPv4 blackholed aaaaaaaaaaaa -",)),
    "an order that it has not applied": (
        mesh(WELL, blackhole=4), ("orders drain 3, blackhole none (in force is 4)",)),
    "older content": (
        mesh(replace(WELL, contents={"web": "c" * 64}),
             services={"web": replace(WEB, older={LAX: "c" * 64})}),
        ("web up cccccccccccc (older) -",)),
    "a repair": (
        mesh(replace(WELL, repairs=(Repair("nftables", "a rule was gone", 2, 5),))),
        ("nftables: 2 times in ten minutes (a rule was gone)",)),
    "a repair that fails": (
        mesh(replace(WELL, repairs=(Repair("unit bird.service", "does not run", 0, 5, "", True),))),
        ("unit bird.service: in vain (does not run), left alone now",)),
    "a session beside the plan": (
        mesh(replace(WELL, sessions={"mine": "Established"})),
        ("mine Established not expected by the plan",)),
    "a BIRD that is away": (mesh(replace(WELL, bird="does not answer")), ("BIRD does not answer",)),
    "a tunnel": (mesh(replace(WELL, tunnels={"wg-ewr": "no handshake"})), ("wg-ewr no handshake",)),
    "a fault": (mesh(replace(WELL, faults={"disk": "is full"})), ("disk is full",)),
    "refused routes": (
        mesh(replace(WELL, refused={"bogon prefix": 12})),
        ("routes refused since its agent started: bogon prefix 12",)),
    "silent": (mesh(replace(WELL, state="silent", stale=True, age=300.0)), (
        f"{LAX}: silent; its state is unknown, what follows is from its last report",
        "report 5 min old, at the registry")),
    "no report at all": (
        mesh(NodeStatus("silent", 0, None, stale=True)), (f"{LAX}: silent; no report yet",)),
    "a clock": (mesh(replace(WELL, clock=90.0)), ("clock 90 s ahead of this machine's",)),
    "behind": (
        mesh(replace(WELL, state="behind", generation=6)), ("generation 6, published is 7",)),
}  # fmt: skip


@pytest.mark.parametrize(("found", "said"), SAID.values(), ids=SAID)
def test_the_details_say_it_within_80_columns(found: MeshStatus, said: tuple[str, ...]) -> None:
    lines = shown(found)
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert [each for each in said if each not in words] == []


def test_what_is_drained_is_not_called_down() -> None:
    assert not any("down" in line for line in shown(mesh(DRAINED, drained=(LAX,))))


MARKED: dict[str, tuple[NodeStatus, ServiceStatus | None, str]] = {
    "up": (WELL, WEB, ""),
    "without a plan": (WELL, None, ""),
    "one family down": (replace(WELL, families={"web": {"ipv4": True, "ipv6": False}}), WEB,
                        " (IPv6 down)"),
    "all blackholed": (
        WELL, replace(WEB, blackholed=("a", "b"), blackholed_in=("ipv4", "ipv6")), " (blackholed)"),
    "one of two addresses of a family": (WELL, replace(WEB, blackholed=("a",)),
                                         " (partly blackholed)"),
    "down and blackholed": (
        replace(WELL, services={"web": False}, families={}),
        replace(WEB, blackholed=("a",), blackholed_in=("ipv4",)), " (down; IPv4 blackholed)"),
}  # fmt: skip


@pytest.mark.parametrize(("node", "whole", "mark"), MARKED.values(), ids=MARKED)
def test_a_service_is_marked_with_what_it_is(
    node: NodeStatus, whole: ServiceStatus | None, mark: str
) -> None:
    assert mesh_table.service_state(node, "web", whole) == mark


def test_the_table_says_drained_and_held() -> None:
    found = mesh(DRAINED, nodes={LAX: DRAINED, EWR: replace(WELL, held=HELD)})
    columns = [list(each.cells) for each in mesh_table.table_of(found).columns]
    rows = {name: cells for name, *cells in zip(*columns, strict=True)}
    assert rows[LAX][2:4] == ["drained", "drained"]
    assert rows[EWR][0] == "applied (held)"


def test_the_services_line_names_its_blackholed_addresses() -> None:
    served = replace(WEB, blackholed=("192.30.120.100",))
    hole = Discarded("192.30.120.100", HELD, 90, "a flood", True, ())
    lines = mesh_table.parts(mesh(WELL, services={"web": served}, blackholes=(hole,)), ())
    texts = [getattr(line, "text", "") for line in lines]
    assert any(text.endswith("blackholed: 192.30.120.100") for text in texts)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``mesh status`` with these arguments, of a mesh whose registries say that."""

    def ask(found: MeshStatus, *arguments: str) -> Any:
        monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: GOOD)
        monkeypatch.setattr(module, "look", lambda *_: found)
        return CliRunner().invoke(app, ["status", *arguments])

    return ask


@pytest.mark.parametrize(("node", "code"), [(WELL, 0), (DOWN, 1)])
def test_the_exit_code_is_about_that_node(
    asked: Callable[..., Any], node: NodeStatus, code: int
) -> None:
    others = {EWR: replace(DOWN, down={"vultr6": SessionDown("Active")}), LAX: node}
    done = asked(mesh(node, nodes=others, drained=()), LAX)
    assert done.exit_code == code
    assert EWR not in done.stdout


def test_a_machine_gets_the_node_with_its_problems(asked: Callable[..., Any]) -> None:
    document = json.loads(asked(mesh(DOWN), LAX, "--json").stdout)
    assert (document["node"], document["down"]["vultr4"]["state"]) == (LAX, "Idle")
    assert document["orders"]["drain"] == 3
    assert len(document["problems"]) == 1


def test_an_unknown_node_is_refused_with_the_names(asked: Callable[..., Any]) -> None:
    done = asked(mesh(WELL), "nowhere-1")
    assert done.exit_code == 2
    assert "nowhere-1: is no node of the stack lab; it has " in done.output
    assert LAX in done.output


def test_what_was_published_meanwhile_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch outlives an update: the generation that it finds is not unknown for ever."""
    states = iter([GOOD, state(**PUBLISH | {"fleet": dump_fleet(State(9, "0" * 64, MEMBERS))})])
    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: next(states))

    def found(_key: str, _registries: object, fleet: State, *_: object) -> MeshStatus:
        known = fleet.generation
        return mesh(WELL, published=known, unrecorded=9 if known < 9 else None)

    monkeypatch.setattr(module, "look", found)
    monkeypatch.setattr(module, "READ_AGAIN", 0.0)
    source = module.Source("lab")
    assert source.look().unrecorded == 9
    assert source.look_again().unrecorded is None
    assert source.look_again().published == 9


def test_a_watch_goes_on_where_the_lab_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> MeshStatus:
        raise NamespaceError("namespace mesh-lab-operator: No such file or directory")

    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: GOOD)
    monkeypatch.setattr(module, "look", gone)
    shown = module._still(module.Source("lab"), None)
    assert shown.text() == "error: namespace mesh-lab-operator: No such file or directory\n"
    assert shown.document == {"error": "namespace mesh-lab-operator: No such file or directory"}
