"""A node's private keys, which are made on the node and stay there."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.trust import keys
from mesh.trust.encoding import Malformed, unb64


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """Private keys in base64: identity (Ed25519), sealing and WireGuard (X25519)."""

    identity: str = field(repr=False)
    sealing: str = field(repr=False)
    wireguard: str = field(repr=False)


def own_keys(host: Host) -> NodeKeys:
    """The keys of this node; missing or damaged ones are made anew."""
    folder = host.path(file_paths.KEYS)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return NodeKeys(
        identity=_own(host, "identity", keys.new_signing_key()[0]),
        sealing=_own(host, "sealing", keys.new_exchange_key()[0]),
        wireguard=_own(host, "wireguard", keys.new_exchange_key()[0]),
    )


def _own(host: Host, name: str, fresh: str) -> str:
    path = f"{file_paths.KEYS}/{name}.key"
    held = (host.read(path) or b"").decode("ascii", "replace").strip()
    try:
        unb64(held, keys.KEY_BYTES)
    except Malformed:
        host.write(path, fresh.encode() + b"\n", 0o600)
        return fresh
    return held
