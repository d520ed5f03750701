"""BIRD's details of sessions, from what three versions of it have said of the same network."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.bird.details import (
    BfdSession,
    Channel,
    Protocols,
    Status,
    bfd_sessions,
    protocols,
    status,
)
from mesh.bird.reply import Reply, read

RECORDED = Path(__file__).with_name("recorded")
VERSIONS = ("2.0.12", "2.17.6", "3.1.8")
TUNNEL, DEAD = "u_mia_vultr_1", "u_a_very_long_name_of_a_node_which_is_dead_1"


def recorded(version: str, what: str) -> Reply:
    return read(io.BytesIO((RECORDED / f"{version}-{what}.txt").read_bytes()))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(version: str) -> Protocols:
    return protocols(recorded(version, "protocols"))


def test_all_bgp_sessions_are_there_with_their_states(seen: Protocols) -> None:
    states = {name: one.session.state for name, one in seen.bgp.items()}
    assert states == {
        TUNNEL: "Established",
        DEAD: "Connect",
        "mate4_mia_vultr_1": "Established",
        "vultr4": "Connect",
        "vultr6": "Active",
        "other4": "Connect",
        "shut4": "down",
    }


def test_a_session_has_its_neighbor(seen: Protocols) -> None:
    tunnel, upstream = seen.bgp[TUNNEL], seen.bgp["vultr4"]
    assert (tunnel.neighbor, tunnel.interface, tunnel.asn) == ("fe80::2", "wg-mia", 4200000002)
    assert (upstream.neighbor, upstream.interface, upstream.asn) == ("203.0.113.2", "", 64515)
    assert upstream.description == "vultr, IPv4"


def test_a_channel_has_its_routes_and_its_limit(version: str, seen: Protocols) -> None:
    four, six = (seen.bgp[TUNNEL].channels[family] for family in ("ipv4", "ipv6"))
    # Of the neighbor's five routes, BIRD 2 takes what comes first; 3 has other ones first.
    accepted, refused = (3, 0) if version == "3.1.8" else (1, 2)
    assert four == Channel(
        "master4", True, accepted, refused, four.exported, accepted, 3, at_limit=True
    )
    assert six == Channel("master6", True, 1, 0, 0, 1, 112)


def test_a_channel_that_is_down_has_no_routes_and_its_limit(seen: Protocols) -> None:
    assert seen.bgp[DEAD].channels["ipv4"] == Channel("master4", limit=3)


def test_the_last_error_is_of_the_session(version: str, seen: Protocols) -> None:
    errors = {name: one.session.error for name, one in seen.bgp.items() if one.session.error}
    assert errors.pop("vultr6") == "Socket: Connection refused"
    assert errors == ({} if version == "2.0.12" else {"other4": "BGP Error: Bad peer AS"})


def test_caches_have_their_records_by_table(seen: Protocols) -> None:
    well, away = seen.rtr["rtr_198_51_100_1_3323"], seen.rtr["rtr_198_51_100_4_3323"]
    assert (well.state, away.state) == ("Established", "Transport-Error")
    assert {one.table: one.imported for one in well.channels.values()} == {"roas4": 2, "roas6": 1}
    assert {one.table: one.imported for one in away.channels.values()} == {
        "roas4": None,
        "roas6": None,
    }


def test_bfd_is_read_by_neighbor_and_interface(version: str) -> None:
    assert set(bfd_sessions(recorded(version, "bfd"))) == {
        BfdSession("fe80::2", "wg-mia", "Up"),
        BfdSession("fe80::3", "wg-dead", "Down"),
    }


def test_bird_says_its_version_and_when_it_started(version: str) -> None:
    found = status(recorded(version, "status"))
    assert found.version == version and found.started.startswith("2026-11-29 2")


@pytest.mark.parametrize(
    ("lines", "channel"),
    [
        (("Routes:  many imported, 2 exported",), Channel(exported=2)),
        (("Routes:  -1 imported",), Channel()),
        ((f"Routes:  {'9' * 5000} imported",), Channel()),
        (("Routes:  ٣ imported",), Channel()),
        (("Routes:",), Channel()),
        (("Receive limit:  none",), Channel()),
        (("Receive limit:  7 [NOT HIT]",), Channel(limit=7)),
        (("Routes:  1 imported", "Routes:  2 imported"), Channel(imported=1)),
    ],
)
def test_a_number_that_is_none_is_unknown(lines: tuple[str, ...], channel: Channel) -> None:
    head = ((1002, "a BGP --- up 1 Established"), (1006, "  Channel ipv4"))
    reply = Reply((*head, *((1006, f"    {line}") for line in lines)))
    assert protocols(reply).bgp["a"].channels == {"ipv4": channel}


def broken(text: str, chance: random.Random) -> str:
    """The same with characters changed, lines lost, doubled and cut."""
    lines = text.splitlines()
    for _ in range(chance.randrange(1, 40)):
        at = chance.randrange(len(lines))
        line = lines[at]
        cut = chance.randrange(len(line) + 1)
        lines[at] = chance.choice(
            (
                line[:cut],
                line[cut:],
                line[:cut] + chance.choice("\0\x1b[] :,%-9é\u202e") + line[cut:],
                lines[chance.randrange(len(lines))],
                "1002-",
                "1006-  Channel ",
                "1006-  Channel :",
                "1020-fe80::1",
            )
        )
    return "\n".join([*lines, "0000 "]) + "\n"


def drawn() -> Iterator[Reply]:
    chance = random.Random(17)
    texts = [path.read_text() for path in sorted(RECORDED.iterdir())]
    for _ in range(600):
        try:
            yield read(io.BytesIO(broken(chance.choice(texts), chance).encode()))
        except ValueError:
            continue


def test_no_answer_is_an_error() -> None:
    for reply in drawn():
        found = protocols(reply)
        assert all(one.asn >= 0 for one in found.bgp.values())
        assert all(one.address for one in bfd_sessions(reply))
        assert isinstance(status(reply), Status)
