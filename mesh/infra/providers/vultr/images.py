"""The images that nodes boot from, by their operating system.

Vultr's ids of images change over time, their names do not. Of OpenBSD it has one for each release,
and takes it away some time after the next; so the newest is taken unless the stack file names one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date

from mesh.infra.providers.vultr.v2.answers import Image, Server
from mesh.operating_systems import OperatingSystem, unsupported_from
from mesh.plan import Node
from mesh.spec import Note, Problem, Spec

OPENBSD = OperatingSystem.OPENBSD

IMAGE_OF_DEBIAN = "mesh:providers.vultr.image"
IMAGE_OF_OPENBSD = "mesh:providers.vultr.openbsd"

_OPENBSD = re.compile(r"OpenBSD (\d+)\.(\d+) x64")
"""How Vultr names an image of OpenBSD."""


def systems(nodes: Sequence[Node]) -> list[OperatingSystem]:
    """The systems of these nodes."""
    return sorted({node.os for node in nodes})


def wanted(spec: Spec, images: Sequence[Image], os: OperatingSystem) -> Image | None:
    """The image of new servers with this system; None where Vultr has none."""
    name, found = named(spec, os), _of_system(images, os)
    if name is None:
        return max(found, key=_release, default=None)
    return next((each for each in found if each.name == name), None)


def named(spec: Spec, os: OperatingSystem) -> str | None:
    """The image that the stack file names; None where it takes the newest."""
    options = spec.providers.vultr
    name: str | None = options.openbsd if os is OPENBSD else options.image
    return name


def problem(spec: Spec, images: Sequence[Image], os: OperatingSystem) -> Problem | None:
    """Why there is no image for new servers with this system; None where there is one."""
    if wanted(spec, images, os) is not None:
        return None
    return _no_openbsd(spec, images) if os is OPENBSD else _no_debian(spec, images)


def notes(
    spec: Spec, nodes: Sequence[Node], images: Sequence[Image], running: Collection[str]
) -> Iterator[Note]:
    """Which images the next servers get where the stack file names none."""
    for os in systems(nodes):
        found = wanted(spec, images, os)
        new = [node.id for node in nodes if node.os is os and node.id not in running]
        if found is not None and new and named(spec, os) is None:
            yield Note(f"{', '.join(new)} will run {found.name}, the newest that Vultr has")


def outdated(
    spec: Spec,
    nodes: Sequence[Node],
    images: Sequence[Image],
    running: Collection[str],
    today: date,
) -> Iterator[Problem]:
    """The images of new servers whose release is out of support: no such node is published, but
    for some time after its end, in which it is a warning."""
    found = wanted(spec, images, OPENBSD)
    new = [node.id for node in nodes if node.os is OPENBSD and node.id not in running]
    end = None if found is None else unsupported_from(OPENBSD, ".".join(map(str, _release(found))))
    if found is None or end is None or not new or today < end:
        return
    # Imported here: most networks have no such node.
    from mesh.publish.systems import DOUBT

    newest = max(_of_system(images, OPENBSD), key=_release)
    cure = f"take {newest.name}" if newest is not found else "use a server with a newer one (host:)"
    yield Problem(
        IMAGE_OF_OPENBSD, found.name,
        f"support of this release ended before {end} if releases came each half year, and "
        f"{', '.join(new)} would be made from it", cure,
        "error" if today >= end + DOUBT else "warning",
    )  # fmt: skip


def installed_otherwise(
    nodes: Sequence[Node], servers: Iterable[Server], images: Sequence[Image]
) -> Iterator[Problem]:
    """The nodes whose server was made with the other system, as warnings: it keeps that one."""
    known = {each.id: each for each in images}
    made_from = {server.label: known.get(server.os_id) for server in servers}
    for node in nodes:
        found = made_from.get(node.id)
        if found is not None and _is_openbsd(found) != (node.os is OPENBSD):
            yield Problem(
                f"mesh:nodes.{node.id}.os", node.os,
                f"its server was made from Vultr's image {found.name}, and keeps it",
                f"`mesh replace {node.id}` makes it anew, or take the change back", "warning",
            )  # fmt: skip


def ids(
    spec: Spec, nodes: Sequence[Node], images: Sequence[Image], servers: Iterable[Server]
) -> dict[OperatingSystem, int]:
    """Vultr's ids of the images, by system: where it has none any more, that of a server that
    runs, which no update changes."""
    made_from = {server.label: server.os_id for server in servers}
    former = {node.os: made_from[node.id] for node in nodes if node.id in made_from}
    found = {os: wanted(spec, images, os) for os in systems(nodes)}
    return former | {os: each.id for os, each in found.items() if each is not None}


def _of_system(images: Sequence[Image], os: OperatingSystem) -> list[Image]:
    """The images that nodes with this system may have: OpenBSD's, or all others."""
    return [each for each in images if _is_openbsd(each) == (os is OPENBSD)]


def _is_openbsd(image: Image) -> bool:
    return _OPENBSD.fullmatch(image.name) is not None


def _release(image: Image) -> tuple[int, ...]:
    """The release of an OpenBSD image."""
    found = _OPENBSD.fullmatch(image.name)
    return (int(found[1]), int(found[2])) if found else ()


def _no_openbsd(spec: Spec, images: Sequence[Image]) -> Problem:
    name = named(spec, OPENBSD) or "newest"
    newest = max(_of_system(images, OPENBSD), key=_release, default=None)
    if newest is None:
        cure = (
            "remove os: openbsd from the nodes at Vultr, or make them servers of your own (host:)"
        )
        return Problem(IMAGE_OF_OPENBSD, name, "Vultr has no image of OpenBSD", cure)
    cure = f'write it as Vultr does, "{newest.name}", or remove the key: the newest is taken then'
    return Problem(IMAGE_OF_OPENBSD, name, "Vultr has no image of OpenBSD of this name", cure)


def _no_debian(spec: Spec, images: Sequence[Image]) -> Problem:
    name = spec.providers.vultr.image
    if _OPENBSD.fullmatch(name):
        reason = "it is an image of OpenBSD, and this one is for nodes without os: openbsd"
        return Problem(IMAGE_OF_DEBIAN, name, reason, f"move it to {IMAGE_OF_OPENBSD}")
    cure = f"write it as Vultr does, for example {_alike(name, images)}"
    return Problem(IMAGE_OF_DEBIAN, name, "Vultr has no image of this name", cure)


def _alike(name: str, images: Sequence[Image]) -> str:
    """An existing image of the same family, as an example."""
    family = tuple(name.lower().split()[:1]) or ("debian",)
    names = [each.name for each in images if each.name.lower().startswith(family)]
    return f'"{max(names, default="Debian 13 x64 (trixie)")}"'
