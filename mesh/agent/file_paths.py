"""Paths on a node."""

from __future__ import annotations

SEED = "/etc/anycast-mesh/seed.json"
CONFIG = "/etc/anycast-mesh/agent.json"
HOME = "/var/lib/anycast-mesh"
KEYS = f"{HOME}/keys"
WIREGUARD_KEY = f"{KEYS}/wireguard.key"
STATE = f"{HOME}/state"
BUNDLES = f"{HOME}/bundles"
BUNDLE = f"{HOME}/bundle.pyz"
REGISTRY = f"{HOME}/registry"
CERTIFICATE = f"{REGISTRY}/tls.crt"
ANNOUNCE = "/run/anycast-mesh/bird/announce.conf"
OUT_OF_SERVICE = "/etc/bird/mesh/out-of-service.conf"
"""What BIRD starts with in place of ANNOUNCE."""
ORDERS = {4: "/run/anycast-mesh/bird/orders4.conf", 6: "/run/anycast-mesh/bird/orders6.conf"}
FORCED = {4: "/run/anycast-mesh/bird/forced4.conf", 6: "/run/anycast-mesh/bird/forced6.conf"}
"""The verified blackhole entries, which BIRD includes if the files exist."""
BIRD_SOCKET = "/run/bird/bird.ctl"
GLASS_SOCKET = "/run/anycast-mesh/glass/bird.ctl"
"""BIRD's restricted socket, for the looking glass."""
INSTANCE_ID = "/var/lib/cloud/data/instance-id"
GIVEN_INSTANCE_ID = "/etc/anycast-mesh/instance-id"
"""On an existing host without cloud-init: written over SSH."""
