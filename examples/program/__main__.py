"""What the shop deploys: its network, and whatever else it has."""

from __future__ import annotations

from pathlib import Path

import pulumi

from mesh.infra import Mesh, MeshArgs, configured, said_once

# The stack files beside this program have the keys of the mesh, as `mesh check` reads them. Its
# commands know the network's nodes by the name "mesh".
with said_once():
    network = Mesh("mesh", MeshArgs(configured(Path(__file__).parent)))
pulumi.export("topology", network.topology)
pulumi.export("access", network.access)

# Other resources use what the network has: here, what the shop's name in DNS should lead to.
pulumi.export("shop", network.topology["services"]["shop"]["addresses"])
