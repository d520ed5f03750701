"""Checks whether an OpenBSD host can become a node, before anything on it is changed.

OpenBSD's base system has neither bash nor GNU's tools, Python or sudo: plain sh asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from mesh.operating_systems import OperatingSystem, unsupported_from
from mesh.plan import Network
from mesh.render import OPENBSD_PACKAGES
from mesh.spec.problems import Problem
from mesh.ssh.connection import HostConnection, Target, invalid_answer
from mesh.ssh.preflight import Answers, NetworkWords, first, network_problems, parsed

MACHINES = ("amd64", "arm64")
SPACE = {"/var": 256, "/usr/local": 512}
"""MiB that have to be free: bundles and generations, and the packages."""
DOUBT = timedelta(days=61)
"""Days after its computed end for which a release may still be supported."""

# Each line begins with a key of `Answers`. Nothing is sent to 192.0.2.1 (RFC 5737): the kernel is
# asked for its route. uname(1) says 7.9 of a snapshot as well, and kern.version 7.9-current
# (sys/conf/newvers.sh of OpenBSD's sources). Of pf.conf(5) only what has an effect is read, and not
# all of a long one.
QUESTIONS = r"""
PATH=$PATH:/bin:/sbin:/usr/bin:/usr/sbin
root=''
[ "$(id -u)" = 0 ] || root='doas -n'
echo "connection $SSH_CONNECTION"
echo "instance $(cat /etc/anycast-mesh/instance-id 2>/dev/null)"
echo "machine $(uname -m)"
echo "system $(uname -s) $(sysctl -n kern.version 2>/dev/null | sed 's/^OpenBSD \([^ ]*\).*/\1/;q')"
[ "$(uname -s)" = OpenBSD ] || exit 0
$root true 2>/dev/null || exit 0
echo 'root yes'
for folder in /var /usr/local; do
	echo "space $folder $(df -Pk $folder | tail -n 1)"
done
ifconfig | sed -n 's/^[[:space:]]*inet6\{0,1\} \([^ ]*\).*/address \1/p'
route -n get 192.0.2.1 2>/dev/null | sed -n 's/^ *if address: *\([^ ]*\).*/sends \1/p'
$root pfctl -s info 2>/dev/null | sed -n 's/^Status: \([A-Za-z]*\).*/pf \1/p'
rcctl get pf status >/dev/null || echo 'pf off at boot'
$root cat /etc/pf.conf 2>/dev/null | sed -n -e '1s/^# Firewall of /ours &/p' \
	-e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' -e 's/^/rule /p' | head -n 60
for file in /etc/hostname.wg* /etc/hostname.lo1 /etc/bird/bird.conf; do
	[ ! -e "$file" ] || echo "file $file"
done
for daemon in bird bgpd; do
	! pgrep -x "$daemon" >/dev/null || echo "daemon $daemon"
done
echo "mirror $(sed -n '/^[a-z]*:/{p;q;}' /etc/installurl 2>/dev/null)"
for stem in PACKAGES; do
	pkg_info -q -e "$stem-*" >/dev/null 2>&1 ||
		pkg_info -Q "$stem" 2>/dev/null | grep -q "^$stem-[0-9]" || echo "absent $stem"
done
""".replace("PACKAGES", " ".join(OPENBSD_PACKAGES))

WORDS = NetworkWords("ifconfig", "by `route sourceaddr {}` there, and in its /etc/rc.local")

DEFAULT_RULES = frozenset(
    {
        "set skip on lo",
        "block return",
        "pass",
        "block return in on ! lo0 proto tcp to port 6000:6010",
        "block return out log proto {tcp udp} user _pbuild",
    }
)
"""What has an effect in the pf.conf that OpenBSD installs (etc/pf.conf of its sources)."""


async def ask(link: HostConnection) -> Answers:
    """The host's answers: all values by key."""
    return parsed(await link.fed("sh -s", QUESTIONS.encode()))


def problems(
    target: Target, answers: Answers, ipv6: str | None, admin: Sequence[Network]
) -> tuple[Problem, ...]:
    """Why this host cannot become a node; raises DeliveryError on invalid answers."""
    if others := tuple(unusable(target, answers)):
        return others  # nothing else was asked
    try:
        return (
            *_release(target, answers),
            *_machine(target, answers),
            *_firewall(target, answers),
            *_others(target, answers),
            *_packages(target, answers),
            *network_problems(target, answers, ipv6, admin, WORDS),
        )
    except ValueError:  # not an address or a number
        raise invalid_answer(target, "the first questions") from None


def unusable(target: Target, answers: Answers) -> Iterator[Problem]:
    """Why nothing can be done there: it runs another system, or the user cannot become root."""
    name = first(answers, "system").partition(" ")[0]
    if name != "OpenBSD":
        yield Problem(
            f"mesh:nodes.{target.node}.os", "openbsd",
            f"{target.address} runs {name or 'an unknown system'}",
            "remove the key where the host runs Debian, or install OpenBSD from the provider's "
            "panel",
        )  # fmt: skip
    elif not answers.get("root"):
        yield Problem(
            target.key("ssh.user"), target.user,
            f"it cannot become root at {target.address}: `doas -n true` fails",
            "log in as root, or let the user run doas without a password (on the host, as root: "
            f"echo 'permit nopass {target.user}' >> /etc/doas.conf)",
        )  # fmt: skip


def _release(target: Target, answers: Answers) -> Iterator[Problem]:
    release = first(answers, "system").partition(" ")[2]
    end = unsupported_from(OperatingSystem.OPENBSD, release)
    if end is None:
        yield Problem(
            target.key("ipv4"), target.address,
            f"it runs OpenBSD {release or '(of no known version)'}, which is no release",
            "install a release of OpenBSD, and no snapshot",
        )  # fmt: skip
    elif datetime.now(UTC).date() >= end + DOUBT:
        yield Problem(
            target.key("ipv4"), target.address,
            f"it runs OpenBSD {release}, which has had no fixes since about {end:%B %Y}",
            "upgrade it, one release after the other, with sysupgrade(8)",
        )  # fmt: skip


def _machine(target: Target, answers: Answers) -> Iterator[Problem]:
    key, machine = target.key("ipv4"), first(answers, "machine")
    if machine not in MACHINES:
        yield Problem(
            key, target.address, f"its processor is {machine}",
            f"use a host with {' or '.join(MACHINES)}",
        )  # fmt: skip
    for line in answers.get("space", ()):
        # df's line in POSIX form: device, blocks, used, available, capacity, mount point.
        folder, *fields = line.split()
        free = int(fields[3]) // 1024 if len(fields) > 3 and fields[3].isdigit() else 0
        needed = SPACE.get(folder, 0)
        if free < needed:
            yield Problem(
                key, target.address, f"{free} MiB are free in {folder}, and {needed} are needed",
                "make room on the host",
            )  # fmt: skip


def _firewall(target: Target, answers: Answers) -> Iterator[Problem]:
    key, states = target.key("ipv4"), answers.get("pf", ())
    if "Enabled" not in states or "off at boot" in states:
        yield Problem(
            key, target.address, "pf is disabled, so a firewall would have no effect",
            "on the host, as root: rcctl enable pf; pfctl -e; pfctl -f /etc/pf.conf",
        )  # fmt: skip
    rules = [re.sub(r"\s+", " ", rule).strip() for rule in answers.get("rule", ())]
    foreign = [rule for rule in rules if rule not in DEFAULT_RULES]
    if foreign and not answers.get("ours"):
        yield Problem(
            key, target.address,
            f"its /etc/pf.conf is neither OpenBSD's own nor the mesh's ({foreign[0][:80]!r}), and "
            "the mesh would replace it",
            "keep a copy, and on the host, as root: cp /etc/examples/pf.conf /etc/pf.conf",
        )  # fmt: skip


def _others(target: Target, answers: Answers) -> Iterator[Problem]:
    if answers.get("ours"):
        return  # an interrupted delivery: they may be the mesh's
    taken = [*answers.get("file", ()), *(f"a running {one}" for one in answers.get("daemon", ()))]
    if taken:
        yield Problem(
            target.key("ipv4"), target.address,
            f"it has {', '.join(taken)}, and the mesh needs that itself",
            "remove it from the host, or use another host",
        )  # fmt: skip


def _packages(target: Target, answers: Answers) -> Iterator[Problem]:
    mirror, absent = first(answers, "mirror"), answers.get("absent", ())
    if absent:
        yield Problem(
            target.key("ipv4"), target.address,
            f"{mirror or 'no mirror in /etc/installurl'} has no package of {', '.join(absent)} for "
            f"{first(answers, 'system')}",
            "write the URL of a mirror that has them into the host's /etc/installurl "
            "(installurl(5)), and see that the host reaches it",
        )  # fmt: skip
