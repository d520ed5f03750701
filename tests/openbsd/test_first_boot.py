"""The first boot of an OpenBSD node: from the provider's startup script to the running agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan
from mesh.render import Seed, startup_script, user_data
from mesh.trust import keys, signify
from mesh.trust.encoding import sha256
from tests.kit.openbsd_host import OpenBsdHost
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

pytestmark = pytest.mark.root

NODE = "lax-vultr-1"
PRIVATE, PUBLIC = keys.new_operator_key()
STRANGER, _ = keys.new_operator_key()
REGISTRY = "https://203.0.113.1:8443"
LOGIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJlYWxseSBub3QgYSBrZXkgYXQgYWxsISEh admin"
BUNDLE = b"""\
case $1 in
check) echo trial ;;
agent)
	echo "agent of bundle one"
	while :; do
		echo works >/var/run/anycast-mesh/beat
		sleep 1
	done
	;;
withdraw) echo withdrawn >>/state/withdrawn ;;
esac
"""
METADATA = "net/169.254.169.254"
SERVED = f"net/203.0.113.1:8443/api/v1/bundle/{sha256(BUNDLE)}"
CALLS = 45
"""More calls of commands than a first boot makes."""


def _plan() -> Plan:
    plan = plan_of(prod())
    nodes = tuple(
        replace(node, os=OperatingSystem.OPENBSD) if node.id == NODE else node
        for node in plan.nodes
    )
    return replace(plan, nodes=nodes, access=replace(plan.access, ssh_keys=(LOGIN,)))


def _user_data(private: str = PRIVATE) -> str:
    seed = Seed((REGISTRY,), PUBLIC, sha256(BUNDLE), keys.join_token(PRIVATE, NODE))
    return user_data(_plan(), NODE, seed, partial(signify.embedded, private))


@pytest.fixture
def host(tmp_path: Path) -> OpenBsdHost:
    """A fresh server at a provider that serves its user data, and a registry with the bundle."""
    made = OpenBsdHost(tmp_path / "host")
    made.write("startup", startup_script(PUBLIC))
    made.write(f"{METADATA}/latest/user-data", _user_data())
    made.write(f"{METADATA}/v1/instance-v2-id", "36e9cf60-5d93-4e31-8ebf-613b3d2874fb")
    made.write(SERVED, BUNDLE)
    return made


def _is_a_node(host: OpenBsdHost) -> None:
    """What has to be so after a first boot, however often it was cut short."""
    host.says("agent of bundle one")
    until(lambda: host.enabled == ["anycast_mesh_agent"], 10, "only the agent is enabled")
    assert json.loads(host.read("etc/anycast-mesh/seed.json"))["node"] == NODE
    assert host.read("etc/anycast-mesh/instance-id").startswith("36e9cf60-")
    assert host.read("etc/myname") == f"{NODE}\n"
    assert host.read("root/.ssh/authorized_keys") == f"{LOGIN}\n"
    assert host.read("var/run/pf.rules") == host.read("etc/pf.conf")
    assert "block drop all\n" in host.read("etc/pf.conf")
    assert (host.root / "var/lib/anycast-mesh/keys").stat().st_mode & 0o777 == 0o700
    assert sorted(p.name for p in (host.root / "var/db/pkg").iterdir())[0] == "bird-2.17.2"
    assert not list(host.root.rglob("etc/**/*.mesh-new"))
    assert not host.read("state/strange")


def test_a_server_becomes_a_node(host: OpenBsdHost) -> None:
    with host.boot("sh /startup"):
        _is_a_node(host)
    assert len(host.read("state/calls").splitlines()) < CALLS
    assert "token" not in startup_script(PUBLIC)


def test_a_pf_that_is_off_is_enabled(host: OpenBsdHost) -> None:
    host.write("etc/pf.off", "")
    with host.boot("sh /startup"):
        _is_a_node(host)
        assert (host.root / "var/run/pf.enabled").exists()
    assert not (host.root / "etc/pf.off").exists()


@pytest.mark.parametrize("lost", ["disable fetch", "disable bootstrap", "enable agent"])
def test_a_lost_change_of_what_starts_at_boot_is_made_again(host: OpenBsdHost, lost: str) -> None:
    host.write("state/lost", lost.replace(" ", " anycast_mesh_"))
    with host.boot("sh /startup"):
        _is_a_node(host)
    assert not (host.root / "state/lost").exists()


@pytest.mark.parametrize("cut", range(3, CALLS, 14))
def test_a_first_boot_that_is_cut_short_goes_on_at_the_next(host: OpenBsdHost, cut: int) -> None:
    host.write("state/cut", str(cut))
    with host.boot("sh /startup") as running:
        until(lambda: running.poll() is not None or host.enabled == ["anycast_mesh_agent"], 20,
              "the power cut")  # fmt: skip
    (host.root / "state/cut").unlink()
    # The provider runs the script once: one that was cut itself is started again by hand.
    again = "" if "anycast_mesh" in host.read("etc/pkg_scripts") else "sh /startup"
    with host.boot(again):
        _is_a_node(host)


def _changed(text: str) -> str:
    return text.replace("pass out", "pass", 1)


@pytest.mark.parametrize(
    "served",
    [
        lambda: _user_data(STRANGER),
        lambda: _changed(_user_data()),
        lambda: _user_data().partition("#!")[2],
        lambda: signify.embedded(PRIVATE, "reboot\n"),
        lambda: "#!/bin/sh\ntouch /state/strange\n",
    ],
    ids=["signed by another", "changed", "without a signature", "no script", "not signed"],
)
def test_other_user_data_are_not_run(host: OpenBsdHost, served: Callable[[], str]) -> None:
    host.write(f"{METADATA}/latest/user-data", served())
    with host.boot("sh /startup"):
        host.says("no user data with a valid signature of the operator: nothing is run")
        assert host.read("etc/pf.conf") == "set skip on lo\npass\n"
        assert not host.read("etc/anycast-mesh/seed.json")
        # The right ones may still come.
        host.write(f"{METADATA}/latest/user-data", _user_data())
        _is_a_node(host)


def test_user_data_are_found_in_the_metadata_as_a_whole(host: OpenBsdHost) -> None:
    (host.root / METADATA / "latest/user-data").unlink()
    host.write(f"{METADATA}/v1.json", json.dumps({"hostname": "x", "user-data": _user_data()}))
    with host.boot("sh /startup"):
        _is_a_node(host)


@pytest.mark.parametrize("given", ["inet6 autoconf", "inet6 autoconf -autoconfprivacy -soii"])
def test_the_ipv6_address_becomes_that_of_the_mac_address(host: OpenBsdHost, given: str) -> None:
    """What images of the provider have had in this file, and OpenBSD's own default."""
    host.write("etc/hostname.vio0", f"dhcp\n{given}\n", 0o640)
    with host.boot("sh /startup"):
        _is_a_node(host)
    assert host.read("etc/hostname.vio0") == "dhcp\ninet6 autoconf -temporary -soii\n"
    assert (host.root / "etc/hostname.vio0").stat().st_mode & 0o777 == 0o640
    assert host.read("var/run/vio0").splitlines() == ["-inet6", "netstart vio0"]


@pytest.mark.parametrize("given", ["inet6 autoconf -temporary -soii", "inet6 2001:db8::2 64"])
def test_an_uplink_that_is_set_up_for_it_stays(host: OpenBsdHost, given: str) -> None:
    host.write("etc/hostname.vio0", f"dhcp\n{given}\n", 0o640)
    with host.boot("sh /startup"):
        _is_a_node(host)
    assert host.read("etc/hostname.vio0") == f"dhcp\n{given}\n"
    assert not host.read("var/run/vio0")


def test_a_bundle_of_another_is_not_run(host: OpenBsdHost) -> None:
    host.write(SERVED, BUNDLE + b"# changed\n")
    with host.boot("sh /startup"):
        host.says(f"{REGISTRY}: no bundle that the operator has signed")
        assert not (host.root / "var/lib/anycast-mesh/bundle.pyz").is_symlink()
        assert "anycast_mesh_agent" not in host.enabled
        host.write(SERVED, BUNDLE)
        _is_a_node(host)


def test_a_registry_may_answer_late(host: OpenBsdHost) -> None:
    (host.root / SERVED).unlink()
    with host.boot("sh /startup"):
        host.says("no registry has handed out the bundle yet")
        host.write(SERVED, BUNDLE)
        _is_a_node(host)


@pytest.mark.parametrize("absent", ["bird", "py3-pydantic"])
def test_a_mirror_without_a_package_is_named_before_any_is_installed(
    host: OpenBsdHost, absent: str
) -> None:
    names = host.read("state/mirror").splitlines()
    host.write("state/mirror", "".join(f"{n}\n" for n in names if not n.startswith(f"{absent}-")))
    with host.boot("sh /startup"):
        host.says(f"https://mirror.example/pub/OpenBSD has no package of {absent} for OpenBSD 7.9")
        assert not list((host.root / "var/db/pkg").iterdir())
        host.write("state/mirror", "".join(f"{name}\n" for name in names))
        _is_a_node(host)
