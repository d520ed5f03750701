"""What a part may change on an OpenBSD node, in the order in which changes are applied: pf refuses
rules that name a routing table before hostname.lo1 has made it."""

from __future__ import annotations

from mesh.agent.daemons import agent_config, bird
from mesh.agent.daemons.kind import DaemonKind
from mesh.agent.host import CommandFailed
from mesh.agent.openbsd import interfaces, pf, rc_scripts, settings
from mesh.agent.openbsd.network import SERVED, served_file
from mesh.agent.stage import Stage

BIRD, WHOAMI = "anycast_mesh_bird", "anycast_mesh_whoami"


def _read_staged(stage: Stage) -> None:
    """BIRD's files name each other from where they are, and so the staged ones do. What each start
    of BIRD resets is there only after the first."""
    if stage.host.read(SERVED) is None:
        stage.host.write(SERVED, served_file(()), 0o644)
    done = stage.host.run("bird", "-p", "-c", stage.path(bird.MAIN))
    if done.code != 0:
        raise CommandFailed(f"bird refuses: {done.why()}")


KINDS: tuple[DaemonKind, ...] = (
    rc_scripts.KIND,
    settings.KIND,
    interfaces.KIND,
    pf.KIND,
    bird.kind(BIRD, _read_staged),
    agent_config.kind(WHOAMI),
)
