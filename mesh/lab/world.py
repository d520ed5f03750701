"""The world around the nodes: raised, kept in step with the plan, and cleared without a trace."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter

from mesh import netns
from mesh.lab import bird, cgroups, metadata, namespaces, note, routers, wiring
from mesh.lab.errors import LabError
from mesh.lab.lab_files import RUNTIME, STORAGE, LabFiles, locked, place
from mesh.lab.underlay import METADATA4, Underlay, keeping, underlay
from mesh.plan.model import Plan

START = 2.0
"""Seconds that a router's BIRD may take to be there at all."""
DEADLINE = 20.0
"""Seconds until the routers of the world must have found each other."""

_UNDERLAY = TypeAdapter(Underlay)


def raise_world(plan: Plan, name: str, passwords: Mapping[str, str], told: str = "") -> Underlay:
    """Have the world of this plan stand: everything but the nodes.

    Repeatable: what stands stays, what the plan no longer has goes, what a killed run left half
    done is completed; what a node that still lives stands on goes with that node, at the next
    call. ``passwords`` are those of the upstream sessions by provider; they are
    written to files of root only and never logged. ``told`` is noted (:func:`mesh.lab.note.told`).
    Returns when every router has its sessions with the other routers. LabError says what is
    missing.
    """
    here, planned = place(name), underlay(plan)
    with locked(here.runtime):
        here.image()
        world, noted = _with_leaving(here, planned), note.raised(here)
        note.write(here, BEGUN)
        if noted != _just_begun(planned):
            _drop_unplanned(here, world)
            wiring.lay(here, world)
            _write(here, world)
        _start_routers(here, planned, world, passwords)
        _start_metadata(here, world)
        _wait(here, world, _is_up)
        note.write(here, _digest(planned, passwords), told)
    return planned


def begin_world(plan: Plan, name: str) -> None:
    """Have what needs no secret of a world stand, where nothing of the lab does: all of it but the
    sessions with the nodes. ``raise_world`` goes on from there.

    Routers take a second until they call each other; they may take it while somebody finds out the
    passwords. Returns when every router's BIRD answers. LabError where one does not.
    """
    here, world = place(name), underlay(plan)
    with locked(here.runtime):
        if here.boxes() or here.storage.exists():
            return
        here.image()
        note.write(here, BEGUN)
        wiring.lay(here, world)
        _write(here, world)
        _start_routers(here, world, world, None)
        _start_metadata(here, world)
        _wait(here, world, lambda *_: True)
        note.write(here, _just_begun(world))


BEGUN = "begun"
"""In the place of the digest while the world is raised: what a killed run has left is neither the
world before nor the one to be."""


def is_raised(name: str, plan: Plan, passwords: Mapping[str, str]) -> bool:
    """Whether the world that was raised last is the one of this plan, as far as this machine knows.

    True where it knows nothing: the lab is on another machine, its machine was started again, or
    an earlier version of this code raised it.
    """
    noted = note.raised(place(name))
    return noted is None or noted == _digest(underlay(plan), passwords)


def _just_begun(world: Underlay) -> str:
    """In the place of the digest, where this world has been begun and nothing done since."""
    return f"{BEGUN} {_digest(world, {})}"


def _digest(world: Underlay, passwords: Mapping[str, str]) -> str:
    return sha256(_UNDERLAY.dump_json(world) + repr(sorted(passwords.items())).encode()).hexdigest()


def stands(name: str) -> bool:
    """Whether anything of a lab is on this machine, whole or not."""
    here = place(name)
    return bool(here.runtime.exists() or here.boxes() or here.storage.exists())


def clear_world(name: str) -> None:
    """Remove a lab: processes, namespaces, control groups, disks and files, whatever left them.

    Repeatable, and never touches a lab of another name.
    """
    here = place(name)
    if not stands(name):
        cgroups.remove(here)
        return
    with locked(here.runtime):
        cgroups.kill(here)
        boxes = [here.namespace(box) for box in here.boxes()]
        namespaces.kill_inside(boxes)
        namespaces.delete(boxes)
        cgroups.remove(here)
        if here.storage.exists():
            shutil.rmtree(here.storage)
        shutil.rmtree(here.runtime)
    for parent in (RUNTIME, STORAGE):
        _remove_empty(parent)


def load(name: str) -> Underlay:
    """The world that stands under this name; LabError where there is none (any more)."""
    here = place(name)
    world = _recorded(here)
    if world is None or not all(
        netns.exists(here.namespace(box.name)) for box in wiring.boxes(world)
    ):
        raise LabError(f"lab {name!r} is not up; raise it with `mesh lab up`")
    return world


def _recorded(here: LabFiles) -> Underlay | None:
    try:
        return _UNDERLAY.validate_json((here.runtime / "underlay.json").read_bytes())
    except FileNotFoundError:
        return None


def _with_leaving(here: LabFiles, planned: Underlay) -> Underlay:
    """The planned world with what nodes stand on that left the plan and are still there."""
    before = _recorded(here)
    if before is None:
        return planned
    known = {uplink.node for uplink in planned.nodes}
    leaving = {
        uplink.node
        for uplink in before.nodes
        if uplink.node not in known and here.state(uplink.node).exists()
    }
    return keeping(planned, before, leaving)


def _write(here: LabFiles, world: Underlay) -> None:
    path = here.runtime / "underlay.json"
    beside = path.with_suffix(".new")
    beside.write_bytes(_UNDERLAY.dump_json(world, indent=1))
    beside.replace(path)


def _drop_unplanned(here: LabFiles, world: Underlay) -> None:
    """Remove boxes of the world that this plan does not have; nodes are their drivers' concern."""
    planned = {box.name for box in wiring.boxes(world)}
    stale = [box for box in here.world_boxes() if box not in planned]
    names = [here.namespace(box) for box in stale]
    namespaces.kill_inside(names)
    namespaces.delete(names)
    for box in stale:
        shutil.rmtree(here.box(box), ignore_errors=True)


def _start_routers(
    here: LabFiles, planned: Underlay, world: Underlay, passwords: Mapping[str, str] | None
) -> None:
    """Without passwords they have no sessions with nodes. Routers that only nodes stand on that
    have left the plan go on as they are: the stack may have forgotten their passwords already."""
    wanted = {upstream.box for upstream in planned.upstreams}
    for transit in world.transits:
        bird.ensure(here, transit.box, routers.transit_config(world, transit))
    for upstream in world.upstreams:
        if upstream.box not in wanted and bird.is_running(here, upstream.box):
            continue
        bird.ensure(here, upstream.box, routers.upstream_config(world, upstream, passwords))
        for router in upstream.vpc.routers if upstream.vpc else ():
            config = routers.vpc_config(world, upstream, router, passwords)
            bird.ensure(here, router.box, config)


def _start_metadata(here: LabFiles, world: Underlay) -> None:
    """One process in each upstream; the same Python as ours, for its standard library only."""
    running = namespaces.processes(here.namespace(upstream.box) for upstream in world.upstreams)
    script = str(Path(metadata.__file__).resolve())
    for upstream in world.upstreams:
        namespace = here.namespace(upstream.box)
        if not any(script in namespaces.command_line(pid) for pid in running[namespace]):
            command = [
                sys.executable,
                "-I",
                "-S",
                script,
                str(METADATA4),
                str(here.runtime / "boxes"),
            ]
            namespaces.spawn(command, here.box(upstream.box) / "metadata.log", namespace)


def _wait(here: LabFiles, world: Underlay, is_there: Callable[[LabFiles, str], bool]) -> None:
    """Until that holds of every router's BIRD."""
    routers_of_the_world = [
        *(transit.box for transit in world.transits),
        *(upstream.box for upstream in world.upstreams),
        *(r.box for upstream in world.upstreams if upstream.vpc for r in upstream.vpc.routers),
    ]
    began = time.monotonic()

    def holds(box: str) -> bool:
        if bird.is_ready(here, box):
            return is_there(here, box)
        # One that has just been started may not be in its namespace yet.
        if time.monotonic() - began > START and not bird.is_running(here, box):
            raise LabError(f"BIRD of {box} has ended")
        return False

    for box in routers_of_the_world:
        try:
            namespaces.wait_until(partial(holds, box), DEADLINE, f"BIRD of {box}")
        except LabError as error:
            raise LabError(f"{error}: {bird.failure(here, box)}") from None


def _is_up(here: LabFiles, box: str) -> bool:
    """Whether a router has all its sessions with other routers; nodes may come later."""
    states = bird.sessions(here, box)
    return all(state == "Established" for name, state in states.items() if name[:2] != "n_")


def _remove_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # another lab's
