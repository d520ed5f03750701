"""An existing OpenBSD host becomes a node, and is as it was afterwards: over real SSH, by its own
shell, on stand-ins of its commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import asyncssh
import pytest

from mesh.infra.dynamic.host import HostProvider
from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan
from mesh.render import Seed, user_data
from mesh.ssh import DeliveryError, Load, Target, deliver, examine, is_left, is_there, withdraw
from mesh.trust import keys, signify
from mesh.trust.encoding import sha256
from tests.kit.openbsd_host import OpenBsdHost
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until
from tests.ssh.test_hostile import Process, serving

pytestmark = pytest.mark.root

NODE = "lax-vultr-1"
PRIVATE, PUBLIC = keys.new_operator_key()
LOGIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJlYWxseSBub3QgYSBrZXkgYXQgYWxsISEh admin"
OWN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoZSBob3N0J3Mgb3duIGtleSwgbm90IG91cnMh host\n"
BUNDLE = b"case $1 in agent) echo 'the agent runs'; while :; do sleep 1; done ;; esac\n"
DEFAULT = """\
#	$OpenBSD: pf.conf,v 1.55 2017/12/03 20:40:04 sthen Exp $
set skip on lo

block return	# block stateless traffic
pass		# establish keep-state

# By default, do not permit remote connections to X11
block return in on ! lo0 proto tcp to port 6000:6010

# Port build user does not need network
block return out log proto {tcp udp} user _pbuild
"""
ADMIN = [ip_network("127.0.0.0/8")]

Source = asyncio.StreamReader | asyncssh.SSHReader[bytes]
Sink = asyncio.StreamWriter | asyncssh.SSHWriter[bytes]


@pytest.fixture
def host(tmp_path: Path) -> OpenBsdHost:
    """A host as OpenBSD's installer leaves it."""
    made = OpenBsdHost(tmp_path / "host")
    made.write("etc/pf.conf", DEFAULT)
    made.write("root/.ssh/authorized_keys", OWN, 0o600)
    made.write("etc/passwd", "root:*:0:0:root:/root:/bin/sh\nuser:*:1:1::/home/user:/bin/sh\n")
    made.write(f"net/203.0.113.1:8443/api/v1/bundle/{sha256(BUNDLE)}", BUNDLE)
    return made


async def _pumped(source: Source, sink: Sink) -> None:
    """Passes on what comes, until it ends."""
    while more := await source.read(1 << 14):
        sink.write(more)
        await sink.drain()
    sink.write_eof()


@contextmanager
def reached(host: OpenBsdHost) -> Iterator[Target]:
    """The host, booted, and how the operator reaches it."""
    with host.boot() as running:

        async def handle(process: Process) -> None:
            command = host.command(running, process.command or "")
            child = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            assert child.stdin is not None and child.stdout is not None, "both are pipes"
            feeding = asyncio.create_task(_pumped(process.stdin, child.stdin))
            await _pumped(child.stdout, process.stdout)
            feeding.cancel()
            process.exit(await child.wait())

        with serving(handle) as target:
            yield replace(target, node=NODE, os=OperatingSystem.OPENBSD)


def _load(token: str = "A" * 43 + "=") -> Load:
    plan: Plan = plan_of(prod())
    node = replace(plan.node(NODE), os=OperatingSystem.OPENBSD)
    nodes = tuple(node if each.id == NODE else each for each in plan.nodes)
    plan = replace(plan, nodes=nodes, access=replace(plan.access, ssh_keys=(LOGIN,)))
    seed = Seed(("https://203.0.113.1:8443",), PUBLIC, sha256(BUNDLE), token)
    text = user_data(plan, NODE, seed, partial(signify.embedded, PRIVATE))
    return Load(text, b"", None, ADMIN)


def _files(host: OpenBsdHost) -> dict[str, str]:
    """What of the host a delivery may touch; packages stay."""
    tops = ("etc", "root", "local", "var/lib")
    return {
        str(path.relative_to(host.root)): f"{path.stat().st_mode:o} {path.read_text()}"
        for top in tops
        for path in sorted((host.root / top).rglob("*"))
        if path.is_file() and path.name not in ("pkg_scripts", "bird", "python3")
    }


def test_a_host_becomes_a_node_and_is_as_it_was_afterwards(host: OpenBsdHost) -> None:
    before, said = _files(host), list[str]()
    with reached(host) as target:
        assert examine(target, None, ADMIN) == ()
        done = deliver(target, _load(), said.append)
        host.says("the agent runs")
        assert is_there(target, done.instance_id)
        assert is_left(target)
        assert "block drop all\n" in host.read("var/run/pf.rules")
        assert host.read("root/.ssh/authorized_keys") == f"{OWN}{LOGIN}\n"
        assert host.read("etc/myname") == ""
        assert deliver(target, _load(), said.append).instance_id == done.instance_id
        host.write("var/run/interfaces/wg7", "")
        host.write("var/run/interfaces/lo1", "")
        host.write("etc/hostname.wg7", "!wg private-key /var/lib/anycast-mesh/keys/wireguard.key\n")
        host.write("etc/hostname.lo1", "up\n")
        host.write("etc/anycast-mesh/sysctl.conf", "# ours\nnet.inet.ip.forwarding=1\n")
        host.write("state/sysctl", "net.inet.ip.forwarding=1\nnet.inet6.ip6.forwarding=0\n")
        host.write("var/run/pf.tables", "mesh_served\nspammers\n")
        withdraw(target, "host-0000000000000000", said.append)
        assert is_there(target, done.instance_id)
        withdraw(target, done.instance_id, said.append)
        assert not is_left(target)
        assert _files(host) == before
        assert host.read("var/run/pf.rules") == DEFAULT
        assert host.read("var/run/pf.tables") == "spammers\n"
        assert "net.inet.ip.forwarding=0" in host.read("state/sysctl")
        assert not list((host.root / "var/run/interfaces").iterdir())
        assert not host.enabled
    assert not host.read("state/strange")
    assert any("it is already there" in line for line in said)


def test_a_delivery_is_continued_after_a_power_cut(host: OpenBsdHost) -> None:
    host.write("state/cut", "40")
    with reached(host) as target, pytest.raises(DeliveryError):
        deliver(target, _load(), lambda _: None)
    (host.root / "state/cut").unlink()
    assert host.read("var/lib/anycast-mesh/state/delivery/record")
    # The user data are there until it is complete, and hold the join token.
    state = host.root / "var/lib/anycast-mesh/state"
    assert "token" in (state / "delivery/run").read_text()
    assert state.stat().st_mode & 0o077 == 0
    with reached(host) as target:
        deliver(target, _load(), lambda _: None)
        host.says("the agent runs")


def test_another_token_is_delivered_anew(host: OpenBsdHost) -> None:
    with reached(host) as target:
        first = deliver(target, _load(), lambda _: None)
        second = deliver(target, _load("B" * 43 + "="), lambda _: None)
        assert first.instance_id != second.instance_id
        assert is_there(target, second.instance_id)


def test_a_firewall_that_lets_nobody_in_is_undone(host: OpenBsdHost) -> None:
    with reached(host) as target:

        def cut(line: str) -> None:
            if "undone in" in line:
                raise KeyboardInterrupt

        host.write("state/hold", "")
        with pytest.raises(KeyboardInterrupt):
            deliver(target, _load(), cut)
        assert "block drop all\n" in host.read("var/run/pf.rules")
        (host.root / "state/hold").unlink()
        until(lambda: host.read("var/run/pf.rules") == DEFAULT, 20, "the former rules")


def _named(host: OpenBsdHost) -> None:
    host.write("etc/pf.conf", "block\npass in proto tcp to port ssh\nanchor mail\n")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda host: host.write("state/release", "7.6\n"), "runs OpenBSD 7.6, which has had no"),
        (
            lambda host: host.write("state/release", "7.9-current\n"),
            "it runs OpenBSD 7.9-current, which",
        ),
        (lambda host: host.write("state/system", "Linux\n"), "127.0.0.1 runs Linux"),
        (lambda host: host.write("etc/pf.off", ""), "pf is disabled"),
        (_named, "is neither OpenBSD's own nor the mesh's ('block')"),
        (lambda host: host.write("state/mirror", "python3-3.12.10\n"), "py3-pydantic, wireguard"),
        (lambda host: host.write("etc/installurl", ""), "no package of"),
        (lambda host: host.write("etc/hostname.wg0", "up\n"), "it has /etc/hostname.wg0"),
        (lambda host: host.write("state/address", "192.0.2.7"), "no interface of the host has it"),
    ],
    ids=[
        "release",
        "snapshot",
        "system",
        "pf",
        "rules",
        "mirror",
        "no mirror",
        "tunnel",
        "address",
    ],
)
def test_an_unfit_host_is_refused_before_anything_changes(
    host: OpenBsdHost, changed: Callable[[OpenBsdHost], None], words: str
) -> None:
    changed(host)
    if words == "no package of":
        host.write("state/mirror", "")
    before = _files(host)
    with reached(host) as target:
        assert words in " ".join(map(str, examine(target, None, ADMIN)))
        with pytest.raises(DeliveryError, match=words.replace("(", r"\(").replace(")", r"\)")):
            deliver(target, _load(), lambda _: None)
    assert _files(host) == before


def test_a_user_without_doas_is_refused(host: OpenBsdHost) -> None:
    host.write("standin/doas", "#!/bin/sh\nexit 1\n", 0o755)
    host.write("standin/id", "#!/bin/sh\necho 1000\n", 0o755)
    with reached(host) as target:
        (problem,) = examine(replace(target, user="user"), None, ADMIN)
    assert "`doas -n true` fails" in str(problem)


def test_a_host_of_another_network_is_left_alone(host: OpenBsdHost) -> None:
    with reached(host) as target:
        deliver(target, _load(), lambda _: None)
        other = replace(_load(), user_data=_load().user_data.replace(PUBLIC, "b" * 43 + "="))
        with pytest.raises(DeliveryError, match=f"already {NODE} of another network"):
            deliver(target, other, lambda _: None)


def test_host_keys_are_checked(host: OpenBsdHost) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with reached(host) as target:
        wrong = replace(target, host_keys=(" ".join(stranger.split()[:2]),))
        with pytest.raises(DeliveryError, match="presents another key"):
            deliver(wrong, _load(), lambda _: None)


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [({}, "debian", False), ({}, "openbsd", True), ({"os": "openbsd"}, "openbsd", False)],
    ids=["an older state", "reinstalled", "the same"],
)
def test_a_host_with_another_system_is_another_host(
    before: dict[str, str], after: str, replaced: bool
) -> None:
    kept = {"node": NODE, "ipv4": "127.0.0.1"}
    found = HostProvider().diff("host-1", kept | before, kept | {"os": after})
    assert (found.changes, found.replaces) == (replaced, ["os"] if replaced else [])
