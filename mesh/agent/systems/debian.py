"""Debian."""

from __future__ import annotations

from mesh.agent.host import Host
from mesh.agent.iproute import IpRoute
from mesh.agent.network import Network
from mesh.agent.system import System
from mesh.bird.client import Bird
from mesh.operating_systems import OperatingSystem

RUN_FOLDER = "/run"


def network(host: Host, _: Bird) -> Network:
    """iproute2 and nftables."""
    return IpRoute(host)


def system(host: Host, bird: Bird) -> System:
    """The system of a node."""
    from mesh.agent.daemons import KINDS
    from mesh.agent.kernel_events import KernelEvents
    from mesh.agent.notify import SystemdSupervisor
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
    )


def _release(host: Host) -> str:
    return (host.read("/etc/debian_version") or b"").decode("utf-8", "replace").strip()
