"""The production network at Vultr through the plugin of ``ediri_vultr``, by the real engine on a
stand-in for it: in order, one stack's life.

What the two ways share is shown in :mod:`tests.engine.test_vultr`. A preview asks Vultr's API in
both; behind the stand-in boot nodes that join, report and drain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from mesh.infra.ending import GIVEN_UP
from mesh.infra.providers.plugins import TRY
from tests.engine.vultr_edits import BY_PLUGIN, EDITS, NODES, Edit, keyed
from tests.kit.clouds.cloud import Cloud, Failure, Kind
from tests.kit.clouds.deployment import production, steps
from tests.kit.clouds.inhabitants import inhabited, vultr_servers
from tests.kit.clouds.schema import inputs_of
from tests.kit.clouds.vultr import KINDS, THEN, TODAY, vultr
from tests.kit.engine import Engine, changed, secrets_of
from tests.kit.vultr_api import BGP_PASSWORD, KEY, Vultr, answering
from tests.kit.vultr_api.stack import UP, stack

pytestmark = pytest.mark.engine

BY_ITS_PLUGIN = {"providers": {"vultr": {"through": "plugin"}}}


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return vultr()


@pytest.fixture(scope="module")
def engine(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("vultr-plugin")
    with (
        answering(Vultr(), folder / "tls") as served,
        stack(folder / "stack", served, production(**BY_ITS_PLUGIN), clouds=[cloud]) as engine,
        inhabited(folder / "inhabitants", lambda: vultr_servers(cloud)),
    ):
        tried = {TRY: f"vultr-{version('ediri-vultr')}"}
        yield replace(engine, environment={**engine.environment, **tried})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_input_of_the_sdk_has_its_replace_rule(kind: Kind) -> None:
    assert kind.unjudged() == set()
    assert set(kind.defaults) <= set(inputs_of(kind.args))


class TestBeforeAnythingExists:
    def test_a_version_that_is_known_to_be_broken_is_refused(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        own = {key: value for key, value in engine.environment.items() if key != TRY}
        done = replace(engine, environment=own).run("preview", check=False)
        text = done.text
        assert done.returncode
        assert "mesh:providers.vultr.through = plugin" in text
        assert "VPC 2.0" in text
        assert "mesh adopt" in text
        assert not cloud.made

    def test_preview_shows_every_resource_while_no_address_is_known(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        shown = engine.run("preview").stdout
        for node in NODES:
            assert f" mesh-{node}-instance create" in shown
            assert f" mesh-vultr-wireguard-{node} create" in shown
        assert "[unknown]" in shown
        assert not cloud.made


class TestFirstUp:
    def test_a_server_that_does_not_become_active_is_told(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        text = "error while waiting for Server to be completed: timeout while waiting for state"
        cloud.fail("Instance", Failure(text, after="made"))
        done = engine.run(*UP, check=False)
        assert done.returncode
        assert text in done.text
        assert len(cloud.of("Instance")) == 1

    def test_the_next_up_takes_it_on_and_makes_the_rest(self, engine: Engine, cloud: Cloud) -> None:
        before = {made.id for made in cloud.of("Instance")}
        engine.run(*UP)
        after = {made.inputs["label"]: made for made in cloud.of("Instance")}
        assert set(after) == set(NODES)
        assert before <= {made.id for made in after.values()}

    def test_servers_stand_on_their_reserved_addresses(self, engine: Engine, cloud: Cloud) -> None:
        nodes = engine.outputs()["topology"]["nodes"]
        for node in NODES:
            address = cloud.named(f"mesh-{node}-address").outputs["subnet"]
            server = cloud.named(f"mesh-{node}-instance").outputs
            assert nodes[node]["addresses"]["public"] == {
                "ipv4": address,
                "ipv6": server["v6MainIp"],
            }
            assert server["mainIp"] == address
            assert cloud.named(f"mesh-vultr-wireguard-{node}").inputs["subnet"] == address

    def test_a_second_up_changes_nothing_not_even_after_a_refresh(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        """Vultr tells of a reserved address that it is attached: not a drift, never a detach."""
        cloud.forget_events()
        engine.run(*UP, "--refresh", "--expect-no-changes")
        assert not cloud.happened()


class TestEdits:
    """This edit, and exactly these resources."""

    @pytest.mark.parametrize(
        "edit", [one for one in EDITS if one.name in BY_PLUGIN], ids=lambda edit: edit.name
    )
    def test_touches_exactly(self, engine: Engine, tmp_path: Path, edit: Edit) -> None:
        keys = {**edit.keys, "providers": BY_ITS_PLUGIN["providers"]}
        assert keyed(steps(changed(engine, tmp_path, keys))) == edit.by_plugin


class TestDrift:
    """What somebody did in Vultr's console."""

    def test_comes_back_as_the_stack_file_says(self, engine: Engine, cloud: Cloud) -> None:
        cloud.drift("mesh-mia-vultr-1-instance", plan="vc2-2c-4gb", label="mine")
        cloud.lose("mesh-vultr-icmp-v4")
        cloud.lose("mesh-ewr-vultr-1-instance")
        cloud.forget_events()
        engine.run(*UP, "--refresh")
        assert cloud.happened() == {
            ("update", "Instance", "mesh-mia-vultr-1-instance"),
            ("create", "FirewallRule", "mesh-vultr-icmp-v4"),
            ("create", "Instance", "mesh-ewr-vultr-1-instance"),
        }
        assert cloud.named("mesh-mia-vultr-1-instance").outputs["plan"] == "vc2-1c-1gb"

    def test_a_running_fleet_cannot_be_read_at_the_api_of_today(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        """As seen of plugin 2.27.1, and why it is refused."""
        cloud.facts |= TODAY
        done = engine.run("refresh", "--yes", "--skip-preview", check=False)
        cloud.facts |= THEN
        assert done.returncode
        assert "error getting list of attached VPCs 2.0" in done.text


def test_no_secret_was_ever_shown(engine: Engine, cloud: Cloud) -> None:
    said = list(engine.said)
    secrets = secrets_of(engine.resources("--show-secrets")) | {KEY, BGP_PASSWORD}
    consoles = {made.outputs["kvm"] for made in cloud.of("Instance")}
    assert consoles <= secrets, "whoever has such an address is at the console"
    said.append(json.dumps(engine.resources()))
    said.append(json.dumps(engine.outputs()))
    for secret in secrets:
        for text in said:
            assert secret not in text


def test_destroy_leaves_nothing(engine: Engine, cloud: Cloud) -> None:
    done = engine.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert "4 of 4 withdrawn" in done.told
    assert engine.resources() == []
    assert cloud.made == {}
