"""Vultr's v2 API: what is asked, what is answered, what may go wrong. No Pulumi in here."""

from mesh.vultr.client import Client, connect
from mesh.vultr.errors import ApiError
from mesh.vultr.mark import Mark

__all__ = ["ApiError", "Client", "Mark", "connect"]
