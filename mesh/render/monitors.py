"""Prometheus and Alertmanager of ``mesh:monitoring``: their configuration, units and secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from mesh.installed import TEMPLATES
from mesh.plan import Node, Plan, Receiver, Role
from mesh.render.files import File
from mesh.render.templates import rendered
from mesh.spec import RECEIVER_PREFIX
from mesh.spec.ports import ALERTMANAGER, PROMETHEUS

FOLDER = "/etc/anycast-mesh/monitoring"
RECEIVERS = f"{FOLDER}/receivers"
"""Where what receivers keep to themselves lies, a file for each."""
UNITS = ("anycast-mesh-prometheus.service", "anycast-mesh-alertmanager.service")
GROUP = "prometheus"
"""The group of both daemons, as Debian's packages make it."""
RULES = TEMPLATES / "monitoring" / "rules.yml"
RUNBOOKS = "docs/monitoring.md"
"""The page that explains the alerts, as the rules name it."""
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Target:
    """A node's looking glass: the node's id, and address and port."""

    node: str
    address: str


def does(plan: Plan, node: Node) -> bool:
    """Whether Prometheus and Alertmanager run on a node."""
    return plan.monitoring is not None and Role.MONITOR in node.roles


def files(plan: Plan, node: Node, present: Iterable[Node]) -> Iterator[File]:
    """The configuration of both on a node that monitors; ``present`` are the nodes to ask."""
    if not does(plan, node):
        return
    here = (("prometheus", PROMETHEUS), ("alertmanager", ALERTMANAGER))
    own = [(job, f"{_LOOPBACK}:{port}") for job, port in here]
    able = {each.id for each in plan.with_glass()}
    targets = tuple(target(plan, each) for each in present if each.id in able)
    yield File(
        f"{FOLDER}/prometheus.yml",
        prometheus(plan, targets, (f"{_LOOPBACK}:{ALERTMANAGER}",), node.id, own),
    )
    yield File(f"{FOLDER}/rules.yml", rules())
    yield File(f"{FOLDER}/alertmanager.yml", alertmanager(plan, node.id))


def secrets(plan: Plan, node: Node, given: Mapping[str, str]) -> Iterator[File]:
    """What the receivers keep to themselves, by their names in ``given``, on a node that monitors.
    KeyError with the name of the secret for one that is missing."""
    if plan.monitoring is None or not does(plan, node):
        return
    for receiver in plan.monitoring.receivers:
        if receiver.secret:
            secret = given.get(receiver.name)
            if secret is None:
                raise KeyError(f"{RECEIVER_PREFIX}{receiver.name}")
            yield File(f"{RECEIVERS}/{receiver.name}", secret, 0o640, group=GROUP)


def peers(plan: Plan, node: Node) -> tuple[object, ...]:
    """The tunnel addresses of the other nodes that monitor, to which Alertmanager speaks."""
    others = plan.with_role(Role.MONITOR)
    return tuple(other.tunnel.ipv6 for other in others if other.id != node.id)


def target(plan: Plan, node: Node) -> Target:
    """The looking glass of a node, at its tunnel address."""
    assert plan.glass is not None, "a stack file without it has no monitoring"
    return Target(node.id, f"[{node.tunnel.ipv6}]:{plan.glass.port}")


def prometheus(
    plan: Plan,
    targets: Iterable[Target],
    alertmanagers: Iterable[str],
    node: str = "",
    here: Iterable[tuple[str, str]] = (),
) -> str:
    """prometheus.yml: it asks ``targets``, and tells ``alertmanagers``; ``here`` are jobs, each
    with its address, at the node itself."""
    return rendered(
        "monitoring/prometheus.yml.j2",
        plan=plan,
        targets=tuple(targets),
        alertmanagers=tuple(alertmanagers),
        node=node,
        here=tuple(here),
    )


def alertmanager(plan: Plan, node: str = "") -> str:
    """alertmanager.yml: whom it tells of what; ``node`` is the one that it runs on."""
    monitoring = plan.monitoring
    receivers = () if monitoring is None else monitoring.receivers
    return rendered(
        "monitoring/alertmanager.yml.j2",
        watchdog=None if monitoring is None else monitoring.watchdog,
        receivers=tuple(map(_with_file, receivers)),
        nodes=tuple(each.id for each in plan.nodes),
        node=node,
    )


@cache
def rules(runbooks: str = RUNBOOKS) -> str:
    """rules.yml: the alerts, the same in every network. ``runbooks`` is the address of the page
    that explains them."""
    return RULES.read_text(encoding="utf-8").replace(f"{RUNBOOKS}#", f"{runbooks}#")


def dashboards() -> dict[str, str]:
    """Dashboards for Grafana (JSON), by the names of their files; the same in every network."""
    found = sorted((TEMPLATES / "monitoring" / "dashboards").glob("*.json"))
    return {path.name: path.read_text(encoding="utf-8") for path in found}


def _with_file(receiver: Receiver) -> dict[str, object]:
    keys = {name: getattr(receiver, name) for name in Receiver.__dataclass_fields__}
    return {**keys, "file": f"{RECEIVERS}/{receiver.name}"}
