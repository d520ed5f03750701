"""What the agent says that its upstreams hear, beside a real BIRD and what they did hear."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from mesh.agent import sessions as module
from mesh.agent.announce_state import AnnounceState, running_state
from mesh.agent.config import Config
from mesh.agent.sessions import Sessions
from mesh.trust.encoding import parse
from tests.kit.edge.uplink import Edge, edge
from tests.kit.machine import BIRDS, IMAGES
from tests.kit.stacks import prod
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.image
NODE = "lax-vultr-1"
NET4, NET6 = IPv4Network("192.30.120.0/23"), IPv6Network("2620:71:4000::/48")


def looking(made: Edge) -> Sessions:
    """The agent's look at this BIRD."""
    root = Path(f"/proc/{made.pid}/root")
    found = Sessions(made.bird)
    found.watch(parse(Config, (root / "etc/anycast-mesh/agent.json").read_bytes()))
    return found


def tell(made: Edge, word: AnnounceState) -> None:
    """What the agent writes, and BIRD reads."""
    path = Path(f"/proc/{made.pid}/root/run/anycast-mesh/bird/announce.conf")
    path.write_bytes(word.file())
    assert "Reconfigur" in made.birdc("configure")


@pytest.mark.parametrize("version", BIRDS)
def test_a_prefix_is_announced_where_the_session_is_up_and_bird_exports_it(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    with edge(prod(), NODE, version=version) as made:
        look = looking(made).look

        def announces(expected: object) -> Callable[[], bool]:
            return lambda: look().announced == expected

        first = look()
        assert (first.bird, first.announced) == ("", {})
        assert first.down["vultr4"].error == ""
        four, six = made.upstream("ipv4"), made.upstream("ipv6")
        until(announces({"vultr4": (NET4,), "vultr6": (NET6,)}), 5, "both families")
        heard = {str(NET4), str(NET6)}
        until(lambda: {*four.log.routes(), *six.log.routes()} == heard, 5, "they have heard it")
        tell(made, AnnounceState())
        until(announces({"vultr4": (), "vultr6": ()}), 5, "up, and told to announce nothing")
        until(lambda: not four.log.routes(), 5, "its upstream hears nothing")
        tell(made, AnnounceState(in_service=True))
        until(announces({"vultr4": (NET4,), "vultr6": (NET6,)}), 5, "both again")
        six.cease()

        def is_told() -> bool:
            """Seen at once: BIRD calls again soon, and has another error then."""
            found = look()
            error = found.down["vultr6"].error if "vultr6" in found.down else ""
            return found.announced == {"vultr4": (NET4,)} and (
                "Cease" in error or "shutdown" in error
            )

        until(is_told, 5, "IPv4 only, and why")
        os.kill(made.pid, signal.SIGSTOP)
        with monkeypatch.context() as patched:
            patched.setattr(module, "PATIENCE", 0.5)
            hung = look()
        os.kill(made.pid, signal.SIGCONT)
        assert (hung.announced, hung.states) == (None, {})
        assert hung.bird == "runs, and does not answer"
        until(lambda: look().bird == "", 5, "it answers again")
        os.kill(made.pid, signal.SIGKILL)
        until(lambda: look().bird.startswith("does not run"), 5, "it is gone")
        for speaker in (four, six):
            speaker.close()


def test_what_a_limit_holds_back_is_not_announced() -> None:
    """`show route export` would say so all the same: it asks the filter, not what was sent."""

    def first_come(text: str) -> str:
        """A session that may say one thing, and has said another before the aggregate came."""
        text = text.replace("if !is_aggregate4() then reject;", "")
        text = text.replace("export limit 81 action block;", "export limit 1 action block;")
        more = "protocol static more4 { ipv4 { table internet4; }; route 10.9.0.0/16 blackhole; }"
        return text.replace("\nprotocol bgp vultr4", f"\n{more}\nprotocol bgp vultr4", 1)

    with edge(prod(), NODE, version=IMAGES, bend=first_come) as made:
        look = looking(made).look
        tell(made, AnnounceState())
        four = made.upstream("ipv4")
        until(lambda: "10.9.0.0/16" in four.log.routes(), 5, "the other one")
        tell(made, AnnounceState(in_service=True))
        asked = f"show route {NET4} export vultr4"
        until(lambda: str(NET4) in made.birdc(asked), 5, "the filter would let it pass")
        assert look().announced == {"vultr4": ()}
        assert str(NET4) not in four.log.routes()
        four.close()


@pytest.mark.parametrize("version", BIRDS)
def test_the_word_that_counts_is_the_one_that_bird_runs_by(version: str) -> None:
    with edge(prod(), NODE, version=version) as made:
        root = Path(f"/proc/{made.pid}/root")
        file = root / "run/anycast-mesh/bird/announce.conf"

        def runs() -> AnnounceState:
            with made.bird.asking() as ask:
                return running_state(ask)

        def goes_back() -> bool:
            """Whether it was seen to run by what it takes back after a second."""
            assert "Reconfigur" in made.birdc("configure timeout 1")
            ran = runs() == AnnounceState(True)
            until(lambda: runs() == AnnounceState(False, True), 20, "it goes back by itself")
            return ran

        for word in (
            AnnounceState(),
            AnnounceState(True),
            AnnounceState(True, True),
            AnnounceState(False, True),
        ):
            tell(made, word)
            assert runs() == word
        file.write_bytes(AnnounceState(True).file() + b"protocol {")
        assert "syntax error" in made.birdc("configure")
        assert runs() == AnnounceState(False, True), "it has refused the file"
        file.write_bytes(AnnounceState(True).file())
        until(goes_back, 20, "it runs by it, and goes back")
        file.write_bytes(b"define IN_SERVICE = true;\n")
        assert runs() == AnnounceState(False, True), "nobody has told it"
