"""Types of single values in a stack file, and how a wrong one is refused."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator


class Refused(ValueError):
    """A value that cannot be; ``cure`` is what to write instead."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason)
        self.cure = cure


def _network(value: Any) -> Any:
    """Refuse host bits with the network that was probably meant; the rest is the type's to say."""
    if isinstance(value, str):
        try:
            interface = IPv6Interface(value) if ":" in value else IPv4Interface(value)
        except ValueError:
            return value
        network = interface.network
        if interface.ip != network.network_address:
            raise Refused(
                f"it is a host address with a length, not a network; the network is {network}",
                f"write {network}",
            )
    return value


def _either(value: Any) -> Any:
    """Refuse what is a network of neither family once, instead of once for each."""
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise Refused("this is not a network", "write it as 192.0.2.0/24") from None
    return value


Network4 = Annotated[IPv4Network, BeforeValidator(_network)]
Network6 = Annotated[IPv6Network, BeforeValidator(_network)]
NetworkAny = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), BeforeValidator(_either)
]
