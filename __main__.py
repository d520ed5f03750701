"""The program that `pulumi up` runs: one page of configuration becomes an anycast network."""

from __future__ import annotations

from pathlib import Path

import pulumi

from mesh.agent import bundle
from mesh.infra.configuration import configured
from mesh.infra.mesh import Mesh, MeshArgs

configuration = configured(Path(__file__).parent, bundle.digest(bundle.build()))

network = Mesh("mesh", MeshArgs(configuration))

pulumi.export("topology", network.topology)
pulumi.export("access", network.access)
