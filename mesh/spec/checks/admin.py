"""Who may log in."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from mesh.spec.checks.ssh_keys import key_body
from mesh.spec.examples import for_example
from mesh.spec.model import Admin, Spec
from mesh.spec.problems import Problem, shown
from mesh.spec.section import Sections

WORLD = {4: 8, 6: 16}
"""A shorter prefix than this is a large part of the Internet, not an operator's network."""

DOCUMENTATION = (
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20",
)  # fmt: skip
"""Addresses that only documentation has (RFC 5737, RFC 3849, RFC 9637)."""


def check_admin(sections: Sections) -> Iterator[Problem]:
    """At least two keys, and SSH open to the world only with ``world: true``."""
    admin: Admin | None = sections.get("admin")
    if admin is None:
        return
    if not admin.ssh:
        cure = for_example("name your own network", "admin", "ssh")
        yield Problem("mesh:admin.ssh", "[]", "nobody could log in", cure)
    for network in admin.ssh:
        if network.prefixlen < WORLD[network.version] and not admin.world:
            yield Problem(
                "mesh:admin.ssh", str(network), "this opens SSH to the world",
                "name your own network, or set `world: true` beside it if you mean it",
            )  # fmt: skip
    yield from _check_keys(admin.keys)


def check_documentation(spec: Spec) -> Iterator[Problem]:
    """Networks of ``admin.ssh`` that are copied from an example; in a twin they are the lab's."""
    if spec.twin is not None:
        return
    reserved = [ip_network(each) for each in DOCUMENTATION]
    for network in spec.admin.ssh:
        if any(
            network.network_address in each and network.prefixlen >= each.prefixlen
            for each in reserved
        ):
            yield Problem(
                "mesh:admin.ssh", str(network), "only documentation has these addresses, so it "
                "lets nobody in", "name the network from which you log in", "warning",
            )  # fmt: skip


def _check_keys(keys: tuple[str, ...]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, key in enumerate(keys):
        where = f"mesh:admin.keys[{index}]"
        body = key_body(key)
        if body is None:
            yield Problem(
                where, shown(key), "this is not an SSH public key",
                "paste one line of ~/.ssh/id_ed25519.pub",
            )  # fmt: skip
        elif body in seen:
            yield Problem(where, shown(key), "the same key is listed twice", "give a second key")
        else:
            seen.add(body)
    if len(seen) < 2:
        yield Problem(
            "mesh:admin.keys", f"{len(seen)} keys",
            "one lost key would lock everybody out of every node",
            for_example("list at least two SSH public keys", "admin", "keys"), severity="preview",
        )  # fmt: skip
