"""Types of single values in a stack file."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)
from typing import Annotated, Any

from pydantic import BeforeValidator, Field


class InvalidValue(ValueError):
    """A value is not valid; ``cure`` is what to write instead."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason)
        self.cure = cure


def _network(value: Any) -> Any:
    """Refuse host bits, and suggest the network; pydantic checks the rest."""
    if isinstance(value, str):
        try:
            interface = IPv6Interface(value) if ":" in value else IPv4Interface(value)
        except ValueError:
            return value
        network = interface.network
        if interface.ip != network.network_address:
            raise InvalidValue(
                f"it is a host address with a length, not a network; the network is {network}",
                f"write {network}",
            )
    return value


def _either(value: Any) -> Any:
    """Refuse a value that is no network with one error instead of one for each family."""
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise InvalidValue("this is not a network", "write it as 192.0.2.0/24") from None
    return value


HOSTS = 9999
"""The highest host number of a slot."""


def _slot(value: Any) -> Any:
    """A host address or host number; refuse all else with one error instead of one for each
    type."""
    if isinstance(value, int) and not isinstance(value, bool):
        if 1 <= value <= HOSTS:
            return value
        raise InvalidValue(
            f"a slot's host number is a whole number from 1 to {HOSTS}", "give a free one"
        )
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise InvalidValue(
            "this is neither an IPv4 address nor a host number",
            "write an address of the region's block, or with IPv6 only a number from 1 to "
            f"{HOSTS}, for example 1",
        ) from None


def _location(value: Any) -> Any:
    """Refuse a longitude in the latitude's place, and suggest them the other way round; pydantic
    checks the rest."""
    try:
        first, second = map(float, value) if isinstance(value, list | tuple) else (0, 0)
    except (TypeError, ValueError):
        return value
    if 90 < abs(first) <= 180 and abs(second) <= 90:
        raise InvalidValue(
            "latitude comes first, and is a number from -90 to 90",
            f"write [{value[1]}, {value[0]}]",
        )
    return value


def _listed(kind: type[IPv4Address | IPv6Address], example: str) -> BeforeValidator:
    """A list of addresses as it is, and a single one as a list."""

    def listed(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value
        try:
            return (kind(value if isinstance(value, str) else ""),)
        except ValueError:
            family = "IPv4" if kind is IPv4Address else "IPv6"
            reason, cure = f"this is not an {family} address", f"write it as {example}"
            raise InvalidValue(reason, cure) from None

    return BeforeValidator(listed)


Addresses4 = Annotated[
    tuple[IPv4Address, ...], Field(min_length=1), _listed(IPv4Address, "192.0.2.1")
]
"""An IPv4 address, or a list of them: ``192.0.2.1`` or ``[192.0.2.1, 192.0.2.2]``."""
Addresses6 = Annotated[
    tuple[IPv6Address, ...], Field(min_length=1), _listed(IPv6Address, "2001:db8::1")
]
"""An IPv6 address, or a list of them: ``"2001:db8::1"`` or ``["2001:db8::1", "2001:db8::2"]``."""
Network4 = Annotated[IPv4Network, BeforeValidator(_network)]
Network6 = Annotated[IPv6Network, BeforeValidator(_network)]
NetworkAny = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), BeforeValidator(_either)
]
Location = Annotated[
    tuple[Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-180, le=180)]],
    BeforeValidator(_location),
]
"""Latitude and longitude in degrees."""
Slot = Annotated[IPv4Address | int, BeforeValidator(_slot)]
"""The address of a node in its region's ``block``; with IPv6 only, a whole number from 1 to 9999:
the last digits of its address."""
