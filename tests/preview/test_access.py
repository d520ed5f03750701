"""Who may log in after an update, and what of it nobody looked at: nobody is there to log in when
the nodes wait for it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest

from mesh.plan import Plan
from mesh.preview.access import fingerprint
from mesh.preview.gate import Asked, Limit, LiveAnnouncers, gate, wants_announcers
from mesh.preview.steps import Preview
from mesh.preview.summary import summarise
from mesh.trust.documents import Used
from tests.kit.previews import by_plan, generation, preview
from tests.kit.stacks import plan_of, prod, ssh_key

HOME, OFFICE, HALF = "198.51.100.250/32", "192.0.2.0/24", "192.0.2.0/25"
DESK, LAPTOP = ssh_key("a"), ssh_key("b")
NODES = tuple(node.id for node in plan_of(prod()).nodes)
LAX = "lax-vultr-1"


def admins(*networks: str, keys: tuple[str, ...] = (DESK, LAPTOP)) -> Plan:
    values = prod()
    values["admin"] = {"ssh": list(networks), "keys": list(keys)}
    return plan_of(values)


def used(network: str, key: str = DESK) -> Used:
    return Used(ip_network(network), fingerprint(key), 1_700_000_000)


def change(before: Plan, after: Plan) -> Preview:
    return preview(generation(before, after))


def refusals(
    before: Plan, after: Plan, logins: Mapping[str, tuple[Used, ...]], why: str = ""
) -> list[str]:
    """What the gate says, for ``logins`` at nodes; the others have seen none."""
    known = dict.fromkeys(NODES, ()) | dict(logins)
    live = LiveAnnouncers(None, why=why) if why else LiveAnnouncers(by_plan(before), logins=known)
    found = gate(change(before, after), Asked(), Limit(), live)
    assert all(problem.cure for problem in found)
    return [f"{p.key} = {p.value}: {p.reason}" for p in found if p.key.startswith("mesh:admin")]


BOTH = admins(HOME, OFFICE)
ALONE = f"all recent logins to {LAX} used this"
CASES: dict[str, tuple[Plan, Plan, tuple[Used, ...], list[str]]] = {
    "nothing goes": (BOTH, BOTH, (used(HOME),), []),
    "one comes": (BOTH, admins(HOME, OFFICE, "203.0.113.0/24"), (used(HOME),), []),
    "one that was not used goes": (BOTH, admins(HOME), (used(HOME),), []),
    "one that was used goes, and another was used": (
        BOTH, admins(HOME), (used(OFFICE), used(HOME)), [],
    ),
    "the only one that was used goes": (
        BOTH, admins(HOME), (used(OFFICE),), [f"mesh:admin.ssh = {OFFICE}: {ALONE}"],
    ),
    "it shrinks": (BOTH, admins(HOME, HALF), (used(OFFICE),), [
        f"mesh:admin.ssh = {OFFICE}: {ALONE}",
    ]),
    "it is written in two halves": (
        BOTH, admins(HOME, HALF, "192.0.2.128/25"), (used(OFFICE),), [],
    ),
    "it is in a larger one": (BOTH, admins(HOME, "192.0.0.0/16"), (used(OFFICE),), []),
    "what was used is none any more": (
        BOTH, admins(HOME), (used("203.0.113.0/24"),), [],
    ),
    "an address of the one that goes": (
        BOTH, admins(HOME), (used("192.0.2.9/32"),), [f"mesh:admin.ssh = {OFFICE}: {ALONE}"],
    ),
    "nobody has logged in": (BOTH, admins(HOME), (), []),
    "the only key that was used goes": (
        BOTH, admins(HOME, OFFICE, keys=(LAPTOP, ssh_key("c"))), (used(HOME),),
        [f"mesh:admin.keys = {fingerprint(DESK)}: {ALONE}"],
    ),
    "a key goes, and another was used": (
        BOTH, admins(HOME, OFFICE, keys=(LAPTOP, ssh_key("c"))),
        (used(HOME), used(HOME, LAPTOP)), [],
    ),
    "network and key go, and each other is used with neither": (
        BOTH, admins(HOME, keys=(LAPTOP, ssh_key("c"))), (used(HOME), used(OFFICE, LAPTOP)),
        [f"mesh:admin.ssh = {OFFICE}, {fingerprint(DESK)}: {ALONE}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_way_that_was_used_goes_unattended_only_where_another_was(case: str) -> None:
    before, after, logins, expected = CASES[case]
    assert refusals(before, after, {LAX: logins}) == expected
    assert wants_announcers(change(before, after)) or not expected


def test_where_nobody_can_tell_it_is_refused() -> None:
    known = {node: (used(HOME),) for node in NODES if node != LAX}
    live = LiveAnnouncers(by_plan(BOTH), logins=known)
    found = gate(change(BOTH, admins(HOME)), Asked(), Limit(), live)
    assert [p.reason for p in found] == [
        f"it is unknown whether another network or key is used to log in: {LAX} does not report it"
    ]
    assert refusals(BOTH, admins(HOME), {}, why="no registry answers") == [
        f"mesh:admin.ssh = {OFFICE}: it is unknown whether another network or key is used to log "
        "in: no registry answers"
    ]


def test_a_preview_says_that_the_nodes_will_wait() -> None:
    notes = summarise(change(BOTH, admins(HOME))).notes
    assert [note for note in notes if f"mesh:admin.ssh: {OFFICE} may no longer log in" in note]
    assert not [n for n in summarise(change(BOTH, BOTH)).notes if "may log in" in n]
    # The update failed, or nobody logged in: what is published is still to be.
    left = preview(generation(BOTH, admins(HOME), unfinished=True))
    assert [n for n in summarise(left).notes if "may no longer log in" in n]
    assert [one for one in summarise(left).because if "did not finish" in one]


def test_a_key_is_named_as_sshd_names_it(tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    file.write_text(f"{DESK}\n")
    said = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert said.stdout.split()[1:2] == [fingerprint(DESK)] or said.returncode
    assert fingerprint("nonsense") == ""
