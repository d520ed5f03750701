"""The contents of a stack: each service's directory, listed, read and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mesh.content.packing import Artefact, NotPacked, artefact
from mesh.limits import MAX_CONTENTS
from mesh.services.checks.dns import DnsCheck
from mesh.services.content import Content, Zone
from mesh.spec import Problem, Spec, SpecError
from mesh.spec.model import Service
from mesh.spec.twin import original_file

SHOWN = 3
"""Names that a warning lists."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The contents by service, without those that cannot be packed, and what is wrong."""

    contents: Mapping[str, Content]
    problems: tuple[Problem, ...]


def described(root: Path, spec: Spec) -> Mapping[str, Content]:
    """The contents of a stack's services, by service. ``root`` is the folder of the stack files.
    Raises SpecError with every problem at once."""
    found = survey(root, spec)
    if any(problem.severity == "error" for problem in found.problems):
        raise SpecError(found.problems)
    return found.contents


def survey(root: Path, spec: Spec) -> Survey:
    """The same, with the problems beside."""
    contents: dict[str, Content] = {}
    problems: list[Problem] = []
    directories = _stated(spec)
    if not directories:
        return Survey({}, ())
    if len(directories) > MAX_CONTENTS:
        cure = "put several sites into one directory"
        reason = f"more than {MAX_CONTENTS} services have content"
        problems.append(Problem("mesh:services", str(len(directories)), reason, cure))
    top = _beside(root, spec)
    for name, stated in directories.items():
        key = f"mesh:services.{name}.content"
        try:
            packed = artefact(_folder(top, stated))
            is_dns = spec.services[name].kind == "dns"
            zones, wrong = _zones(key, packed) if is_dns else ((), [*_without_page(key, packed)])
            wrong += _elsewhere(name, spec.services[name], zones)
            contents[name] = Content(packed.sha256, packed.size, len(packed.entries), zones)
        except NotPacked as error:
            problems.append(Problem(key, error.path, error.reason, error.cure))
            continue
        problems += [*wrong, *_left_out(key, packed)]
    return Survey(contents, tuple(problems))


def folders(root: Path, spec: Spec) -> dict[str, Path]:
    """The directory of each service that has content."""
    directories = _stated(spec)
    top = _beside(root, spec) if directories else root
    return {name: top / stated for name, stated in directories.items()}


def _stated(spec: Spec) -> dict[str, str]:
    named = ((name, service.content) for name, service in sorted(spec.services.items()))
    return {name: stated for name, stated in named if stated is not None}


def _beside(root: Path, spec: Spec) -> Path:
    """The folder of the stack file that the services are in: a twin has those of its original."""
    return original_file(spec.twin or spec.stack, root)[1].parent.resolve()


def _folder(top: Path, stated: str) -> Path:
    """The directory beside the stack file, not reached through a link. Raises
    :class:`NotPacked`."""
    folder = top / stated
    for step in reversed([folder, *folder.parents]):
        if step.is_relative_to(top) and step != top and step.is_symlink():
            cure = "name a directory that is beside the stack file itself"
            raise NotPacked(str(step), "it is a link", cure)
    if not folder.exists():
        raise NotPacked(str(folder), "there is no such directory", "make it, or name another one")
    if not folder.is_dir():
        raise NotPacked(str(folder), "it is no directory", "name the directory that the file is in")
    return folder


def _without_page(key: str, packed: Artefact) -> Iterator[Problem]:
    """A warning of a site that has no first page."""
    if not any(entry.name == "index.html" for entry in packed.entries):
        yield Problem(
            key, str(packed.folder), "it has no index.html, so that / is answered with 404",
            "add one, if clients are to see a page there", "warning",
        )  # fmt: skip


def _left_out(key: str, packed: Artefact) -> Iterator[Problem]:
    """A warning of what is not published: a file that is missing there is found late otherwise."""
    names = packed.left_out
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield Problem(
            key, str(packed.folder),
            f"{', '.join(names[:SHOWN])}{more}: not published, as every name that begins with a "
            "dot, except .well-known",
            "remove it, or rename what is to be served", "warning",
        )  # fmt: skip


def _elsewhere(name: str, service: Service, zones: tuple[Zone, ...]) -> Iterator[Problem]:
    """Checks that ask for a name of no zone of the service, which NSD refuses."""
    if not zones:
        return
    held = [zone.name for zone in zones]
    for number, check in enumerate(service.checks or ()):
        if not isinstance(check, DnsCheck):
            continue
        asked = check.name.lower().rstrip(".")
        if not any(asked == zone or asked.endswith(f".{zone}") for zone in held):
            yield Problem(
                f"mesh:services.{name}.checks.{number}.name", check.name,
                "it is in no zone of the service, so that the check can never pass",
                f"write a name of its zones, for example name: {held[0]}",
            )  # fmt: skip


def _unaddressed(key: str, path: Path, server: str) -> Problem:
    """Resolvers reach no such server, but the zone may have others, and NSD serves it."""
    return Problem(
        key, str(path),
        f"its name server {server} is in the zone and has no address there",
        "add its A or AAAA record, or end its name with a dot where it is in another zone",
        "warning",
    )  # fmt: skip


def _zones(key: str, packed: Artefact) -> tuple[tuple[Zone, ...], list[Problem]]:
    """The zones at the top of a directory, and what is wrong with them."""
    # Imported here: most stacks have no zones.
    from mesh.content.zones import SUFFIX, BadZone, parsed

    zones: list[Zone] = []
    problems: list[Problem] = []
    for name in (entry.name for entry in packed.entries):
        path = packed.folder / name
        if "/" in name or not name.endswith(SUFFIX):
            cure = f"name a zone's file <zone>{SUFFIX}, at the top of the directory"
            problems.append(
                Problem(key, str(path), "it is no zone, and is not served", cure, "warning")
            )
            continue
        try:
            zone, unaddressed = parsed(path)
            zones.append(zone)
            problems += [_unaddressed(key, path, server) for server in unaddressed]
        except BadZone as error:
            problems.append(Problem(key, str(path), error.reason, error.cure))
        except OSError as error:
            reason = error.strerror or str(error)
            problems.append(Problem(key, str(path), reason, "give a file that can be read"))
    if not zones and not any(problem.severity == "error" for problem in problems):
        reason, cure = "there is no zone in it", f"put <zone>{SUFFIX} at its top"
        problems.append(Problem(key, str(packed.folder), reason, cure))
    return tuple(zones), problems
