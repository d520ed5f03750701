"""The program that `pulumi up` runs: one page of configuration becomes an anycast network."""

from __future__ import annotations

from pathlib import Path

import pulumi

from mesh.infra import Mesh, MeshArgs, configured, said_once, sdk

sdk.without_debug_lines()
sdk.without_collection()
sdk.without_source_lines()
sdk.without_needless_searches()
with said_once():
    network = Mesh("mesh", MeshArgs(configured(Path(__file__).parent)))

pulumi.export("topology", network.topology)
pulumi.export("access", network.access)
pulumi.export("glass", network.glass)
sdk.begin()
