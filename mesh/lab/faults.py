"""Faults: each is an entry of a table, applied to a target and healed by its name.

Active faults are recorded in the runtime directory, so that another process can heal them. Healing
is repeatable, and also heals a fault that a killed run has applied in part.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from mesh.lab import cgroups, containers, namespaces, services, sessions, wiring
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles, files_of
from mesh.lab.services import LabService
from mesh.lab.underlay import World
from mesh.lab.world import load

BIRD_UNIT = "bird.service"
WHOAMI_UNIT = "anycast-mesh-whoami.service"
REGISTRY_UNIT = "anycast-mesh-registry.service"
NAMES = {BIRD_UNIT: "BIRD", REGISTRY_UNIT: "registry"}
TUNNEL, SERVICE = "A:B", "NODE[:SERVICE]"
UNITS = Path("run/systemd/system")
KEEP_DOWN = "lab-fault.conf"
"""A condition that is never true, so that the daemon stays down until the fault is healed."""
KEEP_DOWN_TEXT = """[Unit]
ConditionPathExists=/run/lab-fault-healed
[Service]
Restart=no
"""
"""Both are needed: systemd does not check conditions at the restart that a unit waits for."""


Action = Callable[[LabFiles, World, str], None]
"""What is done to a target: a node, two of them, or a node's service."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: how it is applied and healed. ``target`` is NODE, NODE[:SERVICE], or A:B (a tunnel's
    two ends)."""

    target: str
    description: str
    apply: Action
    heal: Action


def fault(name: str, verb: str, target: str) -> None:
    """Record a fault, then apply it; LabError for an unknown verb or target."""
    files, world = files_of(name), load(name)
    entry = _entry(verb)
    where = _checked(world, entry, verb, target)
    files.faults(where).mkdir(parents=True, exist_ok=True)
    (files.faults(where) / verb).touch()
    try:
        entry.apply(files, world, where)
    except LabError:
        _forget(files, where, verb)
        raise


def heal(name: str, target: str) -> tuple[str, ...]:
    """Heal every active fault of a target; returns their verbs.

    LabError for a target without faults that names no node or tunnel.
    """
    files, world = files_of(name), load(name)
    where = _normal(world, target)
    verbs = active(name).get(where, ())
    if not verbs:
        _known(world, target)
    for verb in verbs:
        FAULTS[verb].heal(files, world, where)
        _forget(files, where, verb)
    return verbs


def active(name: str) -> dict[str, tuple[str, ...]]:
    """Active verbs by target."""
    root = files_of(name).runtime / "faults"
    if not root.exists():
        return {}
    return {
        directory.name: tuple(sorted(entry.name for entry in directory.iterdir()))
        for directory in sorted(root.iterdir())
    }


def _entry(verb: str) -> Fault:
    if verb not in FAULTS:
        raise LabError(f"no fault is called {verb!r}; there are {', '.join(FAULTS)}")
    return FAULTS[verb]


def _normal(world: World, target: str) -> str:
    """The target, a tunnel's with its ends sorted: A:B and B:A are one tunnel."""
    ends = target.split(":")
    nodes = {uplink.node for uplink in world.nodes}
    return ":".join(sorted(ends)) if set(ends) <= nodes else target


def _checked(world: World, entry: Fault, verb: str, target: str) -> str:
    ends = target.split(":")
    if entry.target == SERVICE and len(ends) == 2:
        _service(world, *ends)
        return target
    wanted = 2 if entry.target == TUNNEL else 1
    if len(ends) != wanted or len(set(ends)) != wanted:
        raise LabError(f"target {target!r}: {verb} takes {entry.target}")
    for end in ends:
        world.node(end)
    return _normal(world, target)


def _service(world: World, node: str, name: str) -> LabService:
    """A service with a daemon of its own at a node; LabError where there is none."""
    world.node(node)
    there = {each.name: each for each in world.services if node in each.nodes}
    if name not in there:
        raise LabError(
            f"node {node} has no service {name!r} with a daemon of its own; name one of "
            f"{', '.join(there) or 'none'}, or the node alone for all of its services"
        )
    return there[name]


def _known(world: World, target: str) -> None:
    nodes = [uplink.node for uplink in world.nodes]
    ends = target.split(":")
    names = {each.name for each in world.services}
    if len(ends) == 2 and ends[0] in nodes and ends[1] in names:
        return
    if len(ends) > 2 or len(set(ends)) != len(ends) or not set(ends) <= set(nodes):
        raise LabError(
            f"there is no {target!r} to heal; name a node ({', '.join(nodes)}), a tunnel, as "
            f"{':'.join(nodes[:2])}, or a node's service"
        )


def _forget(files: LabFiles, target: str, verb: str) -> None:
    (files.faults(target) / verb).unlink(missing_ok=True)
    if not any(files.faults(target).iterdir()):
        shutil.rmtree(files.faults(target))


def _withdraw(files: LabFiles, world: World, node: str) -> None:
    """The upstream ends the node's sessions, which withdraws its aggregates from the Internet."""
    sessions.shut(files, world, world.node(node))


def _announce(files: LabFiles, world: World, node: str) -> None:
    sessions.admit(files, world, world.node(node))


def _killed(unit: str) -> Action:
    """SIGKILL, as by the kernel out of memory: only the kernel closes the unit's connections."""
    return lambda files, _world, node: _kill_for_good(files, node, unit)


def _revived(unit: str) -> Action:
    return lambda files, _world, node: _revive(files, node, unit)


def _kill_for_good(files: LabFiles, node: str, unit: str) -> None:
    """SIGKILL to a unit's processes, and a drop-in that keeps it down."""
    _pids(files, node, unit)
    _kill_all(files, node, [unit])


def _kill_all(files: LabFiles, node: str, units: Iterable[str]) -> None:
    names = tuple(units)
    for unit in names:
        path = _keep_down(files, node, unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(KEEP_DOWN_TEXT)
    namespaces.run([*containers.entering(files, node), "systemctl", "daemon-reload"])
    for pid in [pid for unit in names for pid in _processes(files, node, unit)]:
        namespaces.kill(pid, signal.SIGKILL)


def _revive(files: LabFiles, node: str, unit: str) -> None:
    _revive_all(files, node, [unit])


def _revive_all(files: LabFiles, node: str, units: Iterable[str]) -> None:
    if not containers.is_running(files, node):
        return  # the drop-ins, in /run, are gone with the machine
    inside, names = containers.entering(files, node), tuple(units)
    if not names:
        return
    for unit in names:
        _keep_down(files, node, unit).unlink(missing_ok=True)
    namespaces.run([*inside, "systemctl", "daemon-reload"])
    # Otherwise systemd's start limit could refuse a daemon that was killed several times.
    namespaces.run([*inside, "systemctl", "reset-failed", *names])
    namespaces.run([*inside, "systemctl", "restart", *names])


def _keep_down(files: LabFiles, node: str, unit: str) -> Path:
    """The drop-in that keeps a unit down, below the root of the node's mount namespace."""
    return _root(files, node) / UNITS / f"{unit}.d" / KEEP_DOWN


def _root(files: LabFiles, node: str) -> Path:
    return Path("/proc", str(containers.leader(files, node)), "root")


def _stop_service(files: LabFiles, world: World, target: str) -> None:
    """SIGKILL to what answers at the services' addresses, or at those of one."""
    node = target.partition(":")[0]
    running = [each for each in _service_units(world, target) if _processes(files, node, each)]
    if not running:
        what = "its service is not" if ":" in target else "none of its services is"
        raise LabError(f"node {node}: {what} running")
    _kill_all(files, node, running)


def _start_service(files: LabFiles, world: World, target: str) -> None:
    node = target.partition(":")[0]
    if containers.is_running(files, node):
        units = _service_units(world, target)
        _revive_all(files, node, [u for u in units if _keep_down(files, node, u).exists()])


def _service_units(world: World, target: str) -> tuple[str, ...]:
    """The units that may answer for the services of a node, or for one service of it."""
    node, _, name = target.partition(":")
    if name:
        return (_service(world, node, name).daemon,)
    own = {each.daemon: None for each in world.services if node in each.nodes}
    return (WHOAMI_UNIT, *own)


def _hang(files: LabFiles, world: World, node: str) -> None:
    _signal_bird(files, node, signal.SIGSTOP)


def _go_on(files: LabFiles, world: World, node: str) -> None:
    if containers.is_running(files, node):
        _signal_bird(files, node, signal.SIGCONT)


def _signal_bird(files: LabFiles, node: str, number: signal.Signals) -> None:
    for pid in _pids(files, node, BIRD_UNIT):
        namespaces.kill(pid, number)


def _pids(files: LabFiles, node: str, unit: str) -> list[int]:
    """Processes of a unit of a node; LabError where there is none."""
    pids = _processes(files, node, unit)
    if not pids:
        raise LabError(f"node {node}: its {NAMES[unit]} is not running")
    return pids


def _processes(files: LabFiles, node: str, unit: str) -> list[int]:
    """Processes of a unit, which is in a slice of its own where it is made of a template."""
    containers.leader(files, node)
    slices = cgroups.path(files, node) / "payload/system.slice"
    groups = (slices / unit, *slices.glob(f"*.slice/{escape(unit)}"))
    return [pid for group in groups for pid in cgroups.pids_in(group)]


def _cut_tunnel(files: LabFiles, world: World, tunnel: str) -> None:
    """Drop UDP between the two main addresses, in both directions, at the first node's upstream:
    silently, and also for a new instance of a node."""
    one, other = (world.node(end) for end in tunnel.split(":"))
    # Where a provider translates, it forwards with the address that the node itself holds.
    far = other.main if other.upstream == one.upstream else other.ipv4
    rules = _drop_udp(str(one.main), str(far), "ip")
    if one.ipv6 and other.ipv6:
        rules += _drop_udp(str(one.ipv6), str(other.ipv6), "ip6")
    namespaces.nft(_forwarding(tunnel, rules), files.namespace(one.upstream))


def _join_tunnel(files: LabFiles, world: World, tunnel: str) -> None:
    upstream = world.node(tunnel.split(":")[0]).upstream
    table = f"inet {_cut_name(tunnel)}"
    namespaces.nft(f"add table {table}\ndelete table {table}\n", files.namespace(upstream))


def _drop_udp(one: str, other: str, family: str) -> str:
    return "".join(
        f"    {family} saddr {a} {family} daddr {b} meta l4proto udp counter drop\n"
        for a, b in ((one, other), (other, one))
    )


def _cut_name(tunnel: str) -> str:
    return f"cut-{tunnel.replace(':', '-')}"


def _forwarding(tunnel: str, rules: str) -> str:
    table = f"inet {_cut_name(tunnel)}"
    hook = "type filter hook forward priority 0; policy accept;"
    return (
        f"add table {table}\ndelete table {table}\n"
        f"table {table} {{\n  chain forward {{\n    {hook}\n{rules}  }}\n}}\n"
    )


def _blackhole(files: LabFiles, world: World, node: str) -> None:
    wiring.silence(files, world.node(node))


def _end_blackhole(files: LabFiles, world: World, node: str) -> None:
    wiring.end_silence(files, world.node(node))


def _link_down(files: LabFiles, world: World, node: str) -> None:
    _set_port(files, world, node, "down")


def _link_up(files: LabFiles, world: World, node: str) -> None:
    _set_port(files, world, node, "up")


def _set_port(files: LabFiles, world: World, node: str, state: str) -> None:
    uplink = world.node(node)
    namespaces.ip([f"link set {uplink.port} {state}"], files.namespace(uplink.upstream))


def _power_loss(files: LabFiles, world: World, node: str) -> None:
    """Drop all packets, then kill: a killed process's connections are closed by the kernel, which a
    machine without power cannot do."""
    containers.leader(files, node)
    _blackhole(files, world, node)
    containers.power_off(files, node)


def _power_back(files: LabFiles, world: World, node: str) -> None:
    if not containers.is_running(files, node) and containers.read_state(files, node):
        containers.reboot_node(files.lab, node, world)
    _end_blackhole(files, world, node)


FAULTS: dict[str, Fault] = {
    sessions.SHUT: Fault("NODE", "its upstream ends its sessions", _withdraw, _announce),
    "kill-daemon": Fault(
        "NODE", "BIRD is killed and stays down", _killed(BIRD_UNIT), _revived(BIRD_UNIT)
    ),
    "hang": Fault("NODE", "BIRD stops, the kernel goes on", _hang, _go_on),
    "link-down": Fault("NODE", "the link of the uplink goes down", _link_down, _link_up),
    "tunnel-cut": Fault(TUNNEL, "UDP between two nodes is lost", _cut_tunnel, _join_tunnel),
    "blackhole": Fault("NODE", "all packets are lost, the link is up", _blackhole, _end_blackhole),
    "power-loss": Fault("NODE", "the machine goes off at once", _power_loss, _power_back),
    services.DOWN: Fault(
        SERVICE, "its services are killed, or the one", _stop_service, _start_service
    ),
    "registry-down": Fault(
        "NODE", "its registry is killed", _killed(REGISTRY_UNIT), _revived(REGISTRY_UNIT)
    ),
}
"""The table: a new fault is one entry."""
