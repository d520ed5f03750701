"""What has to hold whatever is broken: each function yields what is not so, in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from mesh.lab import bird, namespaces
from mesh.lab.lab_files import LabFiles
from mesh.lab.routers import session_name
from mesh.lab.underlay import Uplink, World
from mesh.plan import Plan
from mesh.publish.announcers import prefixes
from mesh.render.replies import REPLIES_TABLE
from tests.soak.network import SILENT, Active, can_tell, is_clean, registries, verbs_of

DEFAULT = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_ROUTE = re.compile(r"^(\S+/\d+) ", re.MULTILINE)
_PATH = re.compile(r"BGP\.as_path: (.*)")


def kernel_tables(here: LabFiles, plan: Plan) -> Iterator[str]:
    """No table of any node's kernel holds a route of BIRD's but to what the network owns; the
    default by which members' replies leave through a tunnel is in a table of its own."""
    owned = (*plan.prefixes.both(), *plan.tunnels.both())
    for node in plan.nodes:
        for version in (4, 6):
            for route in _routes(here, node.id, version):
                net = ip_network(DEFAULT[version] if route["dst"] == "default" else route["dst"])
                if route.get("table") == str(REPLIES_TABLE) and _is_tunnel(route):
                    continue
                if not any(net.version == one.version and net.subnet_of(one) for one in owned):  # type: ignore[arg-type]
                    yield f"{node.id}: its kernel holds BIRD's route {route}"


def _routes(here: LabFiles, node: str, version: int) -> list[dict[str, Any]]:
    options = [f"-{version}", "-j", "route", "show", "table", "all", "proto", "bird"]
    found: list[dict[str, Any]] = json.loads(
        namespaces.run(["ip", "-n", here.namespace(node), *options]) or "[]"
    )
    return found


def _is_tunnel(route: dict[str, Any]) -> bool:
    ways = route.get("nexthops") or [route]
    return all(str(way.get("dev", "")).startswith("wg-") for way in ways)


def heard(here: LabFiles, world: World, node: str) -> dict[str, str]:
    """Prefixes that a node's upstream has of it, with their AS paths."""
    uplink = world.node(node)
    found: dict[str, str] = {}
    for session in uplink.sessions:
        name = session_name(node, session.family)
        text = bird.ask(here, uplink.upstream, f"show route all protocol {name}")
        found |= zip(_ROUTE.findall(text), _PATH.findall(text), strict=True)
    return found


def upstreams(here: LabFiles, world: World, plan: Plan) -> Iterator[str]:
    """Upstreams hear of each node the prefixes that the plan lists, by our ASN alone, and refuse
    nothing of what it says."""
    for node in plan.nodes:
        listed = {str(prefix) for prefix in prefixes(plan, node)}
        for prefix, path in heard(here, world, node.id).items():
            if prefix not in listed:
                yield f"{node.id}: its upstream hears {prefix}, which is not in the plan"
            if set(path.split()) != {str(plan.asn)}:
                yield f"{node.id}: its upstream hears {prefix} with the path {path}"
        for prefix in _refused(here, world.node(node.id)):
            yield f"{node.id}: its upstream has refused {prefix}"


def _refused(here: LabFiles, uplink: Uplink) -> list[str]:
    found = []
    for session in uplink.sessions:
        name = session_name(uplink.node, session.family)
        command = f"show route filtered protocol {name}"
        found += _ROUTE.findall(bird.ask(here, uplink.upstream, command))
    return found


def untruths(
    said: dict[str, Any], heard_of: dict[str, dict[str, str]], plan: Plan, active: Active
) -> Iterator[str]:
    """Where ``mesh status --json`` says what is not so, or does not say what is: ``heard_of`` is
    what each node's upstream has of it."""
    if not said["answered"]:
        if can_tell(plan, active):
            yield "status says that no registry answers"
        return
    if not can_tell(plan, active):
        yield "status says that a registry answers"
    for node in plan.nodes:
        told = said["nodes"][node.id]
        clean, verbs = is_clean(active, node.id), verbs_of(active, node.id)
        for prefix in map(str, prefixes(plan, node)):
            truth = "yes" if prefix in heard_of[node.id] else "no"
            words = told["announces"].get(prefix, "unknown")
            if words != truth and (clean or words != "unknown"):
                yield f"{node.id} announces {prefix}: {truth}, and status says {words}"
        if verbs & SILENT:
            if not told["stale"]:
                broken = ", ".join(sorted(verbs))
                yield f"{node.id} is broken by {broken}, and status calls it {told['state']}"
        elif not told["stale"]:
            serves = "service-down" not in verbs
            wrong = [name for name, up in told["services"].items() if up is not serves]
            if wrong:
                yield f"services {', '.join(wrong)} of {node.id}: status says {not serves}"
        if clean and told["stale"]:
            yield f"{node.id} is well, and status calls it {told['state']}"
    problems = said["problems"]
    if not active and problems:
        yield f"all is well, and status says: {'; '.join(problems)}"
    for target in active:
        if not any(_names(problem, node) for node in target.split(":") for problem in problems):
            yield f"status says nothing of {target}"


def _names(problem: str, node: str) -> bool:
    """Whether a problem is of a node; sessions are called by ids with underscores."""
    return node in problem or node.replace("-", "_") in problem


def registry_words(said: dict[str, Any], world: World, plan: Plan, active: Active) -> list[str]:
    """Registries that are down, and of which status says nothing."""
    found = []
    for node in registries(plan):
        if verbs_of(active, node) & (SILENT | {"registry-down"}):
            address = str(world.node(node).ipv4)
            words = [word for url, word in said["registries"].items() if address in url]
            if "ok" in words:
                found.append(f"the registry of {node} is down, and status says that it is ok")
    return found
