"""Passwords of a router's sessions while they change, and the process that tries them in turn.

A provider takes the password of before beside the new one for a while. BIRD holds one for each
session: the session goes on with the one that it has, and while it is down, this process gives it
the other one after each ``PATIENCE``. It is started as ``python3 rotation.py BOX`` with the
router's directory; standard library only, so that any Python 3 runs it without a path.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

Passwords = Mapping[str, tuple[str, ...]]
"""The passwords that a router takes by session, the newest first."""

CONFIG, SOCKET, FILE = "bird.conf", "bird.ctl", "passwords.json"
BOTH, NEW, OLD = "both", "new", "old"
"""What a provider takes when a password changes: the one before as well, or no longer, or it never
learns of the new one."""
KEPT = 3600.0
"""Seconds after a change until the password of before is no longer tried."""
PATIENCE = 1.5
"""Seconds without a session before the other password is tried. No whole number: a node repeats its
SYN every second, and one of them meets each of the passwords."""
LOOK = 0.2

_PROTOCOL = re.compile(r"^protocol bgp (n_\w+) .*?^}", re.MULTILINE | re.DOTALL)
_PASSWORD = re.compile(r'(?<=\n  password ")[^"\n]*(?=";)')


def passwords_of(config: str) -> dict[str, str]:
    """The password of each session with a node that has one, by the session's name."""
    found = {block[1]: _PASSWORD.search(block[0]) for block in _PROTOCOL.finditer(config)}
    return {session: password[0] for session, password in found.items() if password}


def with_passwords(config: str, passwords: Mapping[str, str]) -> str:
    """The configuration with other passwords for these sessions."""

    def block(found: re.Match[str]) -> str:
        password = passwords.get(found[1])
        return found[0] if password is None else _PASSWORD.sub(lambda _: password, found[0])

    return _PROTOCOL.sub(block, config)


def accepted(
    wanted: Mapping[str, str], in_use: Mapping[str, str], before: Passwords, takes: str
) -> dict[str, tuple[str, ...]]:
    """The passwords that a provider takes once those of its sessions are to be ``wanted``."""
    found: dict[str, tuple[str, ...]] = {}
    for session, password in wanted.items():
        used = in_use.get(session, password)
        known = before.get(session, (used,))
        if takes == NEW:
            found[session] = (password,)
        elif takes == OLD:
            found[session] = (used,)
        elif password == known[0]:
            found[session] = known
        else:
            found[session] = tuple(dict.fromkeys((password, used)))
    return found


def chosen(passwords: Passwords, in_use: Mapping[str, str]) -> dict[str, str]:
    """For each session the password in use where it is still taken, and the newest elsewhere."""
    return {
        session: used if (used := in_use.get(session)) in taken else taken[0]
        for session, taken in passwords.items()
    }


def turned(passwords: Passwords, in_use: Mapping[str, str], down: set[str]) -> dict[str, str]:
    """The next password of each session that is down."""
    found = {}
    for session in down & passwords.keys():
        taken, used = passwords[session], in_use.get(session)
        place = taken.index(used) if used in taken else -1
        found[session] = taken[(place + 1) % len(taken)]
    return found


def read(box: Path) -> dict[str, tuple[str, ...]]:
    """What :func:`write` has recorded; empty after ``KEPT``."""
    path = box / FILE
    try:
        if time.time() - path.stat().st_mtime > KEPT:
            return {}
        return {session: tuple(taken) for session, taken in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}


def in_use(box: Path) -> dict[str, str]:
    """The passwords in the router's configuration."""
    try:
        return passwords_of((box / CONFIG).read_text())
    except FileNotFoundError:
        return {}


def write(box: Path, passwords: Passwords) -> None:
    """Record the sessions with more than one password; without any there is no file."""
    several = {session: taken for session, taken in passwords.items() if len(taken) > 1}
    if not several:
        (box / FILE).unlink(missing_ok=True)
    elif several != read(box):
        write_private(box / FILE, json.dumps(several))


def write_private(path: Path, text: str) -> None:
    """Replace a file that only root may read, from its first byte on."""
    beside = path.with_suffix(f".{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    beside.replace(path)


def ask(control: Path, command: str) -> str:
    """BIRD's whole answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        connection.connect(str(control))
        with connection.makefile("rw") as stream:
            stream.readline()
            stream.write(f"{command}\n")
            stream.flush()
            lines = []
            for line in stream:
                lines.append(line)
                if re.match(r"(0\d|8\d|9\d)\d\d( |$)", line):
                    break
            return "".join(lines)


def waiting(protocols: str) -> set[str]:
    """The sessions that wait for their node, in BIRD's answer to ``show protocols``."""
    rows = [line.removeprefix("1002-").split() for line in protocols.splitlines()]
    return {row[0] for row in rows if row[1:2] == ["BGP"] and row[3:4] == ["start"]}


def main(box: Path) -> None:
    """Try the passwords of waiting sessions in turn, as long as there are several."""
    since: dict[str, float] = {}
    while passwords := read(box):
        now = time.monotonic()
        down = waiting(ask(box / SOCKET, "show protocols")) & passwords.keys()
        since = {session: since.get(session, now) for session in down}
        late = {session for session, moment in since.items() if now - moment > PATIENCE}
        if late:
            _turn(box, passwords, late)
            since |= dict.fromkeys(late, now)
        time.sleep(LOOK)


def _turn(box: Path, passwords: Passwords, late: set[str]) -> None:
    config = (box / CONFIG).read_text()
    other = turned(passwords, passwords_of(config), late)
    write_private(box / CONFIG, with_passwords(config, other))
    ask(box / SOCKET, "configure")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
