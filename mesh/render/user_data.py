"""User data: a node's seed (id, registries, operator's key, token) and the bootstrap script."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mesh.operating_systems import OperatingSystem
from mesh.plan import Node, Plan, Role
from mesh.render.files import File
from mesh.render.firewall import first_callers
from mesh.render.openbsd_boot import Sign, openbsd_user_data
from mesh.render.templates import rendered

PACKAGES = (
    "bird2",
    "wireguard-tools",
    "nftables",
    "iproute2",
    "openssl",
    "python3",
    "python3-cryptography",
    "python3-pydantic",
)
"""Debian packages of every node."""

REGISTRY_PACKAGES = ("python3-fastapi", "python3-uvicorn", "python3-sqlalchemy")
"""Additional packages of a registry. Only Starlette of the first one is used, but its own package
here would change the user data of existing nodes."""

VALIDATOR_PACKAGES = ("rpki-client", "stayrtr")
"""Additional packages of a validator, with the trust anchors of all five RIRs."""


@dataclass(frozen=True, slots=True)
class Seed:
    """The parameters of a node's user data. ``token`` is empty where they are only displayed."""

    registries: tuple[str, ...]
    """Base addresses: ``https://203.0.113.1:8443``."""
    operator: str
    """The operator's Ed25519 public key, base64."""
    bundle: str
    """SHA-256 of the bundle, hex."""
    token: str


def base_firewall(plan: Plan, node: Node) -> str:
    """A node's nftables ruleset until its first generation."""
    return rendered(
        "debian/network/nftables-base.conf.j2",
        node=node,
        plan=plan,
        registry=Role.REGISTRY in node.roles,
        callers=first_callers(plan),
    )


def user_data(plan: Plan, node_id: str, seed: Seed, sign: Sign | None = None) -> str:
    """The user data of a node; the same bytes for the same seed. OpenBSD's are signed by the
    operator (``sign``); without that they are for display only."""
    node = plan.node(node_id)
    if node.os == OperatingSystem.OPENBSD:
        return openbsd_user_data(
            plan, node, _seed(plan, node, seed), seed.registries, seed.operator, seed.bundle,
            sign or _unsigned,
        )  # fmt: skip
    return _cloud_config(plan, node, seed)


def _unsigned(message: str) -> str:
    from mesh.trust.signify import unsigned

    return unsigned(message)


def _cloud_config(plan: Plan, node: Node, seed: Seed) -> str:
    registry = Role.REGISTRY in node.roles
    packages = PACKAGES + (REGISTRY_PACKAGES if registry else ())
    packages += VALIDATOR_PACKAGES if plan.validates and Role.REFLECTOR in node.roles else ()
    units = ["bootstrap", "agent"] + ["registry"] * registry
    files = [
        File(
            "/etc/nftables.conf",
            base_firewall(plan, node),
            0o755,
        ),
        *(
            File(
                f"/etc/systemd/system/anycast-mesh-{unit}.service",
                rendered(f"debian/systemd/{unit}.service.j2"),
            )
            for unit in units
        ),
        File(
            "/usr/local/lib/anycast-mesh/bootstrap",
            rendered("debian/cloud-init/bootstrap.py.j2", packages=repr(list(packages))),
            0o755,
        ),
        File(
            "/var/lib/cloud/scripts/per-boot/anycast-mesh",
            rendered("debian/cloud-init/start.sh.j2"),
            0o755,
        ),
        # Last, so that all other files exist when it does.
        File("/etc/anycast-mesh/seed.json", _seed(plan, node, seed), 0o600),
    ]
    return rendered(
        "debian/cloud-init/user-data.j2",
        node=node,
        plan=plan,
        bootcmd=rendered("debian/cloud-init/bootcmd.sh.j2"),
        files=files,
    )


def _seed(plan: Plan, node: Node, seed: Seed) -> str:
    """The content of seed.json."""
    document = {
        "node": node.id,
        "registries": list(seed.registries),
        "operator": seed.operator,
        "bundle": seed.bundle,
        "token": seed.token,
        "registry": Role.REGISTRY in node.roles,
        "registry_port": plan.access.registry_port,
    }
    return json.dumps(document, indent=1) + "\n"
