"""The production network at Vultr, by the real engine against Vultr's API: in order, one stack's
life (:mod:`tests.kit.vultr_api`).

Behind it boot nodes that join, report and drain by the user data that the API was given
(:mod:`tests.kit.clouds.inhabitants`), so that every update goes through to its generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.infra.ending import GIVEN_UP, ending
from tests.engine.vultr_edits import EDITS, FIREWALL, NODES, PUBLISHED, Edit, keyed
from tests.kit.clouds.deployment import steps
from tests.kit.clouds.inhabitants import inhabited
from tests.kit.engine import Engine, changed, secrets_of
from tests.kit.stacks import prod
from tests.kit.vultr_api import BGP_PASSWORD, KEY, Fault, Knobs, Vultr, answering
from tests.kit.vultr_api.offers import DEBIAN
from tests.kit.vultr_api.stack import UP, servers, stack

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def vultr() -> Vultr:
    """Short pages, and a little of the time that everything takes."""
    return Vultr(knobs=Knobs(page=3, boot=0.3, ipv6=0.2, detach=0.5))


@pytest.fixture(scope="module")
def engine(vultr: Vultr, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("vultr")
    with (
        answering(vultr, folder / "tls") as served,
        stack(folder / "stack", served) as engine,
        inhabited(folder / "inhabitants", lambda: servers(vultr)),
    ):
        yield engine


class TestBeforeAnythingExists:
    def test_preview_shows_every_resource_and_asks_each_thing_once(
        self, engine: Engine, vultr: Vultr
    ) -> None:
        vultr.knobs.page = 100
        shown = engine.run("preview").stdout
        vultr.knobs.page = 3
        for node in NODES:
            assert f" mesh-{node}-address create" in shown
            assert f" mesh-{node}-instance create" in shown
        asked = [call.what for call in vultr.calls]
        assert "GET /account/bgp" in asked
        assert len(asked) == len(set(asked))
        assert {call.method for call in vultr.calls} == {"GET"}

    def test_refuses_all_that_vultr_would_refuse_at_once(
        self, engine: Engine, vultr: Vultr, tmp_path: Path
    ) -> None:
        before = vultr.bgp
        vultr.bgp = before | {"asn": 65000, "networks": [], "password": "of-another-account"}
        keys = {"providers": {"vultr": {"image": "Debian 99", "plan": "vc2-9c-9gb"}}}
        try:
            done = changed(engine, tmp_path, keys).run("preview", check=False)
        finally:
            vultr.bgp = before
        text = done.text
        assert done.returncode
        for said in (
            "mesh:providers.vultr.image = Debian 99: Vultr has no image of this name",
            "mesh:providers.vultr.plan = vc2-9c-9gb: Vultr has no plan of this name",
            "mesh:asn = 27218: the account's BGP at Vultr is set up for AS65000",
            "mesh:prefixes.ipv6 = 2620:71:4000::/48: the account at Vultr may not announce it",
            "mesh:bgpPassword-vultr = [secret]",
        ):
            assert said in text, text
        assert "of-another-account" not in text
        assert "Traceback" not in text

    def test_refuses_a_wrong_api_key_and_does_not_show_it(
        self, engine: Engine, vultr: Vultr
    ) -> None:
        vultr.key = "another"
        try:
            done = engine.run("preview", check=False)
        finally:
            vultr.key = KEY
        text = done.text
        assert done.returncode
        assert "vultr:apiKey = [secret]: Vultr does not know this API key" in text
        assert "Traceback" not in text
        assert KEY not in text


class TestFirstUp:
    def test_a_quota_is_told_before_any_server_is_made(self, engine: Engine, vultr: Vultr) -> None:
        vultr.quotas["addresses"] = 2
        done = engine.run(*UP, check=False)
        del vultr.quotas["addresses"]
        text = done.text
        assert done.returncode
        assert "Reserved IP limit reached" in text
        assert "Traceback" not in text
        assert not vultr.servers

    def test_the_next_one_makes_the_rest_and_adopts_what_has_lost_its_answer(
        self, engine: Engine, vultr: Vultr
    ) -> None:
        vultr.fail(Fault("POST", "/instances", when="reset", times=2))
        done = engine.run(*UP)
        assert "44 of 44 sessions up, 4 of 4 edges announce" in done.told
        assert vultr.holdings() | {"rules": 0} == {
            "servers": 4, "addresses": 4, "groups": 1, "rules": 0, "keys": 2, "scripts": 0,
        }  # fmt: skip
        ids = {r["id"] for r in engine.resources() if "id" in r}
        assert {*vultr.servers, *vultr.addresses, *vultr.groups, *vultr.keys} <= ids

    def test_servers_stand_on_their_reserved_addresses(self, engine: Engine, vultr: Vultr) -> None:
        nodes = engine.outputs()["topology"]["nodes"]
        (group,) = vultr.groups.values()
        for node in NODES:
            server = vultr.server(node)
            address = vultr.addresses[server.address]
            assert nodes[node]["addresses"]["public"] == {
                "ipv4": address.subnet,
                "ipv6": server.v6_main_ip,
            }
            assert (server.hostname, server.region) == (node, node.partition("-")[0])
            assert server.firewall_group == group.id
            assert set(server.ssh_keys) == set(vultr.keys)
            assert address.subnet in {rule.subnet for rule in group.rules.values()}

    def test_user_data_stay_below_vultrs_limit(self, vultr: Vultr) -> None:
        assert max(len(one.cloud_config.encode()) for one in vultr.servers.values()) < 16_384

    def test_access_says_how_to_log_in(self, engine: Engine, vultr: Vultr) -> None:
        address = vultr.server("lax-vultr-1").main_ip
        assert engine.outputs()["access"]["lax-vultr-1"] == {"ssh": f"ssh root@{address}"}

    def test_a_second_up_changes_nothing_not_even_after_a_refresh(
        self, engine: Engine, vultr: Vultr
    ) -> None:
        vultr.forget_calls()
        engine.run(*UP, "--refresh", "--expect-no-changes")
        assert not vultr.changes()


class TestEdits:
    """This edit, and exactly these resources."""

    @pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
    def test_touches_exactly(self, engine: Engine, tmp_path: Path, edit: Edit) -> None:
        assert keyed(steps(changed(engine, tmp_path, edit.keys))) == edit.by_api

    def test_a_newer_image_replaces_no_server(self, engine: Engine, vultr: Vultr) -> None:
        before = vultr.images
        vultr.images = [{**row, "id": 9999} for row in before if row["name"] == DEBIAN]
        try:
            assert steps(engine) == {}
        finally:
            vultr.images = before

    def test_a_replacement_is_asked_for_and_keeps_the_address(
        self, engine: Engine, vultr: Vultr
    ) -> None:
        """Vultr refuses an address that is still attached, which it is for a while."""
        before = vultr.server("ord-vultr-1")
        (urn,) = [r["urn"] for r in engine.resources() if r["urn"].endswith("ord-vultr-1-instance")]
        vultr.forget_calls()
        done = engine.run(*UP, "--replace", urn)
        assert "ord-vultr-1: draining before its server goes" in done.told
        assert "ord-vultr-1: has a new server, no longer drained" in done.told
        after = vultr.server("ord-vultr-1")
        assert after.id != before.id
        assert after.main_ip == before.main_ip
        assert vultr.changes() == [f"DELETE /instances/{before.id}", "POST /instances"]


class TestRegionLess:
    """A city is given up."""

    @pytest.fixture
    def without(self, engine: Engine, tmp_path: Path) -> Engine:
        nodes = {k: v for k, v in prod()["nodes"].items() if k != "mia-vultr-1"}
        return changed(engine, tmp_path, {"nodes": nodes})

    def test_its_address_is_given_up_explicitly(self, engine: Engine, without: Engine) -> None:
        refused = without.run("preview", check=False)
        assert refused.returncode
        assert "pulumi state unprotect" in refused.text
        name = "mesh-mia-vultr-1-address"
        (urn,) = [r["urn"] for r in engine.resources() if r["urn"].endswith(f"::{name}")]
        engine.run("state", "unprotect", urn, "--yes")

    def test_touches_exactly_what_is_there_for_it(self, without: Engine) -> None:
        gone = ("mesh-mia", "mesh-mia-vultr-1", "mesh-mia-vultr-1-address",
                "mesh-mia-vultr-1-instance")  # fmt: skip
        assert steps(without) == dict.fromkeys(gone, "delete") | FIREWALL | PUBLISHED

    def test_leaves_nothing_of_it(self, without: Engine, vultr: Vultr) -> None:
        lost = vultr.server("mia-vultr-1")
        vultr.forget_calls()
        done = without.run(*UP)
        assert "mia-vultr-1: leaving, drained first" in done.told
        assert "mia-vultr-1: withdrawn" in done.told
        assert not [one for one in vultr.addresses.values() if "mia-vultr-1" in one.label]
        assert lost.main_ip not in {rule.subnet for rule in vultr.rules}
        assert {what.partition(" ")[0] for what in vultr.changes()} == {"DELETE"}


def test_no_secret_was_ever_shown(engine: Engine, vultr: Vultr) -> None:
    said = list(engine.said)
    shown = engine.resources("--show-secrets")
    secrets = secrets_of(shown) | {KEY, BGP_PASSWORD}
    assert len(secrets) >= 6, "operator's key, API key, BGP password, user data of three servers"
    said.append(json.dumps(engine.resources()))
    said.append(json.dumps(engine.outputs()))
    said.append(engine.run("preview", "--diff").stdout)
    for secret in secrets:
        for text in said:
            assert secret not in text
    for server in vultr.servers.values():
        for never in (server.password, f"TOKEN-OF-{server.id}"):
            assert never not in json.dumps(shown), "not even as a secret"


def test_what_must_survive_is_not_deleted_by_accident(engine: Engine) -> None:
    engine.run(*UP)
    refused = engine.run("destroy", "--preview-only", "--run-program", check=False)
    assert refused.returncode
    assert "protect" in refused.text


def test_destroy_leaves_nothing(engine: Engine, vultr: Vultr) -> None:
    done = engine.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert "4 of 4 withdrawn" in done.told
    assert engine.resources() == []
    assert not any(vultr.holdings().values())


@pytest.fixture(scope="module")
def ending_run(engine: Engine, vultr: Vultr) -> Iterator[Engine]:
    vultr.sold_out.add(("mia", "vc2-1c-1gb"))
    done = engine.run(*UP, check=False)
    assert done.returncode
    assert len(vultr.servers) == 3
    kept, bgp = vultr.plans, vultr.bgp
    vultr.plans, vultr.bgp = [{**row, "locations": []} for row in kept], {"enabled": False}
    yield replace(engine, environment=ending(engine.environment))
    vultr.plans, vultr.bgp = kept, bgp


class TestFirstUpThatFailed:
    """A city is sold out meanwhile, and the operator gives up: what was made is billed."""

    def test_only_a_wrong_api_key_refuses_its_end(self, ending_run: Engine, vultr: Vultr) -> None:
        vultr.key = "another"
        try:
            done = ending_run.run("destroy", "--preview-only", *GIVEN_UP, check=False)
        finally:
            vultr.key = KEY
        assert done.returncode
        assert "vultr:apiKey = [secret]: Vultr does not know this API key" in done.text
        assert len(vultr.servers) == 3

    def test_is_ended_although_vultr_would_not_make_it(
        self, ending_run: Engine, vultr: Vultr
    ) -> None:
        ending_run.run("destroy", "--preview-only", *GIVEN_UP)
        done = ending_run.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
        for said in ("does not sell this plan in mia", "BGP is not enabled", "this run ends"):
            assert said in done.told
        assert ending_run.resources() == []
        assert not any(vultr.holdings().values())
