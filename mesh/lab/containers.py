"""Nodes as system containers: Debian 13 with real systemd and cloud-init, one overlay each.

A node behaves like a cloud's virtual server: it starts with user data and an address known before,
boots asynchronously, keeps its disk over a power cut, and loses it when it is stopped.
``reference/lab.md`` lists what the container needs.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mesh import netns
from mesh.lab import capacity, cgroups, namespaces, services, sessions, standins, wiring
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles, files_of, locked
from mesh.lab.underlay import Uplink, World
from mesh.lab.wiring import NODE_INTERFACE

MACHINE_DEADLINE = 20.0
"""Seconds until the machine's systemd must run; its boot may take longer."""

LAUNCH = """
echo $$ >"$1/cgroup.procs"
mount -t tmpfs -o mode=0755 mesh-lab /run/systemd
mount -t overlay -o "$2" mesh-lab "$3"
shift 3
exec "$@"
"""
"""Runs in a mount namespace of its own, so that the mounts end with the machine: enter the node's
control group, hide the host's systemd (which it may not have), mount the disk, exec nspawn. Paths
are arguments, never text of the script."""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # Without it the container has cgroup v1 where the host has it, which systemd 257 refuses.
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    # Without it /proc/sys/net is read-only, and every sysctl of the node fails silently.
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
}

CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE"

FURTHER = f"etc/systemd/network/10-cloud-init-{NODE_INTERFACE}.network.d"
"""Beside the file of cloud-init, which has the main address."""

CLOUD_CONFIG = """
# Looking for other clouds takes seconds and asks addresses that answer in the lab only.
datasource_list: [NoCloud, None]
# By default the network is configured when the instance is first seen; a power cut between the
# two leaves a machine without any network for ever.
updates: {network: {when: [boot-new-instance, boot]}}
"""

SYSTEMD = """[Manager]
# wireguard-go has a thread for each processor, which wake each other for every packet of BFD: with
# one they take a third less of a processor, and tunnels take a third of what a lab does in quiet.
DefaultEnvironment=GOMAXPROCS=1
"""

SEED = "var/lib/cloud/seed/nocloud"
BELL = "var/lib/cloud/seed/bell"
"""A pipe that wakes a machine which waits for its seed."""
AHEAD = "ahead"
"""In the box of a node whose machine was booted ahead of its instance: a digest of its uplink."""
WAITING = "etc/systemd/system/cloud-init-local.service.d/waiting.conf"
WAIT = f"""[Service]
ExecStartPre=/bin/sh -c 'exec 3<>/{BELL}; [ -e /{SEED}/user-data ] || read -r _ <&3'
"""
"""Before cloud-init looks for its seed. By then systemd has started the rest that needs no network,
and cloud-init has imported its modules. It listens before it looks, and so misses no bell."""


@dataclass(frozen=True, slots=True)
class BoxState:
    """A started instance, as a cloud's API would return it. ``created`` is RFC 3339, and ``inside``
    the instance's own address where the provider translates."""

    instance_id: str
    created: str
    ipv4: IPv4Address
    ipv6: IPv6Address | None
    user_data_sha256: str
    inside: IPv4Address | None = None


_STATE = TypeAdapter(BoxState)


def start_node(
    name: str, node: str, world: World, user_data: str, instance_id: str | None = None
) -> BoxState:
    """Start a new instance of a node from user data; returns when its systemd runs.

    A running instance with the same user data is kept, so that a killed run can be repeated.
    Otherwise the old one is removed: there is a new disk and a new instance id, ``instance_id``
    where it is given. LabError with the end of its console when the machine does not start.
    """
    files = files_of(name)
    uplink = world.node(node)
    digest = sha256(user_data.encode()).hexdigest()
    with locked(files.lock(node)):
        if not netns.exists(files.namespace(uplink.upstream)):
            raise LabError(f"lab {name!r}: {uplink.upstream} is not up; raise the world first")
        state = read_state(files, node)
        if state and state.user_data_sha256 == digest and _leader(files, node):
            return state
        state = BoxState(
            instance_id=instance_id or f"i-{secrets.token_hex(8)}",
            created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            ipv4=uplink.ipv4,
            ipv6=uplink.ipv6,
            user_data_sha256=digest,
            inside=uplink.inside,
        )
        if _has_taken(files, uplink, state, user_data):
            return state
        _scrap(files, node)
        capacity.check_inotify()
        wiring.end_silence(files, uplink)
        if files.faults(node).exists():
            sessions.admit(files, world, uplink)
            shutil.rmtree(files.faults(node))
        files.box(node).mkdir(parents=True, exist_ok=True)
        write_state(files, node, state)
        _write_disk(files, world, uplink)
        _write_seed(files.disk(node) / "upper", uplink, state, user_data)
        _boot(files, world, uplink)
    return state


def boot_ahead(files: LabFiles, world: World, uplink: Uplink) -> None:
    """Boot a new machine that waits for the user data of its instance, which ``start_node`` gives
    it: the machine's own boot takes a second of a processor. Nothing where there is one already."""
    node = uplink.node
    with locked(files.lock(node)):
        if files.box(node).exists() or files.disk(node).exists():
            return
        capacity.check_inotify()
        files.box(node).mkdir(parents=True)
        _write_disk(files, world, uplink)
        waiting = files.disk(node) / "upper" / WAITING
        waiting.parent.mkdir(parents=True)
        waiting.write_text(WAIT)
        bell = files.disk(node) / "upper" / BELL
        bell.parent.mkdir(parents=True)
        os.mkfifo(bell)
        _launch(files, world, uplink)
        (files.box(node) / AHEAD).write_text(_digest(uplink))


def _has_taken(files: LabFiles, uplink: Uplink, state: BoxState, user_data: str) -> bool:
    """Give the seed of an instance to a machine that was booted ahead; False where there is none
    that waits for it."""
    mark = files.box(uplink.node) / AHEAD
    if not mark.exists() or mark.read_text() != _digest(uplink):
        return False
    with suppress(LabError):
        waits = partial(_waits, files, uplink.node)
        namespaces.wait_until(waits, MACHINE_DEADLINE, f"node {uplink.node} to wait for its seed")
        _write_seed(_root(files, uplink.node), uplink, state, user_data)
        # The other way around, a killed run would leave an instance that waits for ever.
        write_state(files, uplink.node, state)
        mark.unlink()
        _ring(_root(files, uplink.node) / BELL)
        return True
    return False


def _waits(files: LabFiles, node: str) -> bool:
    """Whether a machine runs, has its own root by now, and has no user data yet."""
    if _leader(files, node) is None:
        return False
    root = _root(files, node)
    return (root / WAITING).exists() and not (root / SEED / "user-data").exists()


def _ring(bell: Path) -> None:
    """Wake a machine that waits for its seed; one that does not listen yet looks for it first."""
    with (
        suppress(OSError),
        os.fdopen(os.open(bell, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0) as pipe,
    ):
        pipe.write(b"\n")


def _root(files: LabFiles, node: str) -> Path:
    return Path("/proc", str(leader(files, node)), "root")


def _digest(uplink: Uplink) -> str:
    return sha256(repr(uplink).encode()).hexdigest()


def update_standins(files: LabFiles, world: World) -> None:
    """Bring the stand-ins of the nodes that exist to those of the world."""
    standins.prepare(files, world)
    for uplink in world.nodes:
        with locked(files.lock(uplink.node)):
            if _leader(files, uplink.node):
                _update_running(files, world, uplink.node)
            elif files.disk(uplink.node).exists():
                standins.install(files, world, uplink.node, files.disk(uplink.node) / "upper")


def _update_running(files: LabFiles, world: World, node: str) -> None:
    root = _root(files, node)
    changed, gone = standins.install(files, world, node, root)
    systemctl = [*entering(files, node), "systemctl", "--no-block"]
    if gone:
        namespaces.run([*systemctl, "stop", *gone])
    if changed or gone:
        namespaces.run([*systemctl, "daemon-reload"])
    if changed:
        namespaces.run([*systemctl, "restart", *changed])


def stop_node(name: str, node: str) -> None:
    """Remove a node's instance and its disk; no error where there is none."""
    files = files_of(name)
    if not files.runtime.exists() and not files.disk(node).exists():
        return
    with locked(files.lock(node)):
        _scrap(files, node)


def reboot_node(name: str, node: str, world: World) -> None:
    """Power-cycle a node: the same disk, the same instance."""
    files = files_of(name)
    with locked(files.lock(node)):
        if read_state(files, node) is None or not files.disk(node).exists():
            raise LabError(f"lab {name!r} has no instance of node {node} to boot")
        power_off(files, node)
        _boot(files, world, world.node(node))


def node_alive(name: str, node: str, instance_id: str) -> bool:
    """Whether this very instance of the node runs."""
    files = files_of(name)
    state = read_state(files, node)
    return state is not None and state.instance_id == instance_id and bool(_leader(files, node))


def leader(files: LabFiles, node: str) -> int:
    """Process id, on the host, of a node's init; LabError when the node does not run."""
    found = _leader(files, node)
    if found is None:
        raise LabError(f"node {node} of lab {files.lab!r} is not running")
    return found


def is_running(files: LabFiles, node: str) -> bool:
    """Whether a node's machine runs."""
    return _leader(files, node) is not None


def entering(files: LabFiles, node: str) -> list[str]:
    """The prefix of a command that runs it within a node, as root."""
    environment = [f"PATH={ENVIRONMENT['PATH']}", "HOME=/root", "LANG=C.UTF-8"]
    target = ["nsenter", "--target", str(leader(files, node)), "--all", "--wdns=/", "--"]
    return [*target, "env", "-i", *environment]


def power_off(files: LabFiles, node: str) -> None:
    """Kill all processes of a node at once. Its disk and its network card stay."""
    cgroups.kill(files, node)
    cgroups.remove(files, node)
    namespaces.kill_inside([files.namespace(node)])


def read_state(files: LabFiles, node: str) -> BoxState | None:
    """The instance of a node; None where there is no complete record of one."""
    try:
        return _STATE.validate_json(files.state(node).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_state(files: LabFiles, node: str, state: BoxState) -> None:
    """Record a node's instance, atomically."""
    beside = files.state(node).with_suffix(".new")
    beside.write_bytes(_STATE.dump_json(state))
    beside.replace(files.state(node))


def _leader(files: LabFiles, node: str) -> int | None:
    # Two passes: as it starts, systemd may move to a group that the first pass has already read.
    twice = (pid for _ in range(2) for pid in cgroups.pids(files, node))
    return next((pid for pid in twice if _is_init(pid)), None)


def _is_init(pid: int) -> bool:
    """Whether a process, by its id on the host, is the first one of its own namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    ids = next((line for line in status.splitlines() if line.startswith("NSpid:")), "")
    return ids.split()[2:] == ["1"]


def _scrap(files: LabFiles, node: str) -> None:
    power_off(files, node)
    wiring.detach(files, node)
    for directory in (files.disk(node), files.box(node)):
        if directory.exists():
            shutil.rmtree(directory)
    _forget_faults(files, node)


def _forget_faults(files: LabFiles, node: str) -> None:
    """Forget a removed machine's faults and those of its services, except the one at its
    upstream."""
    for service in files.faults(node).parent.glob(f"{node}:*"):
        (service / services.DOWN).unlink(missing_ok=True)
        if not any(service.iterdir()):
            service.rmdir()
    folder = files.faults(node)
    if not folder.exists():
        return
    for entry in folder.iterdir():
        if entry.name != sessions.SHUT:
            entry.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _write_disk(files: LabFiles, world: World, uplink: Uplink) -> None:
    """Make a new disk."""
    upper = files.disk(uplink.node) / "upper"
    upper.mkdir(parents=True)
    files.disk(uplink.node).chmod(0o700)
    # A disk stays with its image, even if another one is built meanwhile.
    files.disk(uplink.node).joinpath("image").symlink_to(files.image())
    upper.chmod(0o755)
    settings = {
        "cloud/cloud.cfg.d/95-lab.cfg": CLOUD_CONFIG,
        "systemd/system.conf.d/lab.conf": SYSTEMD,
    }
    for name, text in settings.items():
        path = upper / "etc" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    for number, address in enumerate(uplink.sources):
        further = upper / FURTHER / f"further-{number}.conf"
        further.parent.mkdir(parents=True, exist_ok=True)
        # Of two addresses without a subnet, either could be the main one; a deprecated one is not.
        text = f"[Address]\nAddress={address}/{address.max_prefixlen}\nPreferredLifetime=0\n"
        further.write_text(text)
    standins.install(files, world, uplink.node, upper)


def _write_seed(root: Path, uplink: Uplink, state: BoxState, user_data: str) -> None:
    """Write what a provider's metadata service would have, the user data last."""
    seed = root / SEED
    seed.mkdir(parents=True, exist_ok=True)
    meta = {"instance-id": state.instance_id, "local-hostname": uplink.node}
    (seed / "meta-data").write_text(json.dumps(meta))
    (seed / "network-config").write_text(json.dumps(network_config(uplink)))
    beside = seed / "user-data.new"
    beside.touch(mode=0o600)
    beside.write_text(user_data)
    beside.replace(seed / "user-data")


def network_config(uplink: Uplink) -> dict[str, object]:
    """NoCloud network configuration (version 2): static IPv4, IPv6 by router advertisement; the
    addresses of further interfaces as an operator would give them."""
    interface = {
        "match": {"macaddress": uplink.mac},
        "addresses": [f"{uplink.main}/{uplink.length}"],
        # Not `routes` with `on-link`: cloud-init's networkd renderer adds GatewayOnLink only for
        # this key.
        "gateway4": str(uplink.gateway4),
        "dhcp4": False,
        "accept-ra": uplink.ipv6 is not None,
    }
    lans = {
        lan.name: {
            "match": {"macaddress": lan.mac},
            "addresses": [str(address) for address in lan.addresses],
            "dhcp4": False,
            "accept-ra": False,
            "optional": True,
        }
        for lan in uplink.lans
    }
    return {"version": 2, "ethernets": {NODE_INTERFACE: interface, **lans}}


def _boot(files: LabFiles, world: World, uplink: Uplink) -> None:
    """Boot a node from its disk, with a new network card."""
    _launch(files, world, uplink)
    _wait_for_machine(files, uplink.node)


def _launch(files: LabFiles, world: World, uplink: Uplink) -> None:
    """The same, without waiting for its systemd."""
    node = uplink.node
    wiring.detach(files, node)
    wiring.attach(files, world, uplink)
    if stand_in := _stand_in():
        # Any interface that can hold addresses works.
        namespaces.ip([f"link add name dummy0 type {stand_in}"], files.namespace(node))
    group = cgroups.create(files, node)
    disk = files.disk(node)
    work, root = disk / "work", disk / "root"
    if work.exists():
        # "volatile" refuses the work directory of a mount that was not unmounted; nothing that was
        # written is lost, since the host's kernel went on.
        shutil.rmtree(work)
    work.mkdir()
    root.mkdir(exist_ok=True)
    # The mount point of LAUNCH, which a host without systemd may not have.
    Path("/run/systemd").mkdir(exist_ok=True)
    image = (disk / "image").resolve()
    layers = f"lowerdir={image},upperdir={disk / 'upper'},workdir={work},volatile"
    machine = ["env", "-i", *(f"{key}={value}" for key, value in ENVIRONMENT.items())]
    launch = ["unshare", "--mount", "--propagation", "slave", "/bin/sh", "-ec", LAUNCH, "sh"]
    arguments = [str(group), layers, str(root), *machine, *_nspawn(files, node, root)]
    namespaces.spawn([*launch, *arguments], files.box(node) / "console.log")


def _nspawn(files: LabFiles, node: str, root: Path) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        f"--machine={files.namespace(node)}",
        f"--hostname={node}",
        f"--directory={root}",
        f"--network-namespace-path={files.namespace_path(node)}",
        f"--capability={CAPABILITIES}",
        "--bind=/dev/net/tun",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=pipe",
        "--boot",
    ]


def _wait_for_machine(files: LabFiles, node: str) -> None:
    try:
        namespaces.wait_until(
            lambda: _leader(files, node) is not None, MACHINE_DEADLINE, f"node {node} to start"
        )
    except LabError as error:
        console = (files.box(node) / "console.log").read_text(errors="replace").splitlines()
        raise LabError(f"{error}; its console: {' | '.join(console[-5:])}") from None


def _stand_in() -> str | None:
    """Type of the interface in place of ``dummy0``; None where the kernel has the dummy module.

    Only loaded modules are used: those of dummy and ifb add interfaces to the host's own namespace
    when they are loaded.
    """
    return None if _has("dummy") else "ifb" if _has("ifb") else "bridge"


def _has(kind: str) -> bool:
    """Whether the kernel has this type: as a loaded module, or built in with an interface of it.
    The name of an interface says nothing about its type."""
    if Path("/sys/module", kind).exists():
        return True
    links = json.loads(namespaces.run(["ip", "-json", "-details", "link", "show"]))
    return any(link.get("linkinfo", {}).get("info_kind") == kind for link in links)
