"""Whom sshd lets in, from the output of ``sshd -T`` for a user and a source address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from pathlib import PurePosixPath

from mesh.agent.host import Host
from mesh.agent.ruleset import Address

SSHD = "/usr/sbin/sshd"
QUIET = frozenset(("quiet", "fatal", "error"))
"""Log levels at which sshd does not log log-ins."""
MAX_USERS = 4
"""How many users are tested: each takes a run of sshd."""

FORWARDING = frozenset(("allowtcpforwarding", "permitopen"))
"""Settings of who may forward TCP, and where to."""

_NO_SHELLS = ("nologin", "false", "sync")
_METHODS = {
    "publickey": "pubkeyauthentication",
    "password": "passwordauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "gssapi-with-mic": "gssapiauthentication",
    "hostbased": "hostbasedauthentication",
}


@dataclass(frozen=True, slots=True)
class User:
    """A user of the node with a shell; ``password``: has a password."""

    name: str
    uid: int
    home: str
    groups: frozenset[str]
    password: bool


def asking(user: str, source: Address | None) -> tuple[str, ...]:
    """The command that prints sshd's settings for this user from ``source``; None for anywhere."""
    if source is None:
        return (SSHD, "-T")
    here = "0.0.0.0" if source.version == 4 else "::"  # noqa: S104  # stands for the node's own
    spec = f"user={user},host={source},addr={source},laddr={here},lport=22"
    return (SSHD, "-T", "-C", spec)


class Effective:
    """The effective settings of sshd, as ``sshd -T`` prints them: one per line."""

    def __init__(self, text: str) -> None:
        self._settings: dict[str, list[str]] = {}
        for line in text.splitlines():
            name, _, value = line.strip().partition(" ")
            if name:
                self._settings.setdefault(name.lower(), []).append(value)

    def all(self, name: str) -> list[str]:
        """All values of a setting, in order."""
        return self._settings.get(name, [])

    def one(self, name: str) -> str:
        """The first value of a setting; empty if it has none."""
        return next(iter(self.all(name)), "")

    @property
    def ports(self) -> frozenset[int]:
        """The ports at which it listens on other addresses than loopback."""
        found: set[int] = set()
        for value in self.all("listenaddress"):
            address, _, port = value.rpartition(":")
            if port.isdigit() and not _is_loopback(address.strip("[]")):
                found.add(int(port))
        return frozenset(found)

    def differing(self, other: Effective) -> frozenset[str]:
        """The settings that differ. Those of forwarding are left out where nobody gets beyond the
        node itself by it before the change: so nobody loses a way."""
        names = self._settings.keys() | other._settings.keys()
        found = frozenset(n for n in names if self.all(n) != other.all(n))
        return found - FORWARDING if self._forwards_to_itself else found

    @property
    def _forwards_to_itself(self) -> bool:
        """Whether TCP is forwarded to ports of the node alone, or nowhere."""
        if self.one("allowtcpforwarding") == "no":
            return True
        hosts = [target.rpartition(":")[0].strip("[]") for target in self._list("permitopen")]
        own = all(host == "localhost" or _is_loopback(host) for host in hosts)
        return self.one("allowtcpforwarding") == "local" and bool(hosts) and own

    def lets_in(self, user: User, source: Address, has_key: bool) -> bool:
        """Whether this user may log in from there. ``has_key``: a file has keys for the user."""
        if self.one("refuseconnection") == "yes" or not self._allows(user, source):
            return False
        is_root = user.uid == 0
        root = self.one("permitrootlogin")
        if is_root and root in ("no", "forced-commands-only"):
            return False
        keyed = has_key or any(
            self.one(name) not in ("", "none")
            for name in ("authorizedkeyscommand", "trustedusercakeys")
        )
        by_password = user.password and (not is_root or root == "yes")
        usable = {
            method
            for method, setting in _METHODS.items()
            if self.one(setting) == "yes"
            and {
                "publickey": keyed,
                "password": by_password,
                "keyboard-interactive": by_password,
            }.get(method, True)
        }
        wanted = self.all("authenticationmethods") or ["any"]
        lists = [one for value in wanted for one in value.split()]
        return any(
            bool(usable) if one == "any" else {m.split(":")[0] for m in one.split(",")} <= usable
            for one in lists
        )

    def _allows(self, user: User, source: Address) -> bool:
        """The four lists, in sshd's order (sshd_config(5), AllowUsers)."""
        if any(_is_user(one, user.name, source) for one in self._list("denyusers")):
            return False
        allowed = self._list("allowusers")
        if allowed and not _is_any_user(allowed, user.name, source):
            return False
        if any(fnmatchcase(group, p) for p in self._list("denygroups") for group in user.groups):
            return False
        groups = self._list("allowgroups")
        return not groups or any(fnmatchcase(group, p) for p in groups for group in user.groups)

    def _list(self, name: str) -> list[str]:
        return [one for value in self.all(name) for one in value.split()]


def users(host: Host) -> list[User]:
    """The users of the node with a shell, root first."""
    groups: dict[str, set[str]] = {}
    by_number: dict[str, str] = {}
    for name, _, number, members, *_ in _fields(host, "/etc/group", 4):
        by_number[number] = name
        for member in filter(None, members.split(",")):
            groups.setdefault(member, set()).add(name)
    hashes = {name: value for name, value, *_ in _fields(host, "/etc/shadow", 2)}
    found = [
        User(
            name,
            int(uid),
            home,
            frozenset(groups.get(name, set()) | {by_number.get(gid, gid)}),
            not hashes.get(name, "*").startswith(("*", "!")) and bool(hashes.get(name)),
        )
        for name, _, uid, gid, _, home, shell, *_ in _fields(host, "/etc/passwd", 7)
        if uid.isdigit() and PurePosixPath(shell).name not in _NO_SHELLS
    ]
    return sorted(found, key=lambda user: (user.uid != 0, user.uid, user.name))


def has_key(host: Host, effective: Effective, user: User) -> bool:
    """Whether a file that sshd reads has keys for this user."""
    tokens = {"%%": "%", "%h": user.home, "%u": user.name, "%U": str(user.uid)}
    for pattern in effective.one("authorizedkeysfile").split():
        path = re.sub(r"%[%huU]", lambda found: tokens[found.group()], pattern)
        try:
            content = host.read(str(PurePosixPath(user.home, path))) if path != "none" else None
        except OSError:
            continue  # sshd cannot read it either
        lines = (content or b"").splitlines()
        if any(line.strip() and not line.strip().startswith(b"#") for line in lines):
            return True
    return False


def _fields(host: Host, path: str, least: int) -> Iterator[Sequence[str]]:
    text = (host.read(path) or b"").decode("utf-8", "replace")
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= least:
            yield (*fields, *[""] * (least - len(fields)))


def _is_any_user(patterns: Iterable[str], name: str, source: Address) -> bool:
    """Whether a list matches; a match of a negated pattern excludes the user."""
    patterns = list(patterns)
    if any(one.startswith("!") and _is_user(one[1:], name, source) for one in patterns):
        return False
    return any(not one.startswith("!") and _is_user(one, name, source) for one in patterns)


def _is_user(pattern: str, name: str, source: Address) -> bool:
    """``USER`` or ``USER@HOST``, where a host is an address, a network, or a pattern of either."""
    user, at, where = pattern.rpartition("@") if "@" in pattern else (pattern, "", "")
    if not fnmatchcase(name, user):
        return False
    if not at:
        return True
    try:
        return source in ip_network(where, strict=False)
    except ValueError:
        return fnmatchcase(str(source), where)


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False
