"""OpenBSD."""

from __future__ import annotations

from contextlib import nullcontext

from mesh.agent.host import Host
from mesh.agent.network import Network
from mesh.agent.openbsd.network import OpenBsdNetwork
from mesh.agent.system import System
from mesh.bird.client import Bird
from mesh.operating_systems import OperatingSystem

RUN_FOLDER = "/var/run"
UNPRIVILEGED: str | None = "nobody"


def network(host: Host, bird: Bird) -> Network:
    """ifconfig, route, pf, and what BIRD serves."""
    return OpenBsdNetwork(host, bird)


def system(host: Host, bird: Bird) -> System:
    """The system of a node."""
    from mesh.agent.access import Access
    from mesh.agent.openbsd import pf
    from mesh.agent.openbsd.authlog import AuthLog
    from mesh.agent.openbsd.beat import Beat
    from mesh.agent.openbsd.kinds import KINDS, WHOAMI
    from mesh.agent.openbsd.rcctl import Rcctl
    from mesh.agent.openbsd.trial_files import SupervisedTrial
    from mesh.agent.openbsd.undo import Sleeper
    from mesh.agent.openbsd.unheard import NoHints

    return System(
        os=OperatingSystem.OPENBSD,
        host=host,
        bird=bird,
        units=Rcctl(host),
        network=network(host, bird),
        kinds=KINDS,
        supervisor=Beat(host),
        hints=lambda: nullcontext(NoHints()),
        release=lambda: host.must("uname", "-r").strip(),
        access=Access(host, pf.RULES, pf.parsed, "sshd"),
        logins=AuthLog(host),
        undo_timer=Sleeper(host),
        # What units need there, the bootstrap has installed.
        install=lambda _: None,
        trial_watch=SupervisedTrial(host),
        bundle_units=(WHOAMI,),
        without=frozenset({"contents", "outside", "snapshot", "witness"}),
    )
