"""A change that narrows who may log in, on a Debian 13 machine with real systemd, sshd and nft: it
stays where somebody logs in by what it leaves, and the machine goes back from it otherwise.

The tests of this file share the machine and run in order.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import asyncssh
import pytest

from mesh import netns
from mesh.agent import bundle
from mesh.agent.confirmation import PATIENCE
from mesh.facts import Placement
from mesh.lab import containers
from mesh.lab.lab_files import files_of
from mesh.lab.underlay import OPERATOR4
from mesh.lab.world import clear_world, raise_world
from mesh.plan import Plan
from mesh.publish import Fleet, Instance, Order, PublishError, SealedBefore, publish
from mesh.publish.order_log import latest
from mesh.publish.registry_pool import RegistryPool
from mesh.render import NodeFiles, Seed, node_files, user_data
from mesh.trust import keys
from mesh.trust.documents import Report
from tests.kit.lab_node import LabNode
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.beside_labs]

T = TypeVar("T")

NODE, LAB = "lax-vultr-1", "confirm"
LOGIN = asyncssh.generate_private_key("ssh-ed25519", comment="confirm")
FINGERPRINT = LOGIN.get_fingerprint()
OPERATOR = f"{OPERATOR4}/32"
ELSEWHERE, ANOTHER = "192.0.2.0/24", "192.0.3.0/24"
SSHD = "/etc/ssh/sshd_config.d/00-anycast-mesh.conf"
STATE = "/var/lib/anycast-mesh/state/unconfirmed.json"
UNDO = "anycast-mesh-undo"
UNTIL = '"until"'
LONG = 120.0
"""Seconds until something is believed not to happen on a busy machine."""


@dataclass
class PublishedNode(LabNode):
    """The node, and its operator."""

    key: str
    instance: Instance
    bundle: bytes
    fleet: Fleet | None = None
    lines: list[str] = field(default_factory=list)

    def publish(self, *admin: str) -> None:
        """Brings a generation into force whose admins are these networks."""
        self.lines.clear()
        order = Order(
            planned(*admin), self.key, {"vultr": "a-session-key"}, {NODE: self.instance},
            self.bundle, {NODE: f"https://{self.address}:8443"}, self.place.namespace("operator"),
            deadline=LONG, settle=0.0, sealed_before=SealedBefore(1, since=1),
        )  # fmt: skip
        self.fleet, _ = publish(order, self.fleet, self.lines.append)

    @contextmanager
    def publishing(self, *admin: str) -> Iterator[list[BaseException | None]]:
        """The same while something else goes on; how it has ended."""
        ended: list[BaseException | None] = []

        def work() -> None:
            try:
                self.publish(*admin)
                ended.append(None)
            except PublishError as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield ended
        except BaseException:
            self.ends_now()
            raise
        finally:
            thread.join()

    @property
    def said(self) -> str:
        """What the publication has said so far."""
        return "\n".join(self.lines)

    def reason(self) -> str:
        """Why the node does not follow the last generation, by its own signed word."""
        word = self.word()
        return "no word" if word is None else word.reason

    def used(self) -> set[tuple[str, str]]:
        """The networks and keys that were used, by its own signed word."""
        word = self.word()
        logins = () if word is None else word.health.logins or ()
        return {(str(one.network), one.key) for one in logins}

    def word(self) -> Report | None:
        """The node's last report."""
        desk = RegistryPool(self.key, {NODE: f"https://{self.address}:8443"})

        def ask() -> Report | None:
            identities = {NODE: self.fleet.members[NODE].identity} if self.fleet else {}
            return latest(desk.reports(identities)).get(NODE)

        try:
            return self.operator(ask)
        finally:
            desk.close()

    def is_unconfirmed(self) -> bool:
        """Whether it waits, by its own disk."""
        return UNTIL in self._unconfirmed()

    def ends_now(self) -> None:
        """The time is over, as if two minutes had passed."""
        if not self.is_unconfirmed():
            return
        state = json.loads(self._unconfirmed())
        state["until"] = 1
        path = self.root / STATE.lstrip("/")
        path.with_name("shorter").write_text(json.dumps(state))
        path.with_name("shorter").replace(path)

    def _unconfirmed(self) -> str:
        try:
            text = (self.root / STATE.lstrip("/")).read_text()
        except FileNotFoundError:
            return ""
        return text if json.loads(text)["until"] else ""

    def firewall(self) -> str:
        """The rules in force for who logs in, and the file that they come from."""
        live = self.run("nft", "list", "set", "inet", "mesh", "admin4")
        return live + (self.root / "etc/nftables.conf").read_text()

    def sshd(self) -> str:
        """What sshd does."""
        return self.run("/usr/sbin/sshd", "-T")

    def leftovers(self) -> list[str]:
        """What a change that waits has on the machine, and must not leave there."""
        state = self.root / "var/lib/anycast-mesh/state"
        found = [p for name in ("unconfirmed.json", "journal.json", "backup")
                 for p in state.glob(name)]  # fmt: skip
        units = self.root / "etc/systemd/system"
        found += [*units.rglob("*undo*")]
        timers = self.run("systemctl", "list-timers", "--no-legend", f"{UNDO}-*")
        return [*map(str, found), *timers.split()]

    def has_started(self) -> bool:
        """Whether the machine has booted."""
        running = containers.is_running(self.place, NODE)
        state = self.run("systemctl", "is-system-running").strip() if running else ""
        return state in ("running", "degraded")

    def operator(self, work: Callable[[], T]) -> T:
        """What a call gives when it is made where the operator is."""
        return netns.inside(self.place.namespace("operator"), work)

    def knock(self) -> socket.socket:
        """A connection of the operator's over which nobody has logged in yet."""
        where = (self.address, 22)
        return self.operator(lambda: socket.create_connection(where, timeout=LONG))

    def log_in(self, knocked: socket.socket | None = None) -> bool:
        """Whether the operator gets in by a new connection, or by one that is there already."""

        async def once() -> bool:
            try:
                async with self.connection(sock=knocked, seconds=3) as connection:
                    return bool((await connection.run("echo in")).stdout == "in\n")
            except (OSError, asyncssh.Error, TimeoutError):
                return False

        return self.operator(lambda: asyncio.run(once()))

    def gets_in(self) -> None:
        """Waits until the operator gets in by a new connection."""
        until(self.log_in, LONG, "the operator gets in")

    @contextmanager
    def operator_is_connected(self) -> Iterator[Callable[[str], str]]:
        """A connection of the operator's that is held; it runs commands."""
        loop = asyncio.new_event_loop()

        async def begin() -> Any:
            return await self.connection()

        connection = self.operator(lambda: loop.run_until_complete(begin()))

        def run(command: str) -> str:
            return str(loop.run_until_complete(connection.run(command)).stdout)

        try:
            yield run
        finally:
            connection.close()
            loop.run_until_complete(connection.wait_closed())
            loop.close()

    def connection(self, sock: socket.socket | None = None, seconds: float = LONG) -> Any:
        where = {"host": self.address} if sock is None else {"sock": sock}
        return asyncssh.connect(
            **where, username="root", client_keys=[LOGIN], known_hosts=None, config=None,
            connect_timeout=seconds, agent_path=None,
        )  # fmt: skip


def planned(*admin: str) -> Plan:
    values = prod()
    values["nodes"] = {NODE: values["nodes"][NODE]}
    public = LOGIN.export_public_key("openssh").decode().strip()
    values["admin"] = {"ssh": list(admin), "keys": [public]}
    return plan_of(values)


@pytest.fixture(scope="module")
def machine() -> Iterator[PublishedNode]:
    clear_world(LAB)
    try:
        key, plan = keys.new_operator_key()[0], planned(OPERATOR, ELSEWHERE)
        world = raise_world(plan, LAB, {"vultr": "a-session-key"})
        token, built = keys.join_token(key, NODE), bundle.build()
        uplink = world.node(NODE)
        url = f"https://{uplink.ipv4}:8443"
        seed = Seed((url,), keys.signing_public(key), bundle.digest(built), token)
        state = containers.start_node(LAB, NODE, world, user_data(plan, NODE, seed))
        at = Placement(state.ipv4, state.ipv6)
        instance = Instance(state.instance_id, state.created, token, at)
        yield PublishedNode(files_of(LAB), world, NODE, key, instance, built)
    finally:
        clear_world(LAB)


def rendering(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """From now on the operator renders sshd's file differently."""

    def bent(*given: Any) -> dict[str, NodeFiles]:
        files = node_files(*given)
        own = files[NODE]
        assert any(file.path == SSHD for file in own.files)
        changed = tuple(
            replace(f, content=change(f.content), pieces=()) if f.path == SSHD else f
            for f in own.files
        )
        return {**files, NODE: replace(own, files=changed)}

    monkeypatch.setattr("mesh.publish.generation.node_files", bent)


def test_a_first_generation_and_one_that_adds_wait_for_nobody(machine: PublishedNode) -> None:
    machine.publish(OPERATOR, ELSEWHERE)
    machine.gets_in()
    machine.publish(OPERATOR, ELSEWHERE, ANOTHER)
    assert machine.reason() == ""


def test_a_log_in_that_is_new_confirms(machine: PublishedNode) -> None:
    with machine.publishing(OPERATOR, ANOTHER) as ended:
        until(machine.is_unconfirmed, LONG, "it waits")
        until(
            lambda: f"ssh -a -o ControlPath=none root@{machine.address}" in machine.said,
            LONG,
            "told",
        )
        assert f"{ELSEWHERE} may log in no more" in machine.said
        counts = rf"waiting for a log-in to {NODE}: \d+ s left"
        until(lambda: re.search(counts, machine.said), LONG, "and for how long")
        machine.gets_in()
    assert ended == [None]
    assert not machine.is_unconfirmed()
    assert ELSEWHERE not in machine.firewall()
    assert machine.leftovers() == []


def test_what_nobody_confirms_is_undone_by_the_agent(machine: PublishedNode) -> None:
    before = machine.firewall()
    knocked = machine.knock()
    with machine.operator_is_connected() as held, machine.publishing(ELSEWHERE) as ended:
        until(machine.is_unconfirmed, LONG, "it waits")
        assert not machine.log_in()
        # By a connection from before somebody may be let in still (sshd has let go of it where that
        # was too long ago), and that shows nothing either.
        machine.log_in(knocked)
        # What was connected before goes on, and shows nothing.
        assert held("echo held") == "held\n"
        assert machine.is_unconfirmed()
        machine.ends_now()
    assert f"nobody has logged in anew within {PATIENCE:g} s" in str(ended[0])
    assert f"{OPERATOR} may log in no more" in str(ended[0])
    assert machine.firewall() == before
    machine.gets_in()
    assert machine.leftovers() == []
    # Nor is it tried again by an agent that starts anew.
    machine.run("systemctl", "restart", "anycast-mesh-agent")
    until(lambda: "nobody has logged in" in machine.reason(), LONG, "it says so again")
    machine.gets_in()
    until(lambda: machine.used() == {(OPERATOR, FINGERPRINT)}, LONG, "it says who has logged in")


def test_systemd_undoes_it_when_there_is_no_agent(machine: PublishedNode) -> None:
    before = machine.firewall()
    with machine.publishing(ELSEWHERE) as ended:
        until(machine.is_unconfirmed, LONG, "it waits")
        machine.run("systemctl", "stop", "anycast-mesh-agent")
        timers = json.loads(machine.run("systemctl", "list-timers", "-o", "json", f"{UNDO}-*"))
        first = min(timers, key=lambda timer: timer["next"])
        assert first["left"]
        machine.ends_now()
        # As the timer will.
        machine.run("systemctl", "start", first["activates"])
        machine.gets_in()
        until(lambda: machine.leftovers() == [], LONG, "it is done")
        assert machine.firewall() == before
        machine.run("systemctl", "start", "anycast-mesh-agent")
    assert "nobody has logged in anew" in str(ended[0])
    assert machine.leftovers() == []


def test_a_machine_that_starts_anew_starts_with_what_was_before(machine: PublishedNode) -> None:
    before = machine.firewall()
    with machine.publishing(ELSEWHERE) as ended:
        until(machine.is_unconfirmed, LONG, "it waits")
        # No agent has a hand in it.
        machine.run("systemctl", "disable", "anycast-mesh-agent")
        containers.reboot_node(LAB, NODE, machine.world)
        until(machine.has_started, LONG, "the machine is up")
        assert machine.firewall() == before
        machine.gets_in()
        machine.run("systemctl", "enable", "--now", "anycast-mesh-agent")
    assert "the machine started anew before anybody had logged in" in str(ended[0])
    assert machine.firewall() == before
    assert machine.leftovers() == []


def test_an_sshd_file_that_lets_nobody_in_is_refused_at_once(
    machine: PublishedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = machine.sshd()
    rendering(monkeypatch, lambda text: text + "AllowUsers nobody-here\n")
    with pytest.raises(PublishError, match="nobody could log in any more: sshd refuses root"):
        machine.publish(OPERATOR, ANOTHER)
    assert machine.sshd() == before
    machine.gets_in()


def test_sshd_that_does_otherwise_is_confirmed_and_other_words_are_not(
    machine: PublishedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering(monkeypatch, lambda text: text + "# no word of it is another setting\n")
    machine.publish(OPERATOR, ANOTHER)
    rendering(monkeypatch, lambda text: text.replace("MaxAuthTries 3", "MaxAuthTries 2"))
    with machine.publishing(OPERATOR, ANOTHER) as ended:
        until(machine.is_unconfirmed, LONG, "it waits")
        machine.gets_in()
    assert ended == [None]
    assert "settings of sshd change: maxauthtries" in machine.said
