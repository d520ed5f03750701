"""Whose BIRD's sessions are, and what a snapshot says of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mesh.agent.config import Config
from mesh.agent.session_details import BirdDetails, SessionDetails
from mesh.bird.client import BirdError
from mesh.render import node_files, placeholder_facts
from mesh.trust.encoding import parse
from tests.kit.bird_control import control
from tests.kit.stacks import plan_of, with_members
from tests.kit.wait import PATIENCE

LAX = "lax-vultr-1"


def config() -> Config:
    plan = plan_of(with_members())
    files = node_files(plan, placeholder_facts(plan))[LAX].files
    return parse(Config, next(f.content for f in files if f.path.endswith("agent.json")))


STATUS = (
    "1000-BIRD 2.0.12\n1011-Last reboot on 2026-11-29 23:00:12.651\n0013 Daemon is up and running\n"
)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of BIRD waits for a processor as well."""
    monkeypatch.setattr("mesh.agent.session_details.PATIENCE", PATIENCE)


def answers(*lines: str, bfd: str = "") -> Mapping[str, str]:
    detailed = "".join(f"1006-{x}\n" if x.startswith(" ") else f"1002-{x}\n" for x in lines)
    return {
        'timeformat "%s"': "9001 syntax error, unexpected TIMEFORMAT\n",
        "show status": STATUS,
        "show protocols all": f"{detailed}0000 \n",
        "show bfd sessions": f"{bfd}0000 \n",
    }


def looked(folder: Path, said: Mapping[str, str], times: int = 1) -> BirdDetails:
    with control(folder, dict(said)) as bird:
        details = SessionDetails(bird)
        details.watch(config())
        return [details.look() for _ in range(times)][-1]


UP = "BGP        ---        up     02:34:38.896  Established   "


@pytest.mark.parametrize(
    ("name", "description", "kind", "peer"),
    [
        ("u_ord_vultr_1", "ord-vultr-1, tunnel", "tunnel", "ord-vultr-1"),
        ("u_left_the_plan_1", "", "tunnel", "left-the-plan-1"),
        ("mate6_ord_vultr_1", "ord-vultr-1, client", "ibgp", "ord-vultr-1"),
        ("vultr4", "vultr, IPv4", "upstream", "vultr"),
        ("up4_my_transit", "my-transit, IPv4", "upstream", "my-transit"),
        ("vpc1", "aws, router of the VPC", "vpc", "aws"),
        ("somebodys", "", "upstream", "somebodys"),
    ],
)
def test_a_session_has_a_kind_and_a_peer_by_its_name(
    tmp_path: Path, name: str, description: str, kind: str, peer: str
) -> None:
    said = answers(f"{name} {UP}", *([f"  Description:    {description}"] if description else []))
    (session,) = looked(tmp_path, said).sessions
    assert (session.name, session.kind, session.peer) == (name, kind, peer)


@pytest.mark.parametrize(
    ("neighbor", "rows", "up"),
    [
        ("fe80::2%wg-ord", "1020-fe80::2 wg-ord Up 23:00:13.358 0.150 0.450\n", True),
        ("fe80::2%wg-ord", "1020-fe80::2 wg-ord Init 23:00:13.358 0.150 0.450\n", False),
        ("fe80::2%wg-ord", "1020-fe80::2 wg-mia Up 23:00:13.358 0.150 0.450\n", None),
        ("203.0.113.2", "1020-203.0.113.2 --- Up 23:00:13.358 0.150 0.450\n", True),
        ("203.0.113.2", "1020-203.0.113.2 enp1s0 Down 23:00:13.358 1.0 0.0\n", False),
        ("203.0.113.2", "1020-203.0.113.3 --- Up 23:00:13.358 0.150 0.450\n", None),
    ],
)
def test_a_session_has_the_bfd_session_of_its_neighbor(
    tmp_path: Path, neighbor: str, rows: str, up: bool | None
) -> None:
    said = answers(f"vultr4 {UP}", f"    Neighbor address: {neighbor}", bfd=rows)
    (session,) = looked(tmp_path, said).sessions
    assert session.bfd is up


def test_words_of_others_are_one_line_and_not_too_long(tmp_path: Path) -> None:
    down = f"{'n' * 70} BGP --- start 02:34:40.102 Idle Received: \x1b[2J{'x' * 500}"
    evil = answers(
        down, f"  Description:    \x1b]0;t\x07{'d' * 200}, x", "    Neighbor AS:  -1",
        f"rtr_1 RPKI --- start 02:34:40.102 \x1b[2J{'x' * 500}",
    )  # fmt: skip
    found = looked(tmp_path, evil)
    (session,), (cache,) = found.sessions, found.caches
    assert (session.name, session.peer, session.neighbor_asn) == ("n" * 64, "d" * 64, 0)
    assert session.error.startswith("Received: xxx") and len(session.error) == 120
    assert cache.error == "x" * 120 and not cache.up


def test_records_are_those_of_the_cache_that_brings_the_most(tmp_path: Path) -> None:
    def cache(name: str, *lines: str) -> tuple[str, ...]:
        head = f"{name} RPKI --- up 02:34:38.896 Established"
        return (head, "  Channel roa4", "    Table:  roas4", *lines)

    up, down = "    State:  UP", "    State:  DOWN"
    said = answers(
        *cache("rtr_1", up, "    Routes:  7 imported, 0 exported"),
        *cache("rtr_2", up, "    Routes:  9 imported, 0 exported"),
        *cache("rtr_3", down),
        *cache("rtr_4", up, "    Routes:  nobody knows"),
    )
    assert looked(tmp_path, said).records == {"roas4": 9}
    (tmp_path / "alone").mkdir()
    assert looked(tmp_path / "alone", answers(*cache("rtr_3", down))).records == {"roas4": 0}


def test_since_when_is_kept_when_bird_says_the_date_only(tmp_path: Path) -> None:
    now = datetime.now().astimezone()
    line = "vultr4 BGP --- up {} Established"
    said = dict(answers(line.format((now - timedelta(hours=1)).strftime("%T.000"))))
    with control(tmp_path, said) as bird:
        details = SessionDetails(bird)
        (first,) = details.look().sessions
        day = (now - timedelta(hours=1)).strftime("%F")
        said |= answers(line.format(day))
        assert details.look().sessions[0].since == first.since
        said |= answers(line.format(day).replace("Established", "Idle"))
        assert details.look().sessions[0].since < first.since, "of another state it is unknown"


def test_epoch_seconds_are_taken_as_they_are(tmp_path: Path) -> None:
    said = dict(answers("vultr4 BGP --- up 1795993213 Established"))
    said["show status"] = STATUS.replace("2026-11-29 23:00:12.651", "1795993212")
    found = looked(tmp_path, said)
    assert (found.started, found.sessions[0].since) == (1795993212, 1795993213)


def test_a_bird_that_hangs_costs_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.agent.session_details.PATIENCE", 0.2)
    with control(tmp_path, None) as bird, pytest.raises(BirdError, match="does not answer"):
        SessionDetails(bird).look()
