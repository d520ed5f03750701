"""What a person is told of an existing host in a stack file: key, value, reason and cure."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mesh.spec import SpecError, load
from tests.kit.stacks import EXISTING, HOST_KEY, ROOT, with_members

HOST = "mesh:nodes.ewr-buyvm-1.host"
SCAN = "ssh-keyscan -t ed25519 203.0.113.77"

REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("no host key", {"ssh": {}}, [f"{HOST}.ssh.hostKeys = []", SCAN, "trustFirst: true"]),
    (
        "no host key at another port",
        {"ssh": {"port": 2222}},
        [f"{HOST}.ssh.hostKeys = []", "ssh-keyscan -t ed25519 -p 2222 203.0.113.77"],
    ),
    (
        "a host key and any key",
        {"ssh": {"hostKeys": [HOST_KEY], "trustFirst": True}},
        [f"{HOST}.ssh.trustFirst = true", "remove one"],
    ),
    (
        "half a host key",
        {"ssh": {"hostKeys": [HOST_KEY[:40]]}},
        [f"{HOST}.ssh.hostKeys[0]", "not a host's public key", SCAN],
    ),
    (
        "a host key with its address",
        {"ssh": {"hostKeys": [f"203.0.113.77 {HOST_KEY}"]}},
        [f"{HOST}.ssh.hostKeys.0"],
    ),
    ("a user with a space", {"ssh": {"user": "a b"}}, [f"{HOST}.ssh.user"]),
    ("a private address", {"ipv4": "192.168.1.5"}, [f"{HOST}.ipv4 = 192.168.1.5", "panel"]),
    ("no address at all", {"ipv4": "0.0.0.0"}, [f"{HOST}.ipv4 = 0.0.0.0", "cannot be reached"]),
    ("a link-local IPv6", {"ipv6": "fe80::1"}, [f"{HOST}.ipv6 = fe80::1", "cannot be reached"]),
    (
        "an address of our own",
        {"ipv4": "192.30.120.21"},
        [f"{HOST}.ipv4 = 192.30.120.21", "inside the aggregate"],
    ),
    (
        "a session with nobody",
        {"upstream": {"peerAsn": 53667}},
        [f"{HOST}.upstream = peerAsn 53667", "needs a neighbor"],
    ),
    (
        "a session with ourselves",
        {"upstream": {"peerAsn": 27218, "ipv4": "192.0.2.1"}},
        [f"{HOST}.upstream.peerAsn = 27218", "own ASN"],
    ),
    (
        "an IPv6 session without an IPv6 address",
        {"ipv6": None},
        [f"{HOST}.upstream.ipv6 = 2001:db8::1", "add host.ipv6"],
    ),
    (
        "another provider's blackhole community",
        {"upstream": {**EXISTING["upstream"], "blackhole": "20473:666"}},
        [f"{HOST}.upstream.blackhole = 20473:666", "not of AS53667", "53667:666 at most"],
    ),
    (
        "a well-known community that is another one",
        {"upstream": {**EXISTING["upstream"], "blackhole": "65535:0"}},
        [f"{HOST}.upstream.blackhole = 65535:0", "not of AS53667"],
    ),
    (
        "a community of too large numbers",
        {"upstream": {**EXISTING["upstream"], "blackhole": "53667:66666"}},
        [f"{HOST}.upstream.blackhole = 53667:66666", "up to 65535"],
    ),
    (
        "no community at all",
        {"upstream": {**EXISTING["upstream"], "blackhole": "discard"}},
        [f"{HOST}.upstream.blackhole"],
    ),
]


@pytest.mark.parametrize(
    ("changes", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_host_that_could_not_work_is_refused(changes: dict[str, Any], said: list[str]) -> None:
    values = with_members()
    host = copy.deepcopy(EXISTING) | changes
    values["nodes"]["ewr-buyvm-1"]["host"] = {k: v for k, v in host.items() if v is not None}
    with pytest.raises(SpecError) as error:
        load("prod", values, ROOT)
    (problem,) = error.value.problems
    assert all(part in str(problem) for part in said), str(problem)


def test_two_nodes_on_one_host_are_refused() -> None:
    values = with_members()
    values["regions"]["lax"]["slots"]["buyvm-1"] = "192.30.120.5"
    values["nodes"]["lax-buyvm-1"] = {"number": 8, "host": EXISTING}
    with pytest.raises(SpecError, match="ewr-buyvm-1 has it already"):
        load("prod", values, ROOT)


def test_the_first_key_is_trusted_only_where_the_stack_file_says_so() -> None:
    values = with_members()
    values["nodes"]["ewr-buyvm-1"]["host"] = EXISTING | {"ssh": {"trustFirst": True}}
    assert load("prod", values, ROOT).spec.nodes["ewr-buyvm-1"].host is not None
