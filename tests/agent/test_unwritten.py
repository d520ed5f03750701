"""A change that the disk does not take: nothing is lost of what was before, and it is worth another
try; any other error of a file is not the disk's."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.agent import disk, file_paths
from mesh.agent.apply import JOURNAL, Applier, NotApplied, NotWritten
from mesh.agent.host import Host
from mesh.agent.state import Applied
from mesh.trust.documents import Part, PublicFile
from tests.kit.agent_systems import of_debian
from tests.kit.bird_control import control

FIRST, SECOND = "/etc/sysctl.d/90-anycast-mesh.conf", "/etc/sysctl.d/95-anycast-mesh.conf"
APPLIED = Applied(1, "0" * 64, "{}")
TUNNEL = "anycast-mesh-tunnel@wg-a.service"
OLD, NEW = "net.ipv4.ip_forward = 0\n", "net.ipv4.ip_forward = 1\n"


@dataclass
class Manager:
    """A service manager for which everything works."""

    runs: set[str] = field(default_factory=set)

    def reload(self) -> None: ...

    def has_file(self, unit: str) -> bool:
        return False

    def active(self, units: Sequence[str]) -> frozenset[str]:
        return frozenset(units) & self.runs

    def start(self, units: Sequence[str], seconds: float = 90.0) -> None:
        self.runs |= set(units)

    def stop(self, units: Sequence[str]) -> None:
        self.runs -= set(units)

    def restart(self, unit: str) -> None: ...

    def reload_if_active(self, unit: str) -> None: ...


@dataclass
class ConfiguredNode:
    """A node on which two files and a tunnel are in force."""

    host: Host
    manager: Manager
    applier: Applier
    before: Part

    def file(self, path: str) -> str:
        return (self.host.read(path) or b"").decode()

    def change(self, second: str = NEW) -> list[str]:
        """To other files, and without the tunnel."""
        return self.applier.apply(part({FIRST: NEW, SECOND: second}), {}, self.before, APPLIED)


def part(contents: Mapping[str, str], *units: str) -> Part:
    files = tuple(PublicFile(path, text, 0o644, "root") for path, text in contents.items())
    return Part("lax-vultr-1", files, units, ())


@contextmanager
def box_on(folder: Path) -> Iterator[ConfiguredNode]:
    host, manager = Host(folder, ("true",)), Manager()
    host.write("/etc/group", b"root:x:0:\n", 0o644)
    with control(folder, {"show protocols": "0000 \n"}) as bird:
        applier = Applier(of_debian(host, bird, units=manager), lambda: True)
        before = part({FIRST: OLD, SECOND: OLD}, TUNNEL)
        assert applier.apply(before, {}, None, APPLIED) == [FIRST, SECOND]
        yield ConfiguredNode(host, manager, applier, before)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[ConfiguredNode]:
    with box_on(tmp_path) as one:
        yield one


def as_before(box: ConfiguredNode) -> bool:
    return (box.file(FIRST), box.file(SECOND), box.manager.runs) == (OLD, OLD, {TUNNEL})


@pytest.mark.root
def test_a_disk_that_fills_in_the_middle_is_as_before_and_worth_another_try(
    box: ConfiguredNode, tmp_path: Path
) -> None:
    held = {path: box.host.read(path) for path in (FIRST, SECOND, "/etc/group")}
    etc = tmp_path / "etc"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", etc], check=True)
    try:
        for path, content in held.items():
            box.host.write(path, content or b"", 0o644)
        large = NEW + "# so much more than there is room for\n" * 100_000
        with pytest.raises(NotWritten, match="No space left"):
            box.change(large)
        assert as_before(box)
        assert box.host.read(JOURNAL) is None
        subprocess.run(["mount", "-o", "remount,size=16m", etc], check=True)
        assert box.change(large) == [FIRST, SECOND]
        assert (box.file(FIRST), box.file(SECOND), box.manager.runs) == (NEW, large, set())
    finally:
        subprocess.run(["umount", "--lazy", etc], check=True)


def failing(monkeypatch: pytest.MonkeyPatch, code: int, *paths: str) -> None:
    """From now on writing these files fails with that error."""
    honest = Host.write

    def write(self: Host, absolute: str, *given: object, **more: object) -> None:
        if absolute in paths:
            raise OSError(code, os.strerror(code))
        honest(self, absolute, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Host, "write", write)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_what_the_disk_does_not_take_is_worth_another_try(
    box: ConfiguredNode, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as broken:
        failing(broken, code, JOURNAL)
        with pytest.raises(NotWritten):
            box.change()
    assert as_before(box)
    assert box.change() == [FIRST, SECOND]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG])
def test_any_other_error_of_a_file_is_no_fault_of_the_disk(
    box: ConfiguredNode, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as broken:
        failing(broken, code, JOURNAL)
        with pytest.raises(NotApplied, match=os.strerror(code)) as caught:
            box.change()
    assert not isinstance(caught.value, NotWritten)
    assert as_before(box)


def test_what_one_file_keeps_from_going_back_keeps_nothing_else_from_it(
    box: ConfiguredNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal stays, and the next try begins with it."""
    with monkeypatch.context() as broken:
        failing(broken, errno.ENOSPC, SECOND)
        with pytest.raises(NotWritten):
            box.change()
        assert (box.file(FIRST), box.manager.runs) == (OLD, {TUNNEL})
        assert box.host.read(JOURNAL) is not None
        with pytest.raises(OSError, match="No space left"):
            box.applier.recover()
    assert box.applier.recover()
    assert as_before(box)
    assert box.host.read(JOURNAL) is None
    assert box.change() == [FIRST, SECOND]


def test_a_full_disk_is_seen_before_anything_is_stopped(
    box: ConfiguredNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Host, folder: str = file_paths.STATE) -> str:
        return f"{folder} is on a disk that is full" if folder == "/etc" else ""

    monkeypatch.setattr(disk, "problem", full)
    monkeypatch.setattr(box.manager, "stop", pytest.fail)
    with pytest.raises(NotWritten, match="/etc is on a disk that is full"):
        box.change()
    assert as_before(box)


@pytest.mark.parametrize("text", [b"", b"{", b'{"saved":[],"of_tomorrow":1}'])
def test_a_journal_that_cannot_be_read_ends_no_agent(box: ConfiguredNode, text: bytes) -> None:
    box.host.write(JOURNAL, text, 0o600)
    assert not box.applier.recover()
    assert box.host.read(JOURNAL) is None
    assert box.change() == [FIRST, SECOND]


def test_copies_of_many_files_fail_of_the_disk_as_one_does(tmp_path: Path) -> None:
    """`shutil.copytree` goes on, and tells of all of them in its own words."""
    one = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/etc/bird/bird.conf")
    other = OSError(errno.EACCES, os.strerror(errno.EACCES), "/etc/bird/bird.conf")
    assert disk.refuses(shutil.Error([("a", "b", str(one))]))
    assert not disk.refuses(shutil.Error([("a", "b", str(other))]))
    assert (disk.fault(one), disk.fault(other)) == ("disk", "files")
