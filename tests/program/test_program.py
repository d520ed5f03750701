"""What the program asks the engine for: components, protection, order, secrets, outputs."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from mesh.agent import bundle
from mesh.content import artefact
from mesh.infra import providers, sources
from mesh.plan import Role
from mesh.plan.document import read_plan
from mesh.preview.kinds import PROTECTED, ResourceKind, kind_of
from mesh.registry import paths
from mesh.spec.providers import PROVIDERS
from tests.kit.program import (
    KEYS,
    OPERATOR,
    PASSWORD,
    UNKNOWN,
    Answers,
    Run,
    run,
    twin,
)
from tests.kit.stacks import ROOT, plan_of, prod

NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
REGISTRY, OTHERS = "lax-vultr-1", ("ewr-vultr-1", "mia-vultr-1", "ord-vultr-1")


@pytest.fixture(scope="module")
def deployed() -> Run:
    """The twin, as the program registers it when every provider answers."""
    return run()


@pytest.fixture(scope="module")
def previewed() -> Run:
    """The twin, in a preview of a stack of which nothing exists."""
    return run(nothing_exists=True)


def node_ids(plan: Any) -> set[str]:
    return {node.id for node in plan.nodes}


class TestComponents:
    """Mesh → Region → Node, and what hangs under them."""

    @pytest.mark.parametrize(
        ("name", "kind", "parent"),
        [
            ("mesh", "mesh:index:Mesh", "anycast-mesh-lab"),
            ("mesh-lax", "mesh:index:Region", "mesh"),
            ("mesh-lax-vultr-1", "mesh:index:Node", "mesh-lax"),
            ("mesh-lax-vultr-1-address", "pulumi-python:dynamic/lab:Address", "mesh-lax-vultr-1"),
            ("mesh-lax-vultr-1-instance", "pulumi-python:dynamic/lab:Instance", "mesh-lax-vultr-1"),
            ("mesh-operator", "pulumi-python:dynamic/mesh:Operator", "mesh"),
            ("mesh-lab-world", "pulumi-python:dynamic/lab:World", "mesh"),
            ("mesh-generation", "pulumi-python:dynamic/mesh:Publish", "mesh"),
        ],
    )
    def test_stands_under_its_parent(
        self, deployed: Run, name: str, kind: str, parent: str
    ) -> None:
        resource = deployed.resources[name]
        assert (resource.type, resource.parent) == (kind, parent)

    def test_every_planned_node_has_an_address_and_an_instance(self, deployed: Run) -> None:
        for kind in ("Address", "Instance"):
            assert {r.inputs["node"] for r in deployed.of(kind)} == set(NODES)

    def test_a_region_that_is_only_reserved_makes_nothing(self, deployed: Run) -> None:
        assert "eu" in {region.id for region in plan_of(prod()).regions}
        assert {r.name for r in deployed.of("Region")} == {f"mesh-{node[:3]}" for node in NODES}

    def test_components_say_what_they_are_when_they_are_done(self, deployed: Run) -> None:
        assert deployed.outputs["mesh-mia"] == {"name": "Miami", "nodes": ["mia-vultr-1"]}
        assert deployed.outputs["mesh-mia-vultr-1"] == {
            "node": "mia-vultr-1",
            "instance": "i-mia-vultr-1",
            "addresses": {"ipv4": "203.0.113.25", "ipv6": "2001:db8::25"},
        }
        assert deployed.outputs["mesh"] == {
            "nodes": list(NODES),
            "registries": {REGISTRY: "https://203.0.113.1:8443"},
        }

    def test_the_same_configuration_gives_the_same_requests(self, deployed: Run) -> None:
        assert {n: r.inputs for n, r in run().resources.items()} == {
            n: r.inputs for n, r in deployed.resources.items()
        }


class TestWhatMustSurvive:
    """Protection, and changes that are ignored on a running fleet."""

    def test_the_gate_knows_every_type_of_resource(self, deployed: Run) -> None:
        made = {r.type for r in deployed.resources.values() if r.custom}
        assert {each for each in made if kind_of(each) is ResourceKind.UNKNOWN} == set()
        protected = {r.type for r in deployed.resources.values() if r.protect}
        assert protected <= PROTECTED

    def test_addresses_and_the_operators_key_are_protected_and_nothing_else(
        self, deployed: Run
    ) -> None:
        protected = {r.name for r in deployed.resources.values() if r.protect}
        assert protected == {f"mesh-{node}-address" for node in NODES} | {"mesh-operator"}

    def test_a_network_that_is_ended_gives_them_up(self) -> None:
        assert not [r for r in run(twin(protect=False)).resources.values() if r.protect]

    def test_a_later_run_never_replaces_a_server_for_what_it_was_born_with(
        self, deployed: Run
    ) -> None:
        for instance in deployed.of("Instance"):
            assert set(instance.ignore_changes) == {"user_data", "image", "ssh_keys", "hostname"}

    def test_an_instance_lets_go_of_its_address_before_the_next_takes_it(
        self, deployed: Run
    ) -> None:
        assert all(instance.delete_before_replace for instance in deployed.of("Instance"))


class TestOrder:
    """Registries first; the generation last."""

    def test_other_nodes_wait_for_the_registry(self, deployed: Run) -> None:
        for node in OTHERS:
            instance = deployed.resources[f"mesh-{node}-instance"]
            assert f"mesh-{REGISTRY}-instance" in instance.depends_on

    def test_the_registry_waits_for_no_node(self, deployed: Run) -> None:
        waits = deployed.resources[f"mesh-{REGISTRY}-instance"].depends_on
        assert not [name for name in waits if name.endswith("-instance")]

    def test_two_registries_know_each_other_and_wait_for_none(self) -> None:
        done = run(twin(registries=["lax-vultr-1", "ewr-vultr-1"]))
        urls = {"https://203.0.113.1:8443", "https://203.0.113.17:8443"}
        assert set(done.stack["topology"]["registries"]) == urls
        for node in ("lax-vultr-1", "ewr-vultr-1"):
            instance = done.resources[f"mesh-{node}-instance"]
            assert all(url in instance.inputs["user_data"] for url in urls)
            assert not [n for n in instance.depends_on if n.endswith("-instance")]

    def test_the_generation_comes_after_every_instance(self, deployed: Run) -> None:
        waits = set(deployed.resources["mesh-generation"].depends_on)
        assert {f"mesh-{node}-instance" for node in NODES} <= waits

    def test_nothing_stands_before_the_world_does(self, deployed: Run) -> None:
        for resource in (*deployed.of("Address"), *deployed.of("Instance")):
            assert "mesh-lab-world" in resource.depends_on


class TestSecrets:
    """What is secret travels as a secret; nothing else holds it."""

    @pytest.mark.parametrize(
        ("name", "secrets"),
        [
            ("mesh-generation", {"operator_key", "passwords"}),
            ("mesh-lab-world", {"passwords"}),
            ("mesh-lax-vultr-1-instance", {"user_data"}),
            ("mesh-ewr-vultr-1-instance", {"user_data"}),
        ],
    )
    def test_inputs_that_hold_a_secret_are_secret(
        self, deployed: Run, name: str, secrets: set[str]
    ) -> None:
        assert deployed.resources[name].secrets == secrets

    def test_the_operators_private_half_is_a_secret_output(self, deployed: Run) -> None:
        assert deployed.resources["mesh-operator"].secret_outputs == ["private"]

    def test_no_secret_stands_anywhere_in_the_clear(self, deployed: Run) -> None:
        from mesh.trust.keys import join_token

        hidden = [PASSWORD, OPERATOR, *(join_token(OPERATOR, node) for node in NODES)]
        for resource in deployed.resources.values():
            seen = {k: v for k, v in resource.inputs.items() if k not in resource.secrets}
            for secret in hidden:
                assert secret not in json.dumps(seen), resource.name
        for text in (json.dumps(deployed.stack), json.dumps(deployed.outputs), *deployed.log):
            for secret in hidden:
                assert secret not in text

    def test_outputs_are_not_secret(self, deployed: Run) -> None:
        assert not deployed.stack_is_secret

    def test_user_data_hold_the_token_and_no_long_lived_secret(self, deployed: Run) -> None:
        from mesh.trust.keys import join_token

        for node in NODES:
            text = deployed.resources[f"mesh-{node}-instance"].inputs["user_data"]
            assert join_token(OPERATOR, node) in text
            assert OPERATOR not in text
            assert PASSWORD not in text
            assert not [o for o in NODES if o != node and join_token(OPERATOR, o) in text]

    def test_a_password_in_the_clear_is_pointed_out_without_its_value(self) -> None:
        done = run(secret_keys=())
        said = [line for line in done.log if "bgpPassword-vultr" in line]
        assert len(said) == 1
        assert "pulumi config set --secret mesh:bgpPassword-vultr" in said[0]
        assert PASSWORD not in said[0]


class TestGeneration:
    """What is published is the plan, on the instances that exist."""

    def test_holds_the_whole_plan(self, deployed: Run) -> None:
        plan = read_plan(deployed.resources["mesh-generation"].inputs["plan"])
        assert node_ids(plan) == set(NODES)
        assert plan.node(REGISTRY).roles == (Role.EDGE, Role.REFLECTOR, Role.REGISTRY)

    def test_names_each_instance_and_where_it_is(self, deployed: Run) -> None:
        assert deployed.resources["mesh-generation"].inputs["instances"]["ord-vultr-1"] == {
            "id": "i-ord-vultr-1",
            "created": "2026-01-01T00:00:00Z",
            "ipv4": "203.0.113.9",
            "ipv6": "2001:db8::9",
            "inside": None,
            "routers": [],
        }

    def test_names_the_bundle_of_this_checkout(self, deployed: Run) -> None:
        digest = bundle.digest(bundle.build())
        assert deployed.resources["mesh-generation"].inputs["bundle"] == digest
        assert digest in deployed.resources["mesh-mia-vultr-1-instance"].inputs["user_data"]

    def test_is_announced_to_the_state_by_a_candidate_first(self, deployed: Run) -> None:
        candidate = deployed.resources["mesh-candidate"]
        told = set(candidate.inputs["wanted"])
        assert told == {
            "plan", "instances", "bundle", "contents", "registries", "namespace",
            "sessions-vultr",
        }  # fmt: skip
        assert candidate.inputs["written"] == sources.written()
        assert not candidate.secrets, "digests keyed with a secret are none"
        assert PASSWORD not in str(candidate.inputs)
        assert "mesh-candidate" in deployed.resources["mesh-generation"].depends_on

    def test_names_the_contents_of_services_and_where_they_are(self) -> None:
        blog = {"kind": "web", "content": "docs", "addresses": {"ipv4": "192.30.120.101"}}
        done = run(twin(services={"blog": blog}))
        inputs = done.resources["mesh-generation"].inputs
        found = artefact(ROOT / "docs")
        assert json.loads(inputs["contents"])["blog"]["sha256"] == found.sha256
        assert inputs["folders"] == {"blog": str(ROOT / "docs"), "web": str(ROOT / "site")}
        assert found.sha256 in inputs["plan"]
        assert "contents" in done.resources["mesh-candidate"].inputs["wanted"]

    def test_takes_receivers_of_alerts_as_secrets_and_is_without_them_as_before(
        self, deployed: Run
    ) -> None:
        url, key = "https://noc.example.net/of-the-receiver", "alertReceiver-noc"
        section = {"nodes": ["mia-vultr-1"], "receivers": {"noc": {"kind": "webhook"}}}
        keys = twin(monitoring=section) | {key: url}
        done = run(keys, secret_keys=("bgpPassword-vultr", key))
        published = done.resources["mesh-generation"]
        assert published.secrets == {"operator_key", "passwords", "receivers"}
        assert published.inputs["receivers"] == {"noc": url}
        assert "receivers-noc" in done.resources["mesh-candidate"].inputs["wanted"]
        for resource in done.resources.values():
            seen = {k: v for k, v in resource.inputs.items() if k not in resource.secrets}
            assert url not in str(seen)
        assert "receivers" not in deployed.resources["mesh-generation"].secrets

    def test_is_refused_with_a_directory_that_is_not_there(self) -> None:
        blog = {"kind": "web", "content": "nowhere", "addresses": {"ipv4": "192.30.120.101"}}
        with pytest.raises(
            pulumi.RunError, match=r"mesh:services\.blog\.content = .*/nowhere: ther"
        ):
            run(twin(services={"blog": blog}))

    def test_enters_the_lab_by_the_operators_own_door(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MESH_LAB", "other")
        inputs = run().resources["mesh-generation"].inputs
        assert inputs["namespace"] == "mesh-other-operator"


class TestOutputs:
    """Names and shapes that users and scripts rely on."""

    def test_topology(self, deployed: Run) -> None:
        topology = deployed.stack["topology"]
        assert set(topology) == {
            "asn", "prefixes", "announcements", "nodes", "services", "registries"
        }  # fmt: skip
        edges = sorted(topology["nodes"])
        assert topology["announcements"] == [
            {"prefix": prefix, "nodes": edges} for prefix in topology["prefixes"].values()
        ]
        assert topology["prefixes"] == {"ipv4": "192.30.120.0/23", "ipv6": "2620:71:4000::/48"}
        assert topology["registries"] == ["https://203.0.113.1:8443"]
        assert topology["services"]["web"] == {
            "addresses": {"ipv4": "192.30.120.100", "ipv6": "2620:71:4000::100"},
            "more_addresses": [],
            "ports": {"tcp": [80], "udp": []},
        }

    def test_without_a_family_its_values_are_null(self) -> None:
        """The twin of examples/Pulumi.blog.yaml, which has IPv6 alone."""
        secrets = ("bgpPassword-vultr", "bgpPassword-buyvm")
        keys = twin(twin="blog") | dict.fromkeys(secrets, PASSWORD)
        topology = run(keys, secret_keys=secrets).stack["topology"]
        assert topology["prefixes"] == {"ipv4": None, "ipv6": "2a14:67c1:a020::/48"}
        web = {"ipv4": None, "ipv6": "2a14:67c1:a020::100"}
        assert topology["services"]["blog"]["addresses"] == web
        node = topology["nodes"]["fra-vultr-1"]
        assert node["addresses"]["announced"] == {"ipv4": None, "ipv6": "2a14:67c1:a020::1"}
        assert node["addresses"]["tunnel"] == {"ipv4": "10.10.10.1", "ipv6": "fd00:10:10::1"}
        assert {session["family"] for session in node["sessions"]} == {"ipv6"}

    def test_a_node_of_the_topology(self, deployed: Run) -> None:
        node = dict(deployed.stack["topology"]["nodes"]["mia-vultr-1"])
        sessions = {session["name"]: session for session in node.pop("sessions")}
        assert node == {
            "region": "mia",
            "provider": "vultr",
            "os": "debian",
            "roles": ["edge"],
            "addresses": {
                "announced": {"ipv4": "192.30.120.25", "ipv6": "2620:71:4000::25"},
                "tunnel": {"ipv4": "10.10.10.3", "ipv6": "fd00:10:10::3"},
                "public": {"ipv4": "203.0.113.25", "ipv6": "2001:db8::25"},
            },
            "links": ["lax-vultr-1", "ord-vultr-1", "ewr-vultr-1"],
        }
        assert sessions["vultr6"] == {
            "name": "vultr6",
            "kind": "upstream",
            "family": "ipv6",
            "peer_asn": 64515,
            "neighbor": "2001:19f0:ffff::1",
        }
        assert {session["kind"] for session in sessions.values()} == {
            "upstream",
            "reflector",
            "direct",
        }

    def test_access_says_how_to_reach_each_node(self, deployed: Run) -> None:
        assert set(deployed.stack["access"]) == set(NODES)
        assert deployed.stack["access"]["lax-vultr-1"] == {
            "shell": "mesh lab exec lax-vultr-1 -- bash",
            "ssh": "ssh root@203.0.113.1",
        }

    def test_glass_says_how_to_read_the_looking_glass_of_each_node(self, deployed: Run) -> None:
        assert set(deployed.stack["glass"]) == set(NODES)
        assert deployed.stack["glass"]["lax-vultr-1"] == {
            "url": "http://localhost:8080/",
            "ssh": "ssh -N -L '8080:[::1]:8080' root@203.0.113.1",
            "shell": "mesh lab exec lax-vultr-1 -- curl -s http://localhost:8080/",
        }

    def test_there_is_nothing_to_read_where_it_is_off(self) -> None:
        assert run(twin(glass={"enabled": False})).stack["glass"] == {}

    def test_a_node_without_ipv6_has_no_ipv6_address(self) -> None:
        done = run(twin(nodes={"mia-vultr-1": {"number": 3, "ipv6": False}}))
        assert done.resources["mesh-mia-vultr-1-address"].inputs["with_ipv6"] is False
        announced = done.stack["topology"]["nodes"]["mia-vultr-1"]["addresses"]["announced"]
        assert announced == {"ipv4": "192.30.120.25", "ipv6": None}


class Standing(Answers):
    """What the providers answer to a preview of a stack that is deployed."""

    def new_resource(
        self, args: pulumi.runtime.MockResourceArgs
    ) -> tuple[str | None, dict[Any, Any]]:
        self.nothing_exists = False
        return super().new_resource(args)


class TestUnknowns:
    """A preview of a stack of which nothing exists: the resources are known, their values not."""

    def test_plans_the_same_resources(self, previewed: Run, deployed: Run) -> None:
        assert set(previewed.resources) == set(deployed.resources)

    def test_what_only_the_providers_know_is_unknown(self, previewed: Run) -> None:
        generation = previewed.resources["mesh-generation"].inputs
        assert generation["registries"] == {REGISTRY: UNKNOWN}
        assert generation["operator_key"] == UNKNOWN
        instance = previewed.resources["mesh-ord-vultr-1-instance"].inputs
        assert instance["user_data"] == instance["ipv4"] == UNKNOWN

    def test_user_data_are_unknown_where_all_that_they_hold_is_known(self, deployed: Run) -> None:
        """To make them would cost a preview more than its plan, for servers that keep theirs."""
        name = "mesh-ord-vultr-1-instance"
        instance = run(nothing_exists=True, answers=Standing).resources[name]
        assert instance.inputs["ipv4"] == deployed.resources[name].inputs["ipv4"]
        assert instance.inputs["user_data"] == UNKNOWN
        assert set(instance.depends_on) == set(deployed.resources[name].depends_on)

    def test_outputs_have_their_shape_already(self, previewed: Run) -> None:
        node = previewed.stack["topology"]["nodes"]["ord-vultr-1"]
        assert node["addresses"]["tunnel"]["ipv4"] == "10.10.10.2"
        assert isinstance(node["addresses"]["public"]["ipv4"], pulumi.output.Unknown)


class TestRefusals:
    """Bad configuration stops the program before it asks for anything."""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            (
                {"bgpPassword-vultr": None},
                ["mesh:bgpPassword-vultr = unset", "config set --secret"],
            ),
            ({"bgpPassword-vultr": "changeme"}, ["mesh:bgpPassword-vultr = [secret]"]),
            ({"bgpPassword-vultr": ""}, ["mesh:bgpPassword-vultr", "empty"]),
            ({"asn": 64512}, ["mesh:asn = 64512", "private"]),
            ({"asm": 1}, ["mesh:asm = 1", "unknown"]),
            ({"admin": {"ssh": ["198.51.100.250/32"], "keys": KEYS[:1]}}, ["mesh:admin.keys"]),
            ({"prefixes": {"ipv4": "192.30.120.1/23"}}, ["mesh:prefixes.ipv4", "192.30.120.0/23"]),
        ],
    )
    def test_says_key_value_reason_and_cure(self, changes: dict[str, Any], said: list[str]) -> None:
        with pytest.raises(pulumi.RunError) as refusal:
            run(twin(**changes))
        assert all(part in str(refusal.value) for part in said), refusal.value

    def test_says_everything_at_once(self) -> None:
        with pytest.raises(pulumi.RunError) as refusal:
            run(twin(asn=64512, whoami="perhaps", prefixes={"ipv4": "192.30.120.0/25"}))
        said = str(refusal.value)
        assert all(key in said for key in ("mesh:asn", "mesh:whoami", "mesh:prefixes.ipv4"))

    def test_says_that_no_registry_would_take_the_generation(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(paths, "MAX_GENERATION", 1 << 17)
        with pytest.raises(pulumi.RunError, match=r"mesh:nodes = 4 nodes: .* take 0.125 MiB"):
            run()

    def test_a_refused_secret_is_not_shown(self) -> None:
        with pytest.raises(pulumi.RunError) as refusal:
            run(twin(**{"bgpPassword-vultr": "a password with spaces"}))
        assert "a password with spaces" not in str(refusal.value)

    def test_no_value_of_a_key_with_a_secret_in_it_is_shown(self) -> None:
        admin = {"ssh": ["some-secret/24"], "keys": KEYS}
        with pytest.raises(pulumi.RunError) as refusal:
            run(twin(admin=admin), secret_keys=("admin", "bgpPassword-vultr"))
        assert "mesh:admin.ssh.0 = [secret]: this is not a network" in str(refusal.value)
        assert "some-secret" not in str(refusal.value)

    def test_a_map_may_come_as_text_and_is_as_strict(self) -> None:
        with pytest.raises(pulumi.RunError, match="the key tcp is set twice"):
            run(twin(services='{"web": {"ports": {"tcp": [80], "tcp": [443]}}}'))


class TestDrivers:
    """The table behind which a provider stands."""

    def test_every_driver_can_be_loaded(self) -> None:
        for name in providers.DESCRIPTIONS:
            driver = providers.load(name)
            assert driver.fixed_at_creation
            assert driver.publish_deadline > 0

    def test_facts_have_the_name_of_their_file(self) -> None:
        assert {name: facts.name for name, facts in PROVIDERS.items()} == {
            name: name for name in PROVIDERS
        }

    def test_no_two_drivers_make_resources_of_the_same_type(self) -> None:
        described = [each.resources for each in providers.DESCRIPTIONS.values()]
        assert sum(map(len, described)) == len(providers.RESOURCES)

    def test_a_twin_is_made_by_the_lab_whatever_the_provider(self) -> None:
        plan = plan_of({"twin": "prod"}, "lab")
        assert {node.provider for node in plan.nodes} == {"vultr"}
        assert {providers.driver_name(plan, node) for node in plan.nodes} == {"lab"}
