"""The world around the nodes: raise it, update it to the plan, and remove it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter

from mesh import netns
from mesh.lab import (
    bgpd,
    bird,
    cgroups,
    containers,
    metadata,
    namespaces,
    note,
    receivers,
    rotation,
    routers,
    wiring,
)
from mesh.lab.errors import LabError
from mesh.lab.lab_files import RUNTIME, STORAGE, LabFiles, files_of, locked
from mesh.lab.underlay import METADATA4, Neighbor, World, keeping, underlay
from mesh.plan.model import Plan

START = 2.0
"""Seconds until a router's BIRD must be running."""
DEADLINE = 20.0
"""Seconds until the sessions between routers must be up."""

TAKES = "MESH_LAB_PASSWORDS"
"""Which passwords the lab's providers take when one changes, as :mod:`mesh.lab.rotation` has it."""

_WORLD = TypeAdapter(World)


def raise_world(plan: Plan, name: str, passwords: Mapping[str, str], inputs: str = "") -> World:
    """Raise the world of this plan: everything but the nodes.

    Repeatable: existing parts stay, parts that are not in the plan are removed, and the work of a
    killed run is completed. The uplink of a node that has left the plan stays until a call after
    the node is removed. ``passwords`` are those of the upstream sessions by provider; they are
    written to files of root only and never logged. ``inputs`` is recorded
    (:func:`mesh.lab.note.digest`). Returns when every router has its sessions with the other
    routers; LabError names what is missing.
    """
    files, planned = files_of(name), underlay(plan)
    with locked(files.runtime):
        files.image()
        world, noted = _with_leaving(files, planned), note.raised(files)
        note.write(files, BEGUN)
        if noted != _begun(planned):
            _drop_unplanned(files, world)
            wiring.create(files, world)
            _write(files, world)
        _start_routers(files, planned, world, passwords)
        _start_metadata(files, world)
        if world.receives:
            receivers.ensure(files)
        containers.update_standins(files, world)
        _wait(files, world, _is_up)
        note.write(files, _digest(planned, passwords), inputs)
    return planned


def begin_world(plan: Plan, name: str) -> None:
    """Raise the parts of a world that need no secret, all but the sessions with nodes, unless some
    part of the lab exists. ``raise_world`` completes it.

    Routers need a second until they connect to each other, and the passwords can be read meanwhile.
    Returns when every router's BIRD answers; LabError where one does not.
    """
    files, world = files_of(name), underlay(plan)
    with locked(files.runtime):
        if files.boxes() or files.storage.exists():
            return
        files.image()
        note.write(files, BEGUN)
        wiring.create(files, world)
        _write(files, world)
        _start_routers(files, world, world, None)
        _start_metadata(files, world)
        _wait(files, world, lambda *_: True)
        note.write(files, _begun(world))


def boot_ahead(plan: Plan, name: str) -> None:
    """Boot the machines of a world that was only begun: they wait for their user data, which the
    engine has once it has made the operator's key. LabError where one cannot be booted."""
    files, world = files_of(name), underlay(plan)
    if note.raised(files) == _begun(world):
        for uplink in world.nodes[:AT_ONCE]:
            containers.boot_ahead(files, world, uplink)


AT_ONCE = 8
"""Machines that are booted ahead: as many as the engine makes at the same time."""

BEGUN = "begun"
"""Recorded in place of the digest while the world is raised: a killed run leaves neither the old
world nor the new one."""


def is_raised(name: str, plan: Plan, passwords: Mapping[str, str]) -> bool:
    """Whether the world that was raised last is the one of this plan, by this machine's record.

    True without a record: the lab is on another machine, this machine was restarted, or an earlier
    version of this code raised the world.
    """
    noted = note.raised(files_of(name))
    return noted is None or noted == _digest(underlay(plan), passwords)


def _begun(world: World) -> str:
    """Recorded in place of the digest after :func:`begin_world`."""
    return f"{BEGUN} {_digest(world, {})}"


def _digest(world: World, passwords: Mapping[str, str]) -> str:
    return sha256(_WORLD.dump_json(world) + repr(sorted(passwords.items())).encode()).hexdigest()


def stands(name: str) -> bool:
    """Whether any part of a lab is on this machine."""
    files = files_of(name)
    return bool(files.runtime.exists() or files.boxes() or files.storage.exists())


def clear_world(name: str) -> None:
    """Remove a lab: processes, namespaces, control groups, disks and files.

    Repeatable; a lab of another name stays.
    """
    files = files_of(name)
    if not stands(name):
        cgroups.remove(files)
        return
    with locked(files.runtime):
        cgroups.kill(files)
        boxes = [files.namespace(box) for box in files.boxes()]
        namespaces.kill_inside(boxes)
        namespaces.delete(boxes)
        cgroups.remove(files)
        if files.storage.exists():
            shutil.rmtree(files.storage)
        shutil.rmtree(files.runtime)
    for parent in (RUNTIME, STORAGE):
        _remove_empty(parent)


def load(name: str) -> World:
    """The world of the lab of this name; LabError where it is not up."""
    files = files_of(name)
    world = _recorded(files)
    if world is None or not all(
        netns.exists(files.namespace(box.name)) for box in wiring.boxes(world)
    ):
        raise LabError(f"lab {name!r} is not up; raise it with `mesh lab up`")
    return world


def _recorded(files: LabFiles) -> World | None:
    try:
        return _WORLD.validate_json((files.runtime / "underlay.json").read_bytes())
    except FileNotFoundError:
        return None


def _with_leaving(files: LabFiles, planned: World) -> World:
    """The planned world with the uplinks of nodes that left the plan and still exist."""
    before = _recorded(files)
    if before is None:
        return planned
    known = {uplink.node for uplink in planned.nodes}
    leaving = {
        uplink.node
        for uplink in before.nodes
        if uplink.node not in known and files.state(uplink.node).exists()
    }
    return keeping(planned, before, leaving)


def _write(files: LabFiles, world: World) -> None:
    path = files.runtime / "underlay.json"
    beside = path.with_suffix(".new")
    beside.write_bytes(_WORLD.dump_json(world, indent=1))
    beside.replace(path)


def _drop_unplanned(files: LabFiles, world: World) -> None:
    """Remove boxes of the world that this plan does not have; drivers remove nodes."""
    planned = {box.name for box in wiring.boxes(world)}
    stale = [box for box in files.world_boxes() if box not in planned]
    names = [files.namespace(box) for box in stale]
    namespaces.kill_inside(names)
    namespaces.delete(names)
    for box in stale:
        shutil.rmtree(files.box(box), ignore_errors=True)


def _start_routers(
    files: LabFiles, planned: World, world: World, passwords: Mapping[str, str] | None
) -> None:
    """Start or reconfigure the routers; without passwords they have no sessions with nodes. Routers
    whose nodes have all left the plan are not reconfigured: the stack may have no passwords of
    theirs any more."""
    wanted = {upstream.box for upstream in planned.upstreams}
    for transit in world.transits:
        bird.ensure(files, transit.box, routers.transit_config(world, transit))
    for upstream in world.upstreams:
        if upstream.box not in wanted and bird.is_running(files, upstream.box):
            continue
        _ensure(files, upstream.box, routers.upstream_config(world, upstream, passwords))
        for router in upstream.vpc.routers if upstream.vpc else ():
            config = routers.vpc_config(world, upstream, router, passwords)
            _ensure(files, router.box, config)
    for neighbor in world.neighbors:
        if neighbor in planned.neighbors or not bird.is_running(files, neighbor.box):
            _start_neighbor(files, world, neighbor, passwords)


def _start_neighbor(
    files: LabFiles, world: World, neighbor: Neighbor, passwords: Mapping[str, str] | None
) -> None:
    """Start or reconfigure a neighbor's router: OpenBGPD and BIRD, or BIRD alone."""
    able = any(map(routers.speaks_openbgpd, neighbor.sessions))
    openbgpd = able and files.openbgpd() is not None
    if not openbgpd:
        bgpd.stop(files, neighbor.box)
    config = routers.neighbor_config(world, neighbor, passwords, openbgpd=openbgpd)
    _ensure(files, neighbor.box, config)
    if openbgpd:
        socket = files.box(neighbor.box) / bgpd.SOCKET
        config = routers.bgpd_config(world, neighbor, passwords, socket)
        bgpd.ensure(files, neighbor.box, config)


def _ensure(files: LabFiles, box: str, config: str) -> None:
    """Start or reconfigure a router's BIRD. Where a password changes, its provider takes the one of
    before as well for a while, and no session ends for it."""
    directory = files.box(box)
    used = rotation.in_use(directory)
    wanted = rotation.passwords_of(config)
    taken = rotation.accepted(wanted, used, rotation.read(directory), _takes())
    rotation.write(directory, taken)
    bird.ensure(files, box, rotation.with_passwords(config, rotation.chosen(taken, used)))
    if (directory / rotation.FILE).exists():
        script = str(Path(rotation.__file__).resolve())
        _start_script(files, box, "rotation.log", script, str(directory))


def _takes() -> str:
    takes = os.environ.get(TAKES, rotation.BOTH)
    if takes not in (rotation.BOTH, rotation.NEW, rotation.OLD):
        raise LabError(
            f"{TAKES} {takes!r}: say which passwords the lab's providers take when one changes: "
            f"{rotation.BOTH}, {rotation.NEW} or {rotation.OLD}"
        )
    return takes


def _start_metadata(files: LabFiles, world: World) -> None:
    """Start a metadata service in each upstream."""
    script, nodes = str(Path(metadata.__file__).resolve()), str(files.runtime / "boxes")
    for upstream in world.upstreams:
        _start_script(files, upstream.box, "metadata.log", script, str(METADATA4), nodes)


def _start_script(files: LabFiles, box: str, log: str, script: str, *arguments: str) -> None:
    """Start a script in a box, with this Python's standard library only, unless it runs there."""
    namespace = files.namespace(box)
    pids = namespaces.processes([namespace])[namespace]
    if not any(script in namespaces.command_line(pid) for pid in pids):
        command = [sys.executable, "-I", "-S", script, *arguments]
        namespaces.spawn(command, files.box(box) / log, namespace)


def _wait(files: LabFiles, world: World, is_there: Callable[[LabFiles, str], bool]) -> None:
    """Wait until the condition is true for every router's BIRD."""
    routers_of_the_world = [
        *(transit.box for transit in world.transits),
        *(upstream.box for upstream in world.upstreams),
        *(neighbor.box for neighbor in world.neighbors),
        *(r.box for upstream in world.upstreams if upstream.vpc for r in upstream.vpc.routers),
    ]
    began = time.monotonic()

    def holds(box: str) -> bool:
        if bird.is_ready(files, box):
            return is_there(files, box)
        # A process that was just started may not be in its namespace yet.
        if time.monotonic() - began > START and not bird.is_running(files, box):
            raise LabError(f"BIRD of {box} has ended")
        return False

    for box in routers_of_the_world:
        try:
            namespaces.wait_until(partial(holds, box), DEADLINE, f"BIRD of {box}")
        except LabError as error:
            raise LabError(f"{error}: {bird.failure(files, box)}") from None


def _is_up(files: LabFiles, box: str) -> bool:
    """Whether a router's sessions with other routers are Established; those with nodes may not."""
    states = bird.sessions(files, box)
    return all(state == "Established" for name, state in states.items() if name[:2] != "n_")


def _remove_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # another lab's
