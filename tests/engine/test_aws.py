"""Two edges at Vultr and a member at AWS, by the real engine on the stand-ins: in order, one
stack's life. The publication is left out, as in test_vultr."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.infra.ending import GIVEN_UP, ending
from tests.kit.clouds.aws import (
    ACCESS_KEY,
    KINDS,
    SECRET_KEY,
    TOO_MANY_ADDRESSES,
    aws,
    refused,
)
from tests.kit.clouds.cloud import Cloud, Failure, Kind
from tests.kit.clouds.deployment import KEYS, PASSWORD, production, steps
from tests.kit.clouds.schema import inputs_of
from tests.kit.engine import Engine, changed, secrets_of
from tests.kit.stacks import prod
from tests.kit.vultr_api import KEY, Vultr, answering
from tests.kit.vultr_api.stack import stack

pytestmark = pytest.mark.engine

UNPUBLISHED = ("--exclude", "**mesh-generation", "--exclude", "**mesh-candidate")
UP = ("up", "--yes", "--skip-preview", *UNPUBLISHED)
NODES: dict[str, Any] = {
    "lax-vultr-1": {"number": 1},
    "ord-vultr-1": {"number": 2},
    "lax-aws-1": {"number": 5},
}
QUIET = {"vultr": {"checkAccount": False}}
SECRETS = {
    "mesh:bgpPassword-vultr": PASSWORD,
    "vultr:apiKey": KEY,
    "aws:accessKey": ACCESS_KEY,
    "aws:secretKey": SECRET_KEY,
}
HERE, NODE = "mesh-aws-us-west-1", "mesh-lax-aws-1"


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return aws()


@pytest.fixture(scope="module")
def engine(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("aws")
    document = {**production(nodes=NODES, providers=QUIET), "aws:region": "us-east-1"}
    with (
        answering(Vultr()) as served,
        stack(folder, served, document, SECRETS, [cloud]) as engine,
    ):
        yield engine


def of_the_region(*parts: str) -> set[str]:
    """What the nodes of the region share, by the ends of its names."""
    return {f"{HERE}-{part}" for part in parts}


def of_a_node(node: str, *more: str) -> set[str]:
    """What a node has of its own at AWS."""
    parts = ("interface", "address", "association", "vpc1", "vpc2", "instance", *more)
    return {f"mesh-{node}-{part}" for part in parts}


ROUTERS = of_the_region("router", "router-vpc", "router-routes", "vpc1", "vpc2")
# Those who live in the VPC, whatever private range it has, ask the members for services.
PRIVATE = ("10.0.0.0-8", "100.64.0.0-10", "172.16.0.0-12", "192.168.0.0-16")
SERVED = {f"service-tcp-{port}-v4-{network}" for port in (80, 443) for network in PRIVATE}
SHARED = ROUTERS | of_the_region(
    "vpc", "subnet", "nodes", "gateway", "routes", "routed", "default4", "default6",
    "group", "mates1", "out-v4", "out-v6", "icmp-v4", "icmp-v6", "ssh-v4-207.231.1.46-32",
    "bgp-vpc-1", "bgp-vpc-2", "bfd-vpc-1", "bfd-vpc-2",
    "wireguard-lax-vultr-1", "wireguard-ord-vultr-1", *SERVED,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_input_of_the_sdk_has_its_replace_rule(kind: Kind) -> None:
    assert kind.unjudged() == set()
    assert set(kind.defaults) <= set(inputs_of(kind.args))


class TestBeforeAnythingExists:
    def test_preview_shows_every_resource_and_asks_each_thing_once(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        planned = steps(engine)
        assert set(planned.values()) == {"create"}
        found = {name for name in planned if name.startswith((HERE, NODE))}
        assert found == SHARED | of_a_node("lax-aws-1", "birth") | {NODE}
        assert not cloud.made
        assert sorted(event.kind for event in cloud.events) == [
            "getAmi", "getInstanceTypeOfferings", "getInstanceTypes", "getRegions", "getSubnet",
        ]  # fmt: skip

    def test_refuses_all_that_aws_would_refuse_at_once(
        self, engine: Engine, cloud: Cloud, tmp_path: Path
    ) -> None:
        bad = {"aws": {"image": "debian-99-*", "plan": "t3.smal"}}
        done = changed(engine, tmp_path, {"providers": QUIET | bad}).run("preview", check=False)
        text = done.text
        assert done.returncode
        for said in (
            "mesh:providers.aws.image = debian-99-*: Debian has no image of that name in us-west-1",
            "mesh:providers.aws.plan = t3.smal: us-west-1 has no such instance type",
        ):
            assert said in text, text
        assert "Traceback" not in text
        assert not cloud.made

    def test_refuses_a_wrong_key_and_does_not_show_it(self, engine: Engine, cloud: Cloud) -> None:
        """As EC2 says it; a provider that cannot even sign says it itself, and no traceback."""
        cloud.facts["key"] = ("another", "another")
        try:
            done = engine.run("preview", check=False)
        finally:
            cloud.facts["key"] = (ACCESS_KEY, SECRET_KEY)
        text = done.text
        assert done.returncode
        assert "AWS_ACCESS_KEY_ID = [secret]: AWS does not know these credentials" in text
        assert "Traceback" not in text
        assert SECRET_KEY not in text
        assert not cloud.made


class TestFirstUp:
    def test_a_quota_is_told_in_awss_own_words(self, engine: Engine, cloud: Cloud) -> None:
        cloud.quotas["Eip"] = (0, TOO_MANY_ADDRESSES)
        done = engine.run(*UP, check=False)
        del cloud.quotas["Eip"]
        text = done.text
        assert done.returncode
        assert "AddressLimitExceeded: The maximum number of addresses has been reached." in text
        assert "Traceback" not in text
        assert not cloud.of("Instance")

    def test_an_instance_that_does_not_run_is_told(self, engine: Engine, cloud: Cloud) -> None:
        text = "waiting for EC2 Instance create: unexpected state 'terminated', wanted 'running'"
        cloud.fail("Instance", Failure(text, after="made"))
        done = engine.run(*UP, check=False)
        assert done.returncode
        assert text in done.text

    def test_the_next_up_takes_it_on_and_makes_the_rest(self, engine: Engine, cloud: Cloud) -> None:
        before = set(cloud.made)
        engine.run(*UP)
        assert before <= set(cloud.made)
        assert {made.name for made in cloud.made.values()} == SHARED | of_a_node("lax-aws-1")

    def test_a_member_has_the_address_of_its_number(self, engine: Engine, cloud: Cloud) -> None:
        """In the half of the subnet of which AWS gives nothing to its own."""
        interface = cloud.named(f"{NODE}-interface")
        assert interface.inputs["privateIps"] == ["172.31.0.133"]
        assert interface.inputs["sourceDestCheck"] is False
        routers = {cloud.named(f"{HERE}-vpc{n}").outputs["eniAddress"] for n in (1, 2)}
        assert routers == {"172.31.0.4", "172.31.0.5"}
        node = engine.outputs()["topology"]["nodes"]["lax-aws-1"]
        assert node["addresses"]["public"] == {
            "ipv4": cloud.named(f"{NODE}-address").outputs["publicIp"],
            "ipv6": interface.outputs["ipv6Addresses"][0],
        }

    def test_a_member_is_a_peer_of_both_routers(self, cloud: Cloud) -> None:
        peers = [cloud.named(f"{NODE}-vpc{n}").inputs for n in (1, 2)]
        assert {peer["peerAddress"] for peer in peers} == {"172.31.0.133"}
        assert [peer["bgpOptions"] for peer in peers] == [
            {"peerAsn": 27218, "peerLivenessDetection": "bfd"}
        ] * 2

    def test_it_boots_debians_newest_in_a_zone_that_has_its_size(self, cloud: Cloud) -> None:
        assert cloud.named(f"{NODE}-instance").inputs["ami"] == "ami-0c"
        assert cloud.named(f"{HERE}-subnet").inputs["availabilityZone"] == "us-west-1a"

    def test_user_data_are_compressed_and_stay_below_awss_limit(self, cloud: Cloud) -> None:
        packed = base64.b64decode(cloud.named(f"{NODE}-instance").inputs["userDataBase64"])
        assert gzip.decompress(packed).startswith(b"#cloud-config\n")
        assert len(packed) < 16_384 / 2

    def test_an_edge_lets_the_member_in_by_its_public_address(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        public = cloud.named(f"{NODE}-address").outputs["publicIp"]
        assert engine.outputs()["access"]["lax-aws-1"] == {"ssh": f"ssh root@{public}"}
        (edges,) = [r for r in engine.resources() if r["urn"].endswith("mesh-vultr-firewall")]
        subnets = {rule["notes"]: rule["subnet"] for rule in edges["inputs"]["rules"]}
        assert subnets["wireguard-lax-aws-1"] == public

    def test_a_second_up_changes_nothing(self, engine: Engine, cloud: Cloud) -> None:
        cloud.forget_events()
        engine.run(*UP, "--expect-no-changes")
        assert not cloud.happened()

    def test_nor_does_one_after_a_refresh(self, engine: Engine, cloud: Cloud) -> None:
        """What an instance and an association do to interface and address is no drift."""
        engine.run(*UP, "--refresh", "--expect-no-changes")
        assert not cloud.happened()


def with_slot(region: str, name: str, at: str) -> dict[str, Any]:
    """The regions of the stack, one of them with a slot more."""
    regions: dict[str, Any] = copy.deepcopy(prod()["regions"])
    regions[region]["slots"][name] = at
    return regions


SECOND = {
    "nodes": NODES | {"lax-aws-2": {"number": 4}},
    "regions": with_slot("lax", "aws-2", "192.30.120.5"),
}
OF_THE_SECOND = {
    *of_a_node("lax-aws-2", "birth"),
    "mesh-lax-aws-2",
    # They are peers of each other, and of the edges.
    *of_the_region("wireguard-lax-aws-1", "wireguard-lax-aws-2"),
}
AT_THE_EDGES = {"mesh-vultr-firewall": "update"}
EDITS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a setting of the network": ({"whoami": False}, {}),
    "another key to log in with": (
        {"admin": {"ssh": ["207.231.1.46/32"], "keys": [*KEYS, KEYS[0].replace("A A", "C C")]}},
        {"mesh-vultr-key-*": "create"},
    ),
    "another network to log in from": (
        {"admin": {"ssh": ["207.231.1.46/32", "2001:db8:1::/48"], "keys": KEYS}},
        {
            f"{HERE}-ssh-v6-2001.db8.1..-48": "create",
            **AT_THE_EDGES,
        },
    ),
    "another size": (
        {"nodes": NODES | {"lax-aws-1": {"number": 5, "plan": "c7i.large"}}},
        {f"{NODE}-instance": "update"},
    ),
    "IPv6 off at the member": (
        {"nodes": NODES | {"lax-aws-1": {"number": 5, "ipv6": False}}},
        {f"{NODE}-interface": "update"},
    ),
    "another ASN of the Route Server": (
        {"providers": QUIET | {"aws": {"routerAsn": 65011}}},
        {
            **dict.fromkeys(ROUTERS | {f"{NODE}-vpc1", f"{NODE}-vpc2"}, "replace"),
            **dict.fromkeys(
                of_the_region("bgp-vpc-1", "bgp-vpc-2", "bfd-vpc-1", "bfd-vpc-2"), "update"
            ),
        },
    ),
    "a second member there": (SECOND, dict.fromkeys(OF_THE_SECOND, "create") | AT_THE_EDGES),
    "a member elsewhere": (
        {"nodes": NODES | {"ewr-aws-1": {"number": 4}}},
        {
            "mesh-ewr": "create",
            "mesh-ewr-aws-1": "create",
            **dict.fromkeys(of_a_node("ewr-aws-1", "birth"), "create"),
            **{
                name.replace("us-west-1", "us-east-1"): "create"
                for name in SHARED | of_the_region("wireguard-lax-aws-1")
            },
            f"{HERE}-wireguard-ewr-aws-1": "create",
            **AT_THE_EDGES,
        },
    ),
}


class TestEdits:
    """This edit, and exactly these resources."""

    @pytest.mark.parametrize(("keys", "touched"), EDITS.values(), ids=EDITS)
    def test_touches_exactly(
        self, engine: Engine, tmp_path: Path, keys: dict[str, Any], touched: dict[str, str]
    ) -> None:
        found = steps(changed(engine, tmp_path, keys), *UNPUBLISHED)
        key = "mesh-vultr-key-"
        named = {f"{key}*" if name.startswith(key) else name: op for name, op in found.items()}
        assert named == touched

    def test_a_size_that_the_zone_of_the_subnet_lacks_is_refused(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        """us-west-1c has it, and the subnet lies in us-west-1a."""
        nodes = {"nodes": NODES | {"lax-aws-1": {"number": 5, "plan": "m7i.large"}}}
        done = changed(engine, tmp_path, nodes).run("preview", check=False)
        assert done.returncode
        assert (
            "mesh:nodes.lax-aws-1.plan = m7i.large: us-west-1a, where the subnet of the nodes "
            "lies, has no such size for lax-aws-1; give lax-aws-1 a size that is there" in done.text
        )

    def test_neither_a_newer_image_nor_another_zone_replaces_anything(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        images, sizes = cloud.facts["images"], cloud.facts["sizes"]
        newest = {**images[2], "id": "ami-0f", "imageId": "ami-0f", "creationDate": "2027"}
        cloud.facts["images"] = [*images, newest]
        cloud.facts["sizes"] = sizes | {"t3.small": sizes["m7i.large"]}
        try:
            assert steps(engine, *UNPUBLISHED) == {}
        finally:
            cloud.facts.update(images=images, sizes=sizes)

    def test_a_replacement_is_asked_for_and_keeps_both_addresses(
        self, engine: Engine, cloud: Cloud
    ) -> None:
        """AWS refuses an interface that is still in use: the old server goes first."""
        before = cloud.named(f"{NODE}-instance").id
        cloud.forget_events()
        engine.run(*UP, "--replace", f"**{NODE}-instance")
        assert [(e.operation, e.name) for e in cloud.events if e.operation != "invoke"] == [
            ("delete", f"{NODE}-instance"),
            ("create", f"{NODE}-instance"),
        ]
        after = cloud.named(f"{NODE}-instance")
        assert after.id != before
        assert after.outputs["privateIp"] == "172.31.0.133"
        (birth,) = [r for r in engine.resources() if r["urn"].endswith(f"{NODE}-birth")]
        assert birth["id"] == after.id, "its token counts from now"


class TestSecondMember:
    """One comes and goes beside another."""

    @pytest.fixture
    def second(self, engine: Engine, tmp_path: Path) -> Engine:
        return changed(engine, tmp_path, SECOND)

    def test_that_fails_half_way_is_told(self, second: Engine, cloud: Cloud) -> None:
        text = str(refused("CreateRouteServerPeer", "IncorrectState", "the endpoint is modifying"))
        cloud.fail("RouteServerPeer", Failure(text))
        done = second.run(*UP, check=False)
        assert done.returncode
        assert "IncorrectState: the endpoint is modifying" in done.text

    def test_is_finished_by_the_next_up(self, second: Engine, cloud: Cloud) -> None:
        second.run(*UP)
        theirs = {made.name for made in cloud.made.values()} - SHARED - of_a_node("lax-aws-1")
        assert theirs == {name for name in OF_THE_SECOND if name.startswith((HERE, "mesh-lax"))} - {
            "mesh-lax-aws-2", "mesh-lax-aws-2-birth",
        }  # fmt: skip
        assert cloud.named("mesh-lax-aws-2-interface").inputs["privateIps"] == ["172.31.0.132"]

    def test_takes_its_rules_with_it(self, engine: Engine, cloud: Cloud) -> None:
        for urn in [r["urn"] for r in engine.resources() if r.get("protect")]:
            if urn.endswith(("aws-2-address", "aws-2-interface")):
                engine.run("state", "unprotect", urn, "--yes")
        cloud.forget_events()
        engine.run(*UP)
        assert {operation for operation, _, _ in cloud.happened()} == {"delete"}
        assert {made.name for made in cloud.made.values()} == SHARED | of_a_node("lax-aws-1")


class TestDrift:
    """What somebody did in AWS's console."""

    def test_comes_back_as_the_stack_file_says(self, engine: Engine, cloud: Cloud) -> None:
        cloud.drift(f"{NODE}-interface", sourceDestCheck=True)
        cloud.drift(f"{HERE}-ssh-v4-207.231.1.46-32", cidrIpv4="0.0.0.0/0")
        cloud.lose(f"{HERE}-icmp-v4")
        cloud.lose(f"{NODE}-instance")
        cloud.forget_events()
        engine.run(*UP, "--refresh")
        assert cloud.happened() == {
            ("update", "NetworkInterface", f"{NODE}-interface"),
            ("update", "SecurityGroupIngressRule", f"{HERE}-ssh-v4-207.231.1.46-32"),
            ("create", "SecurityGroupIngressRule", f"{HERE}-icmp-v4"),
            ("create", "Instance", f"{NODE}-instance"),
        }


def test_no_secret_was_ever_shown(engine: Engine) -> None:
    said = list(engine.said)
    secrets = secrets_of(engine.resources("--show-secrets")) | set(SECRETS.values())
    assert len(secrets) >= 7, "the operator's key, three nodes' user data, keys and password"
    said.append(json.dumps(engine.resources()))
    said.append(json.dumps(engine.outputs()))
    said.append(engine.run("preview", "--diff").stdout)
    for secret in secrets - {ACCESS_KEY}:
        for text in said:
            assert secret not in text


def test_what_must_survive_is_not_deleted_by_accident(engine: Engine) -> None:
    refusal = engine.run("destroy", "--preview-only", "--run-program", check=False)
    assert refusal.returncode
    protected = {r["urn"].rpartition("::")[2] for r in engine.resources() if r.get("protect")}
    assert {f"{NODE}-address", f"{NODE}-interface"} <= protected


def test_destroy_leaves_nothing(engine: Engine, cloud: Cloud) -> None:
    """In an order that AWS allows: the stand-in refuses what something still hangs on. What AWS no
    longer has for another server stops nothing."""
    cloud.facts["images"], cloud.facts["sizes"] = [], {}
    last = replace(engine, environment=ending(engine.environment))
    done = last.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert "us-west-1 has no such instance type; nothing has to be done" in done.told
    assert engine.resources() == []
    assert cloud.made == {}


@pytest.fixture(scope="class")
def account() -> Cloud:
    """AWS, with a VPC of somebody else's."""
    return aws()


@pytest.fixture(scope="class")
def guest(account: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A stack whose member is in that VPC."""
    given = {
        "vpc": "vpc-0123456789abcdef0",
        "subnet": "subnet-0123456789abcdef0",
        "routeTable": "rtb-0123456789abcdef0",
    }
    providers = QUIET | {"aws": {"given": {"us-west-1": given}}}
    nodes = NODES | {"lax-aws-1": {"number": 5, "ipv6": False}}
    document = {**production(nodes=nodes, providers=providers), "aws:region": "us-east-1"}
    folder = tmp_path_factory.mktemp("given")
    with (
        answering(Vultr()) as served,
        stack(folder, served, document, SECRETS, [account]) as engine,
    ):
        yield engine


class TestGivenVpc:
    """A VPC of somebody else's is used as it is, and left as it was."""

    def test_gets_a_route_server_and_groups_only(self, guest: Engine, account: Cloud) -> None:
        guest.run(*UP)
        network = ("vpc", "subnet", "gateway", "routes", "routed", "default4", "default6")
        shared = SHARED - of_the_region(*network)
        assert {made.name for made in account.made.values()} == shared | of_a_node("lax-aws-1")
        assert account.named(f"{NODE}-interface").inputs["privateIps"] == ["10.99.0.133"]
        routers = {account.named(f"{HERE}-vpc{n}").outputs["eniAddress"] for n in (1, 2)}
        assert routers == {"10.99.0.4", "10.99.0.5"}

    def test_is_empty_again_afterwards(self, guest: Engine, account: Cloud) -> None:
        guest.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
        assert account.made == {}
