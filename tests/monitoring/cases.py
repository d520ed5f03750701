"""What rings for each fault of the lab, and within which time."""

from __future__ import annotations

from dataclasses import dataclass

MONITOR = "mia-vultr-1"
"""The node that runs Prometheus and Alertmanager."""
FAILED = "failed generation"
"""Beside the lab's faults: a generation that a node cannot apply."""

SCRAPE, EVALUATE, GROUP = 15, 15, 15
"""Seconds of prometheus.yml and alertmanager.yml."""
SLACK = 20
"""Seconds that the mesh itself takes to notice, and a busy machine to deliver."""
Ring = tuple[str, str]
"""An alert: its name, and the node that it is about, empty for the whole network."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault: the alerts that ring for it and no other ones, and how long the slowest of them
    has to be true (``for`` of its rule), in seconds."""

    verb: str
    target: str
    rings: frozenset[Ring]
    true_for: int

    @property
    def within(self) -> int:
        """Seconds after the fault within which all of them have rung."""
        return self.true_for + SCRAPE + 2 * EVALUATE + GROUP + SLACK


def _case(verb: str, target: str, true_for: int, *rings: Ring) -> Case:
    return Case(verb, target, frozenset(rings), true_for)


CASES = (
    _case("service-down", "ord-vultr-1", 120, ("MeshServiceDownAtNode", "ord-vultr-1")),
    _case("hang", "ewr-vultr-1", 60, ("MeshBirdSilent", "ewr-vultr-1")),
    _case(
        "tunnel-cut", "lax-vultr-1:ord-vultr-1", 60,
        ("MeshTunnelDown", "lax-vultr-1"), ("MeshTunnelDown", "ord-vultr-1"),
    ),
    _case("registry-down", "lax-vultr-1", 300, ("MeshRegistryDown", "")),
    _case("withdraw", "ord-vultr-1", 60, ("MeshUpstreamDown", "ord-vultr-1")),
    _case(FAILED, "ord-vultr-1", 0, ("MeshGenerationFailed", "ord-vultr-1")),
    _case("link-down", "ewr-vultr-1", 120, ("MeshNodeDown", "ewr-vultr-1")),
    _case("blackhole", "ord-vultr-1", 120, ("MeshNodeDown", "ord-vultr-1")),
    _case("power-loss", "ewr-vultr-1", 120, ("MeshNodeDown", "ewr-vultr-1")),
    _case("kill-daemon", MONITOR, 15, ("MeshBirdDown", MONITOR)),
    _case("kill-daemon", "ord-vultr-1", 60, ("MeshBirdSilent", "ord-vultr-1")),
)  # fmt: skip
"""A dead machine is told from a dead BIRD by what its peers still get from it, of which Prometheus
looks at the last 45 s: ``true_for`` has them. One fault comes after the other, and the sessions of
one node are not broken four times in a quarter of an hour, which would be another alert
(MeshSessionFlapping). A BIRD that is kept down comes last: the agent gives up its repairs for an
hour, and MeshRepairsStopped tells so after five minutes."""

QUICK = (
    _case("service-down", "ewr-vultr-1", 15, ("MeshServiceDownEverywhere", "")),
    _case("service-down", "mia-vultr-1", 15, ("MeshServiceDownEverywhere", "")),
)
"""Both nodes of the service `east` at once, with the ordinary tests: nothing rings sooner."""
