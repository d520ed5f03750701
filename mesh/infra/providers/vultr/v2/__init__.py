"""Vultr's v2 API: what is asked, what is answered, what may go wrong. No Pulumi in here."""

from mesh.infra.providers.vultr.v2.client import Client, connect
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.mark import Mark

__all__ = ["ApiError", "Client", "Mark", "connect"]
