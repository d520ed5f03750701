"""The rules of a firewall group as one set.

Vultr's rules have no PATCH, and a group takes no rule twice. So new rules are made first and
unwanted ones deleted afterwards: nothing that is to stay open is closed for a moment. Only in a
full group an unwanted rule is deleted before a new one is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from mesh.infra.providers.vultr.v2 import answers
from mesh.infra.providers.vultr.v2.client import Client
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.making import made
from mesh.infra.providers.vultr.v2.waiting import Progress

MOST = 50
"""Rules of a group, unless it has its own limit (``max_rule_count``)."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule lets in, normalised; two that are equal are the same rule to Vultr. ``special``
    is a source that Vultr defines (``cloudflare``), which is never wanted."""

    family: int
    protocol: str
    network: str
    port: str
    special: str = ""

    def __str__(self) -> str:
        port = f" port {self.port}" if self.port else ""
        return f"{self.protocol}{port} from {self.special or self.network}"


def match(family: int, protocol: str, subnet: str, size: int, port: str) -> Match:
    """A wanted rule; raises ValueError for an invalid subnet."""
    return Match(
        family, protocol.lower(), str(ip_network(f"{subnet}/{size}", strict=False)), _port(port)
    )


def of_answer(rule: answers.Rule) -> Match:
    """A rule in Vultr's answer; one that cannot be read is never wanted."""
    family = 6 if rule.ip_type == "v6" else 4
    special = "cloudflare" if rule.source == "cloudflare" else ""
    try:
        found = match(family, rule.protocol, rule.subnet, rule.subnet_size, rule.port)
    except ValueError:
        return Match(family, rule.protocol, f"{rule.subnet}/{rule.subnet_size}", rule.port, "other")
    return Match(found.family, found.protocol, found.network, found.port, special)


def _port(text: str) -> str:
    low, _, high = text.replace("-", ":").partition(":")
    return low if high in ("", low) else f"{low}:{high}"


def differences(there: Iterable[Match], wanted: Iterable[Match]) -> list[str]:
    """The missing and the additional rules, as texts."""
    have, want = set(there), set(wanted)
    return [
        *(f"the rule {each} is gone" for each in sorted(want - have, key=str)),
        *(f"the rule {each} was added" for each in sorted(have - want, key=str)),
    ]


def settle(
    client: Client, group: str, wanted: Mapping[Match, str], most: int, progress: Progress
) -> None:
    """Make these the group's rules; ``wanted`` maps them to their notes. After an ApiError another
    call continues."""
    there = client.rules(group)
    kept, unwanted = set[Match](), list[answers.Rule]()
    for rule in there:
        found = of_answer(rule)
        if found in wanted and found not in kept:
            kept.add(found)
        else:
            unwanted.append(rule)
    count = len(there)
    for each, notes in wanted.items():
        if each in kept:
            continue
        if count >= most and unwanted:
            _drop(client, group, unwanted.pop(0))
            count -= 1
        _add(client, group, each, notes, progress)
        count += 1
    for rule in unwanted:
        _drop(client, group, rule)


def _add(client: Client, group: str, wanted: Match, notes: str, progress: Progress) -> None:
    network = ip_network(wanted.network)
    body = {
        "ip_type": f"v{wanted.family}",
        "protocol": wanted.protocol,
        "subnet": str(network.network_address),
        "subnet_size": network.prefixlen,
        "port": wanted.port,
        "notes": notes,
    }

    def find() -> answers.Rule | None:
        rules = client.rules(group)
        return next((rule for rule in rules if of_answer(rule) == wanted), None)

    def post() -> answers.Rule:
        return client.post(f"/firewalls/{group}/rules", body, "firewall_rule", answers.Rule)

    made(find, post, f"rule {notes}", progress, look_first=False)


def _drop(client: Client, group: str, rule: answers.Rule) -> None:
    try:
        client.send("DELETE", f"/firewalls/{group}/rules/{rule.id}")
    except ApiError as error:
        if error.kind != "gone":
            raise
