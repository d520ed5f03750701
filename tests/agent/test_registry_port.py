"""A registry's port that is shut to nodes opens by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
RULES = """
table inet mesh
delete table inet mesh
table inet mesh {
	chain registry {
		%(registry)s
	}
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established accept
		%(input)s
	}
}
"""
TUNNEL = """[Interface]
Address = 10.10.10.1/32
ListenPort = 51821
Table = off

[Peer]
PublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
Endpoint = 203.0.113.2:51820
AllowedIPs = 0.0.0.0/0
"""
IN_A_NAMESPACE = """
import json, subprocess, sys
from pathlib import Path
from mesh.agent import admission, registry_port
from mesh.agent.host import Host
from mesh.agent.registry_port import RegistryPort

registry_port.PATIENCE = 0.0
admission.CONNECTS_WITHIN = 2.0
subprocess.run(["ip", "-batch", "-"], check=True, text=True, input='''
link set lo up
link add enp9s0 type bridge
link set enp9s0 up
address add 203.0.113.1/24 dev enp9s0
route add default via 203.0.113.254 dev enp9s0
''')
host, told = Host(Path(sys.argv[1])), []
subprocess.run(["nft", "-f", sys.argv[2]], check=True)
port = RegistryPort(host, None, lambda: told.append(True))
words = []
for _ in range(4):
    port._look(8443)
    words.append(port.fault)
rules = subprocess.run(["nft", "list", "table", "inet", "mesh"], capture_output=True, text=True)
nodes = registry_port._addresses(port._tunnels())
shut = port._shut_out(rules.stdout, nodes, 8443)
print(json.dumps([words, len(told), nodes, shut, rules.stdout]))
"""
GOOD = {"registry": "ip saddr 203.0.113.2 accept", "input": "tcp dport 8443 goto registry"}


@pytest.mark.parametrize(
    ("own", "first"),
    [
        (GOOD, ""),
        (GOOD | {"input": "tcp dport 8443 drop"}, "tcp dport 8443 jump registry"),
        (GOOD | {"registry": "drop"}, "ip saddr 203.0.113.2 tcp dport 8443 accept"),
    ],
    ids=["shut by hand", "no way to the registry's rules", "not by those either"],
)
def test_a_port_that_is_shut_opens_with_as_little_as_will_do(
    tmp_path: Path, own: dict[str, str], first: str
) -> None:
    (tmp_path / "etc/wireguard").mkdir(parents=True)
    (tmp_path / "etc/wireguard/wg-ord-vultr-1.conf").write_text(TUNNEL)
    (tmp_path / "etc/nftables.conf").write_text(RULES % own)
    live = tmp_path / "live.nft"
    live.write_text(RULES % (GOOD | {"input": "tcp dport 8443 drop"}))
    command = [sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path), str(live)]
    done = subprocess.run(
        ["unshare", "--net", *command], check=True, capture_output=True, text=True
    )
    words, told, nodes, shut, rules = json.loads(done.stdout.splitlines()[-1])
    assert (nodes, shut, told) == (["203.0.113.2"], [], 1)
    assert words[0] == ""
    assert words[-1].startswith("opened again by the agent: port 8443")
    chain = rules.partition("chain input")[2]
    assert first in chain.splitlines()[2]
    assert (RULES % own).partition("established accept")[2].split("}")[0].strip() in chain
