"""The templates: strict Jinja2 with a few filters for BIRD's language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv6Address

import jinja2

from mesh.bird import constants
from mesh.facts import Facts
from mesh.installed import TEMPLATES
from mesh.plan import AddressPair, Family
from mesh.render.compiled import CompiledTemplates
from mesh.render.text import text


def _of(pair: AddressPair | Facts, family: Family) -> IPv4Address | IPv6Address:
    """The address of one family of something that has both."""
    address: IPv4Address | IPv6Address | None = getattr(pair, family)
    if address is None:
        raise ValueError(f"there is no {family} address")
    return address


def _symbol(name: str) -> str:
    """A node id as a name in BIRD's language, which has no hyphens."""
    return re.sub(r"[^a-z0-9_]", "_", name)


def _password_name(provider: str) -> str:
    """The template of sessions that holds a provider's BGP password on a node."""
    return f"password_{_symbol(provider)}"


def _bound(address: IPv4Address | IPv6Address, deprecated: bool = False) -> str:
    """A line of hostname.if(5) for one more address of an interface, to which no network is
    connected. Of the kernel's choices of a source, which are IPv6's alone, a ``deprecated`` one is
    the last."""
    if address.version == 4:
        return f"inet alias {address} 255.255.255.255"
    return f"inet6 alias {address} 128{' pltime 0' if deprecated else ''}"


def _left_out(ranges: Iterable[str]) -> list[str]:
    """The 32-bit numbers outside the ranges, as ranges: for ``0`` and ``3..9`` these are ``1..2``
    and ``10..4294967295``."""
    first, left = 0, []
    for low, high in sorted(map(_ends, ranges)):
        if first < low:
            left.append(f"{first}..{low - 1}")
        first = high + 1
    return left if first == 1 << 32 else [*left, f"{first}..{(1 << 32) - 1}"]


def _ends_apart(ranges: Sequence[str], first: int, last: int) -> list[str]:
    """The same numbers, with as many of the first range, and of the last, as entries of their own,
    but never a whole range: ``1..9`` and ``12..20`` are ``1``, ``2..9``, ``12..19`` and ``20`` by
    one and one."""
    (low, high), (bottom, top) = _ends(ranges[0]), _ends(ranges[-1])
    start, end = min(low + first, high), max(top - last, bottom)
    return [
        *map(str, range(low, start)),
        f"{start}..{high}",
        *ranges[1:-1],
        f"{bottom}..{end}",
        *map(str, range(end + 1, top + 1)),
    ]


def _ends(numbers: str) -> tuple[int, int]:
    low, _, high = numbers.partition("..")
    return int(low), int(high or low)


def _written(value: object) -> object:
    """What is written for a value: addresses of IPv6 are kept as text, since Python takes longer to
    write one than Jinja for the line around it."""
    return text(value) if type(value) is IPv6Address else value


@cache
def environment() -> jinja2.Environment:
    """All templates, by their paths below ``templates/``: those of BIRD in ``bird``, and what else
    an operating system needs in a folder of its name."""
    filters: dict[str, Callable[..., object]] = {
        "of": _of,
        "symbol": _symbol,
        "password_name": _password_name,
        "left_out": _left_out,
        "ends_apart": _ends_apart,
        "bound": _bound,
        "in_service": constants.in_service,
    }
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        finalize=_written,
        bytecode_cache=CompiledTemplates((_written, *filters.values())),
        cache_size=-1,  # no limit, and no lock around the least recently used
        auto_reload=False,  # else the files are checked for changes at each rendering
    )
    made.filters.update(filters)
    made.globals["none_served"] = constants.served(())
    return made


def rendered(template: str, **values: object) -> str:
    """One template with its values; a missing value is an error."""
    return environment().get_template(template).render(**values)
