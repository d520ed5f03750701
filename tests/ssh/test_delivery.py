"""What an existing host gets and gives back, over a real sshd in a Debian 13 container."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from typing import Any

import asyncssh
import pytest

from mesh.lab import namespaces
from mesh.render.templates import rendered
from mesh.ssh import (
    Delivered,
    DeliveryError,
    HostUnreachable,
    deliver,
    examine,
    is_there,
    shown_key,
    withdraw,
)
from mesh.ssh.receiver import OUTSIDE, TURN
from tests.kit.existing_host import LOGIN, NODE, STRANGER, ExistingHost, key_text
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.lab

BUNDLE = os.urandom(300_000)
"""Nobody runs it: what counts here is how it gets there."""
CUT = 6.0
"""Seconds: a log-in takes less on a busy machine, and a cut link is noticed after twice that."""
SHOWN = {"host_keys": (), "trust_first": True}


def silent(_: str) -> None:
    """Nobody listens."""


def fingerprint(key: asyncssh.SSHKey) -> str:
    return str(key.get_fingerprint())


def delivered(box: ExistingHost, **changes: Any) -> Delivered:
    """The node brought to the host, from the operator's network."""
    return box.operator(lambda: deliver(box.target(**changes), box.given(BUNDLE), silent))


def clear(box: ExistingHost, **changes: Any) -> None:
    """Take whatever instance is there."""
    told = box.root / "etc/anycast-mesh/instance-id"
    if told.exists():
        instance = told.read_text().strip()
        box.operator(lambda: withdraw(box.target(**changes), instance, silent))


@pytest.fixture(scope="session")
def pristine(box: ExistingHost) -> dict[str, object]:
    """How the host is without us."""
    return box.as_it_is()


@pytest.fixture
def untouched(box: ExistingHost, pristine: dict[str, object]) -> Iterator[dict[str, object]]:
    """How the host is without us; after each test it is so again. On a quick machine its units are
    started more often here than systemd lets them be, five times in ten seconds."""
    box.run("systemctl", "reset-failed")
    yield pristine
    box.run("systemctl", "reset-failed")
    clear(box)
    assert box.as_it_is() == pristine


# --- refused before anything is changed -----------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], str, list[str]]] = [
    (
        "another host key than the one that was given",
        {"host_keys": (" ".join(STRANGER.export_public_key().decode().split()[:2]),)},
        "mesh:nodes.ewr-buyvm-1.host.ssh.hostKeys",
        [fingerprint(STRANGER), "SHOWN", "presents another key", "provider's console"],
    ),
    (
        "no host key, and nobody said that the first one is to be trusted",
        {"host_keys": ()},
        "mesh:nodes.ewr-buyvm-1.host.ssh.hostKeys",
        ["SHOWN", "provider's console"],
    ),
    (
        "a host key of a type that the host does not have",
        {
            "host_keys": (
                " ".join(
                    asyncssh.generate_private_key("ecdsa-sha2-nistp256")
                    .export_public_key().decode().split()[:2]
                ),
            )
        },
        "mesh:nodes.ewr-buyvm-1.host.ssh.hostKeys",
        ["SHOWN", "presents another key"],
    ),
    (
        "a key that the host does not know",
        {"ssh_key": key_text(STRANGER)},
        "mesh:nodes.ewr-buyvm-1.host.ssh.user = root",
        ["does not accept", fingerprint(STRANGER), "authorized_keys"],
    ),
    (
        "a user that the host does not know",
        {"user": "erin"},
        "mesh:nodes.ewr-buyvm-1.host.ssh.user = erin",
        ["does not accept", fingerprint(LOGIN)],
    ),
    (
        "a user who may not become root",
        {"user": "dave"},
        "mesh:nodes.ewr-buyvm-1.host.ssh.user = dave",
        ["sudo -n true", "NOPASSWD"],
    ),
    (
        "a key that is locked",
        {"ssh_key": LOGIN.export_private_key("pkcs8-pem", passphrase="open sesame").decode()},
        "mesh:sshKey-buyvm = [secret]",
        ["passphrase", "ssh-keygen"],
    ),
    (
        "a key that is none",
        {"ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"},
        "mesh:sshKey-buyvm = [secret]",
        ["not a readable private key", "ssh-keygen"],
    ),
    (
        "a port where nobody listens",
        {"port": 2222, "patience": 3.0},
        "mesh:nodes.ewr-buyvm-1.host.ipv4",
        ["port 2222", "take ewr-buyvm-1 out of mesh:nodes"],
    ),
    (
        "an address where nobody is",
        {"address": "203.0.113.200", "patience": 1.0},
        "mesh:nodes.ewr-buyvm-1.host.ipv4 = 203.0.113.200",
        ["no SSH at 203.0.113.200 port 22", "mesh:nodes"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "key", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused_with_key_value_reason_and_cure_and_nothing_changed(
    box: ExistingHost,
    untouched: dict[str, object],
    changes: dict[str, Any],
    key: str,
    said: list[str],
) -> None:
    with pytest.raises(DeliveryError) as error:
        delivered(box, **changes)
    text, shown = str(error.value), asyncssh.import_public_key(box.host_key).get_fingerprint()
    assert text.startswith(key)
    for part in said:
        assert (shown if part == "SHOWN" else part) in text, text
    assert "\n" not in text
    assert key_text(LOGIN).splitlines()[2] not in text
    found = box.operator(lambda: examine(box.target(**changes), None, box.given().admin))
    assert [str(problem) for problem in found] == [text], "a preview says the same"
    assert not (box.root / "etc/anycast-mesh").exists()


def test_who_would_lock_himself_out_is_told_before(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    """A client's address is not in mesh:admin.ssh: the base firewall would not let him in again."""
    address = next(one for one in box.world.clients if one.box == "client-ewr").ipv4
    with pytest.raises(DeliveryError) as error:
        box.client(lambda: deliver(box.target(), box.given(BUNDLE), silent))
    for part in ("mesh:admin.ssh = 198.51.100.250/32", f"from {address}", f"add {address}/32"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("etc/os-release", "ID=debian\nVERSION_ID=12\n", "runs debian 12"),
        ("etc/os-release", "ID=ubuntu\nVERSION_ID=24.04\n", "runs ubuntu 24.04"),
    ],
)
def test_a_system_that_is_not_debian_13_is_refused(
    box: ExistingHost, untouched: dict[str, object], path: str, content: str, said: str
) -> None:
    target = box.root / path
    link = target.readlink()
    target.unlink()
    target.write_text(content)
    try:
        with pytest.raises(DeliveryError, match=said):
            delivered(box)
    finally:
        target.unlink()
        target.symlink_to(link)


def test_an_address_that_the_host_does_not_hold_is_refused(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    wrong = replace(box.given(BUNDLE), ipv6="2001:db8:ffff::77")
    with pytest.raises(DeliveryError, match="no interface of the host has it") as error:
        box.operator(lambda: deliver(box.target(), wrong, silent))
    assert "host.ipv6 = 2001:db8:ffff::77" in str(error.value)


# --- delivered, again, and taken back -------------------------------------------------------------


@pytest.mark.parametrize("user", ["root", "carol"])
def test_a_host_gets_what_a_cloud_would_give_and_gives_it_back(
    box: ExistingHost, untouched: dict[str, object], user: str
) -> None:
    done = delivered(box, user=user)
    assert done.instance_id.startswith("host-")
    assert len(done.instance_id) == len("host-") + 16
    etc = box.root / "etc"
    assert (etc / "anycast-mesh/instance-id").read_text() == f"{done.instance_id}\n"
    seed = etc / "anycast-mesh/seed.json"
    assert (seed.stat().st_mode & 0o777, seed.stat().st_uid) == (0o600, 0)
    assert json.loads(seed.read_text())["node"] == NODE
    bundle = box.root / "var/lib/anycast-mesh/bundle.pyz"
    assert (bundle.parent / bundle.readlink()).read_bytes() == BUNDLE
    home = box.root / ("root" if user == "root" else f"home/{user}")
    assert (home / ".ssh/authorized_keys").read_text().count("@example") == 2
    assert "failed" not in box.run("systemctl", "is-failed", "anycast-mesh-bootstrap")
    assert is_enabled(box, "anycast-mesh-bootstrap") and is_enabled(box, "nftables")
    rules = box.run("nft", "list", "ruleset")
    assert "table inet mesh" in rules and "198.51.100.250 tcp dport 22 accept" in rules
    assert "table inet filter" not in rules, "what it drops, ours could not let in"
    assert "table ip elsewhere" in rules, "nobody else's is touched"
    # The operator's networks get in; others do not, and the undo is off.
    assert box.operator(lambda: is_there(box.target(user=user), done.instance_id))
    with pytest.raises(HostUnreachable):
        box.client(lambda: is_there(box.target(user=user, patience=1.0), done.instance_id))
    assert "anycast-mesh-undo" not in box.run("systemctl", "list-timers", "--all")
    serve(box)
    box.operator(lambda: withdraw(box.target(user=user), done.instance_id, silent))
    assert box.as_it_is() == untouched
    assert not box.operator(lambda: is_there(box.target(), done.instance_id))


def serve(box: ExistingHost) -> None:
    """The host answers at a service's addresses, as with a generation."""
    answers = {4: ("192.30.120.100",), 6: ("2620:71:4000::100",)}
    unit = rendered("debian/systemd/services.service.j2", answers=answers, services_table=4242)
    (box.root / "etc/systemd/system/anycast-mesh-services.service").write_text(unit)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", "anycast-mesh-services.service")
    # As the agent does to ask other nodes.
    for family in ("-4", "-6"):
        box.run("ip", family, "rule", "add", *OUTSIDE, "protocol", "kernel")
    # With its defaults it removes others' rules, and not these.
    box.run("ip", "rule", "add", "preference", "500", "lookup", "7")
    box.run("systemctl", "restart", "systemd-networkd.service")
    until(lambda: "lookup 7" not in box.run("ip", "rule"), 10, "networkd has begun")
    bound, rules = box.run("ip", "address", "show", "dev", "lo"), box.run("ip", "rule")
    assert "192.30.120.100/32 scope host lo" in bound and "2620:71:4000::100/128" in bound
    assert rules.splitlines()[:2] == ["0:\tfrom all lookup 4242", "0:\tfrom all lookup local"]


def is_enabled(box: ExistingHost, unit: str) -> bool:
    """Whether a unit starts at boot."""
    return box.run("systemctl", "is-enabled", unit).strip() == "enabled"


def test_a_second_delivery_does_nothing(box: ExistingHost, untouched: dict[str, object]) -> None:
    first = delivered(box)
    enabled = box.root / "etc/systemd/system/multi-user.target.wants/anycast-mesh-agent.service"
    until(enabled.is_symlink, 20, "the host has enabled the agent, after all was delivered")
    ended = ("systemctl", "is-active", "anycast-mesh-bootstrap")
    until(lambda: box.run(*ended) == "inactive\n", 20, "that was the last that it did by itself")
    before, times = box.as_it_is(), written_at(box)
    second = delivered(box)
    assert (second.instance_id, second.written) == (first.instance_id, ())
    after, later = box.as_it_is(), written_at(box)
    assert {k: (before.get(k), v) for k, v in after.items() if before.get(k) != v} == {}
    assert (after, later) == (before, times)


def written_at(box: ExistingHost) -> dict[str, int]:
    """When each of our files was written."""
    return {name: (box.root / name).lstat().st_mtime_ns for name in box.delivered_files()}


def test_a_host_that_is_delivered_to_anew_is_another_instance(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    """As after a state that was lost: other user data, and nothing of the old keys stays."""
    first = delivered(box)
    old = box.root / "var/lib/anycast-mesh/keys/identity.key"
    old.parent.mkdir(exist_ok=True)
    old.write_text("of the first instance")
    other = box.given(BUNDLE, token="B" * 43 + "=")
    second = box.operator(lambda: deliver(box.target(), other, silent))
    assert second.instance_id != first.instance_id
    assert not old.exists() or old.read_text() != "of the first instance"
    # Who asks for the first one's end now does not get the second one's.
    box.operator(lambda: withdraw(box.target(), first.instance_id, silent))
    assert box.operator(lambda: is_there(box.target(), second.instance_id))


def test_the_node_of_another_network_is_left_alone(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    done = delivered(box)
    mine = box.given(BUNDLE)
    theirs = replace(mine, user_data=mine.user_data.replace('"operator": "b3B', '"operator": "c3B'))
    with pytest.raises(DeliveryError, match="ewr-buyvm-1 of another network") as error:
        box.operator(lambda: deliver(box.target(), theirs, silent))
    assert box.operator(lambda: is_there(box.target(), done.instance_id))
    # The cure of the error works, at the console.
    command = str(error.value).partition("as root: ")[2].split()
    assert json.loads(box.run(*command))["answer"] == {"removed": True}
    assert box.as_it_is() == untouched


def test_the_first_key_that_is_shown_is_the_only_one_ever_after(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    assert box.operator(lambda: shown_key(box.target(**SHOWN))) == box.host_key
    done = delivered(box)
    other = " ".join(STRANGER.export_public_key().decode().split()[:2])
    with pytest.raises(DeliveryError, match="presents another key") as error:
        box.operator(lambda: is_there(box.target(host_keys=(other,)), done.instance_id))
    assert fingerprint(STRANGER) in str(error.value)
    assert str(asyncssh.import_public_key(box.host_key).get_fingerprint()) in str(error.value)


def test_no_user_of_the_host_can_hold_the_turn(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    """Neither by making its file first, wherever files of that kind go, nor by locking it."""
    for folder in ("/run", "/run/lock", "/tmp"):
        box.run("runuser", "-u", "dave", "--", "touch", f"{folder}/{TURN.name}")
    turn = box.root / str(TURN).lstrip("/")
    try:
        assert (box.root / "tmp" / TURN.name).exists() and (
            not turn.exists() or not turn.stat().st_uid
        )
        done = delivered(box)
    finally:
        box.run("rm", "-f", f"/run/lock/{TURN.name}", f"/tmp/{TURN.name}")
    assert box.operator(lambda: is_there(box.target(), done.instance_id))
    locked = box.run("runuser", "-u", "dave", "--", "sh", "-c", f"flock -n {TURN} echo locked")
    assert "locked" not in locked


# --- cut in the middle ----------------------------------------------------------------------------


def kill_session(box: ExistingHost) -> None:
    """End every process of the SSH session, as a reboot of a middlebox would not even do."""
    for line in box.run("ps", "-eo", "pid,args").splitlines():
        pid, _, command = line.strip().partition(" ")
        if command.lstrip().startswith("sshd-session:"):
            box.run("kill", "-9", pid)


def cut_link(box: ExistingHost) -> None:
    """From here on nothing reaches the host any more, and nobody is told."""
    namespaces.nft(
        "table inet cut {\n chain everything {\n"
        "  type filter hook forward priority -300; policy drop;\n }\n}\n",
        box.place.namespace("transit-ewr"),
    )


def mend_link(box: ExistingHost) -> None:
    """It is as if nothing had been."""
    namespaces.nft("delete table inet cut\n", box.place.namespace("transit-ewr"))


@pytest.mark.parametrize(
    ("at", "cut"),
    [
        ("144 of 292 kB", kill_session),
        ("144 of 292 kB", cut_link),
        ("firewall closed", cut_link),
    ],
)
def test_a_delivery_that_is_cut_goes_on_where_it_was(
    box: ExistingHost, untouched: dict[str, object], at: str, cut: Callable[[ExistingHost], None]
) -> None:
    said: list[str] = []

    def cut_at(line: str) -> None:
        said.append(line)
        if at in line:
            cut(box)

    with pytest.raises(HostUnreachable) as error:
        box.operator(lambda: deliver(box.target(patience=CUT), box.given(BUNDLE), cut_at))
    assert "mesh:nodes.ewr-buyvm-1.host.ipv4 = 203.0.113.21" in str(error.value)
    if cut is cut_link:
        mend_link(box)
    begun = (box.root / "etc/anycast-mesh/instance-id").read_text().strip()
    parts = list((box.root / "var/lib/anycast-mesh/state/delivery/parts").glob("*"))
    again: list[str] = []
    done = box.operator(lambda: deliver(box.target(), box.given(BUNDLE), again.append))
    assert done.instance_id == begun
    assert any("continuing an interrupted delivery" in line for line in again)
    if at == "firewall closed":
        assert done.written == (), "all of it had arrived"
    else:
        assert [part.name for part in parts] == [hashlib.sha256(BUNDLE).hexdigest()]
        sent = [line for line in again if "of 292 kB" in line]
        assert len(sent) < 7 and "48 of 292 kB" not in sent[0], "what has arrived is not sent again"
    stored = box.root / "var/lib/anycast-mesh/bundles" / f"{hashlib.sha256(BUNDLE).hexdigest()}.pyz"
    assert stored.read_bytes() == BUNDLE


def test_a_firewall_that_shuts_the_operator_out_opens_again_by_itself(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    """The base rules of a stack file that names another network than the one we come from; the
    check before is told otherwise, so that only the undo is left."""
    given = box.given(BUNDLE)
    wrong = replace(
        given,
        user_data=given.user_data.replace("198.51.100.250/32 tcp dport", "192.0.2.1/32 tcp dport"),
        admin=[ip_network(f"{IPv4Address('198.51.100.250')}/32")],
    )
    short = box.root / "usr/local/sbin/systemd-run"
    short.write_text(
        '#!/bin/sh\nexec /usr/bin/systemd-run $(echo "$@" | sed s/--on-active=60/--on-active=4/)\n'
    )
    short.chmod(0o755)
    try:
        with pytest.raises(HostUnreachable, match="no SSH at"):
            box.operator(lambda: deliver(box.target(patience=1.0), wrong, silent))
        namespaces.wait_until(
            lambda: "inet mesh" not in box.run("nft", "list", "tables"), PATIENCE, "the undo"
        )
        assert box.operator(lambda: is_there(box.target(), "host-nobody")) is False
    finally:
        short.unlink()


def test_nothing_is_left_of_a_removal_that_was_cut(
    box: ExistingHost, untouched: dict[str, object]
) -> None:
    done = delivered(box)

    def cut_at(line: str) -> None:
        if "restoring" in line:
            cut_link(box)

    with pytest.raises(HostUnreachable):
        box.operator(lambda: withdraw(box.target(patience=CUT), done.instance_id, cut_at))
    mend_link(box)
    box.operator(lambda: withdraw(box.target(), done.instance_id, silent))
    assert box.as_it_is() == untouched


def test_a_host_that_is_gone_cannot_be_cleared_and_says_how_to_go_on(box: ExistingHost) -> None:
    nobody = box.target(address="203.0.113.200", patience=1.0)
    with pytest.raises(HostUnreachable, match=r"203\.0\.113\.200"):
        box.operator(lambda: withdraw(nobody, "host-0123456789abcdef", silent))
