"""Vultr's v2 API: its client, its answers, its errors. It does not use Pulumi."""

from mesh.infra.providers.vultr.v2.client import Client, connect
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.mark import Mark

__all__ = ["ApiError", "Client", "Mark", "connect"]
