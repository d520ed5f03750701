"""Contents on a node: fetched from real registries, unpacked beside, swapped, and kept in words
where that does not work."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent import contents as agent_contents
from mesh.agent.apply import Applier
from mesh.agent.content_store import FOLDER, POINTERS, BadArtefact, ContentStore
from mesh.agent.contents import Contents
from mesh.agent.daemons.content import KIND
from mesh.agent.daemons.kind import ChangedNode, FileChange
from mesh.agent.host import Host
from mesh.agent.state import Applied, State, verified
from mesh.agent.units import Systemd
from mesh.bird.client import Bird
from mesh.content import artefact
from mesh.publish.generation import SignedGeneration
from mesh.registry.registry import Refused
from mesh.trust import keys
from mesh.trust.documents import ContentEntry, Part
from mesh.trust.encoding import parse
from tests.kit.agent_systems import of_debian
from tests.kit.contents import Site
from tests.kit.registry import Live, live
from tests.kit.wait import PATIENCE, until

NODE = "lax-vultr-1"


@dataclass
class Node:
    """A node of a network with content: its disk, and its agent's part that handles contents."""

    folder: Path
    site: Site
    registries: tuple[Live, ...]

    def __post_init__(self) -> None:
        self.host = Host(self.folder / "node", prefix=("true",))
        self.host.path("/etc").mkdir(parents=True)
        self.state = State(self.host, keys.signing_public(self.site.fleet.key), lambda _: True)
        self.manager, self.bird = Systemd(self.host), Bird(self.folder / "no-bird")
        self.applier = Applier(of_debian(self.host, self.bird), lambda: True)
        self.store = ContentStore(self.host)
        self.contents = Contents(
            self.host, self.manager, self.bird, self.site.fleet.node(NODE), self.state,
            self.applier, lambda: [one.url for one in self.registries], lambda: False, lambda: None,
        )  # fmt: skip

    def follow(self, made: SignedGeneration) -> None:
        """The generation with its contents, as far as these come: pointers and links change
        together, as the agent changes them."""
        known = verified(keys.signing_public(self.site.fleet.key), made.generation.manifest)
        self.state.accept(known)
        text = made.generation.part(NODE)
        part = parse(Part, text)
        self.contents.prepare(known, part)
        changes = [
            FileChange(file.path, self.host.read(file.path), file.content.encode())
            for file in part.files
            if file.path.startswith(POINTERS)
        ]
        for change in changes:
            assert change.new is not None
            self.host.write(change.path, change.new, 0o644)
        node = ChangedNode(self.host, self.manager, self.bird, (), frozenset())
        KIND.apply(node, changes)
        self.state.confirm(Applied(known.number, known.envelope.digest, text))
        self.contents.look()

    def page(self) -> str:
        """What nginx would serve."""
        return (self.host.path(FOLDER) / "blog" / "current" / "index.html").read_text()

    @contextmanager
    def working(self) -> Iterator[None]:
        """The agent's thread runs meanwhile."""
        stop = threading.Event()
        thread = threading.Thread(target=self.contents.run, args=[stop], daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            self.contents.look()
            thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "operator")


@pytest.fixture
def registries(tmp_path: Path, site: Site) -> Iterator[tuple[Live, Live]]:
    with ExitStack() as stack:
        public = keys.signing_public(site.fleet.key)
        one, two = (
            stack.enter_context(live(tmp_path / f"registry{n}", public, b"a bundle")) for n in "12"
        )
        yield one, two


@pytest.fixture
def node(tmp_path: Path, site: Site, registries: tuple[Live, Live]) -> Node:
    return Node(tmp_path, site, registries)


def test_a_service_serves_what_the_operator_has_in_its_directory(node: Node) -> None:
    node.follow(node.site.publish(5, *node.registries))
    assert node.page() == "<h1>Hello</h1>"
    assert node.contents.served() == node.site.digests()
    assert node.contents.warnings() == {}
    file = node.host.path(FOLDER) / "blog" / "current" / "index.html"
    assert file.stat().st_mode & 0o777 == 0o644
    for folder in (file.parent, *file.parents[1:4]):
        assert folder.stat().st_mode & 0o755 == 0o755, "daemons read it with their own users"


def test_times_of_files_follow_from_what_is_in_them(node: Node) -> None:
    """ETags agree on all nodes, and NSD sees a zone that changed."""
    node.follow(node.site.publish(5, *node.registries))
    path = node.host.path(FOLDER) / "dns" / "current" / "example.com.zone"
    first = path.stat().st_mtime
    node.site.page("<h1>Hello again</h1>")
    node.follow(node.site.publish(6, *node.registries))
    assert path.stat().st_mtime == first
    node.site.zone(2)
    node.follow(node.site.publish(7, *node.registries))
    assert path.stat().st_mtime != first


def test_the_last_two_are_kept_and_a_roll_back_needs_no_registry(node: Node) -> None:
    for number, text in enumerate(("one", "two", "three"), start=5):
        node.site.page(text)
        node.follow(node.site.publish(number, *node.registries))
    folder = node.host.path(FOLDER) / "blog"
    with node.working():
        until(lambda: len(list(folder.iterdir())) == 3, 10, "two contents and the link are left")
    node.registries = ()
    node.site.page("two")
    node.follow(node.site.generation(8))
    assert node.page() == "two"


def test_the_old_content_goes_on_until_the_new_one_is_at_a_registry(node: Node) -> None:
    node.follow(node.site.publish(5, *node.registries))
    old = node.site.digests()["blog"]
    node.site.page("<h1>New</h1>")
    made = node.site.generation(6)
    with node.working():
        node.follow(made)
        assert node.page() == "<h1>Hello</h1>"
        assert node.contents.served()["blog"] == old
        assert node.contents.warnings()["blog"].startswith(f"serves content {old[:12]}, not ")
        node.site.delivery(node.registries[1]).deliver()
        until(lambda: node.page() == "<h1>New</h1>", 20, "the new content is served")
    assert node.contents.warnings() == {}


def tampered(one: Live, digest: str, change: bytes | None) -> None:
    """The registry's store holds other bytes under that name."""
    chunk = one.registry.store.chunk(digest, 0)
    assert chunk is not None
    one.registry.store.forget_content(digest)
    body = chunk.replace(b"New", change) if change is not None else chunk[:-512]
    one.registry.store.put_chunk(digest, 0, body)
    one.registry.store.complete_content(digest)


def test_what_a_registry_has_tampered_with_is_refused_in_words(node: Node) -> None:
    node.follow(node.site.publish(5, *node.registries))
    node.site.page("<h1>New</h1>")
    made = node.site.publish(6, *node.registries)
    digest = node.site.digests()["blog"]
    for one in node.registries:
        tampered(one, digest, b"Bad")
    node.follow(made)
    assert node.page() == "<h1>Hello</h1>"
    assert "other bytes than the manifest names" in node.contents._reasons[digest]
    assert node.contents.warnings()["blog"].startswith("serves content")
    assert not node.store.archive(digest).exists()


def test_a_registry_that_is_right_is_enough(node: Node) -> None:
    node.site.page("<h1>New</h1>")
    made = node.site.publish(5, *node.registries)
    tampered(node.registries[0], node.site.digests()["blog"], b"Bad")
    node.follow(made)
    assert node.page() == "<h1>New</h1>"


def test_a_chunk_of_another_size_ends_the_fetch_at_once(node: Node) -> None:
    node.site.page("<h1>New</h1>")
    made = node.site.publish(5, *node.registries)
    digest = node.site.digests()["blog"]
    for one in node.registries:
        tampered(one, digest, None)
    node.follow(made)
    assert "gives a chunk of another size; refused" in node.contents._reasons[digest]
    assert node.contents.warnings()["blog"].startswith("has no content yet")


def busy(monkeypatch: pytest.MonkeyPatch, one: Live) -> None:
    """The registry answers for ever that it sends enough chunks already."""

    def refuse(digest: str, place: int) -> bytes:
        raise Refused(429, "too many chunks are being sent")

    monkeypatch.setattr(one.registry, "chunk", refuse)


def test_a_registry_that_is_always_busy_does_not_keep_the_node_from_the_other(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_contents, "TURN", 0.6)
    made = node.site.publish(5, *node.registries)
    busy(monkeypatch, node.registries[0])
    node.follow(made)
    assert node.page() == "<h1>Hello</h1>"


def test_a_registry_that_sends_slowly_does_not_keep_the_node_from_the_other(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_contents, "TURN", 0.4)
    (node.site.root / "site" / "film").write_bytes(os.urandom(3 << 20))
    made = node.site.publish(5, *node.registries)
    slow, asked = node.registries[0].registry, list[int]()
    whole = slow.chunk

    def dribble(digest: str, place: int) -> bytes:
        asked.append(place)
        time.sleep(0.6)
        return whole(digest, place)

    other = node.registries[1].registry
    at_once = other.chunk

    def prompt(digest: str, place: int) -> bytes:
        # A busy machine makes no slow registry of it.
        monkeypatch.setattr(agent_contents, "TURN", PATIENCE)
        return at_once(digest, place)

    monkeypatch.setattr(slow, "chunk", dribble)
    monkeypatch.setattr(other, "chunk", prompt)
    node.follow(made)
    assert node.page() == "<h1>Hello</h1>"
    assert asked == [0, 0], "one chunk of each content"


def test_what_has_come_is_not_asked_for_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    (node.site.root / "site" / "film").write_bytes(os.urandom(5 << 20))
    made = node.site.publish(5, *node.registries)
    digest = node.site.digests()["blog"]
    store = node.registries[0].registry.store
    whole = store.chunk
    asked: list[int] = []

    def breaking(sha: str, place: int) -> bytes | None:
        if sha == digest:
            asked.append(place)
            if place == 3 and asked.count(3) == 1:
                return None
        return whole(sha, place)

    monkeypatch.setattr(store, "chunk", breaking)
    node.registries = node.registries[:1]
    node.follow(made)
    assert node.contents.served().get("blog") is None
    with node.working():
        until(lambda: "blog" in node.contents.served(), 20, "the rest has come")
    assert asked == [0, 1, 2, 3, 3, 4, 5]


def test_a_full_disk_is_seen_before_anything_is_written(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = node.site.publish(5, *node.registries)
    monkeypatch.setattr(agent_contents, "SPARE", 1 << 60)
    node.follow(made)
    assert "MiB free, and it needs" in node.contents._reasons[node.site.digests()["blog"]]
    assert [one.name for one in node.host.path(FOLDER).iterdir()] == []


@pytest.mark.root
def test_a_disk_that_fills_while_it_unpacks_is_cleaned_and_the_old_content_goes_on(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_contents, "SPARE", -(1 << 30))
    folder = node.host.path(FOLDER)
    folder.mkdir(parents=True)
    assert os.system(f"mount -t tmpfs -o size=5m tmpfs {folder}") == 0
    try:
        node.follow(node.site.publish(5, *node.registries))
        (node.site.root / "site" / "film").write_bytes(os.urandom(3 << 20))
        made = node.site.publish(6, *node.registries)
        node.follow(made)
        assert node.page() == "<h1>Hello</h1>"
        said = node.contents._reasons[node.site.digests()["blog"]]
        assert "cannot be written: No space left on device" in said
        assert sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) < 1 << 20
    finally:
        assert os.system(f"umount {folder}") == 0


def test_a_service_that_goes_takes_its_contents_with_it(node: Node) -> None:
    node.follow(node.site.publish(5, *node.registries))
    node.host.remove(f"{POINTERS}/blog")
    with node.working():
        until(lambda: not (node.host.path(FOLDER) / "blog").exists(), 10, "nothing is left of it")
    assert (node.host.path(FOLDER) / "dns" / "current").exists()


# --- artefacts that no operator makes ------------------------------------------------------------


def unpacked(folder: Path, *members: tarfile.TarInfo, content: bytes = b"x", files: int = 0) -> str:
    """Why an archive with these members is refused; empty where it is not."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            member.size = len(content) if member.type == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))
    path = folder / "archive"
    path.write_bytes(buffer.getvalue())
    store = ContentStore(Host(folder / "node"))
    entry = ContentEntry(len(buffer.getvalue()), files or len(members))
    try:
        store.unpack(path, "blog", "0" * 64, entry)
    except BadArtefact as error:
        assert not store.has("blog", "0" * 64)
        assert list((folder / "node" / FOLDER.lstrip("/") / "blog").iterdir()) == []
        return str(error)
    return ""


def member(name: str, type_: bytes = tarfile.REGTYPE, **given: str) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = type_
    for key, value in given.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../passwd", "a/../../b", "a//b", "./a", ".ssh/id", "a\nb", "a/.git"]
)
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    assert unpacked(tmp_path, member("index.html"), member(name)).startswith("the name ")


@pytest.mark.parametrize(
    "type_",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
)
def test_nothing_but_plain_files(tmp_path: Path, type_: bytes) -> None:
    said = unpacked(tmp_path, member("index.html"), member("x", type_, linkname="index.html"))
    assert said == "'x' is no plain file"


def test_set_id_bits_and_owners_are_not_taken_over(tmp_path: Path) -> None:
    one = member("index.html")
    one.mode, one.uid, one.gid = 0o6777, 4242, 4242
    assert unpacked(tmp_path, one) == ""
    path = tmp_path / "node" / FOLDER.lstrip("/") / "blog" / ("0" * 64) / "index.html"
    status = path.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (
        0o644, os.geteuid(), os.getegid(),
    )  # fmt: skip


def test_a_file_that_comes_twice_or_is_a_folder_as_well(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        unpacked(tmp_path, member("a"), member("a"))
    with pytest.raises(OSError):
        unpacked(tmp_path, member("a"), member("a/b"))
    assert list((tmp_path / "node" / FOLDER.lstrip("/") / "blog").iterdir()) == []


def test_more_and_fewer_files_than_the_manifest_says(tmp_path: Path) -> None:
    assert "more in it" in unpacked(tmp_path, member("a"), member("b"), files=1)
    assert "fewer files" in unpacked(tmp_path, member("a"), files=2)


@given(noise=st.binary(max_size=2000))
def test_an_archive_of_noise_leaves_nothing(tmp_path_factory: pytest.TempPathFactory, noise: bytes):
    folder = tmp_path_factory.mktemp("noise")
    (folder / "archive").write_bytes(noise)
    store = ContentStore(Host(folder))
    with pytest.raises((BadArtefact, OSError)):
        store.unpack(folder / "archive", "blog", "0" * 64, ContentEntry(max(1, len(noise)), 3))
    assert not store.has("blog", "0" * 64)


@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(/[a-z]{6,9}){0,2}\.x", fullmatch=True),
        st.binary(max_size=2000), min_size=1, max_size=8,
    )
)  # fmt: skip
def test_what_was_packed_is_what_is_unpacked(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("packed")
    for name, content in files.items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    found = artefact(folder / "site")
    packed = b"".join(found.pieces())
    (folder / "archive").write_bytes(packed)
    store, digest = ContentStore(Host(folder / "node")), sha256(packed).hexdigest()
    entry = ContentEntry(len(packed), len(files))
    store.unpack(folder / "archive", "blog", digest, entry)
    store.swap("blog", digest)
    top = folder / "node" / FOLDER.lstrip("/") / "blog" / "current"
    assert {
        str(one.relative_to(top)): one.read_bytes() for one in top.rglob("*") if one.is_file()
    } == files
