"""Files from plan and facts; the same input gives the same bytes."""

from mesh.render.files import File, NodeFiles
from mesh.render.mtu import tunnel_mtu
from mesh.render.node import load_templates, node_files, node_secrets
from mesh.render.openbsd_boot import PACKAGES as OPENBSD_PACKAGES
from mesh.render.openbsd_boot import startup_script
from mesh.render.placeholders import placeholder_facts, placeholder_placements
from mesh.render.policy import CONCERNS
from mesh.render.seed import Seed, Sign
from mesh.render.systems.debian import (
    DAEMONS,
    FILES,
    GLASS,
    OUT_OF_SERVICE,
    REPLIES,
    WHOAMI,
)
from mesh.render.user_data import user_data

__all__ = [
    "CONCERNS",
    "DAEMONS",
    "FILES",
    "GLASS",
    "OPENBSD_PACKAGES",
    "OUT_OF_SERVICE",
    "REPLIES",
    "WHOAMI",
    "File",
    "NodeFiles",
    "Seed",
    "Sign",
    "load_templates",
    "node_files",
    "node_secrets",
    "placeholder_facts",
    "placeholder_placements",
    "startup_script",
    "tunnel_mtu",
    "user_data",
]
