"""Nodes as system containers: Debian 13 with real systemd and cloud-init, one overlay each.

A node behaves as a cloud's virtual server does: it is started with user data and an address that
is known ahead, boots at its own pace, survives a power cut with its disk, and is gone for good
when it is stopped. What the container takes is told in ``reference/lab.md``.
"""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mesh import netns
from mesh.lab import capacity, cgroups, namespaces, sessions, wiring
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles, locked, place
from mesh.lab.underlay import Underlay, Uplink
from mesh.lab.wiring import NODE_INTERFACE

MACHINE_DEADLINE = 20.0
"""Seconds until the machine must run (its systemd, not its boot)."""

LAUNCH = """
echo $$ >"$1/cgroup.procs"
mount -t tmpfs -o mode=0755 mesh-lab /run/systemd
mount -t overlay -o "$2" mesh-lab "$3"
shift 3
exec "$@"
"""
"""Runs in a mount namespace of its own, so that the mounts end with the machine: enter the node's
control group, hide the host's systemd (a container must not depend on it, and the host need not
have one), mount the disk, become nspawn. Paths come as arguments, never as text of the script."""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # Without it a host with cgroup v1 hands v1 to the container, which systemd 257 refuses.
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    # Without it /proc/sys/net is read-only: every sysctl of the node fails without a word.
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
}

CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE"

CLOUD_CONFIG = """
# Looking for other clouds takes seconds and asks addresses that answer in the lab only.
datasource_list: [NoCloud, None]
# By default the network is configured when the instance is first seen; a power cut between the
# two leaves a machine without any network for ever.
updates: {network: {when: [boot-new-instance, boot]}}
"""


@dataclass(frozen=True, slots=True)
class BoxState:
    """A started instance: what a cloud's API would say of it. ``created`` is RFC 3339, and
    ``inside`` the address that it holds where the provider translates."""

    instance_id: str
    created: str
    ipv4: IPv4Address
    ipv6: IPv6Address | None
    user_data_sha256: str
    inside: IPv4Address | None = None


_STATE = TypeAdapter(BoxState)


def start_node(
    name: str, node: str, world: Underlay, user_data: str, instance_id: str | None = None
) -> BoxState:
    """Start a new instance of a node from user data; returns when the machine runs, not booted.

    An instance that lives and was started with the same user data is taken as it is (a killed
    run is picked up again); anything else of that node is removed first: a fresh disk and a new
    instance id, ``instance_id`` where the caller gives one. LabError when the machine does not
    start, with its console's last words.
    """
    here = place(name)
    uplink = world.node(node)
    digest = sha256(user_data.encode()).hexdigest()
    with locked(here.lock(node)):
        if not netns.exists(here.namespace(uplink.upstream)):
            raise LabError(f"lab {name!r}: {uplink.upstream} is not up; raise the world first")
        state = read_state(here, node)
        if state and state.user_data_sha256 == digest and _leader(here, node):
            return state
        _scrap(here, node)
        capacity.check_inotify()
        wiring.end_silence(here, uplink)
        if here.faults(node).exists():
            sessions.admit(here, uplink)
            shutil.rmtree(here.faults(node))
        state = BoxState(
            instance_id=instance_id or f"i-{secrets.token_hex(8)}",
            created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            ipv4=uplink.ipv4,
            ipv6=uplink.ipv6,
            user_data_sha256=digest,
            inside=uplink.inside,
        )
        here.box(node).mkdir(parents=True, exist_ok=True)
        write_state(here, node, state)
        _write_disk(here, uplink, state, user_data)
        _boot(here, world, uplink)
    return state


def stop_node(name: str, node: str) -> None:
    """Destroy a node's instance and its disk; one that is gone already is fine."""
    here = place(name)
    if not here.runtime.exists() and not here.disk(node).exists():
        return
    with locked(here.lock(node)):
        _scrap(here, node)


def reboot_node(name: str, node: str, world: Underlay) -> None:
    """Power-cycle a node, whatever it is doing: the same disk, the same instance."""
    here = place(name)
    with locked(here.lock(node)):
        if read_state(here, node) is None or not here.disk(node).exists():
            raise LabError(f"lab {name!r} has no instance of node {node} to boot")
        power_off(here, node)
        _boot(here, world, world.node(node))


def node_alive(name: str, node: str, instance_id: str) -> bool:
    """Whether this very instance of the node runs."""
    here = place(name)
    state = read_state(here, node)
    return state is not None and state.instance_id == instance_id and bool(_leader(here, node))


def leader(here: LabFiles, node: str) -> int:
    """Process id, as the host counts, of a node's init; LabError when the node does not run."""
    found = _leader(here, node)
    if found is None:
        raise LabError(f"node {node} of lab {here.lab!r} is not running")
    return found


def is_running(here: LabFiles, node: str) -> bool:
    """Whether a node's machine runs."""
    return _leader(here, node) is not None


def entering(here: LabFiles, node: str) -> list[str]:
    """Command words that run what follows within a node, as root of that machine."""
    environment = [f"PATH={ENVIRONMENT['PATH']}", "HOME=/root", "LANG=C.UTF-8"]
    target = ["nsenter", "--target", str(leader(here, node)), "--all", "--wdns=/", "--"]
    return [*target, "env", "-i", *environment]


def power_off(here: LabFiles, node: str) -> None:
    """End everything of a node at once. Its disk stays; its network card stays as it is."""
    cgroups.kill(here, node)
    cgroups.remove(here, node)
    namespaces.kill_inside([here.namespace(node)])


def read_state(here: LabFiles, node: str) -> BoxState | None:
    """The instance of a node; None where there never was one, or a killed run wrote half of it."""
    try:
        return _STATE.validate_json(here.state(node).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_state(here: LabFiles, node: str, state: BoxState) -> None:
    """Put a node's instance on record, atomically."""
    beside = here.state(node).with_suffix(".new")
    beside.write_bytes(_STATE.dump_json(state))
    beside.replace(here.state(node))


def _leader(here: LabFiles, node: str) -> int | None:
    # Looked for twice: systemd moves itself to another group as it starts, from one that has not
    # been read yet to one that has.
    twice = (pid for _ in range(2) for pid in cgroups.pids(here, node))
    return next((pid for pid in twice if _is_init(pid)), None)


def _is_init(pid: int) -> bool:
    """Whether a process, by its id on the host, is the first one of its own namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    ids = next((line for line in status.splitlines() if line.startswith("NSpid:")), "")
    return ids.split()[2:] == ["1"]


def _scrap(here: LabFiles, node: str) -> None:
    power_off(here, node)
    wiring.detach(here, node)
    for directory in (here.disk(node), here.box(node)):
        if directory.exists():
            shutil.rmtree(directory)
    _forget_faults(here, node)


def _forget_faults(here: LabFiles, node: str) -> None:
    """A machine's faults go with it, but for what its upstream has done."""
    folder = here.faults(node)
    if not folder.exists():
        return
    for entry in folder.iterdir():
        if entry.name != sessions.SHUT:
            entry.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _write_disk(here: LabFiles, uplink: Uplink, state: BoxState, user_data: str) -> None:
    """A new disk: nothing but the seed that a provider's metadata service would give."""
    upper = here.disk(uplink.node) / "upper"
    seed = upper / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    here.disk(uplink.node).chmod(0o700)
    # A disk stays with the image that it was made on, whatever is built meanwhile.
    here.disk(uplink.node).joinpath("image").symlink_to(here.image())
    upper.chmod(0o755)
    meta = {"instance-id": state.instance_id, "local-hostname": uplink.node}
    (seed / "meta-data").write_text(json.dumps(meta))
    (seed / "network-config").write_text(json.dumps(network_config(uplink)))
    (seed / "user-data").touch(mode=0o600)
    (seed / "user-data").write_text(user_data)
    sources = upper / "etc/cloud/cloud.cfg.d/95-lab.cfg"
    sources.parent.mkdir(parents=True)
    sources.write_text(CLOUD_CONFIG)


def network_config(uplink: Uplink) -> dict[str, object]:
    """NoCloud network configuration (version 2): static IPv4, IPv6 by router advertisement."""
    interface = {
        "match": {"macaddress": uplink.mac},
        "addresses": [f"{uplink.main}/{uplink.length}"],
        # Of the ways to say it, the one for which cloud-init's networkd renderer adds
        # GatewayOnLink: `routes` with `on-link` loses the flag on the way.
        "gateway4": str(uplink.gateway4),
        "dhcp4": False,
        "accept-ra": uplink.ipv6 is not None,
    }
    return {"version": 2, "ethernets": {NODE_INTERFACE: interface}}


def _boot(here: LabFiles, world: Underlay, uplink: Uplink) -> None:
    """Boot a node from its disk, with a network card that nothing remembers of an earlier boot."""
    node = uplink.node
    wiring.detach(here, node)
    wiring.attach(here, world, uplink)
    if stand_in := _stand_in():
        # Any interface that just holds addresses will do.
        namespaces.ip([f"link add name dummy0 type {stand_in}"], here.namespace(node))
    group = cgroups.create(here, node)
    disk = here.disk(node)
    work, root = disk / "work", disk / "root"
    if work.exists():
        # "volatile" refuses a work directory of a mount that was cut off; the kernel has lived
        # on, so nothing that was written is lost.
        shutil.rmtree(work)
    work.mkdir()
    root.mkdir(exist_ok=True)
    # A host without systemd may lack what the machine's own view covers.
    Path("/run/systemd").mkdir(exist_ok=True)
    image = (disk / "image").resolve()
    layers = f"lowerdir={image},upperdir={disk / 'upper'},workdir={work},volatile"
    machine = ["env", "-i", *(f"{key}={value}" for key, value in ENVIRONMENT.items())]
    launch = ["unshare", "--mount", "--propagation", "slave", "/bin/sh", "-ec", LAUNCH, "sh"]
    arguments = [str(group), layers, str(root), *machine, *_nspawn(here, node, root)]
    namespaces.spawn([*launch, *arguments], here.box(node) / "console.log")
    _wait_for_machine(here, node)


def _nspawn(here: LabFiles, node: str, root: Path) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        f"--machine={here.namespace(node)}",
        f"--hostname={node}",
        f"--directory={root}",
        f"--network-namespace-path={here.namespace_path(node)}",
        f"--capability={CAPABILITIES}",
        "--bind=/dev/net/tun",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=pipe",
        "--boot",
    ]


def _wait_for_machine(here: LabFiles, node: str) -> None:
    try:
        namespaces.wait_until(
            lambda: _leader(here, node) is not None, MACHINE_DEADLINE, f"node {node} to start"
        )
    except LabError as error:
        console = (here.box(node) / "console.log").read_text(errors="replace").splitlines()
        raise LabError(f"{error}; its console: {' | '.join(console[-5:])}") from None


def _stand_in() -> str | None:
    """Type of the interface that stands in for ``dummy0``; None where the kernel has the real one.

    Only what the kernel holds already is used: asking for a type loads its module, and those of
    dummy and ifb put interfaces into the host's own namespace when they come.
    """
    return None if _has("dummy") else "ifb" if _has("ifb") else "bridge"


def _has(kind: str) -> bool:
    """Whether the kernel holds this type: as a module, or built in with its first interface."""
    return Path("/sys/module", kind).exists() or Path("/sys/class/net", f"{kind}0").exists()
