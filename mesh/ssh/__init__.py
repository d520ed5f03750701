"""Delivery of user data over SSH, for hosts without cloud-init."""

from __future__ import annotations

from mesh.ssh.connection import Target
from mesh.ssh.deliver import (
    deliver,
    examine,
    is_left,
    is_there,
    shown_key,
    withdraw,
)
from mesh.ssh.load import Delivered, Load
from mesh.ssh.problems import REMOVE, DeliveryError, HostUnreachable

__all__ = [
    "REMOVE",
    "Delivered",
    "DeliveryError",
    "HostUnreachable",
    "Load",
    "Target",
    "deliver",
    "examine",
    "is_left",
    "is_there",
    "shown_key",
    "withdraw",
]
