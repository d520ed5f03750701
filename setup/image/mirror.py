"""Which Debian mirror this machine uses, read from apt's own sources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from setup.failure import SetupFailure

APT = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
OFF = ("no", "false", "without", "off", "disable")  # what apt's own StringToBool takes for no


@dataclass(frozen=True, slots=True)
class Source:
    """One enabled binary archive: a mirror, a suite, its components."""

    uri: str
    suite: str
    components: tuple[str, ...]


def one_line(text: str) -> Iterator[Source]:
    """Parse the one-line format of sources.list(5): ``deb [options] uri suite components``."""
    for line in text.splitlines():
        plain = line.split("#", 1)[0].strip()
        match = re.fullmatch(r"deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)((?:\s+\S+)*)", plain)
        if match:
            uri, suite, components = match.groups()
            yield Source(uri, suite, tuple(components.split()))


def deb822(text: str) -> Iterator[Source]:
    """Parse the deb822 format of sources.list(5): stanzas of ``Types``, ``URIs``, ``Suites``…"""
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in OFF:
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()))


def _fields(stanza: str) -> dict[str, str]:
    """Return the fields of one stanza, names in lower case, continued lines joined."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            if name:
                fields[name] += " " + line.strip()
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def sources(apt: Path = APT) -> Iterator[Source]:
    """Yield every enabled binary archive of this machine, in the order in which apt reads them."""
    main = apt / "sources.list"
    parts = sorted((apt / "sources.list.d").glob("*"))
    for file in [main, *parts]:
        if not file.is_file():
            continue
        if file.suffix == ".list":
            yield from one_line(file.read_text())
        elif file.suffix == ".sources":
            yield from deb822(file.read_text())


def debian_mirror(archives: Iterable[Source], codename: str) -> str:
    """Return the mirror that holds ``main`` of the release that this machine runs.

    That is Debian's own archive, so it carries the nodes' release as well; other archives
    (security, backports, other vendors) have other suites or other components. Raises
    SetupFailure when apt knows none.
    """
    names = {codename, "stable", "oldstable", "testing"}
    for source in archives:
        network = source.uri.startswith(("http://", "https://", "mirror+", "file:"))
        if network and source.suite in names and "main" in source.components:
            return source.uri.rstrip("/")
    raise SetupFailure(
        f"apt's sources (/etc/apt/sources.list and sources.list.d) name no mirror with `main` of "
        f"{codename}: add Debian's archive there; the node image is built from the same mirror."
    )


def host_codename(path: Path = OS_RELEASE) -> str:
    """Return the code name of this machine's Debian, as os-release(5) gives it."""
    match = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', path.read_text(), re.MULTILINE)
    if match is None:
        raise SetupFailure(f"{path} has no VERSION_CODENAME: Debian 12 or 13 is needed.")
    return match.group(1)
