"""The stand-ins of OpenBSD's commands do as its manual pages and sources say."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import needs
from tests.kit.openbsd import processes
from tests.kit.openbsd.machine import MIRROR, OpenBsd
from tests.kit.wait import until

KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OpenBsd]:
    made = OpenBsd(tmp_path)
    yield made
    made.halt()


REFUSED = [
    # command, exit code, what is said
    ("ifconfig wg9", 1, "wg9: no such interface"),
    ("ifconfig vio7 up", 1, "ifconfig: SIOCGIFFLAGS: Device not configured"),
    ("ifconfig vio0 create", 1, "ifconfig: SIOCIFCREATE: File exists"),
    ("ifconfig nope0 create", 1, "ifconfig: SIOCIFCREATE: Invalid argument"),
    ("ifconfig wg9 destroy", 1, "ifconfig: SIOCIFDESTROY: Device not configured"),
    ("ifconfig lo1 inet 192.0.2.1/32 -alias", 1, "SIOCDIFADDR: Can't assign requested address"),
    ("ifconfig lo1 inet 192.0.2.300/32 alias", 1, "ifconfig: 192.0.2.300/32: bad value"),
    ("ifconfig lo1 mtu", 1, "ifconfig: 'mtu' requires argument"),
    ("ifconfig wg1 group mesh1", 1, "group names may not end in a digit"),
    ("ifconfig wg1 wgkey secret", 64, "the stand-in does not have wgkey"),
    ("route -T 7 -n show", 1, "routing table 7: No such file or directory"),
    ("route -q delete -inet 192.0.2.0/24", 1, ""),
    ("route delete -inet 192.0.2.0/24", 1, "delete net 192.0.2.0/24: not in table"),
    ("route add -inet 192.0.2.0/24 198.51.100.1", 1, ": Network is unreachable"),
    ("pfctl -t nowhere -T show", 255, "pfctl: Table does not exist."),
    ("pfctl -t x", 1, "usage: pfctl"),
    ("pfctl -e", 1, "pfctl: pf already enabled"),
    ("rcctl enable nobody", 2, "rcctl: service nobody does not exist"),
    ("rcctl start pf", 1, '"pf" is a special variable, no rc.d(8) script'),
    ("wg syncconf wg9 /dev/stdin", 1, "Unable to modify interface: No such file or directory"),
    ("su -fl -c daemon -s /bin/sh ghost -c true", 1, "no such login class or user: ghost"),
    ("install -d -o ghost /var/run/x", 1, "ghost: Invalid argument"),
    ("ip link", 127, "not found on OpenBSD"),
]


def test_what_is_wrong_is_refused_as_there(machine: OpenBsd) -> None:
    for command, code, said in REFUSED:
        done = machine.run(*command.split())
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), command


@pytest.mark.parametrize(("command", "code", "said"), REFUSED[4:12:7])
def test_a_process_of_one_ends_and_speaks_the_same(
    machine: OpenBsd, command: str, code: int, said: str
) -> None:
    """Most run in the process of their test; agents and scripts start them."""
    done = machine.apart(*command.split())
    here = machine.run(*command.split())
    assert (done.returncode, done.stdout, done.stderr) == (code, here.stdout, here.stderr)
    assert said in done.stderr


SAID = [
    # ends with 0, and has failed: who reads the code alone is misled
    ("sysctl net.inet.ip.forwardin=1", "fourth level name forwardin in"),
    ("sysctl kern.osrelease=8.0", "Operation not permitted"),
    ("sysctl net.inet.ip.forwarding=yes", "illegal value: yes"),
    ("route -n get -inet 198.51.100.1 -T", ""),
    ("ifconfig lo1 create mtu 99999", "SIOCSIFMTU: Invalid argument"),
    ("netstart wg7", "hostname.wg7: No such file or directory"),
]


def test_some_failures_end_with_zero(machine: OpenBsd) -> None:
    with machine.changing() as kernel:
        kernel.routes.clear()
    assert machine.run("route", "-n", "get", "-inet", "default").returncode == 0
    for command, said in SAID:
        if said:
            done = machine.run(*command.split())
            assert (done.returncode, said in done.stderr) == (0, True), command
    assert machine.kernel.sysctl["net.inet.ip.forwarding"] == "0"


def test_a_tunnel_comes_up_from_its_file(machine: OpenBsd) -> None:
    machine.put("/var/lib/wireguard.key", base64.b64encode(bytes(32)).decode(), 0o600)
    machine.put(
        "/etc/hostname.wg4",
        f"""\
description "mia-vultr-1"
mtu 1420
inet 10.255.0.1/32
inet6 fe80::1/64
!/usr/local/bin/wg set \\$if listen-port 51004 private-key /var/lib/wireguard.key \
peer {KEY} endpoint 198.51.100.7:51001 allowed-ips 0.0.0.0/0,::/0
up
""",
        0o640,
    )
    machine.must("sh", "/etc/netstart", "wg4")
    each = machine.kernel.interfaces["wg4"]
    assert (each.inet, each.inet6, each.up) == (["10.255.0.1/32"], ["fe80::1/64"], True)
    own, peer = machine.must("wg", "show", "all", "dump").splitlines()
    assert own.split("\t")[3] == "51004"
    assert peer.split("\t")[1:5] == [KEY, "(none)", "198.51.100.7:51001", "0.0.0.0/0,::/0"]


def test_public_keys_are_those_of_wireguard(machine: OpenBsd) -> None:
    # RFC 7748, 6.1: Alice's keys.
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4cdf7d1b5e4c5a5c7d5ac0b4a5a5a5")
    from mesh.trust import keys  # the agent's own arithmetic, which is cryptography's

    text = base64.b64encode(private).decode()
    assert machine.must("wg", "pubkey", given=text).strip() == keys.exchange_public(text)


def test_a_ruleset_takes_the_place_of_the_one_before_and_keeps_tables(machine: OpenBsd) -> None:
    rules = "table <kept> persist\ntable <filled> persist { 192.0.2.1 }\npass from <filled>\n"
    machine.must("pfctl", "-f", "-", given=rules)
    machine.must("pfctl", "-t", "kept", "-T", "add", "198.51.100.1", "2001:db8::/48")
    machine.must("pfctl", "-t", "filled", "-T", "add", "192.0.2.9")
    machine.must("pfctl", "-f", "-", given=rules)
    assert machine.table("kept") == ["198.51.100.1", "2001:db8::/48"]
    assert machine.table("filled") == ["192.0.2.1"]
    bad = machine.run("pfctl", "-f", "-", given="pass in\npas out\n")
    assert (bad.returncode, "stdin:2: syntax error" in bad.stderr) == (1, True)
    assert machine.must("pfctl", "-sr") == "pass from <filled> to any flags S/SA\n"


def test_rules_with_a_routing_table_that_is_missing_fail_only_when_loaded(
    machine: OpenBsd,
) -> None:
    rules = "match in to 192.0.2.1 rtable 1\n"
    machine.must("pfctl", "-nf", "-", given=rules)
    done = machine.run("pfctl", "-f", "-", given=rules)
    assert (done.returncode, done.stderr) == (1, "pfctl: DIOCADDRULE: Device busy\n")
    machine.must("route", "-q", "-T", "1", "add", "-inet", "default", "127.0.0.1", "-blackhole")
    machine.must("pfctl", "-f", "-", given=rules)


def test_a_service_starts_is_found_and_ends(machine: OpenBsd) -> None:
    if shutil.which("mksh") is None:
        raise needs.Absent("there is no mksh: `make setup-tests`")
    machine.put("/usr/local/sbin/sleeper", "#!/bin/sh\nexec sleep 300\n", 0o755)
    machine.put(
        "/etc/rc.d/sleeper",
        """\
#!/bin/ksh
daemon="/usr/local/sbin/sleeper"
pexp="sleep 300"
rc_bg=YES
rc_reload=NO
. /etc/rc.d/rc.subr
rc_pre() {
	echo reset >/var/run/word
}
rc_cmd $1
""",
        0o755,
    )
    assert machine.run("rcctl", "check", "sleeper").stdout == "sleeper(failed)\n"
    machine.must("rcctl", "enable", "sleeper")
    assert machine.must("rcctl", "start", "sleeper") == "sleeper(ok)\n"
    assert machine.path("/var/run/word").read_text() == "reset\n"
    # One that runs is left alone, without a word.
    assert machine.must("rcctl", "start", "sleeper") == ""
    assert machine.must("rcctl", "check", "sleeper") == "sleeper(ok)\n"
    assert "reload is not supported" in machine.run("rcctl", "reload", "sleeper").stderr
    machine.reboot()
    assert machine.must("rcctl", "check", "sleeper") == "sleeper(ok)\n"
    machine.must("rcctl", "stop", "sleeper")
    until(lambda: not list(processes.processes(str(machine.state))), 2, "it has ended")


def test_packages_are_those_of_the_mirror(machine: OpenBsd) -> None:
    assert machine.must("pkg_info", "-Q", "bird").split("\n")[0] == "bird-2.17.1 (installed)"
    machine.put("/etc/installurl", "https://elsewhere.example.net/pub\n")
    done = machine.run("pkg_add", "-I", "nsd")
    assert (done.returncode, "Can't find nsd" in done.stderr) == (1, True)
    machine.put("/etc/installurl", f"{MIRROR}\n")
    assert machine.run("pkg_info", "-e", "bird-*").stdout == "inst:bird-2.17.1\n"


def test_power_that_goes_takes_what_only_the_kernel_had(machine: OpenBsd) -> None:
    machine.must("ifconfig", "lo1", "inet", "192.0.2.1/32", "alias")
    machine.must("pfctl", "-t", "served", "-T", "add", "192.0.2.1")
    machine.must("sysctl", "net.inet.ip.forwarding=1")
    machine.put("/var/run/word", "here")
    before = machine.must("sysctl", "-n", "kern.boottime")
    machine.put("/etc/sysctl.conf", "net.inet6.ip6.forwarding=1\n")
    machine.reboot()
    kernel = machine.kernel
    assert "lo1" not in kernel.interfaces
    assert not kernel.pf.tables
    assert kernel.sysctl["net.inet.ip.forwarding"] == "0"
    assert kernel.sysctl["net.inet6.ip6.forwarding"] == "1"
    assert not machine.path("/var/run/word").exists()
    assert machine.must("sysctl", "-n", "kern.boottime") != before
