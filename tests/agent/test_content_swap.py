"""A content changes under load: nginx and NSD answer every client, with the old or the new one."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from mesh.agent.apply import Applier
from mesh.agent.content_store import FOLDER, POINTERS, ContentStore
from mesh.agent.contents import Contents
from mesh.agent.daemons import content as kind
from mesh.agent.daemons import dns as dns_kind
from mesh.agent.daemons.kind import ChangedNode, FileChange
from mesh.agent.daemons.service_units import unit as reader
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage
from mesh.agent.state import State
from mesh.agent.units import START
from mesh.bird.client import Bird
from mesh.content import artefact
from mesh.lab import namespaces
from mesh.netns import inside
from mesh.render import node_files, placeholder_facts
from mesh.trust import keys
from mesh.trust.documents import ContentEntry
from tests.kit.agent_systems import of_debian
from tests.kit.contents import ZONE, Site
from tests.kit.machine import Machine
from tests.kit.namespaces import spaces
from tests.kit.wait import PATIENCE, repeating, until
from tests.render.test_kinds import Served

pytestmark = pytest.mark.image
NODE = "lax-vultr-1"
BLOG, DNS = "192.30.120.101", "192.30.120.102"
RUNNING = ("anycast-mesh-web@blog.service", "anycast-mesh-dns@dns.service")
SWAPS = 12


@dataclass(frozen=True)
class Units:
    """systemd, of which no machine here has one: a reload is what the unit's file says."""

    served: Served

    def reload(self) -> None: ...
    def reads(self, path: str) -> bool:
        raise NotImplementedError

    def has_file(self, unit: str) -> bool:
        raise NotImplementedError

    def mark(self, on: Sequence[str], off: Sequence[str]) -> None: ...
    def active(self, units: Sequence[str]) -> frozenset[str]:
        return frozenset(units) & set(RUNNING)

    def start(self, units: Sequence[str], seconds: float = START) -> None: ...
    def stop(self, units: Sequence[str]) -> None: ...
    def restart(self, unit: str) -> None: ...
    def reload_if_active(self, unit: str) -> None:
        assert unit == reader(f"{dns_kind.FOLDER}/dns.conf")
        self.served.reload("dns", "dns")


@dataclass
class Node:
    """A node that serves a blog and a zone, and its operator's folder."""

    served: Served
    site: Site
    host: Host = field(init=False)

    def __post_init__(self) -> None:
        machine = self.served.machine
        self.host = Host(machine.root, machine.enter)
        self.store = ContentStore(self.host)
        bird = Bird(Path("/nowhere"))
        self.node = ChangedNode(self.host, Units(self.served), bird, RUNNING, frozenset(RUNNING))

    def content(self, service: str, folder: str) -> FileChange:
        """What the operator has in a folder is on the node, and this would bring it into force."""
        found = artefact(self.site.root / folder)
        archive = self.store.archive(found.sha256)
        archive.write_bytes(b"".join(found.pieces()))
        if not self.store.has(service, found.sha256):
            entry = ContentEntry(found.size, len(found.entries))
            self.store.unpack(archive, service, found.sha256, entry)
        archive.unlink()
        return FileChange(f"{POINTERS}/{service}", None, f"{found.sha256}\n".encode())

    def apply(self, *changes: FileChange) -> None:
        """As with a generation."""
        kind.KIND.apply(self.node, changes)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with spaces("swap", "node") as (space,):
        addresses = [f"address add {each} dev lo" for each in (BLOG, DNS)]
        namespaces.ip(["link set lo up", *addresses], space)
        machine = Machine(tmp_path_factory.mktemp("swap"), space)
        try:
            site = Site(tmp_path_factory.mktemp("operator") / "stack")
            site.generation(5)
            served, plan = Served(space, machine), site.fleet.plan
            machine.put(node_files(plan, placeholder_facts(plan))[NODE].files)
            one = Node(served, site)
            for service, folder in (("blog", "site"), ("dns", "zones")):
                one.content(service, folder)
                one.store.swap(service, artefact(site.root / folder).sha256)
            served.start("web", "blog", "www-data")
            served.start("dns", "dns", "nsd")
            until(lambda: page(one) == "<h1>Hello</h1>", 10, "the blog is served")
            # A query before NSD listens is lost.
            until(lambda: serial(one, patience=1) == 1, 20, "the zone is served")
            yield one
        finally:
            machine.close()


def page(node: Node) -> str:
    """What a client gets, by a connection of its own."""

    def ask() -> str:
        connection = http.client.HTTPConnection(BLOG, timeout=PATIENCE)
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return body if answer.status == 200 else f"{answer.status}"

    try:
        return inside(node.served.space, ask)
    except OSError as error:
        return str(error)


def serial(node: Node, *, tcp: bool = False, patience: float = PATIENCE) -> int:
    query = dns.message.make_query("example.com", "SOA")
    by = dns.query.tcp if tcp else dns.query.udp
    try:
        answer = inside(node.served.space, partial(by, query, DNS, timeout=patience)).answer
    except (OSError, dns.exception.Timeout):
        return -1
    return answer[0][0].serial if answer else 0


@contextmanager
def asked(ask: Callable[[], object], found: list[object]) -> Iterator[None]:
    """Somebody asks all the time meanwhile, a hundred times a second at most: of many more, NSD
    leaves some without an answer (``rrl-ratelimit``)."""
    with repeating(lambda: found.append(ask()), 0.01):
        yield


def test_a_page_changes_under_load_and_every_client_gets_the_old_or_the_new(node: Node) -> None:
    pages = [f"<h1>{letter * 40_000}</h1>" for letter in "ab"]
    changes: list[FileChange] = []
    for text in pages:
        node.site.page(text)
        changes.append(node.content("blog", "site"))
    node.apply(changes[-1])
    found: list[object] = []
    turns = cycle(changes)

    def are_asked(swaps: int) -> bool:
        return len(found) > 5 * swaps

    with asked(lambda: page(node), found):
        for number in range(SWAPS):
            node.apply(next(turns))
            until(partial(are_asked, number), PATIENCE, "clients have asked")
    assert set(found) == set(pages)


def test_a_zone_changes_under_load_and_every_query_is_answered(node: Node) -> None:
    changes: dict[int, FileChange] = {}
    for number in range(2, 2 + SWAPS // 2):
        node.site.zone(number)
        changes[number] = node.content("dns", "zones")
    by_udp: list[object] = []
    by_tcp: list[object] = []

    def is_served(number: int) -> bool:
        return by_udp[-1:] == [number]

    with asked(lambda: serial(node), by_udp), asked(lambda: serial(node, tcp=True), by_tcp):
        until(lambda: by_udp and by_tcp, PATIENCE, "the serial before")
        for number, change in changes.items():
            node.apply(change)
            until(partial(is_served, number), PATIENCE, "the new serial")
    assert set(by_udp) == {1, *changes}
    assert set(by_tcp) <= {1, *changes} and by_tcp
    first = changes[2]
    node.apply(first)
    until(lambda: serial(node) == 2, PATIENCE, "a roll-back is a swap like any other")


def test_nsd_refuses_a_zone_before_anything_is_swapped(node: Node) -> None:
    before = node.store.current("dns")
    path = node.site.root / "zones" / "example.com.zone"
    path.write_text(ZONE.format(serial=99) + "www A 192.0.2.99\n")
    change = node.content("dns", "zones")
    stage = Stage(node.host)
    stage.fill({change.path: change.new})
    with pytest.raises(CommandFailed, match=r"content of dns: zone example\.com: .*CNAME"):
        kind.KIND.validate(stage, [change])
    stage.clear()
    assert node.store.current("dns") == before
    assert (node.host.path(FOLDER) / "dns" / "current").is_symlink()


def test_a_content_that_comes_late_and_that_nsd_refuses_is_not_served(node: Node) -> None:
    before, fleet = node.store.current("dns"), node.site.fleet
    path = node.site.root / "zones" / "example.com.zone"
    path.write_text(ZONE.format(serial=100) + "www A 192.0.2.99\n")
    change = node.content("dns", "zones")
    assert change.new is not None
    state = State(node.host, keys.signing_public(fleet.key), lambda _: True)
    bird, manager = node.node.bird, node.node.manager
    applier = Applier(of_debian(node.host, bird, units=manager), lambda: True)
    late = Contents(
        node.host, manager, bird, fleet.node(NODE), state, applier, list, lambda: False,
        lambda: None,
    )  # fmt: skip
    node.host.write(change.path, change.new, 0o644)
    late._bring_into_service()
    assert node.store.current("dns") == before
    said = late.warnings()["dns"]
    assert (
        said.startswith(f"serves content {str(before)[:12]}, not ") and "zone example.com" in said
    )
    assert not late._waits("dns", change.new.decode().strip()), "it is not tried again"


def test_a_pointer_that_names_nothing_is_refused(node: Node) -> None:
    stage = Stage(node.host)
    for path, content in ((f"{POINTERS}/blog", b"x"), (f"{POINTERS}/../blog", b"0" * 64)):
        with pytest.raises(CommandFailed, match="names no content of a service"):
            kind.KIND.validate(stage, [FileChange(path, None, content)])
