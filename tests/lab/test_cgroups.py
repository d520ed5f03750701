"""A lab's control groups go from every hierarchy of the machine, those of version 1 too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.lab import cgroups, containers, namespaces
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles, files_of
from mesh.lab.world import clear_world
from tests.lab.inspection import leftovers

LINE = "30 1 0:26 / {at} rw,relatime shared:9 - {kind} {kind} rw\n"
LEFT_BY_NSPAWN = ("payload", "supervisor")


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that mounts the unified hierarchy beside two of version 1, as plain folders."""
    kinds = {"systemd": "cgroup", "memory": "cgroup", "unified": "cgroup2"}
    for name in kinds:
        (tmp_path / name).mkdir()
    table = tmp_path / "mountinfo"
    table.write_text("".join(LINE.format(at=tmp_path / name, kind=kinds[name]) for name in kinds))
    monkeypatch.setattr(cgroups, "MOUNTS", table)
    return tmp_path


def _run(hierarchy: Path, lab: str) -> None:
    """What a lab of one node makes in a hierarchy, by itself and by systemd-nspawn."""
    for group in LEFT_BY_NSPAWN:
        (hierarchy / cgroups.PARENT / lab / "lax-vultr-1" / group).mkdir(parents=True)


def _folders(at: Path) -> list[str]:
    return sorted(str(found.relative_to(at)) for found in at.rglob("*") if found.is_dir())


def test_a_lab_goes_from_every_hierarchy_and_takes_no_other_with_it(mounts: Path) -> None:
    for hierarchy in ("unified", "systemd"):
        _run(mounts / hierarchy, "one")
        _run(mounts / hierarchy, "other")
    cgroups.remove(LabFiles("one"))
    assert cgroups.groups(LabFiles("one")) == []
    assert len(cgroups.groups(LabFiles("other"))) == 2
    cgroups.remove(LabFiles("other"))
    assert _folders(mounts) == ["memory", "systemd", "unified"]


def test_a_node_that_goes_leaves_the_others_of_its_lab(mounts: Path) -> None:
    _run(mounts / "systemd", "one")
    (mounts / "systemd" / cgroups.PARENT / "one" / "ord-vultr-1").mkdir()
    cgroups.remove(LabFiles("one"), "lax-vultr-1")
    assert _folders(mounts / "systemd") == [
        "anycast-mesh", "anycast-mesh/one", "anycast-mesh/one/ord-vultr-1",
    ]  # fmt: skip


def test_a_machine_of_version_1_alone_is_told_what_to_mount_and_can_be_cleared(
    mounts: Path,
) -> None:
    table = mounts / "mountinfo"
    table.write_text("".join(line for line in table.open() if "cgroup2" not in line))
    with pytest.raises(LabError, match="mount -t cgroup2"):
        cgroups.create(LabFiles("one"), "lax-vultr-1")
    _run(mounts / "systemd", "one")
    cgroups.kill(LabFiles("one"))
    cgroups.remove(LabFiles("one"))
    assert _folders(mounts / "systemd") == []


@pytest.fixture
def lab() -> Iterator[str]:
    """A lab name of one test, cleared after it."""
    name = f"test-cgroups-{os.getpid()}"
    yield name
    clear_world(name)


@pytest.mark.root
@pytest.mark.image
def test_what_nspawn_leaves_in_this_machines_hierarchies_goes_when_the_lab_is_cleared(
    lab: str, tmp_path: Path
) -> None:
    """The real one in the image, as a node is started but for the boot. On a machine that mounts
    version 1 beside version 2 it leaves folders in both."""
    here = files_of(lab)
    group = cgroups.create(here, "lax-vultr-1")
    for made in ("upper", "work", "root"):
        (tmp_path / made).mkdir()
    layers = f"lowerdir={here.image()},upperdir={tmp_path}/upper,workdir={tmp_path}/work,volatile"
    here.box("lax-vultr-1").mkdir(parents=True)
    namespaces.create([here.namespace("lax-vultr-1")])
    Path("/run/systemd").mkdir(exist_ok=True)
    machine = ["env", "-i", *(f"{key}={value}" for key, value in containers.ENVIRONMENT.items())]
    nspawn = [*containers._nspawn(here, "lax-vultr-1", tmp_path / "root"), "/usr/bin/true"]
    nspawn.remove("--boot")
    launch = [
        "unshare",
        "--mount",
        "--propagation",
        "slave",
        "/bin/sh",
        "-ec",
        containers.LAUNCH,
        "sh",
    ]
    arguments = [str(group), layers, str(tmp_path / "root"), *machine, *nspawn]
    subprocess.run([*launch, *arguments], check=True)
    left = {path.name for found in cgroups.groups(here) for path in found.glob("*/*/")}
    assert set(LEFT_BY_NSPAWN) <= left
    clear_world(lab)
    assert leftovers(lab) == []
