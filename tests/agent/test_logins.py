"""Who has logged in, as sshd tells it to the journal of systemd, of both Debians."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from mesh.agent.access import Access
from mesh.agent.host import CommandFailed, Host
from mesh.agent.journal import Journal
from mesh.agent.logins import Login, LoginUse
from mesh.trust.documents import Used
from tests.kit.agent_systems import of_debian

KEY = "SHA256:MmZhLAzTmjFZ6ibgpnXnXNbAdCkzZ7mGxdhVjNHSyWI"
HOME = ip_address("198.51.100.250")


@dataclass(frozen=True)
class Machine(Host):
    """A machine whose commands print what they are given here."""

    prints: dict[str, str] = field(default_factory=dict)
    asked: list[Sequence[str]] = field(default_factory=list)

    def must(self, *command: str, given: str | None = None, timeout: float = 30.0) -> str:
        self.asked.append(command)
        if command[0] not in self.prints:
            raise CommandFailed(f"{command[0]}: not here")
        return self.prints[command[0]]


def line(message: object, number: int = 1, when: int = 1_700_000_000) -> str:
    return json.dumps(
        {
            "__CURSOR": f"s={number}",
            "__REALTIME_TIMESTAMP": str(when * 10**6 + 5),
            "MESSAGE": message,
        }
    )


SAID = {
    "a key": (
        f"Accepted publickey for root from 198.51.100.250 port 40222 ssh2: ED25519 {KEY}",
        Login("root", HOME, 40222, KEY, 1_700_000_000),
    ),
    "a certificate": (
        f"Accepted publickey for root from 2001:db8::9 port 1 ssh2: ED25519-CERT {KEY} ID x "
        f"(serial 0) CA ED25519 {KEY}",
        Login("root", ip_address("2001:db8::9"), 1, KEY, 1_700_000_000),
    ),
    "a password": (
        "Accepted password for carol from 198.51.100.250 port 40222 ssh2",
        Login("carol", HOME, 40222, "", 1_700_000_000),
    ),
    "IPv4 at a socket of IPv6": (
        "Accepted password for carol from ::ffff:198.51.100.250 port 40222 ssh2",
        Login("carol", HOME, 40222, "", 1_700_000_000),
    ),
    "a link's own address": (
        "Accepted password for carol from fe80::1%enp1s0 port 7 ssh2",
        Login("carol", ip_address("fe80::1"), 7, "", 1_700_000_000),
    ),
    "somebody who was not let in": (
        "Failed publickey for root from 198.51.100.250 port 40222 ssh2: ED25519 SHA256:x", None,
    ),
    "a name that pretends": (
        "Failed password for invalid user Accepted password for root from 198.51.100.250 port 1 "
        "ssh2 from 203.0.113.5 port 9 ssh2", None,
    ),
    "bytes": ([65, 66], None),
    "no address": ("Accepted password for root from nowhere port 1 ssh2", None),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_a_log_in_is_what_sshd_accepts(case: str) -> None:
    message, expected = SAID[case]
    found = Journal(Machine(prints={"journalctl": line(message) + "\n"})).after("s=0")
    assert found == ([] if expected is None else [expected], "s=1")


def test_only_roots_words_in_sshds_name_are_asked_for() -> None:
    host = Machine(prints={"journalctl": "nonsense\n"})
    assert Journal(host).after("s=0") == ([], "s=0")
    command = host.asked[0]
    assert "_UID=0" in command
    assert "--after-cursor=s=0" in command
    named = {command[at + 1] for at, word in enumerate(command) if word == "-t"}
    assert named >= {"sshd", "sshd-session"}


def test_a_journal_that_cannot_be_read_confirms_nothing() -> None:
    with pytest.raises(CommandFailed):
        Journal(Machine()).after("s=0")
    with pytest.raises(CommandFailed, match="empty"):
        Journal(Machine(prints={"journalctl": ""})).now()


def test_who_is_connected_is_known_by_both_ends() -> None:
    said = (
        "LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n"
        "ESTAB 0 0 203.0.113.1:22 198.51.100.250:40222\n"
        "SYN-RECV 0 0 [::ffff:203.0.113.1]:22 [::ffff:198.51.100.250]:40223\n"
        "ESTAB 0 0 203.0.113.1:8443 198.51.100.250:40224\n"
        "ESTAB 0 0 [2001:db8::1]:2222 [2001:db8::9]:40225\n"
    )
    found = Journal(Machine(prints={"ss": said})).connections((22, 2222))
    assert found == {(HOME, 40222), (HOME, 40223), (ip_address("2001:db8::9"), 40225)}


def test_the_nodes_own_addresses_are_known() -> None:
    links = [{"addr_info": [{"local": "127.0.0.1"}, {"local": "2001:db8::1"}]}, {}]
    found = Journal(Machine(prints={"ip": json.dumps(links)})).own()
    assert found == {ip_address("127.0.0.1"), ip_address("2001:db8::1")}


def use(host: Host, changed: Callable[[], None]) -> LoginUse:
    """Of a Debian machine."""
    system = of_debian(host)
    return LoginUse(host, system.logins, system.access, changed)


def test_ways_in_that_were_used_are_kept_over_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = (ip_network("198.51.100.0/24"), ip_network("198.51.100.250/32"))
    monkeypatch.setattr(Access, "permitted", lambda _: (networks, (22,), "root"))
    accepted = "Accepted publickey for root from {} port 4 ssh2: ED25519 " + KEY
    said = [
        line(accepted.format("198.51.100.250"), 1, 1000),
        line(accepted.format("198.51.100.7"), 2, 2000),
        line(accepted.format("127.0.0.1"), 3, 2500),
        line(accepted.format("192.0.2.9"), 3, 3000),
        line(accepted.format("198.51.100.250"), 4, 4000),
    ]
    host = Machine(tmp_path, prints={"journalctl": "\n".join(said), "ip": "[]"})
    stop, changes = threading.Event(), []

    def changed() -> None:
        changes.append(1)
        stop.set()

    usage = use(host, changed)
    assert usage.used is None
    usage.run(stop)
    expected = (
        Used(networks[1], KEY, 4000),
        Used(ip_network("192.0.2.9/32"), KEY, 3000),
        Used(networks[0], KEY, 2000),
    )
    assert usage.used == expected
    again = Machine(tmp_path, prints={"journalctl": ""})
    later = use(again, lambda: None)
    assert later.used == expected
    later._look()
    assert "--after-cursor=s=4" in again.asked[0]
    assert later.used == expected
