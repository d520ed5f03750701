"""Checks whether a host can become a node, before anything on it is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Annotated

from pydantic import StringConstraints

from mesh.plan import Network
from mesh.spec.problems import Problem
from mesh.ssh.connection import HostConnection, Target, invalid_answer

INSTANCE = r"^host-[0-9a-f]{16}$"
InstanceId = Annotated[str, StringConstraints(pattern=INSTANCE)]
"""The id of a node on an existing host."""

DEBIAN = "13"
MACHINES = ("x86_64", "aarch64")
SPACE = 512
"""MiB that have to be free: packages, bundles and generations take about 200."""

TOOLS = {"python3": "python3", "nft": "nftables", "ip": "iproute2", "apt-get": "apt"}
"""The commands that a delivery needs, and their packages."""

# Each line begins with a key of `Answers`. `ip` and `nft` are outside an ordinary user's PATH.
# Nothing is sent to 192.0.2.1 (RFC 5737): the kernel is asked for its route, in place of the
# Internet's.
QUESTIONS = r"""
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
echo "connection $SSH_CONNECTION"
echo "instance $(cat /etc/anycast-mesh/instance-id 2>/dev/null)"
echo "machine $(uname -m)"
echo "kernel $(uname -s)"
echo "system $(. /etc/os-release; echo "$ID $VERSION_ID")"
[ -d /run/systemd/system ] && echo "systemd yes"
if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then echo "root yes"; fi
for tool in python3 nft ip apt-get; do command -v "$tool" >/dev/null && echo "tool $tool"; done
echo "space $(df -Pk /var | tail -n 1)"
ip -o address show 2>/dev/null | sed -n 's/.* inet6\{0,1\} \([^ /]*\).*/address \1/p'
ip -o -4 route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/sends \1/p'
"""

Answers = Mapping[str, Sequence[str]]


async def ask(link: HostConnection) -> Answers:
    """The host's answers: all values by key."""
    return parsed(await link.sh(QUESTIONS))


def parsed(output: str) -> Answers:
    """All values by key, of lines that begin with one."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value.strip())
    return found


def instance(answers: Answers) -> str:
    """The host's instance id from a delivery; empty where there was none."""
    found = first(answers, "instance")
    return found if re.fullmatch(INSTANCE, found) else ""


def problems(
    target: Target, answers: Answers, ipv6: str | None, admin: Sequence[Network]
) -> tuple[Problem, ...]:
    """Why this host cannot become a node; raises DeliveryError on invalid answers."""
    if others := tuple(unusable(target, answers)):
        return others  # it answers nothing else
    try:
        return (
            *root(target, answers),
            *_system(target, answers),
            *network_problems(target, answers, ipv6, admin, DEBIAN_WORDS),
        )
    except ValueError:  # not an address or a number
        raise invalid_answer(target, "the first questions") from None


def unusable(target: Target, answers: Answers) -> Iterator[Problem]:
    """Why nothing can be done there: it is an OpenBSD host."""
    if first(answers, "kernel") == "OpenBSD":
        yield Problem(
            f"mesh:nodes.{target.node}.os", "debian", f"{target.address} runs OpenBSD",
            f"write os: openbsd at the node, or install Debian {DEBIAN} from the provider's panel",
        )  # fmt: skip


def root(target: Target, answers: Answers) -> Iterator[Problem]:
    """Why the user cannot become root."""
    if not answers.get("root"):
        yield Problem(
            target.key("ssh.user"), target.user,
            f"it cannot become root at {target.address}: `sudo -n true` fails",
            "log in as root, or let the user run sudo without a password (on the host, as root: "
            f"echo '{target.user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{target.user})",
        )  # fmt: skip


def _system(target: Target, answers: Answers) -> Iterator[Problem]:
    key = target.key("ipv4")
    system, machine = first(answers, "system"), first(answers, "machine")
    if system != f"debian {DEBIAN}":
        yield Problem(
            key, target.address, f"it runs {system or 'an unknown system'}, and a node runs Debian "
            f"{DEBIAN}", f"install Debian {DEBIAN} from the provider's panel",
        )  # fmt: skip
        return
    if machine not in MACHINES:
        yield Problem(
            key, target.address, f"its processor is {machine}",
            f"use a host with {' or '.join(MACHINES)}",
        )  # fmt: skip
    if not answers.get("systemd"):
        yield Problem(
            key, target.address, "its init is not systemd", "install systemd-sysv and reboot it"
        )
    missing = [package for tool, package in TOOLS.items() if tool not in answers.get("tool", ())]
    if missing:
        yield Problem(
            key, target.address, f"it has no {', '.join(missing)}",
            f"on the host, as root: apt-get install --no-install-recommends {' '.join(missing)}",
        )  # fmt: skip
    # df's line in POSIX form: device, blocks, used, available, capacity, mount point.
    fields = first(answers, "space").split()
    free = int(fields[3]) // 1024 if len(fields) > 3 and fields[3].isdigit() else 0
    if free < SPACE:
        yield Problem(
            key, target.address, f"{free} MiB are free in /var, and {SPACE} are needed",
            "make room on the host",
        )  # fmt: skip


@dataclass(frozen=True)
class NetworkWords:
    """How an operator sees the addresses of a host, and sets the source of what it sends."""

    shown: str
    source: str
    """Has a ``{}`` for the address."""


DEBIAN_WORDS = NetworkWords(
    "ip address", "in its network configuration, and now by `ip route change default … src {}`"
)


def network_problems(
    target: Target,
    answers: Answers,
    ipv6: str | None,
    admin: Sequence[Network],
    words: NetworkWords,
) -> Iterator[Problem]:
    """What is wrong with a host's addresses, and with the operator's own."""
    yield from _addresses(target, answers, ipv6, words)
    yield from _sends(target, answers, words)
    yield from _source(target, answers, admin)


def _addresses(
    target: Target, answers: Answers, ipv6: str | None, words: NetworkWords
) -> Iterator[Problem]:
    held = {ip_address(text.partition("%")[0]) for text in answers.get("address", ())}
    for name, address in (("ipv4", target.address), ("ipv6", ipv6)):
        if address is not None and ip_address(address) not in held:
            yield Problem(
                target.key(name), address,
                "no interface of the host has it, so other nodes would refuse its tunnels and "
                "sessions", f"give the address that `{words.shown}` shows there, or add it there",
            )  # fmt: skip


def _sends(target: Target, answers: Answers, words: NetworkWords) -> Iterator[Problem]:
    """A host with several addresses may send from another one than planned."""
    held = {ip_address(text.partition("%")[0]) for text in answers.get("address", ())}
    planned = IPv4Address(target.address)
    source = IPv4Address(first(answers, "sends") or target.address)
    if planned in held and source != planned:
        yield Problem(
            target.key("ipv4"), target.address,
            f"the host sends to the Internet from {source}, which the registries and other "
            "nodes would refuse",
            f"give {source} here, or make {planned} the source of the host's default route: "
            + words.source.format(planned),
        )  # fmt: skip


def _source(target: Target, answers: Answers, admin: Sequence[Network]) -> Iterator[Problem]:
    source = first(answers, "connection").partition(" ")[0]
    if not source:
        return
    address = ip_address(source.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if not any(address in network for network in admin):
        yield Problem(
            "mesh:admin.ssh", ", ".join(map(str, admin)) or "[]",
            f"you reach {target.node} from {address}, which its firewall would not let in: "
            "this connection would be the last one",
            f"add {ip_network(address)}, or run this from one of these networks",
        )  # fmt: skip


def first(answers: Answers, key: str) -> str:
    """The first value of a key; empty without one."""
    return next(iter(answers.get(key, ())), "")[:300]
