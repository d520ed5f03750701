"""Debian."""

from __future__ import annotations

from functools import partial

from mesh.agent.host import Host
from mesh.agent.iproute import IpRoute
from mesh.agent.network import Network
from mesh.agent.system import System
from mesh.bird.client import Bird
from mesh.operating_systems import OperatingSystem

RUN_FOLDER = "/run"
UNPRIVILEGED: str | None = None


def network(host: Host, _: Bird) -> Network:
    """iproute2 and nftables."""
    return IpRoute(host)


def system(host: Host, bird: Bird) -> System:
    """The system of a node."""
    from mesh.agent.access import Access
    from mesh.agent.bundle_trial import TrialUnit
    from mesh.agent.daemons import KINDS, agent_config, glass, nftables
    from mesh.agent.journal import Journal
    from mesh.agent.kernel_events import KernelEvents
    from mesh.agent.notify import SystemdSupervisor
    from mesh.agent.packages import install
    from mesh.agent.undo_timer import SystemdTimer
    from mesh.agent.units import Systemd

    return System(
        os=OperatingSystem.DEBIAN,
        host=host,
        bird=bird,
        units=Systemd(host),
        network=IpRoute(host),
        kinds=KINDS,
        supervisor=SystemdSupervisor(host),
        hints=KernelEvents,
        release=lambda: _release(host),
        access=Access(host, nftables.RULESET, nftables.loaded, "ssh.service"),
        logins=Journal(host),
        undo_timer=SystemdTimer(host),
        install=partial(install, host),
        trial_watch=TrialUnit(host),
        bundle_units=(agent_config.WHOAMI, glass.UNIT, "anycast-mesh-registry.service"),
    )


def _release(host: Host) -> str:
    return (host.read("/etc/debian_version") or b"").decode("utf-8", "replace").strip()
