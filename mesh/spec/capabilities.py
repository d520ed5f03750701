"""What a node can do, from its provider's facts and its own keys."""

from __future__ import annotations

from mesh.spec.ids import provider_of
from mesh.spec.model import HostUpstream, Node, Region
from mesh.spec.providers import EXISTING, PROVIDERS, Communities, Provider, Upstream
from mesh.spec.providers.communities import Community


def provider(node_id: str, node: Node) -> Provider | None:
    """A node's provider facts: from the table, or those of existing hosts where the provider is not
    in it and the node is one; else None."""
    known = PROVIDERS.get(provider_of(node_id))
    return EXISTING if known is None and node.host is not None else known


def upstream(node_id: str, node: Node) -> Upstream | None:
    """The upstream sessions of a node; None where it has none."""
    facts = provider(node_id, node)
    if node.announce is False or facts is None or not facts.announces:
        return None
    if node.host is not None and node.host.upstream is not None:
        return _of_host(node.host.upstream)
    return facts.bare_metal if node.bare_metal else facts.upstream


def _of_host(host: HostUpstream) -> Upstream:
    return Upstream(host.peer_asn, host.ipv4, host.ipv6, host.multihop, host.password, host.role)


def communities(node_id: str, node: Node) -> Communities | None:
    """The action communities of a node's upstream; None where they are not known."""
    session, facts = upstream(node_id, node), provider(node_id, node)
    if session is None or facts is None:
        return None
    if facts.communities is not None and session.peer_asn in facts.communities.peers:
        return facts.communities
    # An existing host may be at such a provider too. A private ASN identifies no provider.
    known = (each.communities for each in PROVIDERS.values() if each.communities is not None)
    return next((each for each in known if each.asn == session.peer_asn), None)


def blackhole(node_id: str, node: Node) -> Community | None:
    """The blackhole community of a node's upstream: from the host's section, else from the
    provider's facts; None where neither has one."""
    if node.host is not None and node.host.upstream is not None and node.host.upstream.blackhole:
        return community(node.host.upstream.blackhole)
    known = communities(node_id, node)
    return None if known is None else known.blackhole


def community(text: str) -> Community:
    """A community from text: two or three numbers with colons between them."""
    high, low, *more = (int(part) for part in text.split(":"))
    return (high, low, more[0]) if more else (high, low)


def password(node_id: str, node: Node) -> bool:
    """Whether a BGP session of the node needs ``mesh:bgpPassword-<provider>``."""
    session = upstream(node_id, node)
    if session is not None:
        return session.password
    facts = provider(node_id, node)
    return facts is not None and facts.vpc is not None and facts.vpc.password


def provider_region(region_id: str, region: Region, facts: Provider) -> str | None:
    """The provider's name for a region: from the stack file, else from the provider's table, else
    the region's id; None where the provider has no such region."""
    name = region.at.get(facts.name) or facts.at.get(region_id, region_id)
    return name if name in facts.regions else None
