"""Users and folders of our daemons: which lines a generation may have, and what they make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.agent.daemons import ChangedNode, FileChange, accounts
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage
from mesh.agent.units import Systemd
from mesh.bird.client import Bird
from mesh.render import File
from mesh.render.templates import rendered
from tests.kit.machine import Machine
from tests.kit.namespaces import spaces

USERS = rendered("debian/accounts/sysusers.conf.j2")
FOLDERS = rendered("debian/accounts/tmpfiles.conf.j2")
GLASS = "/run/anycast-mesh/glass"


def refusal(path: str, text: str) -> str:
    """Why a file is refused; empty where it is not."""
    try:
        accounts.KIND.validate(Stage(Host()), [FileChange(path, None, text.encode())])
    except CommandFailed as error:
        return str(error)
    return ""


def test_our_own_files_are_taken() -> None:
    assert refusal(accounts.USERS, USERS) == ""
    assert refusal(accounts.FOLDERS, FOLDERS) == ""


WRONG = {
    "another user": (accounts.USERS, 'u root - "x" / /usr/sbin/nologin'),
    "a user's number": (accounts.USERS, 'u mesh-glass 0 "x" / /usr/sbin/nologin'),
    "a shell": (accounts.USERS, 'u mesh-glass - "x" / /bin/bash'),
    "a group": (accounts.USERS, "m mesh-glass bird"),
    "two lines in one": (accounts.USERS, 'u mesh-glass - "x" / /usr/sbin/nologin\r m a b'),
    "another folder": (accounts.FOLDERS, "d /etc/anycast-mesh 0777 root root"),
    "a folder above": (accounts.FOLDERS, "d /run/anycast-mesh/../x 0755 root root"),
    "a file": (accounts.FOLDERS, "f /run/anycast-mesh/x 0755 root root - text"),
    "an age": (accounts.FOLDERS, "d /run/anycast-mesh/x 0755 root root 1s"),
    "what removes": (accounts.FOLDERS, "R /run/anycast-mesh"),
    "another owner": (accounts.FOLDERS, "d /run/anycast-mesh/x 0755 nobody root"),
}


@pytest.mark.parametrize(("path", "line"), WRONG.values(), ids=WRONG)
def test_nothing_else_is(path: str, line: str) -> None:
    assert refusal(path, f"# a comment\n\n{line}\n").startswith(f"{path}:3: not a ")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with spaces("acc", "n") as (namespace,):
        one = Machine(tmp_path, namespace)
        one.put([File(accounts.USERS, USERS), File(accounts.FOLDERS, FOLDERS)])
        yield one
        one.close()


def node_on(machine: Machine) -> ChangedNode:
    host = Host(machine.root, machine.enter)
    return ChangedNode(host, Systemd(host), Bird(Path("/nowhere")), (), frozenset())


def changes() -> list[FileChange]:
    return [
        FileChange(accounts.FOLDERS, None, FOLDERS.encode()),
        FileChange(accounts.USERS, None, USERS.encode()),
    ]


@pytest.mark.image
def test_the_user_has_no_shell_and_the_folder_gives_its_group(machine: Machine) -> None:
    accounts.KIND.apply(node_on(machine), changes())
    user = machine.output("getent", "passwd", "mesh-glass").strip()
    assert user.endswith(":Looking glass of Anycast Mesh:/:/usr/sbin/nologin")
    assert machine.output("id", "-nG", "mesh-glass").split() == ["mesh-glass"]
    assert machine.output("stat", "-c", "%a %U %G", GLASS).strip() == "2750 bird mesh-glass"
    made = f"import socket; socket.socket(socket.AF_UNIX).bind('{GLASS}/bird.ctl')"
    machine.output(
        "setpriv", "--reuid=bird", "--regid=bird", "--clear-groups", "python3", "-c", made
    )
    assert machine.output("stat", "-c", "%G", f"{GLASS}/bird.ctl").strip() == "mesh-glass"


@pytest.mark.image
def test_it_is_repeated_without_an_effect(machine: Machine) -> None:
    for _ in range(2):
        accounts.KIND.apply(node_on(machine), changes())
    accounts.KIND.reread(node_on(machine))
    assert machine.output("grep", "-c", "^mesh-glass:", "/etc/passwd").strip() == "1"


CHANGED = {
    "removed": ("rm", "-r", GLASS),
    "opened": ("chmod", "0777", GLASS),
}


@pytest.mark.image
@pytest.mark.parametrize("command", CHANGED.values(), ids=CHANGED)
def test_a_folder_that_somebody_changes_is_put_right(
    machine: Machine, command: tuple[str, ...]
) -> None:
    node = node_on(machine)
    accounts.KIND.apply(node, changes())
    paths = [accounts.FOLDERS, accounts.USERS]
    assert list(accounts.KIND.differences(node, paths)) == []
    machine.output(*command)
    (difference,) = accounts.KIND.differences(node, paths)
    assert difference.what == f"folder {GLASS}"
    difference.mend()
    assert list(accounts.KIND.differences(node, paths)) == []
