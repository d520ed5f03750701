"""Who may log in before and after an update: what the update takes away, and whether recent logins
stay possible."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from hashlib import sha256

from mesh.plan import Network, Plan
from mesh.trust.documents import Used


def removed_networks(before: Plan, after: Plan) -> tuple[Network, ...]:
    """The networks of ``mesh:admin.ssh`` that may no longer log in, or in part."""
    return tuple(one for one in before.access.admin if not _is_in(one, after.access.admin))


def removed_keys(before: Plan, after: Plan) -> tuple[str, ...]:
    """The fingerprints of the keys that go from ``mesh:admin.keys``."""
    kept = {fingerprint(key) for key in after.access.ssh_keys}
    found = (fingerprint(key) for key in before.access.ssh_keys)
    return tuple(dict.fromkeys(key for key in found if key not in kept))


def notes(before: Plan | None, after: Plan) -> Iterator[str]:
    """What the operator has to do in an update that takes a network away."""
    lost = removed_networks(before, after) if before else ()
    if lost:
        yield (
            f"mesh:admin.ssh: {', '.join(map(str, lost))} may no longer log in, or in part; each "
            "node undoes it by itself unless somebody logs in anew within two minutes, and `up` "
            "shows how"
        )


def is_there(login: Used, before: Plan) -> bool:
    """Whether a recent login is still possible before the update."""
    return _is_in(login.network, before.access.admin)


def stays(login: Used, before: Plan, after: Plan) -> bool:
    """Whether a recent login is also possible after the update."""
    return _is_in(login.network, after.access.admin) and login.key not in removed_keys(
        before, after
    )


def fingerprint(key: str) -> str:
    """A public key's fingerprint as in sshd's log; empty where it is no key."""
    fields = key.split()
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(sha256(blob).digest()).decode("ascii").rstrip("=")


def _is_in(network: Network, others: Iterable[Network]) -> bool:
    """Whether the others together contain all of a network."""
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
