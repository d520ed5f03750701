"""The real engine and an existing host: a stack whose only node it is, run from the operator's
network, with a real sshd at the other end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh import netns
from mesh.cli.environment import environment
from mesh.infra.ending import GIVEN_UP
from mesh.lab import faults, namespaces
from tests.kit import existing_host
from tests.kit.engine import Engine, secrets_of
from tests.kit.existing_host import LOGIN, NODE, PASSWORD, STRANGER, ExistingHost, key_text
from tests.kit.lab_node import own_name
from tests.kit.stacks import ROOT
from tests.kit.wait import until

pytestmark = [pytest.mark.engine, pytest.mark.lab]

LAB = own_name("existing")
PROJECT = "name: anycast-mesh\nruntime: python\n"
UP = ("up", "--yes", "--skip-preview")
SERVER = f"mesh-{NODE}-instance"


@dataclass
class Inside(Engine):
    """The engine in the network from which the operator works."""

    namespace: str = ""

    def give(self, key: str, secret: str) -> None:
        """A secret, from standard input as the cure of its absence says."""
        command = self._command("config", "set", "--secret", key)
        subprocess.run(command, cwd=ROOT, env=self.environment, input=secret, text=True, check=True)

    def _command(self, *arguments: str) -> list[str]:
        return [*netns.entering(self.namespace), *super()._command(*arguments)]


@pytest.fixture(scope="module")
def box() -> Iterator[ExistingHost]:
    """The host, in a lab of these tests' own."""
    with existing_host.host(LAB) as found:
        namespace = found.place.namespace("operator")
        namespaces.ip(["link set lo up"], namespace)
        yield found


@pytest.fixture(scope="module")
def pristine(box: ExistingHost) -> dict[str, object]:
    """How the host is without us."""
    return box.as_it_is()


@pytest.fixture(scope="module")
def engine(
    box: ExistingHost, pristine: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Inside:
    """A fresh stack of which nothing exists."""
    state = tmp_path_factory.mktemp("state")
    for folder in ("pulumi", "state"):
        (state / folder).mkdir()
    (state / "passphrase").write_text("of a test")
    (state / "Pulumi.yaml").write_text(PROJECT)
    own = environment(ROOT, state) | {"MESH_LAB": LAB}
    path = state / "Pulumi.prod.yaml"
    made = Inside(state, "prod", path, own, namespace=box.place.namespace("operator"))
    made.run("stack", "init")
    values = existing_host.stack(ssh={"trustFirst": True}, ipv4=box.address, ipv6=box.ipv6)
    keys = {f"mesh:{key}": value for key, value in values.items()}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "config": keys}))
    for key, value in (("bgpPassword-buyvm", PASSWORD), ("sshKey-buyvm", key_text(LOGIN))):
        made.give(f"mesh:{key}", value)
    return made


def with_ssh(engine: Inside, folder: Path, ssh: dict[str, Any], **host: Any) -> Inside:
    """The same stack with another way to its host."""
    document = yaml.safe_load(engine.config.read_text())
    given = document["config"]["mesh:nodes"][NODE]["host"]
    given.update(host)
    given["ssh"] = ssh
    path = folder / engine.config.name
    path.write_text(yaml.safe_dump(document))
    return replace(engine, config=path)


def server(engine: Engine) -> dict[str, Any]:
    """The host's own resource in the state."""
    (found,) = [r for r in engine.resources() if r["urn"].endswith(f"::{SERVER}")]
    return found


def key_on_record(engine: Engine) -> str:
    """What the state holds as the host's own key."""
    (found,) = [r for r in engine.resources() if r["urn"].endswith(f"::mesh-{NODE}-host-key")]
    assert found["protect"], "it goes with the node only"
    return str(found["outputs"]["key"])


STRANGERS = " ".join(STRANGER.export_public_key("openssh").decode().split()[:2])


@pytest.mark.parametrize(
    ("ssh", "host", "said"),
    [
        ({}, {}, ["host.ssh.hostKeys = []", "ssh-keyscan"]),
        ({"hostKeys": [STRANGERS]}, {}, ["presents another key", "SHA256:"]),
        ({"trustFirst": True, "port": 2222}, {}, ["no SSH at", "port 2222", "mesh:nodes"]),
        ({"trustFirst": True, "user": "dave"}, {}, ["host.ssh.user = dave", "sudo -n true"]),
        (
            {"trustFirst": True},
            {"ipv6": "2001:db8::5"},
            ["host.ipv6 = 2001:db8::5", "no interface"],
        ),
    ],
    ids=["no key", "another key", "nobody listens", "no sudo", "another address"],
)
def test_a_preview_says_what_a_delivery_would_meet(
    engine: Inside, tmp_path: Path, ssh: dict[str, Any], host: dict[str, Any], said: Sequence[str]
) -> None:
    done = with_ssh(engine, tmp_path, ssh, **host).run("preview", check=False)
    text = done.text
    assert done.returncode
    assert all(part in text for part in said), text
    assert "Traceback" not in text
    assert not engine.resources()


def test_who_cannot_reach_the_host_learns_it_at_preview(engine: Inside) -> None:
    """From another network, whose packets the host's own firewall need not even drop."""
    elsewhere = replace(engine, namespace=engine.namespace.replace("operator", "client-ewr"))
    namespaces.ip(["link set lo up"], elsewhere.namespace)
    done = elsewhere.run("preview", check=False)
    text = done.text
    assert done.returncode
    assert "mesh:admin.ssh = 198.51.100.250/32" in text
    assert "this connection would be the last one" in text


def test_a_delivery_that_fails_half_way_is_picked_up_by_the_next_up(
    engine: Inside, box: ExistingHost
) -> None:
    """Something is in the way on the host; then it is not, and the whole stack comes up on it."""
    blocked = box.root / "usr/local/lib/anycast-mesh"
    blocked.write_text("in the way")
    failed = engine.run(*UP, check=False)
    text = failed.text
    assert failed.returncode and "Traceback" not in text, text
    assert "the host refuses 'put'" in text and "continues from there" in text, text
    begun = (box.root / "etc/anycast-mesh/instance-id").read_text().strip()
    blocked.unlink()
    done = engine.run(*UP)
    assert "continuing an interrupted delivery" in done.told
    found = server(engine)
    assert found["type"] == "pulumi-python:dynamic/host:Host"
    assert found["id"] == found["outputs"]["instance_id"] == begun
    assert found["outputs"]["host_key"] == box.host_key
    assert key_on_record(engine) == box.host_key
    assert engine.outputs()["access"][NODE] == {"ssh": f"ssh root@{box.address}"}


def test_the_host_is_a_node_as_any_other(box: ExistingHost) -> None:
    """The generation is in force, and the upstream hears the aggregates."""
    until(
        lambda: box.run("birdc", "show", "protocols").count("Established") == 2, 20, "both sessions"
    )
    export = ("birdc", "show", "route", "export", "buyvm4")
    until(lambda: "192.30.120.0/23" in box.run(*export), 10, "the upstream is told")


def test_a_second_up_changes_nothing(engine: Inside, box: ExistingHost) -> None:
    before = box.as_it_is()
    engine.run(*UP, "--expect-no-changes")
    assert {k: v for k, v in box.as_it_is().items() if not k.startswith("var/")} == {
        k: v for k, v in before.items() if not k.startswith("var/")
    }


def test_later_previews_need_no_way_to_the_host(engine: Inside) -> None:
    """A runner of CI has no fixed address that the host's firewall could let in."""
    elsewhere = replace(engine, namespace=engine.namespace.replace("operator", "client-ewr"))
    assert "unchanged" in elsewhere.run("preview").stdout


def test_a_change_of_user_data_touches_no_host_that_runs(engine: Inside, tmp_path: Path) -> None:
    document = yaml.safe_load(engine.config.read_text())
    document["config"]["mesh:admin"]["ssh"].append("198.51.100.0/24")
    path = tmp_path / engine.config.name
    path.write_text(yaml.safe_dump(document))
    shown = replace(engine, config=path).run("preview").stdout
    assert f"{SERVER} replace" not in shown and f"{SERVER} update" not in shown
    assert "mesh-generation update" in shown


def test_a_host_that_does_not_answer_is_kept(engine: Inside, box: ExistingHost) -> None:
    before = server(engine)
    faults.fault(box.place.lab, "link-down", NODE)
    try:
        said = engine.run("refresh", "--yes", "--skip-preview", "--target", f"**{SERVER}").told
    finally:
        faults.heal(box.place.lab, NODE)
    assert "warning: kept as it is in the state" in said
    assert server(engine)["id"] == before["id"]


def test_a_host_that_was_installed_anew_is_delivered_to_again(
    engine: Inside, box: ExistingHost
) -> None:
    before = server(engine)["id"]
    box.run("python3", "/var/lib/anycast-mesh/state/delivery/receiver.py", "remove")
    engine.run("refresh", "--yes", "--skip-preview")
    assert not [r for r in engine.resources() if r["urn"].endswith(f"::{SERVER}")]
    # By the first key that it ever showed, and not by whatever is shown in its place now.
    with another_key(box):
        for command in (("preview",), UP):
            said = engine.run(*command, check=False)
            assert said.returncode
            assert "presents another key" in said.text
    assert key_on_record(engine) == box.host_key
    engine.run(*UP)
    assert server(engine)["id"] != before


@contextmanager
def another_key(box: ExistingHost) -> Iterator[None]:
    """The host, or who answers in its place, presents another key for a while."""
    path = box.root / "etc/ssh/ssh_host_ed25519_key"
    own = path.read_bytes()
    path.write_text(key_text(STRANGER))
    box.run("systemctl", "restart", "ssh")
    try:
        yield
    finally:
        path.write_bytes(own)
        box.run("systemctl", "restart", "ssh")


def test_a_replacement_is_another_instance(engine: Inside, box: ExistingHost) -> None:
    before = server(engine)["id"]
    engine.run(*UP, "--replace", f"**{SERVER}")
    assert server(engine)["id"] != before
    told = (box.root / "etc/anycast-mesh/instance-id").read_text().strip()
    assert told == server(engine)["id"]


def test_no_secret_was_ever_shown(engine: Inside) -> None:
    said = [*engine.said, json.dumps(engine.resources()), engine.run("preview", "--diff").stdout]
    secrets = secrets_of(engine.resources("--show-secrets"))
    (key,) = (secret for secret in secrets if "OPENSSH PRIVATE KEY" in secret)
    # Not "KEY": three lines of base64 have it now and then.
    lines = [line for line in key.splitlines() if "PRIVATE KEY" not in line]
    assert len(lines) >= 5
    assert not [text for text in said for secret in (*secrets, *lines) if secret in text]


def test_destroy_leaves_the_host_as_it_was(
    engine: Inside, box: ExistingHost, pristine: dict[str, object]
) -> None:
    engine.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert engine.resources() == []
    assert box.as_it_is() == pristine
