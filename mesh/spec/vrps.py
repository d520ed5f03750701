"""Sources of validated ROA payloads (VRPs, RFC 6811) in the stack file: a file, a URL, or an RTR
server. :mod:`mesh.rpki` reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import PlainValidator

from mesh.spec.types import InvalidValue

RTR_PORT = 323
"""IANA's port of RTR over TCP (RFC 8210, section 9.1); most servers listen on another one."""
FORMS = "name a file, https://host/path or rtr://host:port"
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True, slots=True)
class VrpFile:
    """A validator's list on disk; a relative path begins at the folder of the stack files."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class VrpUrl:
    """A validator's list on the Web."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def forgeable(self) -> bool:
        """Whether it comes without TLS from another machine, so that it can be changed on the
        path."""
        parts = urlsplit(self.url)
        if parts.scheme != "http" or parts.hostname == "localhost":
            return False
        try:
            return not ip_address(parts.hostname or "").is_loopback
        except ValueError:
            return True


@dataclass(frozen=True, slots=True)
class VrpServer:
    """An RTR server over plain TCP; ``host`` is a name or an address."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"rtr://{host}:{self.port}"


VrpSource = VrpFile | VrpUrl | VrpServer


def vrp_source(value: Any) -> VrpSource:
    """The source that a text names; :class:`mesh.spec.types.InvalidValue` for an unknown form."""
    if isinstance(value, VrpFile | VrpUrl | VrpServer):
        return value
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InvalidValue("this names no list of VRPs", FORMS)
    text = value.strip()
    if "://" not in text:
        return VrpFile(Path(text))
    parts = _parts(text)
    if parts.username is not None or parts.password is not None:
        raise InvalidValue(
            "a password would be stored and shown here in clear text",
            "give an address without one",
        )
    match parts.scheme:
        case "http" | "https" if parts.hostname:
            return VrpUrl(text)
        case "rtr":
            return _server(parts)
        case "http" | "https":
            raise InvalidValue("it names no host", FORMS)
    raise InvalidValue(f"VRPs are not read from {parts.scheme or 'nothing'}://", FORMS)


def _parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise InvalidValue(f"this is no address: {error}", FORMS) from None
    return parts


def _server(parts: SplitResult) -> VrpServer:
    if not parts.hostname or not HOST.fullmatch(parts.hostname):
        raise InvalidValue("it names no host", FORMS)
    if not parts.port:
        raise InvalidValue(
            "an RTR server's port is missing",
            f"add the one that it listens on; IANA's is {RTR_PORT}",
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidValue("an RTR server has a host and a port, and nothing behind", FORMS)
    return VrpServer(parts.hostname, parts.port)


VrpDemand = Annotated[VrpSource, PlainValidator(vrp_source)]
"""A list of VRPs: a file (a relative path begins at the folder of the stack files), a page as
``https://host/path``, or an RTR server as ``rtr://host:port``."""


def rtr_server(value: Any) -> VrpServer:
    """A validator that routers connect to: by address, since they may have no DNS."""
    source = vrp_source(value)
    if not isinstance(source, VrpServer):
        raise InvalidValue(
            "routers ask validators over RTR only", "write it as rtr://192.0.2.1:3323"
        )
    try:
        ip_address(source.host)
    except ValueError:
        raise InvalidValue(
            "a router would have to look this name up first", "give the validator's address"
        ) from None
    return source


RtrServer = Annotated[VrpServer, PlainValidator(rtr_server)]
"""A validator that routers ask over RTR, by its address: ``rtr://192.0.2.10:3323``."""
