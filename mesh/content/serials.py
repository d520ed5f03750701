"""Serials of zones from one publication to the next, by the contents in the stack's state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from mesh.services.content import Content


def write_contents(contents: Mapping[str, Content]) -> str | None:
    """Contents by service as text for the stack's state: the engine passes every number as a float.
    None where there are none, as in states of earlier versions."""
    found = {name: asdict(content) for name, content in contents.items()}
    return json.dumps(found, sort_keys=True) if found else None


def is_above(serial: int, before: int) -> bool:
    """Whether a serial is above another one (RFC 1982, section 3.2)."""
    return 0 < (serial - before) % 2**32 < 2**31


def problems(before: str, after: str) -> Iterator[str]:
    """The zones that change without a higher serial, each with the cure. Both are texts of
    :func:`write_contents`."""
    published = {zone["name"]: zone for _, zone in _zones(before)}
    for service, zone in _zones(after):
        old = published.get(zone["name"])
        if old is None or old["sha256"] == zone["sha256"]:
            continue
        serial, last = zone["serial"], old["serial"]
        if not is_above(serial, last):
            how = "the same serial with other records" if serial == last else "a lower serial"
            yield (
                f"mesh:services.{service}.content: {zone['name']}.zone: serial {serial}: {how} "
                f"than was published, {last}; raise it above {last} in its SOA record"
            )


def _zones(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The zones of all services, each with its service."""
    for service, content in sorted(json.loads(text).items()):
        for zone in content["zones"]:
            yield service, zone
