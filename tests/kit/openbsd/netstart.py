"""netstart(8) for single interfaces: the lines of hostname.if(5), as commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

from tests.kit.openbsd import base, ifconfig, route
from tests.kit.openbsd.kernel import ROOT, Ended, failed, opened, path

_HERE = {"ifconfig": ifconfig.main, "route": route.main}
_KINDS = re.compile(r"[a-z]+[0-9]+")


def main(arguments: list[str]) -> int:
    """One call of it. It ends with 0 whatever its commands did."""
    dry = arguments[:1] == ["-n"]
    names = arguments[1:] if dry else arguments
    if any(name.startswith("-") for name in names):
        failed("usage: netstart [-n] [interface ...]")
    if not names:
        names = sorted(each.name.partition(".")[2] for each in path("/etc").glob("hostname.*"))
        # Loopbacks first: they are neither tunnels nor wait for a network.
        names = sorted((n for n in names if _KINDS.fullmatch(n)), key=lambda n: n.startswith("wg"))
    for name in names:
        _start(name, dry)
    return 0


def _start(name: str, dry: bool) -> None:
    file = path(f"/etc/hostname.{name}")
    if not _KINDS.fullmatch(name):
        return
    if not file.is_file():
        print(f"netstart: {file}: No such file or directory", file=sys.stderr)
        return
    if file.stat().st_mode & 0o007:
        print(f"WARNING: {file} is insecure, fixing permissions", file=sys.stderr)
        file.chmod(file.stat().st_mode & ~0o007)
    if not dry and not _is_there(name):
        return
    for line in file.read_text().splitlines():
        if command := _command(name, line):
            if dry:
                print(command)
            else:
                _run(command)


def _is_there(name: str) -> bool:
    """Whether there is such an interface, or can be."""
    with opened() as kernel:
        if name in kernel.interfaces:
            return True
    try:
        ifconfig.main([name, "create"])
    except Ended:
        return False
    return True


def _run(command: str) -> None:
    """A command, by the shell; the commonest are not worth a process each."""
    word, *arguments = shlex.split(command)
    if word not in _HERE:
        subprocess.run([base.SHELL, "-c", command], check=False)
        return
    try:
        _HERE[word](arguments)
    except Ended as ended:
        print(ended.said, file=sys.stderr)


def _command(name: str, line: str) -> str:
    words = line.split()
    if not words or words[0].startswith("#"):
        return ""
    match words[0]:
        case _ if words[0].startswith("!"):
            # $if and \\$if are the interface; the rest is the shell's.
            text = line.strip()[1:].replace("\\$if", name).replace("$if", name)
            root = os.environ.get(ROOT, "/").rstrip("/")
            return re.sub(r"(?<![\w/.\-])/usr/local/", f"{root}/usr/local/", text)
        case "inet" if len(words) > 1 and words[1] != "autoconf":
            at = 3 if words[1] == "alias" else 2
            rest = list(words)
            if len(rest) > at and re.fullmatch(r"[0-9.]+|0x[0-9a-f]+", rest[at]):
                rest[at] = f"netmask {rest[at]}"
            if len(rest) > at + 1 and rest[at + 1] == "NONE":
                del rest[at + 1]
            return f"ifconfig {name} {' '.join(rest)}"
        case "inet6" if len(words) > 1 and words[1] != "autoconf":
            at = 3 if words[1] == "alias" else 2
            rest = list(words)
            if len(rest) > at and rest[at].isdigit():
                rest[at] = f"prefixlen {rest[at]}"
            return f"ifconfig {name} {' '.join(rest)}"
        case _:
            return f"ifconfig {name} {' '.join(words)}"
