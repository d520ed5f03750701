"""A fleet with a member at GCP, from its first preview to its end, on the real engine; in order.

What is published is left out (``--exclude``): no server of a stand-in ever joins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.infra.ending import GIVEN_UP, ending
from mesh.infra.providers.gcp.driver import STARTUP
from tests.kit.clouds.cloud import Cloud, Failure
from tests.kit.clouds.deployment import KEYS, PASSWORD, production, steps
from tests.kit.clouds.gcp import CREDENTIALS, KINDS, PROJECT, gcp
from tests.kit.clouds.servicer import SECRET
from tests.kit.engine import Engine, changed, secrets_of
from tests.kit.vultr_api import KEY, Vultr, answering
from tests.kit.vultr_api.stack import stack

pytestmark = pytest.mark.engine

SERVERS = ("--exclude", "**mesh-generation", "--exclude", "**mesh-candidate")
UP = ("up", "--yes", "--skip-preview", *SERVERS)
GCP_PASSWORD = "bgp-password-of-cloud-router-in-tests"
NODES = {"lax-vultr-1": {"number": 1}, "ewr-vultr-1": {"number": 4}, "ord-gcp-1": {"number": 9}}
EXHAUSTED = (
    "googleapi: Error 503: The zone 'projects/anycast-mesh-example/zones/us-central1-b' does not "
    "have enough resources available to fulfill the request. Try a different zone, or try again "
    "later., ZONE_RESOURCE_POOL_EXHAUSTED"
)
QUOTA = (
    "Error creating Address: googleapi: Error 403: Quota 'STATIC_ADDRESSES' exceeded.  "
    "Limit: 4.0 in region us-central1., quotaExceeded"
)


@dataclass(frozen=True)
class Fleet:
    """The stack, and the project at GCP that it is deployed to."""

    engine: Engine
    cloud: Cloud
    folder: Path

    def with_keys(self, keys: dict[str, Any]) -> Engine:
        return changed(self.engine, self.folder, keys)

    def without(self, key: str) -> Engine:
        """The stack file without a key of any namespace."""
        document = yaml.safe_load(self.engine.config.read_text())
        del document["config"][key]
        path = self.folder / self.engine.config.name
        path.write_text(yaml.safe_dump(document))
        return Engine(self.engine.state, self.engine.stack, path, self.engine.environment)


def providers(**options: Any) -> dict[str, Any]:
    gcp_options = {"project": PROJECT} | options
    return {"providers": {"gcp": gcp_options, "vultr": {"checkAccount": False}}}


def nodes(**more: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": NODES | {name.replace("_", "-"): node for name, node in more.items()}}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, cloud = tmp_path_factory.mktemp("gcp"), gcp()
    keys = providers() | nodes() | {"reflectors": ["lax-vultr-1"], "registries": ["lax-vultr-1"]}
    document = production(**keys)
    document["mesh:regions"]["ord"]["slots"]["gcp-2"] = "192.30.120.14"
    secret = {
        "vultr:apiKey": KEY,
        "gcp:credentials": CREDENTIALS,
        "mesh:bgpPassword-vultr": PASSWORD,
        "mesh:bgpPassword-gcp": GCP_PASSWORD,
    }
    with answering(Vultr()) as served, stack(folder, served, document, secret, [cloud]) as engine:
        yield Fleet(engine, cloud, tmp_path_factory.mktemp("edited"))


def test_every_input_of_the_sdk_has_a_replace_rule() -> None:
    assert {kind.name: kind.unjudged() for kind in KINDS if kind.unjudged()} == {}


def test_a_preview_of_nothing_shows_all_and_asks_little(fleet: Fleet) -> None:
    found = steps(fleet.engine, *SERVERS)
    assert set(found.values()) == {"create"}
    assert {name for name in found if name.startswith("mesh-ord-gcp-1-")} == MEMBER
    asked = [event.kind for event in fleet.cloud.events if event.operation == "invoke"]
    assert sorted(asked) == ["getImage", "getMachineTypes"]
    assert not fleet.cloud.made


MEMBER = {
    f"mesh-ord-gcp-1-{part}"
    for part in ("address", "address6", "inside", "instance", "spoke", "vpc1", "vpc2")
}


def refusal(engine: Engine, cloud: Cloud) -> str:
    """What a preview that is refused says."""
    done = engine.run("preview", *SERVERS, check=False)
    text = done.text
    assert done.returncode
    assert "the configuration cannot be used" in text
    assert "Traceback" not in text
    assert not cloud.made
    return text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"plan": "e2-tiny"}, "mesh:providers.gcp.plan = e2-tiny: us-central1-b has no such"),
        (
            {"project": "not-a-project-1"},
            "mesh:providers.gcp.project = not-a-project-1: GCP",
        ),
    ],
)
def test_what_gcp_does_not_have_is_told_before_anything_is_made(
    fleet: Fleet, options: dict[str, Any], said: str
) -> None:
    assert said in refusal(fleet.with_keys(providers(**options)), fleet.cloud)


def test_without_credentials_it_says_how_to_get_some(fleet: Fleet) -> None:
    text = refusal(fleet.without("gcp:credentials"), fleet.cloud)
    assert "gcp:credentials = unset" in text
    assert "gcloud auth application-default login" in text


def test_wrong_credentials_are_told_and_not_shown(fleet: Fleet) -> None:
    right, fleet.cloud.facts["credentials"] = fleet.cloud.facts["credentials"], "others"
    try:
        text = refusal(fleet.engine, fleet.cloud)
    finally:
        fleet.cloud.facts["credentials"] = right
    assert "gcp:credentials = [secret]: GCP does not accept them" in text


def test_an_up_that_failed_twice_is_finished_by_the_third(fleet: Fleet) -> None:
    cloud = fleet.cloud
    cloud.quotas["Address"] = (2, QUOTA)
    done = fleet.engine.run(*UP, check=False)
    assert done.returncode
    assert QUOTA in done.told
    cloud.quotas.clear()
    cloud.fail("Instance", Failure(EXHAUSTED))
    done = fleet.engine.run(*UP, check=False)
    assert done.returncode
    assert EXHAUSTED in done.told
    before = {made.id for made in cloud.made.values()}
    fleet.engine.run(*UP)
    assert before <= set(cloud.made)
    assert len(cloud.of("Instance")) == 1
    assert len(cloud.of("RouterPeer")) == 2


def test_a_second_up_changes_nothing(fleet: Fleet) -> None:
    fleet.cloud.forget_events()
    fleet.engine.run(*UP, "--expect-no-changes")
    assert fleet.cloud.happened() == set()


def test_the_router_speaks_with_the_address_that_the_instance_holds(fleet: Fleet) -> None:
    (instance,), cloud = fleet.cloud.of("Instance"), fleet.cloud
    (interface,) = instance.outputs["networkInterfaces"]
    held = cloud.named("mesh-ord-gcp-1-inside").outputs["address"]
    assert interface["networkIp"] == held
    speakers = {cloud.named(f"mesh-gcp-us-central1-speaker-{n}").outputs["address"] for n in (1, 2)}
    peers = cloud.of("RouterPeer")
    assert {peer.outputs["ipAddress"] for peer in peers} == speakers
    assert {peer.outputs["peerIpAddress"] for peer in peers} == {held}
    topology = fleet.engine.outputs()["topology"]["nodes"]["ord-gcp-1"]
    outside = cloud.named("mesh-ord-gcp-1-address").outputs["address"]
    assert topology["addresses"]["public"]["ipv4"] == outside


def made_with(node: str, *mates: str) -> dict[str, str]:
    """All that comes with another node at GCP."""
    parts = ("", "-address", "-address6", "-inside", "-instance", "-spoke", "-vpc1", "-vpc2")
    rules = [f"mesh-gcp-wireguard-{each}" for each in (node, *mates)]
    return dict.fromkeys([*(f"mesh-{node}{part}" for part in parts), *rules], "create")


PEERS = ("mesh-ord-gcp-1-vpc1", "mesh-ord-gcp-1-vpc2")
PLACE = ("subnet", "router", "speaker-1", "speaker-2", "interface-1", "interface-2")


@pytest.mark.parametrize(
    ("keys", "touched"),
    [
        (
            providers(image="debian-12")
            | {"admin": {"ssh": ["207.231.1.46/32"], "keys": [KEYS[0], KEYS[1].replace("B", "C")]}},
            {},
        ),
        (
            {"admin": {"ssh": ["207.231.1.46/32", "2001:db8::/32"], "keys": KEYS}},
            {"mesh-gcp-ssh-v6": "create"},
        ),
        (
            nodes(ord_gcp_1={"number": 9, "plan": "e2-medium"}),
            {"mesh-ord-gcp-1-instance": "update"},
        ),
        (providers(routerAsn=65021), {"mesh-gcp-us-central1-router": "update"}),
        ({"bgpPassword-gcp": "another-password-of-cloud-router"}, dict.fromkeys(PEERS, "update")),
        # It is ForceNew: all servers at GCP would be replaced by one edit, at once.
        (providers(zone="c"), {}),
        (
            nodes(mia_vultr_1={"number": 3}),
            {"mesh-gcp-wireguard-mia-vultr-1": "create"},
        ),
        (nodes(ord_gcp_2={"number": 8}), made_with("ord-gcp-2", "ord-gcp-1")),
        (
            nodes(lax_gcp_1={"number": 8}),
            made_with("lax-gcp-1", "ord-gcp-1")
            | {f"mesh-gcp-us-west2-{part}": "create" for part in PLACE}
            | {"mesh-gcp-bgp-vpc": "update"},
        ),
    ],
    ids=[
        "a newer image and other keys to log in with",
        "another network of the operator",
        "a larger machine",
        "another ASN of the Cloud Router",
        "another BGP password",
        "another zone",
        "one edge more, elsewhere",
        "one member more, in the same region",
        "one member more, in another region",
    ],
)
def test_an_edit_touches_exactly_this(
    fleet: Fleet, keys: dict[str, Any], touched: dict[str, str]
) -> None:
    found = steps(fleet.with_keys(keys), *SERVERS)
    members = {name for name in found if "gcp" in name}
    assert {name: found[name] for name in members} == touched
    # Vultr's own part is in its own tests: rules and keys come and go, and nothing is replaced.
    assert found.pop("mesh-vultr-firewall", "update") == "update"
    assert {found[name] for name in set(found) - members} <= {"create", "delete"}


def test_what_drifted_is_seen_and_put_right(fleet: Fleet) -> None:
    cloud = fleet.cloud
    cloud.drift("mesh-gcp-ssh-v4", sourceRanges=["0.0.0.0/0"])
    cloud.lose("mesh-gcp-wireguard-lax-vultr-1")
    cloud.lose("mesh-ord-gcp-1-instance")
    cloud.forget_events()
    fleet.engine.run(*UP, "--refresh")
    again = [("Spoke", "mesh-ord-gcp-1-spoke"), *(("RouterPeer", peer) for peer in PEERS)]
    assert cloud.happened() == {
        ("update", "Firewall", "mesh-gcp-ssh-v4"),
        ("create", "Firewall", "mesh-gcp-wireguard-lax-vultr-1"),
        ("create", "Instance", "mesh-ord-gcp-1-instance"),
        *(("delete", *each) for each in again),
        *(("create", *each) for each in again),
    }
    assert cloud.named("mesh-gcp-ssh-v4").outputs["sourceRanges"] == ["207.231.1.46/32"]


def test_a_server_that_was_asked_for_anew_keeps_its_addresses(fleet: Fleet) -> None:
    """It is made in the zone that is named by now."""
    cloud, moved = fleet.cloud, fleet.with_keys(providers(zone="c"))
    before = cloud.named("mesh-ord-gcp-1-instance").outputs
    cloud.forget_events()
    assert before["zone"] == "us-central1-b"
    moved.run(*UP, "--replace", "**mesh-ord-gcp-1-instance")
    done = [(e.operation, e.kind) for e in cloud.events if e.operation in ("create", "delete")]
    # Nothing of the Cloud Router's may name an instance that is not there.
    assert done == [
        ("delete", "RouterPeer"),
        ("delete", "RouterPeer"),
        ("delete", "Spoke"),
        ("delete", "Instance"),
        ("create", "Instance"),
        ("create", "Spoke"),
        ("create", "RouterPeer"),
        ("create", "RouterPeer"),
    ]
    after = cloud.named("mesh-ord-gcp-1-instance").outputs
    assert after["instanceId"] != before["instanceId"]
    assert after["zone"] == "us-central1-c"
    assert after["networkInterfaces"] == before["networkInterfaces"]


def test_no_secret_was_ever_shown(fleet: Fleet) -> None:
    engine = fleet.engine
    said = list(engine.said)
    # A secret map hides all of its values; these stand in the program.
    plain = {STARTUP, SECRET, *PEERS}
    hidden = secrets_of(engine.resources("--show-secrets")) - plain
    assert GCP_PASSWORD in hidden
    assert len([text for text in hidden if text.startswith("#cloud-config")]) >= len(NODES)
    said.append(json.dumps(engine.resources()))
    said.append(json.dumps(engine.outputs()))
    replaced = ("--replace", "**mesh-ord-gcp-1-instance")
    said.append(engine.run("preview", "--diff", *SERVERS, *replaced).stdout)
    for secret in hidden | {CREDENTIALS, json.loads(CREDENTIALS)["private_key"]}:
        for text in said:
            assert secret not in text, secret[:40]


def test_destroy_leaves_nothing(fleet: Fleet) -> None:
    """What GCP no longer has for another server stops nothing."""
    fleet.cloud.facts["families"] = []
    last = replace(fleet.engine, environment=ending(fleet.engine.environment))
    done = last.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert "GCP has none of that name; nothing has to be done" in done.told
    assert fleet.engine.resources() == []
    assert not fleet.cloud.made
