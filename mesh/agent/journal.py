"""Log-ins in systemd's journal, and connections by ss(8)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.agent.host import CommandFailed, Host
from mesh.agent.logins import IDENTIFIERS, Login, accepted, plain
from mesh.agent.ruleset import Address

MOST = "5000"
"""Lines of sshd that are read at once, the last ones: under attack it writes more."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of a node. A place in it is a cursor; None is the start of this boot."""

    host: Host
    is_forgeable: bool = False

    def after(self, cursor: str | None) -> tuple[Sequence[Login], str | None]:
        """The log-ins after a cursor, and that of the last entry."""
        since = ("-b",) if cursor is None else (f"--after-cursor={cursor}",)
        identifiers = [option for name in IDENTIFIERS for option in ("-t", name)]
        # Only root's messages: any user can log under sshd's name.
        text = self.host.must(
            "journalctl", "-q", "-o", "json", "--output-fields=MESSAGE", "-n", MOST,
            *since, *identifiers, "_UID=0",
        )  # fmt: skip
        found: list[Login] = []
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                cursor = entry["__CURSOR"]
                when = int(entry["__REALTIME_TIMESTAMP"]) // 10**6
                login = accepted(entry["MESSAGE"], when)
            except (KeyError, TypeError, ValueError):
                continue
            found += [] if login is None else [login]
        return found, cursor

    def now(self) -> str:
        """The cursor of the journal's last entry."""
        self.host.must("journalctl", "--sync")
        text = self.host.must("journalctl", "-q", "-n", "1", "-o", "json", "--output-fields=_PID")
        try:
            return str(json.loads(text.splitlines()[-1])["__CURSOR"])
        except (IndexError, KeyError, ValueError):
            raise CommandFailed("journalctl: the journal of systemd is empty") from None

    def connections(self, ports: tuple[int, ...]) -> frozenset[tuple[Address, int]]:
        """Connections to one of these ports, also half-open ones: remote address and port."""
        found: set[tuple[Address, int]] = set()
        for line in self.host.must("ss", "-H", "-t", "-n", "-a").splitlines():
            fields = line.split()
            if len(fields) < 5:
                continue
            here, there = (field.rpartition(":") for field in fields[3:5])
            if here[2].isdigit() and int(here[2]) in ports and there[2].isdigit():
                found.add((plain(there[0].strip("[]")), int(there[2])))
        return frozenset(found)

    def own(self) -> frozenset[Address]:
        """The node's own addresses."""
        links = json.loads(self.host.must("ip", "-json", "address", "show"))
        return frozenset(plain(a["local"]) for link in links for a in link.get("addr_info", []))
