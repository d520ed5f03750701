"""What a node can do, of its provider's facts and its own keys together."""

from __future__ import annotations

from mesh.spec.ids import provider_of
from mesh.spec.model import HostUpstream, Node, Region
from mesh.spec.providers import EXISTING, PROVIDERS, Communities, Provider, Upstream
from mesh.spec.providers.communities import Community


def provider(node_id: str, node: Node) -> Provider | None:
    """The facts that hold for a node: of its provider, or of existing hosts where the table does
    not know its provider; None where it is neither."""
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


def _of_host(said: HostUpstream) -> Upstream:
    return Upstream(said.peer_asn, said.ipv4, said.ipv6, said.multihop, said.password, said.role)


def communities(node_id: str, node: Node) -> Communities | None:
    """The action communities that a node's upstream obeys, where they are known."""
    session, facts = upstream(node_id, node), provider(node_id, node)
    if session is None or facts is None:
        return None
    if facts.communities is not None and session.peer_asn in facts.communities.peers:
        return facts.communities
    # A host of one's own may stand there too; a private ASN says nothing about whose it is.
    known = (each.communities for each in PROVIDERS.values() if each.communities is not None)
    return next((each for each in known if each.asn == session.peer_asn), None)


def blackhole(node_id: str, node: Node) -> Community | None:
    """The community with which a node's upstream discards what is for a host route of ours: as its
    host's section says, else by what is known of the provider; None where it is not known to."""
    if node.host is not None and node.host.upstream is not None and node.host.upstream.blackhole:
        return community(node.host.upstream.blackhole)
    known = communities(node_id, node)
    return None if known is None else known.blackhole


def community(text: str) -> Community:
    """A community out of its numbers with colons between: two or three."""
    high, low, *more = (int(part) for part in text.split(":"))
    return (high, low, more[0]) if more else (high, low)


def password(node_id: str, node: Node) -> bool:
    """Whether some BGP session of the node needs ``mesh:bgpPassword-<provider>``."""
    session = upstream(node_id, node)
    if session is not None:
        return session.password
    facts = provider(node_id, node)
    return facts is not None and facts.vpc is not None and facts.vpc.password


def place(region_id: str, region: Region, facts: Provider) -> str | None:
    """What a provider calls a region: as the stack file says, else by the provider's table, else
    the same name; None where the provider has no such place."""
    name = region.at.get(facts.name) or facts.at.get(region_id, region_id)
    return name if name in facts.regions else None
