"""Who reaches a registry's port while strangers flood it: packets through the rendered firewall."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mesh import netns
from mesh.lab import namespaces
from mesh.render import node_files, placeholder_facts, placeholder_placements
from mesh.render.debian_boot import base_firewall
from tests.kit.machine import Debian
from tests.kit.namespaces import settle, spaces
from tests.kit.stacks import plan_of, prod

pytestmark = pytest.mark.image
REGISTRY, PORT = "lax-vultr-1", 8443
OWN = {4: "203.0.113.1", 6: "2001:db8::1"}
NODE = {4: "203.0.113.2", 6: "2001:db8::2"}
ADMIN = "207.231.1.46"
STRANGER = {4: "198.51.100.7", 6: "2001:db8:aaaa:1::7"}
LATE = {4: "198.51.100.8", 6: "2001:db8:bbbb:1::8"}
BURST, RATE, SHARED = 100, 20, 50
"""What one stranger has at once and per second, and what those share per second for whom there is
no place."""
SITE_BURST, SITE_RATE = 400, 80
"""The same of a /48."""


@dataclass(frozen=True)
class RegistryAndCallers:
    """A registry and those who call it, each a namespace."""

    machine: Debian
    node: str
    callers: str

    def load(self, rules: str) -> None:
        """Load rules into the registry's kernel."""
        (self.machine.folder / "upper" / "rules.nft").write_text(rules)
        self.machine.must("nft", "-f", "/rules.nft", namespace=self.node)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RegistryAndCallers]:
    """The registry listens, without a firewall."""
    with spaces("port", "node", "callers") as names, ExitStack() as open_:
        made = RegistryAndCallers(Debian(tmp_path), *names)
        _wire(made)
        for family, address in ((socket.AF_INET, OWN[4]), (socket.AF_INET6, OWN[6])):
            listening = open_.enter_context(_socket(made.node, family))
            listening.bind((address, PORT))
            listening.listen(4096)
        yield made


def _socket(space: str, family: socket.AddressFamily) -> socket.socket:
    return netns.inside(space, lambda: socket.socket(family, socket.SOCK_STREAM))


def _wire(bench: RegistryAndCallers) -> None:
    namespaces.ip([f"link add enp1s0 type veth peer name enp1s0 netns {bench.callers}"], bench.node)
    around = ("198.51.100.0/24", "207.231.1.0/24", "203.0.113.0/24", "2001:db8::/32")
    settle(bench.node, "enp1s0", OWN.values(), around)
    callers = (*NODE.values(), ADMIN, *STRANGER.values(), *LATE.values())
    settle(bench.callers, "enp1s0", callers, (f"{OWN[4]}/32", f"{OWN[6]}/128"))


def generation(bench: RegistryAndCallers, **changes: Any) -> None:
    """The firewall of a generation."""
    plan = plan_of(prod() | changes)
    files = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    (rules,) = (f.content for f in files[REGISTRY].files if f.path == "/etc/nftables.conf")
    bench.load(rules)


def before_the_first(bench: RegistryAndCallers, **changes: Any) -> None:
    """The firewall of the first boot."""
    plan = plan_of(prod() | changes)
    bench.load(base_firewall(plan, plan.node(REGISTRY)))


def fill(bench: RegistryAndCallers, sets: Iterable[tuple[str, int, int]]) -> None:
    """The sets are full of forged sources."""
    for name, first, step in sets:
        size = 32768 if "seen" in name else 65535
        forged = ", ".join(str(ip_address(first + (n << step))) for n in range(size))
        bench.load(f"add element inet mesh {name} {{ {forged} }}\n")


FULL4 = tuple((f"registry_{name}4", int(ip_address("10.0.0.0")), 0) for name in ("rate", "seen"))
FULL6 = (
    *((f"registry_{name}6", int(ip_address("3fff::")), 64) for name in ("rate", "seen")),
    ("registry_rate48", int(ip_address("3fff::")), 80),
)
"""Sets, by what they are filled with: from which address on, and in steps of how many bits."""


WINDOW, LONGEST = 0.5, 3.0
"""Seconds in which connections are made, and on a busy machine, whose kernel is late. In neither
come as many as attempt it where there is a limit."""


def connected(
    bench: RegistryAndCallers, source: str, attempts: int, *, enough: int | None = None
) -> int:
    """How many connections of so many are made, with the time of a busy machine for as many as are
    ``enough``: all, unless said."""
    return all_connected(bench, [source] * attempts, attempts if enough is None else enough)


def all_connected(bench: RegistryAndCallers, sources: Sequence[str], enough: int) -> int:
    """The same from several sources."""
    versions = [6 if ":" in source else 4 for source in sources]
    families = [socket.AF_INET6 if version == 6 else socket.AF_INET for version in versions]
    with ExitStack() as open_:
        # All in one thread: the budget fills again meanwhile.
        made = netns.inside(bench.callers, lambda: [socket.socket(each) for each in families])
        lines = [open_.enter_context(each) for each in made]
        for line, source, version in zip(lines, sources, versions, strict=True):
            line.setblocking(False)
            line.bind((source, 0))
            line.connect_ex((OWN[version], PORT))
        end = time.monotonic() + LONGEST
        time.sleep(WINDOW)
        while sum(map(_is_up, lines)) < enough and time.monotonic() < end:
            time.sleep(WINDOW)
        return sum(map(_is_up, lines))


def limited(
    bench: RegistryAndCallers, sources: Sequence[str], burst: int, rate: int, *, least: int
) -> None:
    """At least so many connections are made, and no more than the budget: it fills again meanwhile,
    which is for long on a busy machine."""
    began = time.monotonic()
    made = all_connected(bench, sources, least)
    assert least <= made <= burst + rate * (time.monotonic() - began) < len(sources)


def _is_up(line: socket.socket) -> bool:
    try:
        line.getpeername()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("family", [4, 6])
def test_a_stranger_has_a_limit_and_nodes_and_admins_have_none(
    bench: RegistryAndCallers, family: int
) -> None:
    generation(bench)
    limited(bench, [STRANGER[family]] * 3 * BURST, BURST, RATE, least=BURST)
    assert connected(bench, LATE[family], 30) == 30
    assert connected(bench, NODE[family], 3 * BURST) == 3 * BURST
    assert connected(bench, ADMIN, 3 * BURST) == 3 * BURST


@pytest.mark.parametrize("family", [4, 6])
def test_when_the_sets_are_full_strangers_share_and_nodes_and_admins_pass(
    bench: RegistryAndCallers, family: int
) -> None:
    generation(bench)
    fill(bench, FULL4 + FULL6)
    # The other family's strangers have the same budget.
    strangers = [*[STRANGER[family]] * 5 * BURST, *[LATE[10 - family]] * BURST]
    limited(bench, strangers, BURST, SHARED, least=1)
    assert connected(bench, NODE[family], 3 * BURST) == 3 * BURST
    assert connected(bench, ADMIN, 3 * BURST) == 3 * BURST


def test_a_site_has_a_limit_however_many_networks_it_has(bench: RegistryAndCallers) -> None:
    """Sixteen of a /48's networks, each within its own limit."""
    generation(bench)
    networks = [f"2001:db8:cccc:{n:x}::7" for n in range(16)]
    settle(bench.callers, "enp1s0", networks, ())
    limited(bench, networks * 60, SITE_BURST, SITE_RATE, least=SITE_BURST)


def test_before_the_first_generation_admins_pass_and_strangers_have_limits(
    bench: RegistryAndCallers,
) -> None:
    before_the_first(bench)
    limited(bench, [STRANGER[4]] * 3 * BURST, BURST, RATE, least=BURST)
    before_the_first(bench)
    fill(bench, FULL4)
    limited(bench, [LATE[4]] * 6 * BURST, BURST, SHARED, least=0)
    assert connected(bench, ADMIN, 3 * BURST) == 3 * BURST


@pytest.mark.parametrize("firewall", [generation, before_the_first])
def test_a_planned_node_that_no_generation_knows_is_let_in_whatever_the_sources_are(
    bench: RegistryAndCallers, firewall: Callable[..., None]
) -> None:
    """Its agent knows of it from the registry on its own node, and names it to the firewall."""
    firewall(bench, registry={"sources": ["192.0.2.0/24"]})
    assert connected(bench, STRANGER[4], 3, enough=0) == 0
    bench.load(f"add element inet mesh planned4 {{ {STRANGER[4]} }}\n")
    assert connected(bench, STRANGER[4], 3 * BURST) == 3 * BURST
    assert connected(bench, LATE[4], 3, enough=0) == 0
