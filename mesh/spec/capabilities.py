"""What a node can do, from its provider's facts and its own keys."""

from __future__ import annotations

from mesh.spec.ids import provider_of
from mesh.spec.model import HostUpstream, Node, NodeUpstream, Region
from mesh.spec.providers import EXISTING, PROVIDERS, Communities, Provider, Upstream
from mesh.spec.providers.communities import Community


def provider(node_id: str, node: Node) -> Provider | None:
    """A node's provider facts: from the table, or those of existing hosts where the provider is not
    in it and the node is one; else None."""
    known = PROVIDERS.get(provider_of(node_id))
    return EXISTING if known is None and node.host is not None else known


def upstreams(node_id: str, node: Node) -> tuple[Upstream, ...]:
    """The upstreams of a node: its provider's first, then those of ``upstreams``."""
    facts = provider(node_id, node)
    if node.announce is False or facts is None or not facts.announces:
        return ()
    own = facts.bare_metal if node.bare_metal else facts.upstream
    if node.host is not None and node.host.upstream is not None:
        own = _of_host(node.host.upstream)
    return (*([] if own is None else [own]), *map(_listed, node.upstreams))


def _of_host(host: HostUpstream) -> Upstream:
    return Upstream(
        host.peer_asn, host.ipv4, host.ipv6, host.multihop, host.password, host.role,
        blackhole=None if host.blackhole is None else community(host.blackhole),
    )  # fmt: skip


def _listed(given: NodeUpstream) -> Upstream:
    return Upstream(
        given.asn, given.ipv4, given.ipv6, given.multihop, given.password, given.role,
        blackhole=None if given.blackhole is None else community(given.blackhole),
        name=given.name,
        local4=given.local.ipv4,
        local6=given.local.ipv6,
        interface=given.interface,
        hold_time=given.hold_time,
        gtsm=given.ttl_security,
        bfd=given.bfd,
        take=given.take,
        limit=given.limit,
        local_preference=given.local_preference,
        communities=given.communities,
    )  # fmt: skip


def communities(node_id: str, node: Node, session: Upstream) -> Communities | None:
    """The action communities of an upstream; None where they are not known."""
    facts = provider(node_id, node)
    own = None if facts is None else facts.communities
    if own is not None and session.peer_asn in own.peers:
        return own
    # An existing host may be at such a provider too. A private ASN identifies no provider.
    known = (each.communities for each in PROVIDERS.values() if each.communities is not None)
    return next((each for each in known if each.asn == session.peer_asn), None)


def blackhole(node_id: str, node: Node, session: Upstream) -> Community | None:
    """The blackhole community of an upstream: from the stack file, else from the provider's facts;
    None where neither has one."""
    known = communities(node_id, node, session)
    return session.blackhole or (None if known is None else known.blackhole)


def community(text: str) -> Community:
    """A community from text: two or three numbers with colons between them."""
    high, low, *more = (int(part) for part in text.split(":"))
    return (high, low, more[0]) if more else (high, low)


def passwords(node_id: str, node: Node) -> tuple[str, ...]:
    """Names of the secrets that the BGP sessions of a node use."""
    sessions = upstreams(node_id, node)
    named = [password_name(node_id, each) for each in sessions if each.password]
    facts = provider(node_id, node)
    if not sessions and facts is not None and facts.vpc is not None and facts.vpc.password:
        named.append(facts.name)
    return tuple(named)


def password_name(node_id: str, session: Upstream) -> str:
    """The name of a session's secret: the provider's for the session that it prescribes, and a
    name of its own for one of ``upstreams``."""
    return f"{node_id}-{session.name}" if session.name else provider_of(node_id)


def provider_region(region_id: str, region: Region, facts: Provider) -> str | None:
    """The provider's name for a region: from the stack file, else from the provider's table, else
    the region's id; None where the provider has no such region."""
    name = region.at.get(facts.name) or facts.at.get(region_id, region_id)
    return name if name in facts.regions else None
