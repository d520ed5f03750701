"""A bare metal server on a reserved address, without the provider's firewall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pulumi import Output, ResourceOptions
from pulumi.dynamic import Resource

from mesh.infra.dynamic.vultr.account import Account
from mesh.infra.dynamic.vultr.servers import FIXED_AT_CREATION, ServerArgs, ServerProvider

if TYPE_CHECKING:
    from mesh.infra.providers.vultr.v2 import answers
    from mesh.infra.providers.vultr.v2.listing import Listing
    from mesh.infra.providers.vultr.v2.server import ServerApi


class BareMetalProvider(ServerProvider):
    """Bare metal servers."""

    resource = "bare-metal"
    updates = ("identity", "node", "enable_ipv6", "tags")
    replaces = ("region", "plan", "address_id", *FIXED_AT_CREATION)

    def kind(self) -> ServerApi[answers.BareMetal]:
        """``/bare-metals``."""
        from mesh.infra.providers.vultr.v2.server import BARE_METAL

        return BARE_METAL

    def listing(self, vultr: Account) -> Listing[answers.BareMetal]:
        """All bare metal servers of the account."""
        return vultr.listings.bare_metals


class BareMetal(Resource, module="vultr", name="BareMetal"):
    """A running server; its outputs are those of an instance. Another plan is another server."""

    ipv4: Output[str]
    ipv6: Output[str]
    created: Output[str]

    def __init__(self, name: str, args: ServerArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(BareMetalProvider(), name, args.properties(), opts)
