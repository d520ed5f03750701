"""Which sessions of a node start anew, by what changes in its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.bird.restarts import restarting, sessions
from mesh.render import node_files, node_secrets, placeholder_facts
from tests.bird.test_restarts_measured import KINDS
from tests.kit.stacks import plan_of, prod, several_prefixes, with_members, with_sessions

Files = Mapping[str, str]
NODE = "lax-vultr-1"
CONF, NETWORK = "/etc/bird/bird.conf", "/etc/bird/mesh/network.conf"
UPSTREAMS = {"vultr4", "vultr6"}
TUNNELS = {"u_ord_vultr_1", "u_mia_vultr_1", "u_ewr_vultr_1"}
INTERIOR = {f"mate{n}_{peer}_vultr_1" for n in (4, 6) for peer in ("ord", "mia", "ewr")}
ALL = UPSTREAMS | TUNNELS | INTERIOR
TO_ORD = "/etc/wireguard/wg-ord-vultr-1.conf"
TUNNEL = "/etc/systemd/system/anycast-mesh-tunnel@.service"


def files_of(values: dict[str, Any], node: str, password: str = "s3cret") -> dict[str, str]:
    """A node's files by path, those with secrets as well."""
    plan = plan_of(values)
    own = node_files(plan, placeholder_facts(plan))[node].files
    names = ("vultr", "buyvm", "gcp", "ewr-buyvm-1-transit-b")
    secrets = node_secrets(plan, node, dict.fromkeys(names, password))
    return {file.path: file.content for file in (*own, *secrets)}


FILES = files_of(prod(), NODE)


def test_all_sessions_of_a_node_are_known() -> None:
    assert sessions(FILES) == ALL


def swapped(path: str, old: str, new: str) -> dict[str, str]:
    """The seed's files with every such text replaced in one of them."""
    assert old in FILES[path]
    return {**FILES, path: FILES[path].replace(old, new)}


CASES: dict[str, tuple[Callable[[], Files], set[str]]] = {
    "nothing": (lambda: FILES, set()),
    "a comment": (lambda: swapped(CONF, "RFC 9774", "RFC 9775"), set()),
    "spaces": (lambda: swapped(CONF, "\thold time", "\n\t\thold  time"), set()),
    "a filter of its own": (lambda: swapped(CONF, "ask_to_discard();", ""), set()),
    "a filter by name": (
        lambda: swapped("/etc/bird/mesh/mates.conf", "bgp_local_pref = 100;", ""),
        set(),
    ),
    "a limit": (lambda: swapped(CONF, "export limit 81", "export limit 82"), set()),
    "a description": (lambda: swapped(CONF, '"vultr, IPv4"', '"vultr"'), set()),
    "who owns which address": (lambda: swapped(NETWORK, "192.30.120.", "192.30.121."), set()),
    "a line of one session": (
        lambda: swapped(CONF, "neighbor 169.254.169.254", "neighbor 169.254.169.253"),
        {"vultr4"},
    ),
    "a line of a template": (
        lambda: swapped(CONF, "import table on;", "import table off;"),
        TUNNELS,
    ),
    "a line of a template's template": (
        lambda: swapped(CONF, "\tmultihop;\n", "\tmultihop 9;\n"),
        INTERIOR,
    ),
    "a constant of sessions": (
        lambda: swapped(NETWORK, "NETWORK_ASN = 27218", "NETWORK_ASN = 27219"),
        UPSTREAMS | INTERIOR,
    ),
    "the table of a session": (
        lambda: swapped(CONF, "ipv4 table internet4;", "ipv4 table internet4 { trie on; };"),
        {"vultr4"},
    ),
    "a password": (lambda: files_of(prod(), NODE, "another"), UPSTREAMS),
    "the router's id": (
        lambda: swapped(CONF, "router id 10.10.10.1", "router id 10.10.10.9"),
        ALL,
    ),
    "intervals of BFD": (lambda: swapped(CONF, "interval 150 ms", "interval 300 ms"), set()),
    "who may use BFD": (lambda: swapped(CONF, "\taccept direct;\n", ""), TUNNELS),
    "a session more": (lambda: swapped(CONF, "bgp vultr4", "bgp vultr9"), set()),
    "a tunnel's peer": (lambda: swapped(TO_ORD, "Endpoint = 203", "Endpoint = 204"), set()),
    "a tunnel's port": (lambda: swapped(TO_ORD, "ListenPort = 51821", "ListenPort = 1"), set()),
    "a tunnel's size": (lambda: swapped(TO_ORD, "MTU = 1420", "MTU = 1400"), set()),
    "a tunnel's comment": (lambda: swapped(TO_ORD, "# Tunnel of", "# A tunnel of"), set()),
    "a tunnel's address": (
        lambda: swapped(TO_ORD, "Address = 10.10.10.1/32", "Address = 10.10.10.9/32"),
        {"u_ord_vultr_1"},
    ),
    "the unit of tunnels": (lambda: swapped(TUNNEL, "RestartSec=1", "RestartSec=2"), TUNNELS),
    "BIRD's own unit": (
        lambda: swapped(
            "/etc/systemd/system/bird.service.d/anycast-mesh.conf", "Nice=-10", "Nice=-11"
        ),
        set(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_changes_says_which_sessions_start_anew(case: str) -> None:
    changed, expected = CASES[case]
    assert restarting(FILES, changed()) == expected
    assert restarting(changed(), FILES) == expected


def test_a_session_by_a_template_of_an_unseen_file_is_the_same_while_its_name_is() -> None:
    """Passwords are sealed, and the operator has no copy of an earlier file."""
    unseen = {path: text for path, text in FILES.items() if not path.endswith("secrets.conf")}
    assert not restarting(unseen, unseen)
    other = {**unseen, CONF: unseen[CONF].replace("from password_vultr", "from password_other")}
    assert restarting(unseen, other) == UPSTREAMS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda values: values["nodes"].pop("mia-vultr-1"), set()),
        (lambda values: values["services"].pop("web"), set()),
        (lambda values: values.update(reflectors=["ord-vultr-1"]), INTERIOR),
    ],
    ids=["a node leaves", "a service goes", "another reflector"],
)
def test_a_change_of_the_stack_file_says_which_sessions_start_anew(
    change: Callable[[dict[str, Any]], object], expected: set[str]
) -> None:
    values = prod()
    change(values)
    assert restarting(FILES, files_of(values, NODE)) <= expected


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_read(before: str, after: str) -> None:
    found = restarting({CONF: FILES[CONF] + before}, {CONF: FILES[CONF] + after})
    assert found <= ALL


@given(st.sampled_from(sorted(FILES)), st.integers(0, 10**6), st.text("{};#\"'x1 \n", max_size=5))
def test_a_change_is_one_in_both_directions(path: str, at: int, text: str) -> None:
    content = FILES[path]
    changed = {**FILES, path: content[: at % len(content)] + text + content[at % len(content) :]}
    assert restarting(FILES, changed) == restarting(changed, FILES)
    assert not restarting(changed, changed)


# --- the templates have no line that was not measured --------------------------------------------

BLOCK = re.compile(r"^(?:protocol|template) bgp [^{]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FILTER = re.compile(r"filter \{.*?^\t\t\};", re.MULTILINE | re.DOTALL)
OF_EACH = {"local", "neighbor", "interface", "description"}
"""What a session is with, and its name for people: each is another one in every session."""


def form(line: str) -> str:
    """A line without its numbers and names: how it begins, for policy."""
    words = re.sub(r"\s*#.*", "", line).strip(" \t;").split()
    policy = words[:2] if words[0] in ("import", "export") and words[1] in POLICY else words
    return re.sub(r"\d+", "N", " ".join(policy)).removesuffix(" {")


POLICY = ("filter", "none", "all", "where")
MEASURED = {
    form(line)
    for kind in KINDS.values()
    for lines in (kind.lines, kind.channel)
    for old, new in lines.items()
    for line in (old, *new)
}


@pytest.mark.parametrize(
    ("values", "node"),
    [
        (prod, NODE),
        (prod, "ord-vultr-1"),
        (with_sessions, "ewr-buyvm-1"),
        (with_members, "lax-aws-1"),
        (with_members, "ord-gcp-1"),
        (several_prefixes, NODE),
    ],
)
def test_each_line_of_the_templates_is_measured(
    values: Callable[[], dict[str, Any]], node: str
) -> None:
    """A new line gets a change in test_restarts_measured.py, and then its place in restarts.py."""
    blocks = BLOCK.findall(files_of(values(), node)[CONF])
    lines = "\n".join(FILTER.sub("filter {", block) for block in blocks).splitlines()
    bare = [line for line in lines if line.strip(" \t#").rstrip("};") and line.lstrip()[0] != "#"]
    forms = {form(line) for line in bare}
    assert {each for each in forms if each.split()[0] not in OF_EACH} <= MEASURED | {"ipvN"}
