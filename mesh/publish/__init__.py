"""The operator's side: pushes the bundle, verifies who joins, signs generations, waits for the
nodes' word. What ``pulumi up`` waits for last."""

from mesh.publish.identity import named
from mesh.publish.order import Fleet, Instance, Member, Order, PublishError, dump_fleet, load_fleet
from mesh.publish.publish import publish, published, retire

__all__ = [
    "Fleet",
    "Instance",
    "Member",
    "Order",
    "PublishError",
    "dump_fleet",
    "load_fleet",
    "named",
    "publish",
    "published",
    "retire",
]
