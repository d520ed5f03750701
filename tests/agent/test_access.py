"""What a change takes from those who may log in, judged from the files before and after it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest

from mesh.agent import bundle
from mesh.agent.access import LoginAccess, lost
from mesh.agent.host import Host
from mesh.agent.ruleset import Ruleset
from mesh.agent.sshd import Effective, User, has_key, users
from mesh.render import File, node_files, placeholder_facts
from tests.kit.machine import Debian
from tests.kit.stacks import plan_of, prod

HOME, OFFICE = "198.51.100.250/32", "192.0.2.0/24"
FIREWALL = """
table inet mesh {{
  set admin4 {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {admin} }} }}
  set admin6 {{ type ipv6_addr; flags interval; auto-merge; elements = {{ 2001:db8::/64 }} }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname != {{ "lo", "wg-*" }} ip saddr 10.10.10.0/24 drop
    {raw}
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ip daddr 192.30.120.0/23 goto announced
    iifname "wg-*" goto tunnel
    goto uplink
  }}
  chain announced {{ tcp dport 80 accept; }}
  chain tunnel {{ tcp dport 179 accept; }}
  chain uplink {{
    ct state established,related accept
    ct state invalid drop
    icmp type echo-request limit rate 50/second burst 100 packets accept
    udp sport 67 udp dport 68 accept
    {first}
    {ssh}
    ip6 saddr @admin6 tcp dport 22 accept
  }}
}}
"""
SSH = "ip saddr @admin4 tcp dport 22 accept"


def ruleset(**changed: str) -> Ruleset:
    """The firewall with these changes, as nft reads it."""
    given = {"admin": f"{HOME}, {OFFICE}", "raw": "", "first": "", "ssh": SSH} | changed
    return read(FIREWALL.format(**given))


def read(text: str) -> Ruleset:
    """A file of nftables, as nft reads it."""
    load = 'printf "%s" "$1" | nft -f - && nft -j list ruleset'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", load, "sh", text],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Ruleset(done.stdout)


def access_of(rules: Ruleset, *ports: int) -> LoginAccess:
    lines = "\n".join(f"listenaddress 0.0.0.0:{port}" for port in ports or (22,))
    return LoginAccess(rules, lambda _user, _place: Effective(lines))


FIREWALLS: dict[str, tuple[Mapping[str, str], Mapping[str, str], tuple[str, ...]]] = {
    "the same": ({}, {}, ()),
    "one more network": ({}, {"admin": f"{HOME}, {OFFICE}, 203.0.113.0/24"}, ()),
    "one network fewer": ({}, {"admin": HOME}, (f"{OFFICE} may log in no more",)),
    "another network instead": (
        {"admin": HOME}, {"admin": OFFICE}, (f"{HOME} may log in no more",),
    ),
    "a larger network": ({"admin": "192.0.2.0/25"}, {"admin": OFFICE}, ()),
    "a smaller network": (
        {"admin": OFFICE}, {"admin": "192.0.2.0/25"}, ("192.0.2.128/25 may log in no more",),
    ),
    "a hole in it": (
        {"admin": OFFICE}, {"admin": "192.0.2.0/26, 192.0.2.128/25"},
        ("192.0.2.64/26 may log in no more",),
    ),
    "the same in two halves": ({"admin": OFFICE}, {"admin": "192.0.2.0/25, 192.0.2.128/25"}, ()),
    "written in the rule itself": (
        {}, {"ssh": f"ip saddr {{ {HOME}, {OFFICE} }} tcp dport {{ 22, 80 }} accept"}, (),
    ),
    "from the world to one": (
        {"ssh": "tcp dport 22 accept"}, {},
        ("a part of 0.0.0.0/0 may log in no more", "a part of ::/0 may log in no more"),
    ),
    "a rule that drops before": (
        {"admin": OFFICE}, {"admin": OFFICE, "first": "ip saddr 192.0.2.7 drop"},
        ("192.0.2.7/32 may log in no more",),
    ),
    "a rule that drops in another chain": (
        {"admin": OFFICE}, {"admin": OFFICE, "raw": "tcp dport 22 drop"},
        (f"{OFFICE} may log in no more", "2001:db8::/64 may log in no more"),
    ),
    "a drop that is not understood": (
        {"admin": OFFICE}, {"admin": OFFICE, "first": "ip saddr 192.0.2.0/24 meta mark 7 drop"},
        (f"{OFFICE} may log in no more",),
    ),
    "and was there already": (
        {"first": "meta mark 7 drop"}, {"first": "meta mark 7 drop", "raw": "udp dport 9 drop"}, (),
    ),
    "what drops others": ({}, {"first": "tcp dport 8443 drop; ip saddr 203.0.113.9 drop"}, ()),
    "what drops at the tunnel": ({}, {"first": 'iifname "wg-*" drop'}, ()),
    "one of two that nft merges": (
        {"admin": f"{OFFICE}, 192.0.3.0/24"}, {"admin": "192.0.3.0/24"},
        (f"{OFFICE} may log in no more",),
    ),
    "from all but one to one": (
        {"ssh": "ip saddr != 203.0.113.9 tcp dport 22 accept", "first": "meta nfproto ipv6 drop"},
        {"first": "meta nfproto ipv6 drop", "admin": HOME},
        ("a part of 0.0.0.0/0 may log in no more",),
    ),
    "a rule that drops all but some": (
        {"admin": OFFICE}, {"admin": OFFICE, "first": "ip saddr != 192.0.2.0/25 tcp dport 22 drop"},
        ("192.0.2.128/25 may log in no more",),
    ),
    "one who may do anything": (
        {"first": "ip saddr 203.0.113.9 accept"}, {}, ("203.0.113.9/32 may log in no more",),
    ),
    "SSH elsewhere": (
        {"admin": HOME}, {"admin": HOME, "ssh": "ip saddr @admin4 tcp dport 2222 accept"},
        (f"{HOME} may log in no more",),
    ),
}  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("case", FIREWALLS)
def test_a_firewall_narrows_where_it_shuts_somebody_out(case: str) -> None:
    before, after, expected = FIREWALLS[case]
    assert (
        tuple(lost(access_of(ruleset(**before)), access_of(ruleset(**after)), [], [])) == expected
    )


@pytest.mark.root
def test_a_port_of_sshds_that_goes_is_a_loss() -> None:
    both = ruleset(ssh="ip saddr @admin4 tcp dport { 22, 2222 } accept", admin=HOME)
    assert list(lost(access_of(both, 22), access_of(both, 22, 2222), [], [])) == []
    assert list(lost(access_of(both, 22, 2222), access_of(both, 22), [], [])) == [
        f"{HOME} may log in no more (port 2222)"
    ]


ROOT = User("root", 0, "/root", frozenset(("root",)), password=False)
CAROL = User("carol", 1000, "/home/carol", frozenset(("carol", "sudo")), password=True)
PLAIN = "pubkeyauthentication yes\npermitrootlogin without-password\nauthenticationmethods any\n"
WORDS = "passwordauthentication yes\n"


@pytest.mark.parametrize(
    ("settings", "user", "key", "expected"),
    [
        (PLAIN, ROOT, True, True),
        (PLAIN, ROOT, False, False),
        (PLAIN + "trustedusercakeys /etc/ssh/ca.pub", ROOT, False, True),
        (PLAIN + "trustedusercakeys none\nauthorizedkeyscommand none", ROOT, False, False),
        (PLAIN.replace("without-password", "no"), ROOT, True, False),
        (PLAIN.replace("yes", "no"), ROOT, True, False),
        (PLAIN.replace("yes", "no") + WORDS, CAROL, True, True),
        (PLAIN.replace("yes", "no") + WORDS, ROOT, True, False),
        (PLAIN.replace("any", "publickey,password"), CAROL, True, False),
        (PLAIN.replace("any", "publickey,password") + WORDS, CAROL, True, True),
        (PLAIN.replace("any", "publickey,password publickey"), CAROL, True, True),
        (PLAIN + "refuseconnection yes", ROOT, True, False),
        (PLAIN + "allowusers carol", ROOT, True, False),
        (PLAIN + "allowusers carol\nallowusers ro*", ROOT, True, True),
        (PLAIN + "allowusers root@198.51.100.0/24", ROOT, True, True),
        (PLAIN + "allowusers root@192.0.2.0/24", ROOT, True, False),
        (PLAIN + "allowusers root@198.51.*", ROOT, True, True),
        (PLAIN + "allowusers *\nallowusers !root", ROOT, True, False),
        (PLAIN + "denyusers root", ROOT, True, False),
        (PLAIN + "allowgroups sudo", CAROL, True, True),
        (PLAIN + "allowgroups sudo", ROOT, True, False),
        (PLAIN + "denygroups sudo", CAROL, True, False),
    ],
)
def test_whom_sshd_lets_in(settings: str, user: User, key: bool, expected: bool) -> None:
    source = ip_address("198.51.100.250")
    assert Effective(settings).lets_in(user, source, key) == expected


def test_users_are_those_who_have_a_shell_and_keys_lie_where_sshd_looks(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for path, text in {
        "/etc/passwd": "root:x:0:0::/root:/bin/bash\nbin:x:2:2::/bin:/usr/sbin/nologin\n"
        "carol:x:1000:1000::/home/carol:/bin/bash\n",
        "/etc/group": "root:x:0:\ncarol:x:1000:\nsudo:x:27:carol\n",
        "/etc/shadow": "root:*:1::::::\ncarol:$y$x:1::::::\n",
        "/root/.ssh/authorized_keys": "# none\n\n",
        "/etc/ssh/keys/carol": "ssh-ed25519 AAAA carol\n",
    }.items():
        host.write(path, text.encode(), 0o600)
    assert users(host) == [ROOT, CAROL]
    sshd = Effective("authorizedkeysfile .ssh/authorized_keys /etc/ssh/keys/%u")
    assert [has_key(host, sshd, user) for user in (ROOT, CAROL)] == [False, True]
    # Only what the node itself can reach is no way in.
    assert Effective("listenaddress 127.0.0.1:22\nlistenaddress [::]:2222").ports == {2222}


@pytest.mark.root
def test_the_product_lets_in_its_admins_and_nobody_else() -> None:
    """On a registry, whose firewall has most rules."""
    plan = plan_of(prod())
    files = node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files
    (text,) = (file.content for file in files if file.path == "/etc/nftables.conf")
    # This machine has no such user, and nft wants to know it.
    rules = read(text.replace('"bird"', '"nobody"'))
    assert rules.named([22]) == frozenset(plan.access.admin)
    for source in ("203.0.113.2", "10.10.10.2", "192.30.120.9", "8.8.8.8", "2001:db8::2"):
        assert not rules.admits(ip_address(source), 22)
    assert all(rules.admits(network[0], 22) for network in plan.access.admin)


JUDGE = """
import json, sys
from pathlib import Path
from mesh.agent.access import Access
from mesh.agent.daemons import nftables
from mesh.agent.daemons.kind import FileChange
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage

host, found = Host(), {}
access = Access(host, nftables.RULESET, nftables.loaded, "ssh.service")
for name, (path, new) in json.load(sys.stdin).items():
    stage = Stage(host)
    old = host.read(path)
    stage.fill({path: new.encode()})
    try:
        found[name] = list(access.narrowed(stage, [FileChange(path, old, new.encode())]))
    except CommandFailed as error:
        found[name] = str(error)
    finally:
        stage.clear()
print(json.dumps(found))
"""
SSHD = "/etc/ssh/sshd_config.d/00-anycast-mesh.conf"
OURS = "PasswordAuthentication no\nPermitRootLogin prohibit-password\nMaxAuthTries 3\n"
NOBODY = (
    "nobody could log in any more: sshd refuses root from 192.0.2.0, 198.51.100.250, 2001:db8::"
)
DISABLED = (
    '/usr/sbin/sshd refuses: Disabled method "password" in AuthenticationMethods list '
    '"publickey,password"; AuthenticationMethods cannot be satisfied by enabled authentication '
    "methods"
)
UNHEARD = "sshd: with this LogLevel its log does not show who logs in"
SHUT = (
    "nobody could log in any more: no rule of the firewall lets in to a port that sshd listens at"
)
SSHDS: dict[str, tuple[str, list[str] | str]] = {
    "a comment": (OURS + "# of another version\n", []),
    "the same in another order": ("\n".join(reversed(OURS.splitlines())), []),
    "fewer tries": (OURS.replace("3", "2"), ["settings of sshd change: maxauthtries"]),
    "a jump host that is none": (
        OURS + "AllowTcpForwarding no\n", ["settings of sshd change: allowtcpforwarding"],
    ),
    "one of the networks": (
        OURS + "AllowUsers root@192.0.2.0/24\n", ["settings of sshd change: allowusers"],
    ),
    "all but one of them": (
        OURS + f"Match Address {HOME}\n  DenyUsers root\n", ["settings of sshd change: denyusers"],
    ),
    "somebody else": (OURS + "AllowUsers nobody-here\n", NOBODY),
    "nobody from anywhere": (OURS + "Match Address *\n  DenyUsers root\n", NOBODY),
    "no root": (OURS.replace("prohibit-password", "no"), NOBODY),
    "no keys": (OURS + "PubkeyAuthentication no\n", NOBODY),
    "keys elsewhere": (OURS + "AuthorizedKeysFile /etc/ssh/none/%u\n", NOBODY),
    "a password as well": (OURS + "AuthenticationMethods publickey,password\n", DISABLED),
    "a password as well, from anywhere": (
        OURS + "Match Address *\n  AuthenticationMethods publickey,password\n", NOBODY,
    ),
    "another port": (OURS + "Port 2222\n", f"{SHUT} (2222)"),
    "for the node itself": (OURS + "ListenAddress 127.0.0.1\n", f"{SHUT} (none)"),
    "a log that does not tell": (OURS + "LogLevel ERROR\n", UNHEARD),
}  # fmt: skip


@pytest.mark.image
def test_what_sshd_itself_says_of_its_files(tmp_path: Path) -> None:
    """All of it by the node's own programs: sshd, nft and Python."""
    cases = {name: (SSHD, text) for name, (text, _) in SSHDS.items()}
    wrong = FIREWALL.format(admin=OFFICE, raw="", first="", ssh=SSH)
    cases["a wrong network"] = ("/etc/nftables.conf", wrong)
    expected = {name: words for name, (_, words) in SSHDS.items()}
    expected["a wrong network"] = [f"{HOME} may log in no more"]
    assert judged(tmp_path, OURS, cases) == expected


def judged(folder: Path, sshd: str, cases: Mapping[str, tuple[str, str]]) -> object:
    """What each changed file takes away on a node with this file of sshd's."""
    machine = Debian(folder)
    machine.put([
        File("/etc/nftables.conf", FIREWALL.format(
            admin=f"{HOME}, {OFFICE}", raw="", first="", ssh=SSH,
        )),
        File(SSHD, sshd),
        File("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA of-the-operator\n"),
    ])  # fmt: skip
    (folder / "upper/root/bundle.pyz").write_bytes(bundle.build())
    prepare = (
        "ssh-keygen -qA >/dev/null; mkdir -p /run/sshd; PYTHONPATH=/root/bundle.pyz exec python3 -c"
    )
    done = machine.run("sh", "-c", f'{prepare} "$1"', "sh", JUDGE, stdin=json.dumps(cases))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


OPENED = "AllowTcpForwarding local\nPermitOpen 127.0.0.1:8080 [::1]:8080 localhost:8080\n"
ELSEWHERE = "AllowTcpForwarding local\nPermitOpen 10.10.10.2:8080 [::1]:8080\n"
BOTH = ["settings of sshd change: allowtcpforwarding, permitopen"]
FORWARDING: dict[str, tuple[str, str, list[str]]] = {
    "the looking glass comes": ("AllowTcpForwarding no\n", OPENED, []),
    "and goes": (OPENED, "AllowTcpForwarding no\n", []),
    "and has another port": (OPENED, OPENED.replace("8080", "8090"), []),
    "from all of it to the node itself": ("AllowTcpForwarding yes\n", OPENED, BOTH),
    "from another node to none": (ELSEWHERE, "AllowTcpForwarding no\n", BOTH),
    "and a setting of another kind": (
        OPENED, "AllowTcpForwarding no\nMaxSessions 3\n", ["settings of sshd change: maxsessions"],
    ),
}  # fmt: skip


@pytest.mark.image
@pytest.mark.parametrize(("old", "new", "words"), FORWARDING.values(), ids=FORWARDING)
def test_who_forwards_to_the_node_alone_loses_no_way_in(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    assert judged(tmp_path, OURS + old, {"the change": (SSHD, OURS + new)}) == {"the change": words}
