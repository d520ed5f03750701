"""An instance: a virtual server on a reserved address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import Resource

from mesh.infra.dynamic.vultr.account import Account
from mesh.infra.dynamic.vultr.servers import FIXED_AT_CREATION, ServerArgs, ServerProvider

if TYPE_CHECKING:
    from mesh.infra.providers.vultr.v2 import answers
    from mesh.infra.providers.vultr.v2.listing import Listing
    from mesh.infra.providers.vultr.v2.server import ServerApi


class InstanceProvider(ServerProvider):
    """Instances."""

    resource = "instance"
    updates = (
        "identity",
        "node",
        "plan",
        "enable_ipv6",
        "ddos_protection",
        "firewall_group_id",
        "tags",
    )
    replaces = ("region", "address_id", *FIXED_AT_CREATION)

    def kind(self) -> ServerApi[answers.Instance]:
        """``/instances``."""
        from mesh.infra.providers.vultr.v2.server import INSTANCE

        return INSTANCE

    def listing(self, vultr: Account) -> Listing[answers.Instance]:
        """All instances of the account."""
        return vultr.listings.instances


@dataclass(frozen=True, kw_only=True)
class InstanceArgs(ServerArgs):
    """The inputs of an instance. ``firewall_group_id`` is Vultr's."""

    firewall_group_id: Input[str]
    ddos_protection: bool


class Instance(Resource, module="vultr", name="Instance"):
    """A running server. ``id`` is Vultr's, which cloud-init calls ``instance-v2-id``; ``created``
    is RFC 3339; ``ipv6`` is empty where it has none."""

    ipv4: Output[str]
    ipv6: Output[str]
    created: Output[str]

    def __init__(self, name: str, args: InstanceArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(InstanceProvider(), name, args.properties(), opts)
