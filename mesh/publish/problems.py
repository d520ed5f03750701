"""The problems of a mesh, as text: with any, ``mesh status`` exits with 1.

Drained nodes, nodes of ``mesh:without`` and blackholes that every node has applied are intended,
and no problem. A state that is unknown is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.publish import refused
from mesh.publish.expected import state_text
from mesh.publish.status import AHEAD, MeshStatus, NodeStatus, SessionDown
from mesh.trust.documents import CLOCKS_DIFFER, Repair

OFTEN = 3
"""Repairs of one object in ten minutes; more show that somebody keeps changing it."""
ACTIVE = "active"
"""The state of a unit that runs."""
MANY = 3
"""Sessions of one node, down for the same reason, that are listed one by one."""


def problems(found: MeshStatus) -> tuple[str, ...]:
    """All problems; empty where there are none."""
    if not found.answered:
        return ("no registry answers: the state of the nodes is unknown",)
    return tuple(_problems(found))


def _problems(found: MeshStatus) -> Iterator[str]:
    if not found.planned:
        yield (
            "the plan in the stack's state was written by another version of this program and "
            "cannot be read: what should be up and announced is unknown (use that version, or "
            "publish with this one: pulumi up)"
        )
    update = tuple(_update(found))
    yield from update
    if found.unrecorded and not update:
        why = "an update did not finish or went back, or the state is an older copy"
        if found.retired:
            why = "a `pulumi destroy` did not finish, which can be run again"
        yield (
            f"the registries hold generation {found.unrecorded}, and the stack's state knows "
            f"{found.published}: {why}; `pulumi up --refresh` publishes the stack file "
            "above both"
        )
    if found.retired:
        yield "the network is taken down: every node withdraws for good"
    if (ours := _own_clock(found)) is not None:
        side = "behind" if ours > 0 else "ahead of"
        yield f"this machine's clock is {age_text(abs(ours))} {side} all nodes': ages are unknown"
    for prefix, one in found.prefixes.items():
        if not one.announcers and not one.dark and not found.retired:
            unknown = f"; unknown for {', '.join(one.unknown)}" if one.unknown else ""
            yield f"{prefix}: no node announces it{unknown}"
    for service in _down_everywhere(found):
        yield f"service {service}: no node serves it"
    yield from _families_down_everywhere(found)
    for url, state in found.registries.items():
        if state != "ok":  # one that stores nothing explains why nodes are silent
            yield f"registry {url}: {state}"
    # Nodes that are away first: they explain what others have lost.
    for name, _ in sorted(found.nodes.items(), key=lambda item: item[1].is_known):
        yield from _of_one(name, found)
    for entry in found.blackholes:
        if entry.not_obeyed:
            yield f"blackhole {entry.address}: not applied yet by {', '.join(entry.not_obeyed)}"
    yield from (f"warning: {warned.text}" for warned in found.warnings)
    for name in found.nodes:
        yield from _warnings(name, found)


def problems_of(name: str, found: MeshStatus) -> tuple[str, ...]:
    """The problems of one node: its own, and the warnings by it and of it."""
    if not found.answered:
        return problems(found)
    warned = (f"warning: {one.text}" for one in found.warnings if name in (*one.by, one.mate))
    update = _update(found) if found.nodes[name].update else ()
    return (*update, *_of_one(name, found), *warned, *_warnings(name, found))


def _waiting(found: MeshStatus) -> list[str]:
    """The nodes to which an update has not come yet."""
    return [name for name, node in found.nodes.items() if node.state == "waiting" and node.awaited]


def _update(found: MeshStatus) -> Iterator[str]:
    """How far an update is that not all nodes have taken over. An operator that ends leaves nodes
    waiting, and so does one that still watches the last wave: they do not know which."""
    updating = [name for name, node in found.nodes.items() if node.state == "updating"]
    if not updating and not _waiting(found):
        return
    awaited = [node for node in found.nodes.values() if node.awaited]
    there = sum(node.generation == found.generation for node in awaited)
    text = f"generation {found.generation} is in force on {there} of {len(awaited)} nodes"
    if updating:
        yield f"{text}; it goes out now: {', '.join(updating)}"
    else:
        yield f"{text}; unless `pulumi up` still runs, the update was interrupted: run `pulumi up`"


def _of_one(name: str, found: MeshStatus) -> Iterator[str]:
    node = found.nodes[name]
    if node.awaited:
        ordered = name in found.drained
        yield from (f"{name}: {problem}" for problem in _node(node, found, ordered))
    yield from (refused.refusal_text(name, refusal) for refusal in node.refusals)


def _warnings(name: str, found: MeshStatus) -> Iterator[str]:
    """What checks warn of at a node."""
    node = found.nodes[name]
    if node.is_known and node.awaited:
        yield from (f"warning: {name}: {what}: {why}" for what, why in node.warnings.items())


def _node(node: NodeStatus, found: MeshStatus, ordered: bool) -> Iterator[str]:
    if node.clock and _own_clock(found) is None:
        side = "ahead of" if node.clock > 0 else "behind"
        yield f"its clock is {age_text(abs(node.clock))} {side} this machine's"
    if node.state == "silent":
        last = "no report yet" if node.age is None else f"last report {age_text(node.age)} ago"
        yield f"silent: {last}; its state is unknown"
        if node.reason:
            yield node.reason if node.reason == AHEAD else f"last reported: {node.reason}"
        return
    if node.state == "unreachable":
        last = "" if node.age is None else f"last report {age_text(node.age)} ago; "
        yield f"unreachable: {last}{node.reason}: it is off or cut off"
        return
    if node.state == "behind":
        why = f", since it is held until {node.held}" if node.held else ""
        yield f"on generation {node.generation}, not on {found.generation} yet{why}"
    if node.state == "withdrawn" and not found.retired:
        yield "has withdrawn for good, as in a network that is taken down"
    if node.reason or node.state == "failed":
        yield node.reason or "has not applied the generation"
    yield from _repairs(node)
    for name, why in node.faults.items():
        yield f"{name}: {why}"
    if node.bird:
        yield f"its BIRD {node.bird}: sessions and what it announces are unknown"
    elif node.expected and not node.sessions:
        yield "its BIRD reports no session: what it announces is unknown"
    if node.state != "updating":
        yield from _sessions(node)
    for name, why in node.tunnels.items():
        yield f"tunnel {name}: {why}"
    if not node.apart and not found.retired:
        yield from _services(node)
        yield from _contents(node, found)
        yield from _exports(node)
    if node.drain == "draining":
        yield f"has not applied drain order {found.drain} yet"
    if node.drain == "drained" and not ordered:
        yield f"is drained, and drain order {found.drain or 'none'} does not contain it"
    for url in node.tls_mismatches:
        yield f"{url} presents another certificate than was published"


def contested(one: Repair) -> bool:
    """Whether something is changed by hand again and again."""
    return one.stopped or one.times > OFTEN


def _repairs(node: NodeStatus) -> Iterator[str]:
    for one in filter(contested, node.repairs):
        by = f", changed by {one.by}" if one.by else ""
        now = "is left alone now" if one.stopped else f"was put right {one.times} times in 10 min"
        yield f"{one.what} does not stay as in the generation{by} ({one.why}): {now}"


def _own_clock(found: MeshStatus) -> float | None:
    """Seconds by which all nodes' clocks are ahead of this machine's; None where some agree with
    it, or differ from each other."""
    known = [node.clock for node in found.nodes.values() if node.clock is not None]
    alike = len(known) > 1 and all(known) and max(known) - min(known) < CLOCKS_DIFFER
    return known[0] if alike else None


def _sessions(node: NodeStatus) -> Iterator[str]:
    """Sessions that are down; many with the same reason on one line."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, one in node.down.items():
        alike.setdefault((one.state if not one.error else "", one.error), []).append(name)
    for (state, error), names in alike.items():
        if len(names) > MANY:
            why = error or state_text(state)
            yield f"{len(names)} sessions are down ({', '.join(names)}): {why}"
        else:
            yield from (f"{name} is down{_since(node.down[name])}" for name in names)


def _since(one: SessionDown) -> str:
    when = "" if one.age is None else f" for {age_text(one.age)}"
    state = state_text(one.state)
    return f"{when} ({state}): {one.error}" if one.error else f"{when} ({state})"


def _services(node: NodeStatus) -> Iterator[str]:
    """Services that are down, in both families or in one."""
    for name, up in node.services.items():
        down = node.down_in(name)
        if up and not down:
            continue
        why = node.failures.get(name, "")
        unit = node.units.get(name, ACTIVE)
        reasons = [why] * bool(why) + [f"its unit is {unit}"] * (unit != ACTIVE)
        where = f" in {', '.join(map(family_name, down))}" if node.serves(name) else ""
        yield f"service {name} is down{where}" + (f": {'; '.join(reasons)}" if reasons else "")


def family_name(family: str) -> str:
    """A family as people write it: ``IPv6``."""
    return family.replace("ip", "IP")


def _contents(node: NodeStatus, found: MeshStatus) -> Iterator[str]:
    """Services whose content here is not the generation's, unless the node is behind anyway."""
    if node.state in ("behind", "waiting"):
        return
    for name, service in found.services.items():
        held = node.contents.get(name, "")
        if service.content and held not in ("", service.content):
            yield (
                f"service {name} has older content ({short(held)}), and the generation has "
                f"{short(service.content)}"
            )


def short(sha256: str) -> str:
    """The beginning of a content's hash, which is enough to tell two apart."""
    return sha256[:12]


def _exports(node: NodeStatus) -> Iterator[str]:
    """Prefixes that it does not announce, unless a session or BIRD is reported as the cause."""
    for prefix, state in node.announces.items():
        why = node.why_not.get(prefix, "")
        explained = node.bird or not node.sessions or not node.down.keys().isdisjoint(why.split())
        if state == "no" and not explained:
            yield f"does not announce {prefix}: {why}"
        elif state == "unknown" and not explained:
            yield f"unknown whether it announces {prefix}: {why}"


def _down_everywhere(found: MeshStatus) -> list[str]:
    known = [node for node in found.nodes.values() if node.is_known]
    names = {name for node in known for name in node.services}
    return sorted(name for name in names if not any(node.serves(name) for node in known))


def _families_down_everywhere(found: MeshStatus) -> Iterator[str]:
    """Families of a service that no node serves, where some node serves the other one."""
    for name, service in found.services.items():
        for family, nodes in service.not_by.items():
            if nodes and not service.served_by[family] and any(service.served_by.values()):
                yield f"service {name}: no node serves it in {family_name(family)}"


def age_text(seconds: float) -> str:
    """Seconds in the largest unit that fits."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s"
