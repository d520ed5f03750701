"""Vultr's driver under mocks: what is asked of Vultr, in its own words, and what it refuses.

Our own resources and the plugin's are the last step of one driver: the cases of both are here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from ipaddress import ip_network
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from mesh.infra.providers import plugins
from mesh.infra.providers.vultr import account
from mesh.infra.providers.vultr.driver import RULES
from mesh.infra.providers.vultr.v2 import Mark, connect
from mesh.infra.providers.vultr.v2.answers import Bgp, Instance
from mesh.infra.providers.vultr.v2.mark import tag_of
from mesh.preview.kinds import ResourceKind, kind_of
from mesh.spec import Problem, load
from tests.kit.program import KEYS, OPERATOR, PASSWORD, UNKNOWN, Answers, Registered, Run, run
from tests.kit.stacks import ROOT, prod
from tests.kit.vultr_api import BGP_PASSWORD, KEY, Fault, Vultr, html, refused
from tests.kit.vultr_api.objects import Server

NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
IMAGE = "Debian 13 x64 (trixie)"
QUIET = {"checkAccount": False}
METAL = {"number": 4, "bareMetal": True, "plan": "vbm-4c-32gb"}
COMPUTED: Mapping[str, Mapping[str, Any]] = {
    "mesh:Operator": {"private": OPERATOR, "public": "cHVibGlj"},
    "mesh:Identity": {"identity": "ab12cd34"},
    "vultr:Instance": {"created": "2026-01-01T00:00:00+00:00", "ipv6": "2001:db8::1"},
    "vultr:BareMetal": {"created": "2026-01-01T00:00:00+00:00", "ipv6": "2001:db8::1"},
    "instance:Instance": {"dateCreated": "2026-01-01T00:00:00+00:00", "v6MainIp": "2001:db8::1"},
}
"""What is known of a resource once it is made, by the end of its type."""


class VultrAnswers(Answers):
    """What Vultr makes."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        inputs = dict(args.inputs)
        if self.nothing_exists:
            return None, inputs
        kind = args.typ.rpartition("/")[2]
        inputs |= COMPUTED.get(kind, {})
        if kind in ("vultr:Address", "reservedIp:ReservedIp"):
            address = f"198.18.0.{len(args.name)}"
            inputs |= {"ipv4": address} if kind == "vultr:Address" else {"subnet": address}
        return f"{args.name}-id", inputs


def stack(**changes: Any) -> dict[str, Any]:
    """The production stack with what it lacks; None removes a key."""
    keys = prod() | {
        "admin": {"ssh": ["207.231.1.46/32"], "keys": KEYS},
        "bgpPassword-vultr": PASSWORD,
        "vultr:apiKey": KEY,
        "providers": {"vultr": QUIET},
    }
    return {key: value for key, value in (keys | changes).items() if value is not None}


def deploy(nothing_exists: bool = False, **changes: Any) -> Run:
    return run(
        stack(**changes),
        stack="prod",
        nothing_exists=nothing_exists,
        secret_keys=("bgpPassword-vultr", "vultr:apiKey"),
        answers=VultrAnswers,
    )


def nodes(**more: Any) -> dict[str, Any]:
    return {"nodes": prod()["nodes"] | more}


def options(**more: Any) -> dict[str, Any]:
    return {"providers": {"vultr": QUIET | more}}


@pytest.fixture(scope="module")
def deployed() -> Run:
    return deploy()


class TestServer:
    """An instance is what the plan says, and stays what it was born as."""

    @pytest.fixture
    def one(self, deployed: Run) -> Registered:
        return deployed.resources["mesh-lax-vultr-1-instance"]

    def test_is_described_by_the_plan(self, one: Registered) -> None:
        known = {k: v for k, v in one.inputs.items() if k not in ("user_data", "__provider")}
        assert known == {
            "identity": "ab12cd34",
            "node": "lax-vultr-1",
            "region": "lax",
            "plan": "vc2-1c-1gb",
            "os_id": 2625,
            "address_id": "mesh-lax-vultr-1-address-id",
            "firewall_group_id": "mesh-vultr-firewall-id",
            "ssh_key_ids": one.inputs["ssh_key_ids"],
            "enable_ipv6": True,
            "ddos_protection": False,
            "hostname": "lax-vultr-1",
            "tags": ["anycast-mesh", "prod"],
        }
        assert len(one.inputs["ssh_key_ids"]) == len(KEYS)
        assert one.inputs["user_data"].startswith("#cloud-config\n")

    def test_keeps_its_user_data_secret(self, one: Registered) -> None:
        assert "user_data" in one.secrets

    def test_is_not_replaced_by_what_it_was_born_with(self, one: Registered) -> None:
        assert set(one.ignore_changes) == {
            "user_data", "os_id", "ssh_key_ids", "hostname", "script_id",
        }  # fmt: skip

    def test_gives_its_address_up_before_another_takes_it(self, one: Registered) -> None:
        assert one.delete_before_replace

    def test_waits_for_the_addresses_of_all(self, deployed: Run, one: Registered) -> None:
        # Where the account's addresses do not suffice, no server is made.
        (group,) = deployed.of("Firewall")
        assert group.name in one.depends_on
        assert {f"mesh-{node}-address" for node in NODES} <= set(group.depends_on)

    def test_drains_before_it_goes(self, one: Registered) -> None:
        assert one.before_delete == ["mesh-drain"]

    def test_without_ipv6_has_none(self) -> None:
        done = deploy(**nodes(**{"mia-vultr-1": {"number": 3, "ipv6": False}}))
        assert done.resources["mesh-mia-vultr-1-instance"].inputs["enable_ipv6"] is False
        public = done.stack["topology"]["nodes"]["mia-vultr-1"]["addresses"]["public"]
        assert public["ipv6"] is None

    def test_as_bare_metal_has_the_other_api(self) -> None:
        done = deploy(**nodes(**{"ewr-vultr-1": METAL}))
        (server,) = done.of("BareMetal")
        assert server.inputs["address_id"] == "mesh-ewr-vultr-1-address-id"
        assert server.inputs["plan"] == "vbm-4c-32gb"
        assert "firewall_group_id" not in server.inputs
        # A new image would reinstall it, in place.
        assert "os_id" in server.ignore_changes
        # Where the account's addresses do not suffice, no server is made.
        assert {f"mesh-{node}-address" for node in NODES} <= set(server.depends_on)
        sessions = done.stack["topology"]["nodes"]["ewr-vultr-1"]["sessions"]
        assert {s["peer_asn"] for s in sessions if s["kind"] == "upstream"} == {20473}

    def test_has_ddos_protection_where_it_is_asked_for(self) -> None:
        servers = deploy(**options(ddosProtection=True)).of("Instance")
        assert [one.inputs["ddos_protection"] for one in servers] == [True] * len(NODES)


class TestAddress:
    """The address is there before the server, and after it."""

    def test_is_reserved_in_the_nodes_region_and_protected(self, deployed: Run) -> None:
        addresses = {each.inputs["node"]: each for each in deployed.of("Address")}
        assert set(addresses) == set(NODES)
        one = addresses["mia-vultr-1"]
        assert one.protect
        assert (one.inputs["region"], one.inputs["identity"]) == ("mia", "ab12cd34")

    def test_has_a_reverse_name_when_a_domain_is_given(self) -> None:
        found = deploy(**options(reverse="example.net")).of("Reverse")
        assert {each.inputs["reverse"] for each in found} == {f"{n}.example.net" for n in NODES}
        assert sum(each.inputs["ip"] == "2001:db8::1" for each in found) == len(NODES)

    def test_has_none_otherwise(self, deployed: Run) -> None:
        assert not deployed.of("Reverse")


class TestFirewall:
    """The group lets in what the plan says, and each node by itself."""

    def rules(self, done: Run) -> dict[str, dict[str, Any]]:
        (group,) = done.of("Firewall")
        return {each["notes"]: each for each in group.inputs["rules"]}

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            ("ssh-v4-207.231.1.46-32", (4, "tcp", "207.231.1.46", 32, "22")),
            ("wireguard-lax-vultr-1", (4, "udp", "198.18.0.24", 32, "51820")),
            ("registry-v6", (6, "tcp", "::", 0, "8443")),
            ("service-tcp-443-v4", (4, "tcp", "0.0.0.0", 0, "443")),
            ("icmp-v6", (6, "icmp", "::", 0, "")),
        ],
    )
    def test_speaks_vultrs_words(
        self, deployed: Run, name: str, rule: tuple[int, str, str, int, str]
    ) -> None:
        found = self.rules(deployed)[name]
        keys = ("family", "protocol", "subnet", "size", "port")
        assert tuple(found[key] for key in keys) == rule

    def test_ssh_is_open_to_the_operator_only(self, deployed: Run) -> None:
        ssh = [rule for rule in self.rules(deployed).values() if rule["port"] == "22"]
        assert [rule["subnet"] for rule in ssh] == ["207.231.1.46"]

    def test_another_network_of_the_operators_touches_no_other_rule(self, deployed: Run) -> None:
        admin = {"ssh": ["192.0.2.7/32", "207.231.1.46/32"], "keys": KEYS}
        before, after = self.rules(deployed), self.rules(deploy(admin=admin))
        assert set(after) - set(before) == {"ssh-v4-192.0.2.7-32"}
        assert all(after[name] == before[name] for name in before)

    @pytest.mark.parametrize("count", [4, 30, 45])
    def test_stays_within_the_groups_quota(self, count: int) -> None:
        rules = self.rules(deploy(**fleet(count)))
        assert len(rules) <= RULES
        assert ("wireguard" in rules) == (count == 45)

    @pytest.mark.parametrize(
        ("count", "open_to_all"),
        [(4, set()), (30, {"wireguard"}), (45, {"wireguard", "registry"})],
    )
    def test_nodes_are_let_in_to_a_registry_that_few_networks_may_reach(
        self, count: int, open_to_all: set[str]
    ) -> None:
        """One by one as long as the rules of a group do for that: WireGuard's go first."""
        rules = self.rules(deploy(**fleet(count), registry={"sources": ["198.51.100.0/24"]}))
        assert len(rules) <= RULES
        assert {"wireguard", "registry"} & set(rules) == open_to_all
        single = [r for name, r in rules.items() if re.fullmatch(r"registry-.*-vultr-\d+", name)]
        assert len(single) == (0 if "registry" in open_to_all else count - 1)
        assert all(
            (one["protocol"], one["port"], one["size"]) == ("tcp", "8443", 32) for one in single
        )

    def test_a_stack_with_more_networks_than_rules_is_refused(self) -> None:
        networks = [str(net) for net in ip_network("192.0.2.0/24").subnets(new_prefix=30)]
        with pytest.raises(pulumi.RunError, match=rf"takes {RULES} rules"):
            deploy(admin={"ssh": networks, "keys": KEYS})


def fleet(count: int) -> dict[str, Any]:
    """As many nodes, five in a region, all with Vultr in Los Angeles' word for it."""
    regions: dict[str, Any] = {}
    members: dict[str, Any] = {}
    for index in range(count):
        region = f"r{index // 5}"
        base = 8 * (index // 5)
        one = regions.setdefault(
            region,
            {
                "name": region,
                "location": [0.0, float(index)],
                "block": f"192.30.120.{base}/29",
                "slots": {},
                "at": {"vultr": "lax"},
            },
        )
        one["slots"][f"vultr-{index % 5 + 1}"] = f"192.30.120.{base + index % 5 + 1}"
        members[f"{region}-vultr-{index % 5 + 1}"] = {"number": index + 1}
    first = next(iter(members))
    return {"regions": regions, "nodes": members, "reflectors": [first], "registries": [first]}


class TestKeys:
    """The operator's keys, each a resource of its own."""

    def test_are_named_after_themselves(self, deployed: Run) -> None:
        turned = deploy(admin={"ssh": ["207.231.1.46/32"], "keys": KEYS[::-1]})
        named = {each.name: each.inputs for each in deployed.of("SSHKey")}
        assert {each["ssh_key"] for each in named.values()} == set(KEYS)
        assert {each.name: each.inputs for each in turned.of("SSHKey")} == named


class TestUnknowns:
    """A preview of a stack of which nothing exists."""

    def test_plans_the_same_resources(self, deployed: Run) -> None:
        previewed = deploy(nothing_exists=True)
        assert set(previewed.resources) == set(deployed.resources)
        rules = previewed.resources["mesh-vultr-firewall"].inputs["rules"]
        subnets = {rule["notes"]: rule["subnet"] for rule in rules}
        assert subnets["wireguard-lax-vultr-1"] == UNKNOWN
        assert subnets["ssh-v4-207.231.1.46-32"] == "207.231.1.46"


class TestGate:
    """``mesh preview --gate`` knows what each resource is to the network."""

    def test_knows_every_type(self) -> None:
        done = deploy(**options(reverse="example.net"), **nodes(**{"ewr-vultr-1": METAL}))
        custom = [each for each in done.resources.values() if each.custom]
        assert {each.type for each in custom if kind_of(each.type) is ResourceKind.UNKNOWN} == set()
        assert {each.name for each in custom if kind_of(each.type) is ResourceKind.SERVER} == {
            f"mesh-{node}-instance" for node in NODES
        }


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that is installed may be used, although it is broken."""
    monkeypatch.setenv(plugins.TRY, f"vultr-{version('ediri-vultr')}")


@pytest.fixture(scope="module")
def plugged() -> Run:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(plugins.TRY, f"vultr-{version('ediri-vultr')}")
        return deploy(**options(through="plugin", reverse="example.net"))


class TestPlugin:
    """``through: plugin``: the same driver, and another last step."""

    def test_makes_what_it_has_always_made(self, plugged: Run) -> None:
        """A stack that the plugin has made finds every resource by its name and inputs."""
        one = plugged.resources["mesh-lax-vultr-1-instance"]
        user_data = one.inputs["userData"]
        assert {k: v for k, v in one.inputs.items() if k != "userData"} == {
            "region": "lax",
            "plan": "vc2-1c-1gb",
            "osId": 2625,
            "hostname": "lax-vultr-1",
            "label": "lax-vultr-1",
            "tags": ["anycast-mesh", "prod"],
            "enableIpv6": True,
            "reservedIpId": "mesh-lax-vultr-1-address-id",
            "firewallGroupId": "mesh-vultr-firewall-id",
            "sshKeyIds": one.inputs["sshKeyIds"],
            "backups": "disabled",
            "activationEmail": False,
        }
        assert user_data.startswith("#cloud-config\n")
        assert "userData" in one.secrets
        assert set(one.ignore_changes) == {
            "userData", "osId", "sshKeyIds", "hostname", "scriptId",
        }  # fmt: skip
        address = plugged.resources["mesh-mia-vultr-1-address"]
        assert address.inputs == {"region": "mia", "ipType": "v4", "label": "mia-vultr-1"}
        assert address.protect
        rule = plugged.resources["mesh-vultr-wireguard-lax-vultr-1"].inputs
        keys = ("ipType", "protocol", "subnet", "subnetSize", "port", "firewallGroupId")
        assert tuple(rule[key] for key in keys) == (
            "v4", "udp", "198.18.0.24", 32, "51820", "mesh-vultr-firewall-id",
        )  # fmt: skip
        assert len(plugged.of("ReverseIpv6")) == len(plugged.of("ReverseIpv4")) == len(NODES)

    def test_keeps_a_consoles_token_out_of_the_clear(self, plugged: Run) -> None:
        assert all("kvm" in each.secret_outputs for each in plugged.of("Instance"))

    def test_does_not_detach_an_address_because_a_refresh_saw_it_attached(
        self, plugged: Run
    ) -> None:
        assert all("instanceId" in each.ignore_changes for each in plugged.of("ReservedIp"))

    def test_makes_bare_metal_by_its_other_resource(self, tried: None) -> None:
        done = deploy(**options(through="plugin"), **nodes(**{"ewr-vultr-1": METAL}))
        (server,) = done.of("BareMetalServer")
        assert server.inputs["reservedIpv4"] == "mesh-ewr-vultr-1-address-id"

    def test_has_no_identity(self, plugged: Run) -> None:
        assert not plugged.of("Identity")

    def test_each_resource_of_ours_names_the_one_whose_place_it_must_not_take(
        self, deployed: Run, plugged: Run
    ) -> None:
        ours = deployed.resources | deploy(**options(reverse="example.net")).resources
        for name, theirs in plugged.resources.items():
            if (
                theirs.type.startswith("vultr:")
                and theirs.type.rpartition(":")[2] != "FirewallRule"
            ):
                assert ours[name].formerly == [theirs.type], name
                assert ours[name].parent == theirs.parent

    def test_a_version_that_is_broken_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(plugins.TRY, raising=False)
        with pytest.raises(pulumi.RunError) as refusal:
            deploy(**options(through="plugin"))
        for said in (
            "mesh:providers.vultr.through = plugin",
            f"ediri-vultr {version('ediri-vultr')} does not work",
            "VPC 2.0",
            "set mesh:providers.vultr.through to api",
        ):
            assert said in str(refusal.value)


@pytest.fixture
def living(vultr: Vultr) -> Iterator[dict[str, Server]]:
    """The four servers of the network, as an earlier update has made them."""
    tags = ["anycast-mesh", "prod"]
    with connect(KEY) as client:
        for node in NODES:
            mark = Mark("ab12cd34", node, "instance")
            body = {
                "region": node[:3], "plan": "vc2-1c-1gb", "os_id": 2625, "label": node,
                "tags": [*tags, *mark.tags()],
            }  # fmt: skip
            client.post("/instances", body, "instance", Instance)
    yield vultr.instances
    vultr.servers.clear()


class TestRefusals:
    """What Vultr would refuse is said before anything is made."""

    @pytest.fixture
    def catalogue(self, vultr: Vultr) -> Iterator[Vultr]:
        """What Vultr offers, to be changed for one test."""
        kept = (vultr.regions, vultr.images, vultr.plans, list(vultr.faults))
        vultr.regions, vultr.images, vultr.plans = (
            [dict(row) for row in rows] for rows in kept[:3]
        )
        yield vultr
        vultr.regions, vultr.images, vultr.plans, vultr.faults = kept

    def refusal(self, **changes: Any) -> str:
        with pytest.raises(pulumi.RunError) as refusal:
            deploy(**changes)
        assert KEY not in str(refusal.value)
        return str(refusal.value)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"vultr:apiKey": None}, ["vultr:apiKey = unset", "config set --secret"]),
            ({"vultr:apiKey": "another"}, ["vultr:apiKey = [secret]", "does not know this"]),
            (
                options(plan="vc2-9c-9gb"),
                ["mesh:providers.vultr.plan = vc2-9c-9gb", "no plan of this name"],
            ),
            (
                nodes(**{"mia-vultr-1": METAL | {"number": 3}}),
                ["mesh:nodes.mia-vultr-1.plan = vbm-4c-32gb", "in mia", "sold in ewr, lax"],
            ),
            (
                options(image="Debian 99"),
                ["mesh:providers.vultr.image = Debian 99", "no image of this name",
                 f'for example "{IMAGE}"'],
            ),
            (options(image=""), ["mesh:providers.vultr.image", f'for example "{IMAGE}"']),
            (
                nodes(**{"ewr-vultr-1": METAL}) | options(ddosProtection=True),
                ["mesh:providers.vultr.ddosProtection = true",
                 "no DDoS protection for bare metal, which ewr-vultr-1 is", "set it to false"],
            ),
            (options(through="plug-in"), ["mesh:providers.vultr.through = plug-in"]),
        ],
        ids=["no key", "wrong key", "plan", "plan elsewhere", "image", "no image", "metal", "way"],
    )  # fmt: skip
    def test_names_key_value_reason_and_cure(
        self, changes: dict[str, Any], said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("VULTR_API_KEY", raising=False)
        found = self.refusal(**changes)
        assert all(part in found for part in said), found

    def test_ddos_protection_is_refused_where_a_region_has_none(self, catalogue: Vultr) -> None:
        for row in catalogue.regions:
            if row["id"] == "mia":
                row["options"] = ["kubernetes"]
        found = self.refusal(**options(ddosProtection=True))
        assert "no DDoS protection in mia, where mia-vultr-1 is" in found
        assert "lax" not in found

    def test_a_region_that_vultr_no_longer_has_is_named(self, catalogue: Vultr) -> None:
        catalogue.regions = [row for row in catalogue.regions if row["id"] != "ord"]
        found = self.refusal()
        assert "mesh:regions.ord.at.vultr = ord: Vultr has no region of this name" in found

    def test_a_plan_that_is_sold_out_is_told_for_each_node(self, catalogue: Vultr) -> None:
        for row in catalogue.plans:
            row["locations"] = []
        found = self.refusal()
        assert all(f"where {node} is" in found for node in NODES)
        assert "sold out everywhere" in found

    def test_a_server_that_runs_is_kept_whatever_is_sold_now(
        self, catalogue: Vultr, living: dict[str, Server]
    ) -> None:
        """Vultr lists a plan where it is to be had today. What runs needs no other one."""
        for row in catalogue.plans:
            row["locations"] = ["lax", "ord", "ewr"]
        done = deploy(nothing_exists=True)
        (told,) = [line for line in done.log if "does not sell this plan in mia" in line]
        assert "mia-vultr-1 keeps its server, and cannot be replaced" in told
        living["mia-vultr-1"].plan = "vc2-2c-4gb"
        assert "does not sell this plan in mia" in self.refusal()

    def test_a_plan_that_is_withdrawn_stops_no_network_that_runs_on_it(
        self, catalogue: Vultr, living: dict[str, Server]
    ) -> None:
        catalogue.plans = [row for row in catalogue.plans if row["id"] != "vc2-1c-1gb"]
        done = deploy(nothing_exists=True)
        assert sum("no plan of this name" in line for line in done.log) == len(NODES)
        assert any("an unknown sum (Vultr sells vc2-1c-1gb no longer)" in x for x in done.log)
        catalogue.destroy(living["mia-vultr-1"])
        assert "Vultr has no plan of this name" in self.refusal()

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (refused("Unauthorized IP address: 192.0.2.1", 403), ["address 192.0.2.1"]),
            (html(502), ["GET /os", "Vultr's API fails"]),
            (refused("Slow down.", 429), ["too many requests"]),
        ],
        ids=["source", "html", "rate"],
    )
    def test_an_api_that_does_not_answer_is_one_sentence(
        self, catalogue: Vultr, fault: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mesh.infra.providers.vultr.queries.RETRY_SECONDS", 0.2)
        catalogue.fail(Fault("GET", "/os", fault, times=9))
        found = self.refusal()
        assert all(part in found for part in said), found
        assert found.count("\n  ") == 1, "one problem"


class TestQuestions:
    """Few of them, each once, and what is told beside refusals."""

    def test_each_thing_is_asked_once(self, vultr: Vultr) -> None:
        vultr.forget_calls()
        deploy(**options(checkAccount=True) | {"bgpPassword-vultr": BGP_PASSWORD})
        asked = sorted(call.what for call in vultr.calls)
        assert asked == sorted(set(asked))
        assert len(asked) <= 7
        assert vultr.changes() == []

    def test_a_preview_compares_the_accounts_bgp(self) -> None:
        with pytest.raises(pulumi.RunError, match="not the BGP password of the account"):
            deploy(**options(checkAccount=True))

    def test_bgp_that_may_not_be_asked_for_is_a_warning(self, vultr: Vultr) -> None:
        vultr.fail(Fault("GET", "/account/bgp", refused("Forbidden.", 403)))
        done = deploy(**options(checkAccount=True))
        assert any("the account's BGP could not be checked" in line for line in done.log)


class TestCost:
    """A preview tells what the servers cost per month, before and after."""

    def told(self, **changes: Any) -> str:
        done = deploy(nothing_exists=True, **changes)
        (note,) = [line for line in done.log if line.startswith("note: ")]
        return note

    def test_of_a_first_update(self) -> None:
        assert self.told() == (
            "note: Vultr costs 20.00 US dollars a month after this update, nothing now: "
            "4 vc2-1c-1gb at 5.00; list prices, without addresses, traffic and taxes"
        )

    def test_of_one_that_changes_nothing(self, living: dict[str, Server]) -> None:
        assert "20.00 US dollars a month after this update, the same now:" in self.told()

    def test_of_a_larger_plan(self, living: dict[str, Server]) -> None:
        larger = nodes(**{"mia-vultr-1": {"number": 3, "plan": "vc2-2c-4gb"}})
        assert (
            "35.00 US dollars a month after this update, 20.00 US dollars now: "
            "3 vc2-1c-1gb at 5.00, 1 vc2-2c-4gb at 20.00"
        ) in self.told(**larger)

    def test_of_ddos_protection(self, living: dict[str, Server]) -> None:
        note = self.told(**options(ddosProtection=True))
        assert "60.00 US dollars a month after this update, 20.00 US dollars now" in note
        assert "4 times DDoS protection at 10.00" in note

    def test_of_a_server_less(self, living: dict[str, Server]) -> None:
        fewer = {k: v for k, v in prod()["nodes"].items() if k != "mia-vultr-1"}
        note = self.told(nodes=fewer)
        assert "15.00 US dollars a month after this update, 20.00 US dollars now" in note

    def test_counts_nobody_elses_servers(self, living: dict[str, Server]) -> None:
        living["mia-vultr-1"].tags = ["somebody", "else"]
        assert ", 15.00 US dollars now" in self.told()

    def test_of_two_networks_of_one_name_is_not_guessed(self, living: dict[str, Server]) -> None:
        living["mia-vultr-1"].tags[2] = tag_of("00000000")
        assert "an unknown sum (the account has several networks named prod) now" in self.told()

    def test_of_a_plan_that_is_no_longer_sold_is_not_guessed(
        self, living: dict[str, Server]
    ) -> None:
        living["mia-vultr-1"].plan = "vc2-old"
        assert "an unknown sum (Vultr sells vc2-old no longer) now" in self.told()

    def test_without_a_list_of_servers_tells_the_rest(self, vultr: Vultr) -> None:
        vultr.fail(Fault("GET", "/bare-metals", refused("Forbidden.", 403)))
        note = self.told()
        assert "20.00 US dollars a month after this update, an unknown sum (" in note
        assert "/bare-metals" in note

    def test_is_told_by_a_preview_only(self) -> None:
        assert not [line for line in deploy().log if line.startswith("note: ")]


ACCOUNT: dict[str, Any] = {
    "enabled": True,
    "asn": 27218,
    "password": PASSWORD,
    "networks": [
        {"v4_subnet": "192.30.120.0", "v4_subnet_len": 23},
        {"v6_subnet": "2620:71:4000::", "v6_subnet_len": 48},
    ],
}


class TestAccount:
    """BGP is the account's: what it is set up for, against what the stack file says."""

    def problems(self, **changes: Any) -> list[Problem]:
        spec = load("prod", prod(), ROOT).spec
        return list(account.compared(spec, Bgp.model_validate(ACCOUNT | changes), PASSWORD))

    def test_an_account_that_fits_is_not_spoken_of(self) -> None:
        assert self.problems() == []

    def test_a_larger_network_covers_the_prefix(self) -> None:
        wider = [
            {"v4_subnet": "192.30.112.0", "v4_subnet_len": 20},
            {"v6_subnet": "2620:71:4000::", "v6_subnet_len": 44},
        ]
        assert self.problems(networks=wider) == []

    @pytest.mark.parametrize(
        ("changes", "keys", "reason"),
        [
            ({"enabled": False}, ["mesh:asn"], "not enabled"),
            ({"asn": 65000}, ["mesh:asn"], "AS65000"),
            ({"networks": []}, ["mesh:prefixes.ipv4", "mesh:prefixes.ipv6"], "lists none"),
            ({"networks": ACCOUNT["networks"][:1]}, ["mesh:prefixes.ipv6"], "192.30.120.0/23"),
            ({"password": "another"}, ["mesh:bgpPassword-vultr"], "not the BGP password"),
        ],
    )
    def test_names_what_would_leave_the_sessions_down(
        self, changes: dict[str, Any], keys: list[str], reason: str
    ) -> None:
        found = self.problems(**changes)
        assert [problem.key for problem in found] == keys
        assert all(reason in problem.reason for problem in found)
        assert not any(PASSWORD in str(p) or "another" in str(p) for p in found)
