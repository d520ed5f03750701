"""What the agent reports of sessions and tunnels."""

from __future__ import annotations

import json
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mesh.agent import sessions as module
from mesh.agent.config import Config
from mesh.agent.sessions import Sessions, epoch
from mesh.agent.tunnels import STALE, handshakes, judged, transfers
from mesh.bird.client import Bird, BirdError
from mesh.render import node_files, placeholder_facts
from mesh.trust.documents import Down
from mesh.trust.encoding import parse
from tests.kit.bird_control import control
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE

LAX = "lax-vultr-1"


def config() -> Config:
    plan = plan_of(prod())
    files = node_files(plan, placeholder_facts(plan))[LAX].files
    return parse(Config, next(f.content for f in files if f.path.endswith("agent.json")))


NOON = datetime(2026, 11, 28, 12, 0, 0).astimezone()


@pytest.mark.parametrize(
    ("since", "ago"),
    [
        ("11:59:30.123", timedelta(seconds=30)),
        ("12:00:01.000", timedelta(seconds=-1)),
        ("18:00:00.000", timedelta(hours=18)),
        ("2026-11-27", timedelta(hours=36)),
    ],
)
def test_birds_time_is_of_today_or_yesterday_and_its_date_is_a_day(
    since: str, ago: timedelta
) -> None:
    assert epoch(since, NOON) == int((NOON - ago).timestamp())


def test_birds_start_is_a_date_with_a_time() -> None:
    assert epoch("2026-11-28 11:59:30.123", NOON) == int(NOON.timestamp()) - 30


@pytest.mark.parametrize("since", ["", "tomorrow", "2026-13-01", "2026-11-28 25:00:00", "9" * 40])
def test_a_time_that_cannot_be_read_is_unknown(since: str) -> None:
    assert epoch(since, NOON) == 0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of BIRD waits for a processor as well."""
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)


HEAD = "2002-Name       Proto      Table      State  Since         Info\n"


def shown(*lines: str) -> str:
    return HEAD + "".join(f"1002-{line}\n" for line in lines) + "0000 \n"


def test_a_session_that_goes_down_while_it_is_asked_about_is_left_out(tmp_path: Path) -> None:
    """Its state says Established still: what it exports is unknown then, and not nothing."""
    up = "BGP        ---        up     02:34:38.896  Established   "
    answers = {
        "show protocols": shown(f"vultr4     {up}", f"vultr6     {up}"),
        "show route 192.30.120.0/23 exported vultr4": "9001 No valid tables\n",
        "show route 2620:71:4000::/48 exported vultr6": "8001 Network not found\n",
    }
    with control(tmp_path, answers) as bird:
        looking = Sessions(bird)
        looking.watch(config())
        seen = looking.look()
    assert seen.states == {"vultr4": "Established", "vultr6": "Established"}
    assert seen.announced == {"vultr6": ()}


def test_the_words_of_a_neighbor_are_one_line_and_not_too_long(tmp_path: Path) -> None:
    evil = "Received: \x1b[2J" + "x" * 500
    line = f"vultr4     BGP        ---        start  02:34:40.102  Idle          {evil}"
    with control(tmp_path, {"show protocols": shown(line)}) as bird:
        (down,) = Sessions(bird).look().down.values()
    assert down.error.startswith("Received: xxx") and len(down.error) == 120


def test_since_when_it_is_down_is_kept_when_bird_tells_the_date_only(tmp_path: Path) -> None:
    now = datetime.now().astimezone()
    line = "vultr4     BGP        ---        start  {}  Idle          "
    answers = {"show protocols": shown(line.format((now - timedelta(hours=1)).strftime("%T.000")))}
    with control(tmp_path, answers) as bird:
        looking = Sessions(bird)
        first = looking.look().down["vultr4"]
        answers["show protocols"] = shown(line.format((now - timedelta(days=1)).strftime("%F")))
        assert looking.look().down["vultr4"] == first == Down("", first.since)
        assert abs(time.time() - 3600 - first.since) < PATIENCE


@pytest.mark.parametrize(
    ("away", "words"),
    [
        ("no file", "does not run: nobody listens on its control socket"),
        ("nobody there", "does not run: nobody listens on its control socket"),
        ("hangs", "runs, and does not answer"),
    ],
)
def test_a_bird_that_does_not_answer_is_said_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: str, words: str
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    place = tmp_path / "bird.ctl"
    if away == "nobody there":
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(place))
    if away == "hangs":
        with control(tmp_path, None) as bird:
            # More than its queue holds.
            seen = {Sessions(bird).look().bird for _ in range(4)}
    else:
        seen = {Sessions(Bird(place)).look().bird}
    assert seen == {words}
    with pytest.raises(BirdError, match="does not run"):
        Bird(tmp_path / "another").ask("show status")


def test_a_tunnel_is_well_while_its_keys_are_made_anew() -> None:
    now = 10**9
    text = f"wg-a\tkey=\t{now - 100}\nwg-b\tkey=\t0\nwg-c\tkey=\t{now - STALE - 1}\nwg-x\tkey=\t1\n"
    latest = handshakes(text)
    assert judged(("wg-a", "wg-b", "wg-c", "wg-d"), latest, now) == {
        "wg-b": "no handshake yet",
        "wg-c": "no handshake since 2001-09-09T01:43:19Z",
        "wg-d": "the interface is missing",
    }


def test_the_bytes_of_a_tunnel_are_those_that_wg_prints() -> None:
    text = "wg-a\tkey=\t15044\t15280\nwg-b\tkey=\t0\t0\nwg-c\tkey=\t-1\t2\nwg-d\tkey=\nnonsense\n"
    assert transfers(text) == {"wg-a": (15044, 15280), "wg-b": (0, 0)}


def test_an_earlier_generations_file_has_neither_upstreams_nor_tunnels() -> None:
    plan = plan_of(prod())
    files = node_files(plan, placeholder_facts(plan))[LAX].files
    text = next(f.content for f in files if f.path.endswith("agent.json"))
    document = json.loads(text)
    del document["upstreams"], document["tunnels"]
    old = parse(Config, json.dumps(document))
    assert (old.upstreams, old.tunnels) == (None, None)
    assert [each.name for each in config().upstreams or ()] == ["vultr4", "vultr6"]
