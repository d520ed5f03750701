"""OpenBGPD as a route server and as a transit of a host: it takes our sessions and our prefixes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.render import File
from tests.kit.edge.uplink import PASSWORD, Edge, edge
from tests.kit.machine import IMAGES, Debian
from tests.kit.stacks import prod, with_sessions
from tests.kit.wait import patience, until
from tests.routing.test_sessions import NET4, NET6, NODE, SECRET, wire

pytestmark = pytest.mark.image

ROUTE_SERVER = """
AS 64501
router-id 192.0.2.253
fib-update no
socket "/run/server.sock"
listen on 192.0.2.253
transparent-as yes
neighbor 192.0.2.130 {
  remote-as 27218
  holdtime min 20
  announce IPv4 unicast
  role rs
}
allow from any
allow to any
"""
TRANSIT = f"""
AS 64510
router-id 192.0.2.9
fib-update no
socket "/run/transit.sock"
listen on 192.0.2.9
network 0.0.0.0/0
neighbor 192.0.2.10 {{
  remote-as 27218
  holdtime min 20
  ttl-security yes
  tcp md5sig password "{SECRET}"
  announce IPv4 unicast
  role provider
}}
allow from any
allow to any
"""

# As Vultr speaks with its instances. For our IPv6 prefix there is a ROA of another origin.
PROVIDER = f"""
AS 64515
router-id 169.254.169.254
fib-update no
socket "/run/provider.sock"
listen on 169.254.169.254
listen on 2001:19f0:ffff::1
roa-set {{
  {NET4} source-as 27218
  {NET6} source-as 64496
}}
group "instances" {{
  remote-as 27218
  multihop 2
  tcp md5sig password "{PASSWORD}"
  role provider
  neighbor 203.0.113.1 {{ announce IPv4 unicast }}
  neighbor 2001:db8::1 {{ announce IPv6 unicast }}
}}
allow from any
deny from any ovs invalid
allow to any
"""


class OpenBgpd:
    """A running OpenBGPD, asked by its own command."""

    def __init__(self, pid: int, socket: str) -> None:
        self._ask = ("nsenter", f"--target={pid}", "--mount", "--net", "--root", "bgpctl", "-j",
                     "-s", f"/run/{socket}.sock")  # fmt: skip

    def ask(self, *words: str) -> dict[str, Any]:
        """What it says; nothing while it does not answer."""
        done = subprocess.run(
            [*self._ask, *words], capture_output=True, text=True, check=False, timeout=patience(30)
        )
        said: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return said

    def rib(self) -> list[dict[str, Any]]:
        """Its routes."""
        found: list[dict[str, Any]] = self.ask("show", "rib").get("rib", [])
        return found

    def received(self) -> dict[str, str]:
        """What it has heard, also where it has refused it: prefixes, and what ROAs say of them."""
        found = self.ask("show", "rib", "in").get("rib", [])
        return {each["prefix"]: each["ovs"] for each in found}

    def states(self) -> list[str]:
        """The states of its sessions."""
        return [each["state"] for each in self.ask("show", "neighbor").get("neighbors", [])]

    def ours(self) -> dict[str, Any] | None:
        """Its route to our prefix."""
        return next((each for each in self.rib() if each["prefix"] == NET4), None)


@contextmanager
def _running(folder: Path, world: str, name: str, config: str) -> Iterator[OpenBgpd]:
    machine = Debian(folder, also=("openbgpd",))
    machine.put([File("/etc/bgpd.conf", config.lstrip(), 0o600)])
    done = machine.run("sh", "-c", "systemd-sysusers openbgpd.conf && bgpd -n")
    assert done.returncode == 0, done.stderr
    ready = "mkdir -p /run/openbgpd && exec bgpd -d"
    process = machine.start("sh", "-c", ready, namespace=world)
    try:
        yield OpenBgpd(process.pid, name)
    finally:
        process.terminate()
        process.wait(patience(30))


@pytest.fixture(scope="module")
def host() -> Iterator[Edge]:
    """The host with its sessions."""
    secrets = {"ewr-buyvm-1-transit-b": SECRET}
    with edge(with_sessions(), NODE, version=IMAGES, ready=wire, secrets=secrets) as made:
        yield made


def test_both_take_our_prefix_and_a_hold_time_of_twenty_seconds_at_least(
    host: Edge, tmp_path: Path
) -> None:
    with ExitStack() as daemons:
        server, transit = (
            daemons.enter_context(_running(tmp_path / name, host.world, name, config))
            for name, config in (("server", ROUTE_SERVER), ("transit", TRANSIT))
        )
        at_the_server = until(server.ours, 20, "our prefix at the route server")
        at_the_transit = until(transit.ours, 20, "our prefix at the transit")
        assert at_the_server["aspath"] == at_the_transit["aspath"] == "27218"
        assert at_the_server["exit_nexthop"] == "192.0.2.130"
        assert at_the_transit["exit_nexthop"] == "192.0.2.10"
        # The transit's default route is taken, as the session's `import` says, and stays there.
        asked = "show route 0.0.0.0/0 table internet4 protocol up4_transit_b"
        until(lambda: "AS64510" in host.birdc(asked), 20, "the default route")
        assert "default via 203.0.113.254" in _kernel(host)


def test_as_a_provider_it_takes_what_its_roas_allow_in_both_families(tmp_path: Path) -> None:
    """Multihop, MD5 and roles (RFC 9234) as at Vultr; it judges origins by ROAs (RFC 6811)."""
    with (
        edge(prod(), "lax-vultr-1", version=IMAGES) as host,
        _running(tmp_path / "provider", host.world, "provider", PROVIDER) as provider,
    ):
        until(lambda: provider.states() == ["Established"] * 2, 20, "both sessions")
        ours = until(provider.ours, 20, "our IPv4 prefix")
        assert (ours["aspath"], ours["ovs"]) == ("27218", "valid")
        received = {NET4: "valid", NET6: "invalid"}
        # Each comes over a session of its own.
        until(lambda: provider.received() == received, 20, f"both prefixes: {received}")
        assert [each["prefix"] for each in provider.rib()] == [NET4]
        for session in ("vultr4", "vultr6"):
            assert "Role: customer" in host.birdc(f"show protocols all {session}")


def _kernel(host: Edge) -> str:
    here = f"{host.world.removesuffix('w')}n"
    command = ["ip", "-n", here, "route", "show", "default"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
