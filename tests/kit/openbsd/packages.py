"""pkg_add(1) and pkg_info(1). What a mirror has is in ``mirror.json`` of the state: names and
versions by the address of the mirror, or null where it does not answer."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tests.kit.openbsd.kernel import STATE, failed, path, unknown

_STEM = re.compile(r"(.+?)-(\d[^-]*)((?:-.*)?)")


def add(arguments: list[str]) -> int:
    """pkg_add."""
    rest, letters = list(arguments), ""
    while rest and rest[0].startswith("-"):
        letters += rest.pop(0)[1:]
    if set(letters) - set("aIinmqUuvVxz"):
        unknown("pkg_add", f"-{letters}")
    mirror, held = _mirror(), installed()
    wanted, wrong = list[str](), list[str]()
    for asked in rest:
        found = _found(mirror, asked)
        if any(_stem(each) == _stem(asked) for each in held) and "u" not in letters:
            continue
        if not found:
            wrong.append(f"Can't find {asked}")
        elif len(found) > 1:
            wrong.append(f"Ambiguous: {asked} could be {' '.join(found)}")
        elif clash := [each for each in wanted if _stem(each) == _stem(found[0])]:
            wrong.append(f"Can't install {found[0]} because of conflicts ({clash[0]})")
        else:
            wanted.append(found[0])
    wanted = [*_needed(mirror, wanted, held), *wanted]
    for each in wanted if "n" not in letters else ():
        _install(each)
    for each in wanted:
        print(f"{each}: ok")
    if wrong:
        failed("\n".join([*wrong, f"Couldn't find {len(wrong)} package(s)"][: len(wrong)]))
    return 0


def info(arguments: list[str]) -> int:
    """pkg_info."""
    held = installed()
    match arguments:
        case ["-Q", word]:
            for each in sorted(_mirror()):
                if word in each:
                    print(f"{each} (installed)" if each in held else each)
            return 0
        case ["-e", pattern] | ["-qe", pattern] | ["-q", "-e", pattern]:
            found = [each for each in held if _fits(each, pattern)]
            for each in found if arguments[0] == "-e" else ():
                print(f"inst:{each}")
            return 0 if found else 1
        case [] | ["-q"] | ["-mq"] | ["-qm"]:
            for each in held:
                print(each if arguments else f"{each:<20}a package")
            return 0
        case [name] if not name.startswith("-"):
            found = [each for each in held if _stem(each) == _stem(name)]
            if not found:
                failed(f"Can't find {name}")
            print(f"Information for inst:{found[0]}\n")
            return 0
    return unknown("pkg_info", arguments)


def installed() -> list[str]:
    """The packages of the machine, in alphabetic order."""
    folder = path("/var/db/pkg")
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def _needed(mirror: list[str], wanted: list[str], held: list[str]) -> list[str]:
    """What packages of Python depend on: python-3, whose branch of the ports has that name."""
    stems = {_stem(each) for each in (*wanted, *held)}
    if "python" in stems or not any(each.startswith("py3-") for each in stems):
        return []
    return [each for each in mirror if each.startswith("python-3.")][:1]


def _install(name: str) -> None:
    path(f"/var/db/pkg/{name}").mkdir(parents=True, exist_ok=True)
    content = Path(os.environ[STATE]) / "packages" / _stem(name)
    for file in sorted(content.rglob("*")) if content.is_dir() else ():
        target = path(f"/{file.relative_to(content)}")
        if file.is_symlink() or file.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if file.is_symlink():
                target.symlink_to(file.resolve())
                continue
            target.write_bytes(file.read_bytes())
            target.chmod(file.stat().st_mode & 0o777)
    for kind, line in _accounts(_stem(name)):
        accounts = path(f"/etc/{kind}")
        if line not in accounts.read_text().splitlines():
            accounts.write_text(f"{accounts.read_text()}{line}\n")


def _accounts(stem: str) -> tuple[tuple[str, str], ...]:
    if stem != "bird":
        return ()
    home = "/var/empty:/sbin/nologin"
    return ("passwd", f"_bird:*:763:763:BIRD:{home}"), ("group", "_bird:*:763:")


def _mirror() -> list[str]:
    address = os.environ.get("PKG_PATH", "")
    file = path("/etc/installurl")
    if not address and file.exists():
        lines = [line.strip() for line in file.read_text().splitlines()]
        address = next((line for line in lines if line and not line.startswith("#")), "")
    mirrors = json.loads((Path(os.environ[STATE]) / "mirror.json").read_text())
    held = next((names for base, names in mirrors.items() if address.startswith(base)), None)
    if held is None:
        # It goes on, and finds nothing there.
        print(f"{address or 'https://cdn.openbsd.org/pub/OpenBSD'}: no such dir")
        return []
    return list(held)


def _found(mirror: list[str], asked: str) -> list[str]:
    """By a name with its version, by its stem, or by a branch of it (``bird%2``)."""
    name, _, branch = asked.partition("%")
    name = name.removesuffix("--")
    if _STEM.fullmatch(name) and name in mirror:
        return [name]
    return sorted(each for each in mirror if _stem(each) == name and _branch(each, branch))


def _branch(package: str, branch: str) -> bool:
    found = _STEM.fullmatch(package)
    version = found[2] if found else ""
    return not branch or version == branch or version.startswith(f"{branch}.")


def _stem(package: str) -> str:
    found = _STEM.fullmatch(package.partition("%")[0])
    return found[1] if found else package.partition("%")[0].removesuffix("--")


def _fits(package: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), package) is not None
