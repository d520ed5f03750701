"""A node's whole life on OpenBSD's stand-ins: user data, bootstrap, joining, generations, orders,
and what a power cut leaves. Agent, supervisor, BIRD and registry are the real ones.

The tests of this file share the machine and run in order.
"""

from __future__ import annotations

import io
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

import pytest

from mesh.agent.announce_state import AnnounceState
from mesh.facts import Facts
from mesh.netns import inside
from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan
from mesh.publish.generation import SignedGeneration
from mesh.render import Seed, user_data
from mesh.trust import keys, signify
from mesh.trust.documents import (
    Blackhole,
    BlackholeOrder,
    DrainOrder,
    JoinRequest,
    PlannedNode,
    Report,
)
from mesh.trust.encoding import dump, parse, sha256
from mesh.trust.joining import proof_public, stated_facts
from mesh.trust.orders import BLACKHOLE, DRAIN
from mesh.trust.signing import Signed
from tests.kit.namespaces import spaces
from tests.kit.openbsd.booted import Booted
from tests.kit.openbsd.kernel import Interface, Wireguard
from tests.kit.registry import Fleet, Live, built, live
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.image
NODE = "mia-vultr-1"
SERVICE = ["192.30.120.100", "2620:71:4000::100"]
OWN = {"10.10.10.3/32", "192.30.120.25/32", "192.30.120.100/32"}
ATTACKED = "192.30.120.77"


def plan(**changed: object) -> Plan:
    """The seed's network, whose Miami runs OpenBSD."""
    values = prod()
    values["nodes"][NODE]["os"] = "openbsd"
    for section, keys_ in changed.items():
        values[section] = values[section] | keys_
    return replace(plan_of(values), linger=0, waves=False)


class Life:
    """The machine, its operator, and the registry that it asks."""

    def __init__(
        self, space: str, machine: Booted, registry: Live, fleet: Fleet, bundle: bytes
    ) -> None:
        self.space, self.machine, self.registry = space, machine, registry
        self.fleet, self.bundle = fleet, bundle
        self.number = 4
        self.made: SignedGeneration | None = None

    # --- the operator ------------------------------------------------------------------------

    def plan_known(self) -> None:
        """The list of planned nodes reaches the registry."""
        planned = self.fleet.planned()
        proof = proof_public(self.fleet.token(NODE))
        node = PlannedNode("mia", (IPv4Address("127.0.0.1"),), proof)
        self.registry.registry.accept_planned(
            dump(replace(planned, nodes={**planned.nodes, NODE: node}))
        )

    def user_data(self) -> str:
        """The node's user data, signed."""
        private = self.fleet.key
        public, token = keys.signing_public(private), self.fleet.token(NODE)
        seed = Seed((self.registry.url,), public, sha256(self.bundle), token)
        return user_data(self.fleet.plan, NODE, seed, partial(signify.embedded, private))

    def publish(self) -> None:
        """Another generation, of the plan as it is."""
        self.number += 1
        urls = {"lax-vultr-1": self.registry.url}
        made = self.fleet.generation(self.number, bundle=self.bundle, registries=urls)
        self.made = made
        self._put("/api/v1/generation/packed", dump(made.generation))

    def publish_bundle(self, bundle: bytes) -> None:
        """Another generation with another bundle."""
        self.bundle = bundle
        self._put(f"/api/v1/bundle/{sha256(bundle)}", bundle)
        self.publish()

    def order_drain(self, number: int, *nodes: str) -> None:
        """A drain order."""
        order = DrainOrder(self.fleet.network, number, nodes)
        self._put("/api/v1/drain", dump(DRAIN.signed(self.fleet.key, order)))

    def order_blackhole(self, number: int, seconds: float, *addresses: str) -> None:
        """A blackhole order, for so many seconds."""
        until_ = int(time.time() + seconds)
        entries = tuple(Blackhole(IPv4Address(each), until_, "") for each in addresses)
        order = BlackholeOrder(self.fleet.network, number, entries)
        self._put("/api/v1/blackhole", dump(BLACKHOLE.signed(self.fleet.key, order)))

    def _put(self, path: str, body: bytes) -> None:
        def ask() -> None:
            with self.registry.client(self.fleet.operator) as client:
                answer = client.ask("PUT", path, body, signed=True)
                assert answer.ok, answer

        inside(self.space, ask)

    # --- what the node says ------------------------------------------------------------------

    def join(self) -> Facts | None:
        """The facts in its join request."""
        held = self.registry.registry.store.joins()
        return stated_facts(parse(JoinRequest, held[-1])) if held else None

    def report(self) -> Report | None:
        """Its last word."""
        held = self.registry.registry.store.reports()
        found = [parse(Report, parse(Signed, text).payload) for text in held]
        return next((each for each in found if each.node == NODE), None)

    def outcome(self) -> str:
        """What has become of the last generation, and why."""
        word = self.report()
        if word is None or word.generation != self.number:
            return ""
        return f"{word.outcome} {word.reason}".strip()

    # --- what is so on it --------------------------------------------------------------------

    def serves(self) -> bool:
        """Whether pf and BIRD have the service's addresses, and the node announces."""
        announce = self.machine.path("/var/run/anycast-mesh/bird/announce.conf").read_bytes()
        return (
            self.machine.table("mesh_served") == SERVICE
            and announce == AnnounceState(in_service=True).file()
            and SERVICE[0] in self.originated()
        )

    def serves_nothing(self) -> bool:
        """Whether neither has any, and the node announces nothing."""
        announce = self.machine.path("/var/run/anycast-mesh/bird/announce.conf").read_bytes()
        return (
            not self.machine.kernel.pf.tables["mesh_served"].addresses
            and b"IN_SERVICE = true" not in announce
            and SERVICE[0] not in self.originated()
        )

    def originated(self) -> str:
        """What BIRD has from the addresses that are served."""
        ask = ("birdc", "-s", "/run/bird/bird.ctl", "show", "route", "table", "master4")
        return self.machine.run(*ask).stdout

    def processes(self, words: str) -> list[str]:
        """The processes whose command line has these words, by their numbers there."""
        return self.machine.run("pgrep", "-f", words).stdout.split()

    def signal(self, name: str, words: str) -> None:
        """Sends them a signal."""
        self.machine.must("pkill", f"-{name}", "-f", words)

    def log(self) -> str:
        """What agent and bootstrap have logged."""
        return self.machine.path("/var/log/messages").read_text()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    fleet, bundle = Fleet(plan()), built()
    folder = tmp_path_factory.mktemp("openbsd")
    with spaces("openbsd", "node") as (space,), ExitStack() as stack:
        machine = Booted(folder / "machine", space, packages=())
        stack.callback(machine.close)
        opened = partial(live, folder / "registry", keys.signing_public(fleet.key), bundle)
        registry = inside(space, lambda: stack.enter_context(opened()))
        yield Life(space, machine, registry, fleet, bundle)


@pytest.fixture(autouse=True)
def why(life: Life, request: pytest.FixtureRequest) -> Iterator[None]:
    """A failed test shows what the node has logged."""
    yield
    print(life.log()[-4000:])  # shown where the test has failed


def see(holds: Callable[[], object], what: str) -> None:
    until(lambda: bool(holds()), 30, what)


def test_signed_user_data_make_a_node_that_joins(life: Life) -> None:
    machine = life.machine
    life.plan_known()
    machine.put("/root/signed", life.user_data(), 0o600)
    machine.put("/root/operator.pub", signify.public_key(keys.signing_public(life.fleet.key)))
    machine.put("/etc/anycast-mesh/instance-id", f"i-{NODE}\n")
    check = ("signify", "-V", "-q", "-e", "-p", "/root/operator.pub")
    machine.must(*check, "-x", "/root/signed", "-m", "/root/run")
    machine.must("sh", "/root/run")
    facts = until(life.join, 30, "it asks to join")
    assert (facts.os, facts.release, facts.uplink) == (OperatingSystem.OPENBSD, "7.9", "vio0")
    assert (str(facts.ipv4), str(facts.gateway4)) == ("203.0.113.10", "203.0.113.1")
    assert facts.kernel_wireguard
    # Closed until the first generation.
    assert "block drop all" in machine.must("pfctl", "-sr")
    life.fleet.facts[NODE] = facts


def test_a_generation_is_applied_and_the_service_served(life: Life) -> None:
    machine = life.machine
    life.publish()
    see(life.outcome, "an outcome")
    assert life.outcome() == "applied"
    see(life.serves, "it serves")
    kernel = machine.kernel
    tunnels = {name: each for name, each in kernel.interfaces.items() if each.wireguard}
    assert sorted(tunnels) == ["wg1", "wg2", "wg4"]
    assert all(each.up and each.wireguard and each.wireguard.peers for each in tunnels.values())
    assert set(kernel.interfaces["lo1"].inet) >= OWN
    assert (kernel.tables, kernel.sysctl["net.inet.ip.forwarding"]) == ([0, 1], "1")
    assert kernel.pf.enabled
    assert machine.must("rcctl", "order").split()[-1] == "anycast_mesh_whoami"
    assert "mia-vultr-1" in inside(life.space, partial(_asked, SERVICE[0]))


def _asked(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/whoami", timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def test_a_generation_that_cannot_come_into_force_goes_back(life: Life) -> None:
    machine = life.machine
    before = machine.must("wg", "show", "all", "listen-port")
    rules = machine.must("pfctl", "-sr")
    with machine.changing() as kernel:
        # Somebody else's tunnel has one of the ports that the generation is to bring.
        foreign = Interface(kernel.index(), 1420, True, ["wg"], wireguard=Wireguard(port=52001))
        kernel.interfaces["wg77"] = foreign
    life.fleet.plan = plan(tunnels={"port": 52000})
    life.publish()
    see(life.outcome, "an outcome")
    assert life.outcome() == "failed wg: Unable to modify interface: Address already in use"
    with machine.changing() as kernel:
        del kernel.interfaces["wg77"]
    assert machine.must("wg", "show", "all", "listen-port") == before
    assert machine.must("pfctl", "-sr") == rules
    assert "listen-port 51820" in machine.path("/etc/hostname.wg1").read_text()
    see(life.serves, "it serves all the same")
    life.fleet.plan = plan()


def test_a_generation_without_a_way_in_is_refused(life: Life) -> None:
    machine = life.machine
    loads = machine.kernel.pf.loads
    life.fleet.plan = replace(
        plan(), firewall=tuple(r for r in life.fleet.plan.firewall if r.name != "ssh")
    )
    life.publish()
    see(life.outcome, "an outcome")
    assert "no rule lets SSH in" in life.outcome()
    assert machine.kernel.pf.loads == loads
    life.fleet.plan = plan()
    life.publish()
    see(lambda: life.outcome() == "applied", "the plan as it was is applied")


def test_orders_are_obeyed_and_end(life: Life) -> None:
    life.order_blackhole(1, 600, ATTACKED)
    see(lambda: life.machine.table("mesh_discard4") == [ATTACKED], "its packets are discarded")
    life.order_drain(1, NODE)
    see(life.serves_nothing, "it serves nothing")
    see(lambda: (word := life.report()) and word.health.drained, "it says so")
    life.order_drain(2)
    see(life.serves, "it serves again")
    # A busy machine may take as long as that to obey: it is the order's time that has to end.
    life.order_blackhole(2, 3, ATTACKED)
    see(lambda: not life.machine.table("mesh_discard4"), "no packet is discarded any more")


def test_a_service_that_hangs_is_served_elsewhere_until_it_answers(life: Life) -> None:
    life.signal("STOP", "bundle.pyz whoami")
    see(life.serves_nothing, "it serves nothing")
    life.signal("CONT", "bundle.pyz whoami")
    see(life.serves, "it serves again")


def test_an_agent_that_is_killed_comes_back_and_nothing_was_withdrawn(life: Life) -> None:
    (agent,) = life.processes("bundle.pyz agent$")
    life.signal("KILL", "bundle.pyz agent$")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert life.serves()
        time.sleep(0.1)
    see(lambda: set(life.processes("bundle.pyz agent$")) - {agent}, "another agent runs")
    assert life.serves()


def test_a_node_without_an_agent_withdraws(life: Life) -> None:
    machine = life.machine
    machine.must("rcctl", "stop", "anycast_mesh_agent")
    assert not life.processes("bundle.pyz agent$")
    # What its supervisor does half a minute later.
    machine.must("python3", "/var/lib/anycast-mesh/bundle.pyz", "withdraw")
    # BIRD may take its configuration a moment after it was told to.
    see(life.serves_nothing, "it serves nothing")
    machine.must("rcctl", "start", "anycast_mesh_agent")
    see(life.serves, "with an agent it serves again")


@pytest.mark.slow
def test_what_somebody_changed_by_hand_is_repaired(life: Life) -> None:
    machine = life.machine
    machine.must("ifconfig", "wg1", "destroy")
    machine.must("pfctl", "-F", "rules")
    see(lambda: "wg1" in machine.kernel.interfaces, "the tunnel is back")
    see(lambda: machine.kernel.pf.rules, "the rules are back")


BROKEN = """\
import sys
print("trial") if sys.argv[1] == "check" else sys.exit("broken")
"""


@pytest.mark.slow
def test_a_bundle_that_does_not_work_is_left_for_the_one_before(life: Life) -> None:
    link = life.machine.path("/var/lib/anycast-mesh/bundle.pyz")
    works = life.bundle
    life.publish_bundle(_zipped({"__main__.py": BROKEN}))
    see(lambda: "its agent ended 3 times" in life.outcome(), "it is refused")
    assert str(link.readlink()) == f"bundles/{sha256(works)}.pyz"
    see(life.serves, "the one before serves")
    # Another one that works stays.
    life.publish_bundle(_zipped({"note.txt": "another one"}, works))
    see(lambda: life.outcome() == "applied", "the generation is in force")
    see(lambda: f'bundle-works sha256="{sha256(life.bundle)}"' in life.log(), "its trial is over")
    assert str(link.readlink()) == f"bundles/{sha256(life.bundle)}.pyz"


def _zipped(files: dict[str, str], base_: bytes = b"") -> bytes:
    """A zip archive with these files, beside those of another."""
    content = io.BytesIO(base_)
    with zipfile.ZipFile(content, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_after_a_power_cut_it_serves_once_it_has_seen_that_it_works(life: Life) -> None:
    machine = life.machine
    machine.halt()
    machine.boot()
    first = machine.path("/var/run/anycast-mesh/bird/announce.conf").read_text()
    assert "IN_SERVICE = false" in first or life.serves()
    see(life.serves, "it serves again")
    assert sorted(n for n, e in machine.kernel.interfaces.items() if e.wireguard) == [
        "wg1", "wg2", "wg4",
    ]  # fmt: skip
    see(lambda: life.outcome() == "applied", "it has the generation in force")
