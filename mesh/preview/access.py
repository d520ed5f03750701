"""Who may log in, before an update and after it: what the update takes away, and whether the ways
that were used stay."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from hashlib import sha256

from mesh.plan import Network, Plan
from mesh.trust.documents import Used


def removed_networks(before: Plan, after: Plan) -> tuple[Network, ...]:
    """The networks of ``mesh:admin.ssh`` of which a part may log in no more."""
    return tuple(one for one in before.access.admin if not _is_in(one, after.access.admin))


def removed_keys(before: Plan, after: Plan) -> tuple[str, ...]:
    """The fingerprints of the keys that go from ``mesh:admin.keys``."""
    kept = {fingerprint(key) for key in after.access.ssh_keys}
    found = (fingerprint(key) for key in before.access.ssh_keys)
    return tuple(dict.fromkeys(key for key in found if key not in kept))


def told(before: Plan | None, after: Plan) -> Iterator[str]:
    """What an update that takes something away asks of whoever runs it."""
    lost = removed_networks(before, after) if before else ()
    if lost:
        yield (
            f"mesh:admin.ssh: {', '.join(map(str, lost))} may log in no more, or in part; each "
            "node goes back by itself unless somebody logs in anew within two minutes, and `up` "
            "says how"
        )


def is_there(way: Used, before: Plan) -> bool:
    """Whether a way in that was used is one still, before the update."""
    return _is_in(way.network, before.access.admin)


def stays(way: Used, before: Plan, after: Plan) -> bool:
    """Whether a way in that was used is there after the update too."""
    return _is_in(way.network, after.access.admin) and way.key not in removed_keys(before, after)


def fingerprint(key: str) -> str:
    """A public key as sshd's log names it; empty for a text that is none."""
    words = key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(sha256(blob).digest()).decode("ascii").rstrip("=")


def _is_in(network: Network, others: Iterable[Network]) -> bool:
    """Whether all of a network is in the others together."""
    left = [network]
    for other in others:
        if other.version == network.version:
            left = [rest for one in left for rest in _without(one, other)]
    return not left


def _without(one: Network, other: Network) -> Iterator[Network]:
    if one.subnet_of(other):  # type: ignore[arg-type]  # of one family
        return
    if other.subnet_of(one):  # type: ignore[arg-type]
        yield from one.address_exclude(other)  # type: ignore[arg-type]
    else:
        yield one
