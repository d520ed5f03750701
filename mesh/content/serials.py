"""Serials of zones from one publication to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def is_above(serial: int, before: int) -> bool:
    """Whether a serial is above another one (RFC 1982, section 3.2)."""
    return 0 < (serial - before) % 2**32 < 2**31


def problems(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """The zones that change without a higher serial, each with the cure. Both are contents by
    service, as :func:`dataclasses.asdict` makes them: with the ``zones`` of each."""
    published = {zone["name"]: zone for content in before.values() for zone in content["zones"]}
    for service, content in sorted(after.items()):
        for zone in content["zones"]:
            old = published.get(zone["name"])
            if old is None or old["sha256"] == zone["sha256"]:
                continue
            serial, last = int(zone["serial"]), int(old["serial"])
            if not is_above(serial, last):
                how = "the same serial with other records" if serial == last else "a lower serial"
                yield (
                    f"mesh:services.{service}.content: {zone['name']}.zone: serial {serial}: {how} "
                    f"than was published, {last}; raise it above {last} in its SOA record"
                )
