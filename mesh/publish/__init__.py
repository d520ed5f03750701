"""The operator's side: pushes the bundle, verifies joins, signs generations and waits for the
nodes' reports. The last step of ``pulumi up``."""

from mesh.publish.identity import named
from mesh.publish.order import (
    Fleet,
    Instance,
    Member,
    Order,
    PublishError,
    SealedBefore,
    dump_fleet,
    load_fleet,
)
from mesh.publish.publish import publish, published, retire

__all__ = [
    "Fleet",
    "Instance",
    "Member",
    "Order",
    "PublishError",
    "SealedBefore",
    "dump_fleet",
    "load_fleet",
    "named",
    "publish",
    "published",
    "retire",
]
