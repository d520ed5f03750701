"""Faults as verbs: each is one entry of a table, applied to a target and healed by its name.

What is active stands in the runtime directory, so that another process can heal it; healing is
repeatable, and a fault that was half applied by a killed run is healed like any other.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mesh.lab import cgroups, containers, namespaces, sessions, wiring
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles, place
from mesh.lab.underlay import Underlay
from mesh.lab.world import load

BIRD_UNIT = "bird.service"
SERVICE_UNIT = "anycast-mesh-whoami.service"
REGISTRY_UNIT = "anycast-mesh-registry.service"
NAMES = {BIRD_UNIT: "BIRD", SERVICE_UNIT: "service", REGISTRY_UNIT: "registry"}
UNITS = Path("run/systemd/system")
KEEP_DOWN = "lab-fault.conf"
"""A condition that never holds: whoever starts the daemon, it stays down until healed."""
KEEP_DOWN_TEXT = """[Unit]
ConditionPathExists=/run/lab-fault-healed
[Service]
Restart=no
"""
"""Both are needed: a unit that waits for its own restart is started without asking conditions."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, and how it is undone. ``target`` is NODE or A:B (a tunnel's two ends)."""

    target: str
    says: str
    apply: Callable[[LabFiles, Underlay, str], None]
    heal: Callable[[LabFiles, Underlay, str], None]


def fault(name: str, verb: str, target: str) -> None:
    """Apply a fault; LabError for an unknown verb or target. On record before it is applied."""
    here, world = place(name), load(name)
    entry = _entry(verb)
    where = _checked(world, entry, verb, target)
    here.faults(where).mkdir(parents=True, exist_ok=True)
    (here.faults(where) / verb).touch()
    try:
        entry.apply(here, world, where)
    except LabError:
        _forget(here, where, verb)
        raise


def heal(name: str, target: str) -> tuple[str, ...]:
    """Undo every fault that is active on a target; the verbs that were.

    LabError for a target that has none and names no node or tunnel either.
    """
    here, world = place(name), load(name)
    where = _normal(target)
    verbs = active(name).get(where, ())
    if not verbs:
        _known(world, target)
    for verb in verbs:
        FAULTS[verb].heal(here, world, where)
        _forget(here, where, verb)
    return verbs


def active(name: str) -> dict[str, tuple[str, ...]]:
    """Verbs that are active by target."""
    root = place(name).runtime / "faults"
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


def _normal(target: str) -> str:
    """A tunnel has no direction: A:B and B:A are one target."""
    return ":".join(sorted(target.split(":")))


def _checked(world: Underlay, entry: Fault, verb: str, target: str) -> str:
    ends = target.split(":")
    wanted = 2 if ":" in entry.target else 1
    if len(ends) != wanted or len(set(ends)) != wanted:
        raise LabError(f"target {target!r}: {verb} takes {entry.target}")
    for end in ends:
        world.node(end)
    return _normal(target)


def _known(world: Underlay, target: str) -> None:
    nodes = [uplink.node for uplink in world.nodes]
    ends = target.split(":")
    if len(ends) > 2 or len(set(ends)) != len(ends) or not set(ends) <= set(nodes):
        raise LabError(
            f"there is no {target!r} to heal; name a node ({', '.join(nodes)}) or a tunnel, as "
            f"{':'.join(nodes[:2])}"
        )


def _forget(here: LabFiles, target: str, verb: str) -> None:
    (here.faults(target) / verb).unlink(missing_ok=True)
    if not any(here.faults(target).iterdir()):
        shutil.rmtree(here.faults(target))


def _withdraw(here: LabFiles, world: Underlay, node: str) -> None:
    """Its aggregates are withdrawn from the Internet, and it is told so."""
    sessions.shut(here, world.node(node))


def _announce(here: LabFiles, world: Underlay, node: str) -> None:
    sessions.admit(here, world.node(node))


def _kill_daemon(here: LabFiles, world: Underlay, node: str) -> None:
    """SIGKILL, as the kernel does when memory is short: nothing is said to any neighbor but by
    the kernel, which closes the sessions."""
    _kill_for_good(here, node, BIRD_UNIT)


def _revive_daemon(here: LabFiles, world: Underlay, node: str) -> None:
    _revive(here, node, BIRD_UNIT)


def _end_service(here: LabFiles, world: Underlay, node: str) -> None:
    """What answers at the services' addresses in the lab; the addresses are the agent's."""
    _kill_for_good(here, node, SERVICE_UNIT)


def _begin_service(here: LabFiles, world: Underlay, node: str) -> None:
    _revive(here, node, SERVICE_UNIT)


def _end_registry(here: LabFiles, world: Underlay, node: str) -> None:
    _kill_for_good(here, node, REGISTRY_UNIT)


def _begin_registry(here: LabFiles, world: Underlay, node: str) -> None:
    _revive(here, node, REGISTRY_UNIT)


def _kill_for_good(here: LabFiles, node: str, unit: str) -> None:
    """SIGKILL to a unit's processes; whoever starts it, it stays down."""
    _pids(here, node, unit)
    path = _keep_down(here, node, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(KEEP_DOWN_TEXT)
    namespaces.run([*containers.entering(here, node), "systemctl", "daemon-reload"])
    for pid in cgroups.pids_in(_group(here, node, unit)):
        namespaces.kill(pid, signal.SIGKILL)


def _revive(here: LabFiles, node: str, unit: str) -> None:
    if not containers.is_running(here, node):
        return  # what holds the daemon down has gone with the machine
    inside = containers.entering(here, node)
    _keep_down(here, node, unit).unlink(missing_ok=True)
    namespaces.run([*inside, "systemctl", "daemon-reload"])
    # Daemons that are killed again and again are not refused for it.
    namespaces.run([*inside, "systemctl", "reset-failed", unit])
    namespaces.run([*inside, "systemctl", "restart", unit])


def _keep_down(here: LabFiles, node: str, unit: str) -> Path:
    """The drop-in that keeps a unit down, by way of the node's own root."""
    return (
        Path("/proc", str(containers.leader(here, node)), "root") / UNITS / f"{unit}.d" / KEEP_DOWN
    )


def _hang(here: LabFiles, world: Underlay, node: str) -> None:
    _signal_bird(here, node, signal.SIGSTOP)


def _go_on(here: LabFiles, world: Underlay, node: str) -> None:
    if containers.is_running(here, node):
        _signal_bird(here, node, signal.SIGCONT)


def _signal_bird(here: LabFiles, node: str, number: signal.Signals) -> None:
    for pid in _pids(here, node, BIRD_UNIT):
        namespaces.kill(pid, number)


def _pids(here: LabFiles, node: str, unit: str) -> list[int]:
    """Processes of a unit of a node; LabError where there is none to do something to."""
    pids = cgroups.pids_in(_group(here, node, unit))
    if not pids:
        raise LabError(f"node {node}: its {NAMES[unit]} is not running")
    return pids


def _group(here: LabFiles, node: str, unit: str) -> Path:
    return cgroups.path(here, node) / "payload/system.slice" / unit


def _cut_tunnel(here: LabFiles, world: Underlay, tunnel: str) -> None:
    """Drop UDP between the two main addresses, both ways, where the first one's provider
    forwards it: nothing is said to anybody, and a new instance of a node changes nothing."""
    one, other = (world.node(end) for end in tunnel.split(":"))
    # Where a provider translates, it forwards with the address that the node itself holds.
    far = other.main if other.upstream == one.upstream else other.ipv4
    rules = _drop_udp(str(one.main), str(far), "ip")
    if one.ipv6 and other.ipv6:
        rules += _drop_udp(str(one.ipv6), str(other.ipv6), "ip6")
    namespaces.nft(_forwarding(tunnel, rules), here.namespace(one.upstream))


def _join_tunnel(here: LabFiles, world: Underlay, tunnel: str) -> None:
    upstream = world.node(tunnel.split(":")[0]).upstream
    table = f"inet {_cut_name(tunnel)}"
    namespaces.nft(f"add table {table}\ndelete table {table}\n", here.namespace(upstream))


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


def _blackhole(here: LabFiles, world: Underlay, node: str) -> None:
    wiring.silence(here, world.node(node))


def _end_blackhole(here: LabFiles, world: Underlay, node: str) -> None:
    wiring.end_silence(here, world.node(node))


def _link_down(here: LabFiles, world: Underlay, node: str) -> None:
    _set_port(here, world, node, "down")


def _link_up(here: LabFiles, world: Underlay, node: str) -> None:
    _set_port(here, world, node, "up")


def _set_port(here: LabFiles, world: Underlay, node: str, state: str) -> None:
    uplink = world.node(node)
    namespaces.ip([f"link set {uplink.port} {state}"], here.namespace(uplink.upstream))


def _power_loss(here: LabFiles, world: Underlay, node: str) -> None:
    """Silence first, then the end: the kernel of a dying process still closes its sessions, and
    a machine without power does not."""
    containers.leader(here, node)
    _blackhole(here, world, node)
    containers.power_off(here, node)


def _power_back(here: LabFiles, world: Underlay, node: str) -> None:
    if not containers.is_running(here, node) and containers.read_state(here, node):
        containers.reboot_node(here.lab, node, world)
    _end_blackhole(here, world, node)


FAULTS: dict[str, Fault] = {
    sessions.SHUT: Fault("NODE", "its upstream ends its sessions", _withdraw, _announce),
    "kill-daemon": Fault("NODE", "BIRD is killed and stays down", _kill_daemon, _revive_daemon),
    "hang": Fault("NODE", "BIRD stops, the kernel goes on", _hang, _go_on),
    "link-down": Fault("NODE", "the link of the uplink goes down", _link_down, _link_up),
    "tunnel-cut": Fault("A:B", "UDP between two nodes is lost", _cut_tunnel, _join_tunnel),
    "blackhole": Fault("NODE", "all is lost, the link stays up", _blackhole, _end_blackhole),
    "power-loss": Fault("NODE", "silence, then the machine is dead", _power_loss, _power_back),
    "service-down": Fault("NODE", "its services are killed", _end_service, _begin_service),
    "registry-down": Fault("NODE", "its registry is killed", _end_registry, _begin_registry),
}
"""The table: a new fault is one entry."""
