"""What a person sees in a terminal of 80 columns: nothing that is needed is cut."""

from __future__ import annotations

import io
from dataclasses import replace
from ipaddress import ip_address

import pytest
from rich.console import Console, RenderableType
from rich.table import Table

from mesh.cli import answers, blackhole, lab, mesh_table, strays
from mesh.hanging import Hanging, wrapped
from mesh.infra.providers.accounts import Compared, Stray
from mesh.publish.status import MeshStatus, NodeStatus, SessionDown
from mesh.trust.documents import Blackhole
from tests.kit.stacks import plan_of, prod

WIDTH = 80


def test_a_network_without_services_has_nobody_to_ask() -> None:
    console = Console(file=io.StringIO(), width=WIDTH)
    assert answers.show(replace(plan_of(prod()), services=()), "no-lab", console)
    assert isinstance(console.file, io.StringIO)
    assert "no service is planned yet" in console.file.getvalue()


def shown(what: RenderableType, terminal: bool = True) -> str:
    """What is printed on a terminal of that width, or into a file."""
    console = Console(
        file=io.StringIO(), width=WIDTH, force_terminal=terminal, color_system=None, highlight=False
    )
    console.print(what, soft_wrap=not isinstance(what, Table))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


BOXES = lab.table_of([
    lab.Listed("ewr-vultr-1", "node", ("192.30.120.17", "2001:db8:7000:4::17"), "running",
               ("power-loss", "kill-daemon")),
    lab.Listed("upstream-mia-vultr-1", "upstream", ("100.64.1.1", "fe80::1"), "running"),
    lab.Listed("vpc-client-lax-aws-1", "client", ("10.255.250.254",), "absent"),
])  # fmt: skip
DOWN = {f"u_{n}": SessionDown("Idle") for n in ("ord_vultr_1", "mia_vultr_1")}
NODES = mesh_table.table_of(
    MeshStatus(
        True, 1234, 1234, False, {}, {
            "ewr-vultr-1": NodeStatus(
                "applied", 1234, 1.0, "", True, {"web": True, "east": False},
                {"vultr4": "Established"}, announces={"192.30.120.0/23": "yes",
                "2620:71:4000::/48": "unknown"}, expected=tuple("abcdefghijkl"), down=DOWN,
            ),
            "sea-buyvm-12": NodeStatus("unreachable", 1234, 9.0, stale=True),
            "sea-aws-1": NodeStatus("withdrawn", 1234, 9.0, awaited=False),
        },
    )
)  # fmt: skip
DISCARDED = blackhole.table_of(
    [
        Blackhole(ip_address("192.30.120.9"), 2_000_000_000, "a flood " * 9, True),
        Blackhole(ip_address("2620:71:4000:ffff:ffff:ffff:ffff:9"), 2_000_000_000, "the same"),
    ],
    "10 of 12", 1_999_999_000.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("table", "whole"),
    [
        (BOXES, ("upstream-mia-vultr-1", "2001:db8:7000:4::17", "running", "upstream", "absent",
                 "power-loss", "vpc-client-lax-aws-1", "10.255.250.254")),
        (NODES, ("sea-buyvm-12", "unreachable", "withdrawn", "(without)", "generation", "10 of 12",
                 "east", "(down)", "v4, v6 unknown")),
        (DISCARDED, ("192.30.120.9", "(forced)", "2033-05-18T03:33:20Z", "1000 s", "10 of 12")),
    ],
    ids=["lab list", "status", "blackhole list"],
)  # fmt: skip
def test_a_table_fits_into_80_columns(table: Table, whole: tuple[str, ...]) -> None:
    lines = shown(table).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "…" not in "".join(lines)
    assert [word for word in whole if not any(word in line for line in lines)] == []


ID = "cb676a46-66fd-4dfb-b839-443f2e6c0b60"
STRAY = Stray("instance", ID, "mia-vultr-12.prod", "mia 203.0.113.170", "mia-vultr-12", "x")


def test_an_id_at_vultr_can_be_copied_from_a_table() -> None:
    found = Compared("0a1b2c3d", begun=(STRAY,))
    lines = shown(strays._table("Vultr", found)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert any(ID in line for line in lines)
    assert any("an update began it:" in line for line in lines)


REGIONS = ("apac", "eu", "ewr", "lax", "mia", "ord", "sea")
SERVED: answers.Answers = {
    ("web", address): {region: f"{region}-vultr-1" for region in REGIONS}
    for address in ("192.30.120.100", "2620:71:4000::100")
}


@pytest.mark.parametrize(("count", "tables"), [(1, 1), (4, 1), (5, 2), (7, 2)])
def test_answers_of_many_regions_stand_in_tables_below_each_other(count: int, tables: int) -> None:
    """Every answer is there, whole, beside its service."""
    found = list(answers.tables(SERVED, REGIONS[:count], WIDTH))
    assert len(found) == tables
    lines = [line for table in found for line in shown(table).splitlines()]
    assert max(map(len, lines)) <= WIDTH
    for region in REGIONS[:count]:
        assert sum(f" {region}-vultr-1" in line for line in lines) == 2
    assert all("web" in line or "service" in line for line in lines)


LISTED = "use one of " + ", ".join(f"mesh:key-{number}" for number in range(12))


@pytest.mark.parametrize(
    ("line", "indents"),
    [
        (f"error: {LISTED}", [0, 2, 2]),
        (f"  - {LISTED}", [2, 4, 4]),
        (f"    {LISTED}", [4, 6, 6]),
        ("short", [0]),
    ],
)
def test_what_goes_on_in_the_next_line_hangs_below_the_first(line: str, indents: list[int]) -> None:
    lines = wrapped(line, WIDTH).splitlines()
    assert [len(each) - len(each.lstrip()) for each in lines] == indents
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(" ".join(lines).split()) == line.strip()


@pytest.mark.parametrize(("terminal", "count"), [(True, 3), (False, 1)])
def test_a_message_is_wrapped_on_a_terminal_and_whole_in_a_file(terminal: bool, count: int) -> None:
    lines = shown(Hanging(LISTED, "red", "error:"), terminal).splitlines()
    assert len(lines) == count
    assert lines[0].startswith("error: use one of mesh:key-0, ")
    assert lines[-1].endswith("mesh:key-11")


def test_a_word_that_is_longer_than_a_line_is_not_cut() -> None:
    address = "https://example.net/" + "x" * 100
    assert address in shown(Hanging(f"error: see {address}"))


def test_a_command_is_not_broken() -> None:
    command = "`pulumi config set --secret mesh:bgpPassword-vultr`"
    for room in range(30, WIDTH):
        assert command in wrapped(f"{'x' * room} set it: {command}, and go on", WIDTH)
