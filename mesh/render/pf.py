"""The plan's firewall rules in the syntax of OpenBSD's pf.conf(5)."""

from __future__ import annotations

from mesh.plan import FirewallRule, Node, Plan, UpstreamSession
from mesh.plan.firewall import GLASS_RULES
from mesh.render.firewall import accepted

TUNNELS = "wg"
"""The group of the tunnels' interfaces: each cloned interface is in the group of its kind
(ifconfig(8))."""
_HERE = " no state tagged mesh_here"


def rules(plan: Plan, node: Node) -> dict[str, list[str]]:
    """The rules of each zone that apply to this node, one line of pf.conf each: without those of
    the looking glass, which does not run there."""
    zones: dict[str, list[str]] = {"uplink": [], "tunnel": [], "announced": []}
    for rule, session in accepted(plan, node):
        if rule.name not in GLASS_RULES:
            zones[rule.zone].append(_line(rule) if session is None else _neighbor(rule, session))
    return zones


def _line(rule: FirewallRule) -> str:
    if rule.zone == "announced" and rule.source == "mesh":
        # Out of a tunnel and from a node: a client's packet for another edge comes in there too.
        return _accepted(rule, f"on {TUNNELS} ", "<mesh_tunnels>", _HERE)
    if rule.zone == "announced":
        # No limit of new connections: without a state there is none, and what has one elsewhere
        # does not run here.
        return _accepted(rule, "", "any", _HERE)
    if rule.zone == "tunnel":
        # Link-local for the underlay and its BFD, tunnel addresses for iBGP.
        return _accepted(rule, f"on {TUNNELS} ", "{ <mesh_tunnels>, fe80::/10 }")
    sources = f"{{ <mesh_{rule.source}4>, <mesh_{rule.source}6> }}"
    # A datagram has no handshake: with a state each, those of a forged source would fill the table
    # of states (pf.conf(5), set limit). What the node sends has one, which lets answers in as well.
    options = " no state" if rule.protocol == "udp" else ""
    return _accepted(rule, f"on ! {TUNNELS} ", sources, options)


def _neighbor(rule: FirewallRule, session: UpstreamSession) -> str:
    family = "inet" if session.neighbor.version == 4 else "inet6"
    return _accepted(rule, f"on {session.interface} {family} ", str(session.neighbor))


def _accepted(rule: FirewallRule, where: str, source: str, options: str = "") -> str:
    low, high = rule.ports
    ports = str(low) if low == high else f"{low}:{high}"
    return (
        f"pass in quick {where}proto {rule.protocol} from {source} to any port {ports}"
        f'{options} label "{rule.name}"'
    )
