"""How a Debian node comes to its bundle: cloud-config with its files and a bootstrap script."""

from __future__ import annotations

from mesh.plan import Node, Plan, Role
from mesh.render.files import File
from mesh.render.firewall import first_callers
from mesh.render.seed import Seed, document
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


def base_firewall(plan: Plan, node: Node) -> str:
    """A node's nftables ruleset until its first generation."""
    return rendered(
        "debian/network/nftables-base.conf.j2",
        node=node,
        plan=plan,
        registry=Role.REGISTRY in node.roles,
        callers=first_callers(plan),
    )


def cloud_config(plan: Plan, node: Node, seed: Seed) -> str:
    """The user data of a Debian node."""
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
        File("/etc/anycast-mesh/seed.json", document(plan, node, seed), 0o600),
    ]
    return rendered(
        "debian/cloud-init/user-data.j2",
        node=node,
        plan=plan,
        bootcmd=rendered("debian/cloud-init/bootcmd.sh.j2"),
        files=files,
    )
