"""The production network at Vultr, by the real engine on the stand-in: in order, one stack's life.

Behind it boot nodes that join, report and drain by the user data that Vultr was given
(:mod:`tests.engine.inhabitants`), so that every update goes through to its generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.clouds import KEYS, PASSWORD, deployment, production, steps
from tests.engine.conftest import Engine, changed, secrets_of
from tests.engine.inhabitants import inhabited, vultr_servers
from tests.engine.standins.account import Account, answering
from tests.engine.standins.cloud import Cloud, Failure, Kind
from tests.engine.standins.schema import inputs_of
from tests.engine.standins.vultr import DEBIAN, KEY, KINDS, vultr
from tests.stacks import prod

pytestmark = pytest.mark.engine

NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
UP = ("up", "--yes", "--skip-preview")
BGP = {
    "enabled": True,
    "asn": 27218,
    "password": PASSWORD,
    "networks": [
        {"v4_subnet": "192.30.120.0", "v4_subnet_len": 23},
        {"v6_subnet": "2620:71:4000::", "v6_subnet_len": 48},
    ],
}


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return vultr()


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with answering(Account(KEY, dict(BGP))) as account:
        yield account


@pytest.fixture(scope="module")
def engine(
    cloud: Cloud, account: Account, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("vultr")
    secret = {"vultr:apiKey": KEY, "mesh:bgpPassword-vultr": PASSWORD}
    with (
        deployment(folder, production(), [cloud], secret) as engine,
        inhabited(folder / "inhabitants", lambda: vultr_servers(cloud)),
    ):
        environment = {**engine.environment, "VULTR_API_ENDPOINT": account.url}
        yield Engine(engine.state, engine.stack, engine.config, environment)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_input_of_the_sdk_has_its_replace_rule(kind: Kind) -> None:
    assert kind.unjudged() == set()
    assert set(kind.defaults) <= set(inputs_of(kind.args))


class TestBeforeAnythingExists:
    def test_preview_shows_every_resource_while_no_address_is_known(
        self, engine: Engine, cloud: Cloud, account: Account
    ) -> None:
        shown = engine.run("preview").stdout
        for node in NODES:
            assert f" mesh-{node}-instance create" in shown
            assert f" mesh-vultr-wireguard-{node} create" in shown
        assert "[unknown]" in shown
        assert not cloud.made
        assert account.asked == ["/v2/account/bgp"]

    def test_preview_asks_each_thing_once(self, engine: Engine, cloud: Cloud) -> None:
        cloud.forget_events()
        engine.run("preview")
        asked = [event.kind for event in cloud.events if event.operation == "invoke"]
        # The image once to judge it, and once as an input.
        assert sorted(asked) == ["getOs", "getOs", "getPlan"]

    def test_refuses_all_that_vultr_would_refuse_at_once(
        self, engine: Engine, cloud: Cloud, account: Account, tmp_path: Path
    ) -> None:
        account.bgp = BGP | {"asn": 65000, "networks": [], "password": "of-another-account"}
        keys = {"providers": {"vultr": {"image": "Debian 99", "plan": "vc2-9c-9gb"}}}
        try:
            done = changed(engine, tmp_path, keys).run("preview", check=False)
        finally:
            account.bgp = dict(BGP)
        text = done.stdout + done.stderr
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
        assert not cloud.made

    def test_refuses_a_wrong_api_key_and_does_not_show_it(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        cloud.facts["key"] = "another"
        try:
            done = engine.run("preview", check=False)
        finally:
            cloud.facts["key"] = KEY
        text = done.stdout + done.stderr
        assert done.returncode
        assert "vultr:apiKey = [secret]: Vultr does not know this API key" in text
        assert "Traceback" not in text
        assert KEY not in text

    def test_an_api_out_of_reach_is_a_warning(self, engine: Engine) -> None:
        nowhere = {**engine.environment, "VULTR_API_ENDPOINT": "http://127.0.0.1:9"}
        done = Engine(engine.state, engine.stack, engine.config, nowhere).run("preview")
        assert "the account's BGP could not be looked at" in done.stdout


class TestFirstUp:
    def test_a_quota_is_told_in_vultrs_own_words(self, engine: Engine, cloud: Cloud) -> None:
        text = 'error creating reserved IP: {"error":"Reserved IP limit reached","status":400}'
        cloud.quotas["ReservedIp"] = (2, text)
        done = engine.run(*UP, check=False)
        del cloud.quotas["ReservedIp"]
        assert done.returncode
        assert "Reserved IP limit reached" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not cloud.of("Instance")

    def test_a_server_that_does_not_become_active_is_told(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        text = "error while waiting for Server to be completed: timeout while waiting for state"
        cloud.fail("Instance", Failure(text, after="made"))
        done = engine.run(*UP, check=False)
        assert done.returncode
        assert text in done.stdout + done.stderr
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

    def test_user_data_stay_below_vultrs_limit(self, cloud: Cloud) -> None:
        sizes = [len(made.inputs["userData"].encode()) for made in cloud.of("Instance")]
        assert max(sizes) < 16_384

    def test_access_says_how_to_log_in(self, engine: Engine, cloud: Cloud) -> None:
        address = cloud.named("mesh-lax-vultr-1-address").outputs["subnet"]
        assert engine.outputs()["access"]["lax-vultr-1"] == {"ssh": f"ssh root@{address}"}

    def test_a_second_up_changes_nothing(self, engine: Engine, cloud: Cloud) -> None:
        cloud.forget_events()
        engine.run(*UP, "--expect-no-changes")
        assert not cloud.happened()

    def test_nor_does_one_after_a_refresh(self, engine: Engine, cloud: Cloud) -> None:
        """Vultr tells of a reserved address that it is attached: not a drift, never a detach."""
        engine.run("refresh", "--yes", "--skip-preview")
        engine.run(*UP, "--expect-no-changes")
        assert not cloud.happened()


REGIONS = prod()["regions"]
FRA = {
    "name": "Frankfurt",
    "location": [50.03, 8.56],
    "block": "192.30.120.48/29",
    "slots": {"vultr-1": "192.30.120.49"},
}
PUBLISHED = {"mesh-generation": "update"}
EDITS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a setting of the network": ({"whoami": False}, PUBLISHED),
    "another key to log in with": (
        {"admin": {"ssh": ["207.231.1.46/32"], "keys": [*KEYS, KEYS[0].replace("A A", "C C")]}},
        {"mesh-vultr-key-*": "create"} | PUBLISHED,
    ),
    "another network to log in from": (
        {"admin": {"ssh": ["207.231.1.46/32", "192.0.2.7/32"], "keys": KEYS}},
        {"mesh-vultr-ssh-v4-192.0.2.7-32": "create"} | PUBLISHED,
    ),
    "another registry port (user data, hostname and rules)": (
        {"registry": {"port": 9443}},
        {"mesh-vultr-registry-v4": "replace", "mesh-vultr-registry-v6": "replace"} | PUBLISHED,
    ),
    "a larger plan for one node": (
        {"nodes": prod()["nodes"] | {"mia-vultr-1": {"number": 3, "plan": "vc2-2c-4gb"}}},
        {"mesh-mia-vultr-1-instance": "update"} | PUBLISHED,
    ),
    "IPv6 off at one node": (
        {"nodes": prod()["nodes"] | {"mia-vultr-1": {"number": 3, "ipv6": False}}},
        {"mesh-mia-vultr-1-instance": "update"} | PUBLISHED,
    ),
    "reverse names": (
        {"providers": {"vultr": {"reverse": "example.net"}}},
        {f"mesh-{node}-reverse-{family}": "create" for node in NODES for family in ("v4", "v6")},
    ),
    "a service on another port": (
        {
            "services": {
                "web": prod()["services"]["web"] | {"ports": {"tcp": [80, 443], "udp": [443]}}
            }
        },
        {f"mesh-vultr-service-udp-443-{v}": "create" for v in ("v4", "v6")} | PUBLISHED,
    ),
    "a region more": (
        {
            "regions": REGIONS | {"fra": FRA},
            "nodes": prod()["nodes"] | {"fra-vultr-1": {"number": 9}},
        },
        {
            "mesh-fra": "create",
            "mesh-fra-vultr-1": "create",
            "mesh-fra-vultr-1-address": "create",
            "mesh-fra-vultr-1-instance": "create",
            "mesh-vultr-wireguard-fra-vultr-1": "create",
            **PUBLISHED,
        },
    ),
}


class TestEdits:
    """This edit, and exactly these resources."""

    @pytest.mark.parametrize(("keys", "touched"), EDITS.values(), ids=EDITS)
    def test_touches_exactly(
        self, engine: Engine, tmp_path: Path, keys: dict[str, Any], touched: dict[str, str]
    ) -> None:
        found = steps(changed(engine, tmp_path, keys))
        assert _named(found) == touched

    def test_a_newer_image_replaces_no_server(self, engine: Engine, cloud: Cloud) -> None:
        before = cloud.facts["images"]
        cloud.facts["images"] = [{**row, "id": "9999"} for row in before if row["name"] == DEBIAN]
        try:
            assert steps(engine) == {}
        finally:
            cloud.facts["images"] = before

    def test_a_replacement_is_asked_for_and_keeps_the_address(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        """Vultr refuses an address that is still attached: the old server goes first."""
        before = cloud.named("mesh-ord-vultr-1-instance")
        (urn,) = [r["urn"] for r in engine.resources() if r["urn"].endswith("ord-vultr-1-instance")]
        cloud.forget_events()
        done = engine.run(*UP, "--replace", urn)
        assert "ord-vultr-1: draining before its server goes" in done.stdout
        assert "ord-vultr-1: made anew, and drained no more" in done.stdout
        after = cloud.named("mesh-ord-vultr-1-instance")
        assert after.id != before.id
        assert after.outputs["mainIp"] == before.outputs["mainIp"]
        assert [(e.operation, e.name) for e in cloud.events if e.kind == "Instance"] == [
            ("delete", "mesh-ord-vultr-1-instance"),
            ("create", "mesh-ord-vultr-1-instance"),
        ]


def _named(found: dict[str, str]) -> dict[str, str]:
    """Names that hold a digest, without it."""
    key = "mesh-vultr-key-"
    return {f"{key}*" if name.startswith(key) else name: step for name, step in found.items()}


class TestDrift:
    """What somebody did in Vultr's console."""

    def test_comes_back_as_the_stack_file_says(self, engine: Engine, cloud: Cloud) -> None:
        cloud.drift("mesh-mia-vultr-1-instance", plan="vc2-2c-4gb", label="mine")
        cloud.lose("mesh-vultr-icmp-v4")
        cloud.lose("mesh-ewr-vultr-1-instance")
        cloud.forget_events()
        engine.run("refresh", "--yes", "--skip-preview")
        engine.run(*UP)
        assert cloud.happened() == {
            ("update", "Instance", "mesh-mia-vultr-1-instance"),
            ("create", "FirewallRule", "mesh-vultr-icmp-v4"),
            ("create", "Instance", "mesh-ewr-vultr-1-instance"),
        }
        assert cloud.named("mesh-mia-vultr-1-instance").outputs["plan"] == "vc2-1c-1gb"


class TestRegionLess:
    """A city is given up."""

    @pytest.fixture
    def without(self, engine: Engine, tmp_path: Path) -> Engine:
        nodes = {k: v for k, v in prod()["nodes"].items() if k != "mia-vultr-1"}
        return changed(engine, tmp_path, {"nodes": nodes})

    def test_its_address_is_given_up_explicitly(self, engine: Engine, without: Engine) -> None:
        refused = without.run("preview", check=False)
        assert refused.returncode
        assert "pulumi state unprotect" in refused.stdout + refused.stderr
        name = "mesh-mia-vultr-1-address"
        (urn,) = [r["urn"] for r in engine.resources() if r["urn"].endswith(f"::{name}")]
        engine.run("state", "unprotect", urn, "--yes")

    def test_touches_exactly_what_is_there_for_it(self, without: Engine) -> None:
        assert (
            steps(without)
            == dict.fromkeys(
                [
                    "mesh-mia",
                    "mesh-mia-vultr-1",
                    "mesh-mia-vultr-1-address",
                    "mesh-mia-vultr-1-instance",
                    "mesh-vultr-wireguard-mia-vultr-1",
                ],
                "delete",
            )
            | PUBLISHED
        )

    def test_leaves_nothing_of_it(self, without: Engine, cloud: Cloud) -> None:
        cloud.forget_events()
        done = without.run(*UP)
        assert "mia-vultr-1: leaving, and drained first" in done.stdout
        assert "mia-vultr-1: withdrawn" in done.stdout
        assert not [made for made in cloud.made.values() if "mia-vultr-1" in made.name]
        assert {operation for operation, _, _ in cloud.happened()} == {"delete"}


def test_no_secret_was_ever_shown(engine: Engine) -> None:
    said = list(engine.said)
    secrets = secrets_of(engine.resources("--show-secrets")) | {KEY, PASSWORD}
    assert len(secrets) >= 8, (
        "operator's key, API key, password, passwords and user data of servers"
    )
    said.append(json.dumps(engine.resources()))
    said.append(json.dumps(engine.outputs()))
    said.append(engine.run("preview", "--diff").stdout)
    for secret in secrets:
        for text in said:
            assert secret not in text


def test_what_must_survive_is_not_deleted_by_accident(engine: Engine, cloud: Cloud) -> None:
    engine.run(*UP)
    refused = engine.run("destroy", "--preview-only", "--run-program", check=False)
    assert refused.returncode
    assert "protect" in refused.stdout + refused.stderr


def test_destroy_leaves_nothing(engine: Engine, cloud: Cloud) -> None:
    given_up = ("--run-program", "--config", "mesh:protect=false")
    done = engine.run("destroy", "--yes", "--skip-preview", *given_up)
    assert "4 of 4 withdrawn" in done.stdout
    assert engine.resources() == []
    assert cloud.made == {}
