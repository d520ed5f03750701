"""What is not well in a mesh, in an operator's words: what ``mesh status`` ends with 1 for.

A deliberate drain, a node that the network goes on without (``mesh:without``) and a blackhole that
every node obeys are as the operator wants them, and no problem. What nobody can tell is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.publish import refused
from mesh.publish.expected import state_in_words
from mesh.publish.status import AHEAD, MeshStatus, NodeStatus, SessionDown
from mesh.trust.documents import CLOCKS_DIFFER, Repair

OFTEN = 3
"""Repairs of one object in ten minutes, from which on somebody means its changes."""
MANY = 3
"""So many sessions of one node that are down for the same reason are told one by one."""


def problems(found: MeshStatus) -> tuple[str, ...]:
    """All that is not well; empty where all is."""
    if not found.answered:
        return ("no registry answers: the state of the nodes is unknown",)
    return tuple(_problems(found))


def _problems(found: MeshStatus) -> Iterator[str]:
    if not found.planned:
        yield (
            "the plan in the stack's state cannot be read, since another version of this program "
            "has written it: what is to be up and announced is unknown (use that version, or "
            "publish with this one: pulumi up)"
        )
    if found.unrecorded:
        why = "an update did not finish, or the state is an older copy"
        if found.retired:
            why = "a `pulumi destroy` did not finish, which can be run again"
        yield (
            f"the registries hold generation {found.unrecorded}, and the stack's state knows "
            f"{found.published}: {why}; `pulumi up --refresh` publishes what the stack file says "
            "above both"
        )
    if found.retired:
        yield "the network is taken down: every node withdraws for good"
    if (ours := _own_clock(found)) is not None:
        way = "behind" if ours > 0 else "ahead of"
        yield (
            f"this machine's clock is {_age(abs(ours))} {way} all nodes': how long ago anything "
            "was is unknown"
        )
    for prefix, one in found.prefixes.items():
        if not one.announcers and not found.retired:
            unknown = f"; unknown of {', '.join(one.unknown)}" if one.unknown else ""
            yield f"{prefix}: nobody announces it{unknown}"
    for service in _down_everywhere(found):
        yield f"service {service}: nobody serves it"
    # What others have lost by a node that is away is better read after that.
    for name, node in sorted(found.nodes.items(), key=lambda item: item[1].is_known):
        if node.awaited:
            ordered = name in found.drained
            yield from (f"{name}: {problem}" for problem in _node(node, found, ordered))
        yield from (refused.words(name, refusal) for refusal in node.refusals)
    for entry in found.blackholes:
        if entry.not_obeyed:
            yield f"blackhole {entry.address}: no word yet of {', '.join(entry.not_obeyed)}"
    for url, word in found.registries.items():
        if word != "ok":
            yield f"registry {url}: {word}"
    yield from (f"warning: {warned.text}" for warned in found.warnings)


def _node(node: NodeStatus, found: MeshStatus, ordered: bool) -> Iterator[str]:
    if node.clock and _own_clock(found) is None:
        way = "ahead of" if node.clock > 0 else "behind"
        yield f"its clock is {_age(abs(node.clock))} {way} this machine's"
    if node.state == "silent":
        spoke = "has said nothing yet" if node.age is None else f"last word {_age(node.age)} ago"
        yield f"silent: {spoke}; how it is now is unknown"
        if node.reason:
            yield node.reason if node.reason == AHEAD else f"it said then: {node.reason}"
        return
    if node.state == "unreachable":
        spoke = "" if node.age is None else f"last word {_age(node.age)} ago; "
        yield f"unreachable: {spoke}{node.reason}: it is off or cut off"
        return
    if node.state == "behind":
        why = f", for it is held until {node.held}" if node.held else ""
        yield f"on generation {node.generation}, not on {found.generation} yet{why}"
    if node.state == "withdrawn" and not found.retired:
        yield "has withdrawn for good, as for a network that is taken down"
    if node.reason or node.state == "failed":
        yield node.reason or "has not applied the generation"
    yield from _repairs(node)
    for name, why in node.faults.items():
        yield f"{name}: {why}"
    if node.bird:
        yield f"its BIRD {node.bird}: sessions and what it announces are unknown"
    elif node.expected and not node.sessions:
        yield "its BIRD tells of no session: what it announces is unknown"
    yield from _sessions(node)
    for name, words in node.tunnels.items():
        yield f"tunnel {name}: {words}"
    if not node.drain and not found.retired:
        yield from _services(node)
        yield from _exports(node)
    if node.drain == "draining":
        yield f"no word yet that it obeys drain order {found.drain}"
    if node.drain == "drained" and not ordered:
        yield f"is drained, and drain order {found.drain or 'none'} does not name it"
    for url in node.tls_mismatches:
        yield f"{url} shows another certificate than was published"


def contested(one: Repair) -> bool:
    """Whether something is changed again and again beside the configuration: what is put right for
    the third time is, and only another time shows that it does not stay."""
    return one.stopped or one.times > OFTEN


def _repairs(node: NodeStatus) -> Iterator[str]:
    for one in filter(contested, node.repairs):
        by = f", changed by {one.by}" if one.by else ""
        now = "is left alone now" if one.stopped else f"was put right {one.times} times in 10 min"
        yield f"{one.what} does not stay as the generation says{by} ({one.why}): {now}"


def _own_clock(found: MeshStatus) -> float | None:
    """Seconds by which all nodes' clocks are ahead of this machine's, where it is alone; None where
    some agree with it, or differ from each other."""
    known = [node.clock for node in found.nodes.values() if node.clock is not None]
    alike = len(known) > 1 and all(known) and max(known) - min(known) < CLOCKS_DIFFER
    return known[0] if alike else None


def _sessions(node: NodeStatus) -> Iterator[str]:
    """Sessions that are down; those that are so for the same reason together, where many are."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, one in node.down.items():
        alike.setdefault((one.state if not one.error else "", one.error), []).append(name)
    for (state, error), names in alike.items():
        if len(names) > MANY:
            why = error or state_in_words(state)
            yield f"{len(names)} sessions are down ({', '.join(names)}): {why}"
        else:
            yield from (f"{name} is down{_since(node.down[name])}" for name in names)


def _since(one: SessionDown) -> str:
    when = "" if one.age is None else f" for {_age(one.age)}"
    state = state_in_words(one.state)
    return f"{when} ({state}): {one.error}" if one.error else f"{when} ({state})"


def _services(node: NodeStatus) -> Iterator[str]:
    for name, up in node.services.items():
        if not up:
            why = node.failures.get(name, "")
            yield f"service {name} is down" + (f": {why}" if why else "")


def _exports(node: NodeStatus) -> Iterator[str]:
    """Prefixes that it does not announce, for a reason that is not told yet: no session, nor BIRD,
    is down for it."""
    for prefix, says in node.announces.items():
        why = node.why_not.get(prefix, "")
        told = node.bird or not node.sessions or not node.down.keys().isdisjoint(why.split())
        if says == "no" and not told:
            yield f"does not announce {prefix}: {why}"
        elif says == "unknown" and not told:
            yield f"nobody knows whether it announces {prefix}: {why}"


def _down_everywhere(found: MeshStatus) -> list[str]:
    known = [node.services for node in found.nodes.values() if node.is_known]
    names = {name for services in known for name in services}
    return sorted(name for name in names if not any(one.get(name) for one in known))


def _age(seconds: float) -> str:
    """Seconds as a person says them."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s"
