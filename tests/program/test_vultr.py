"""Vultr's driver under mocks: what is asked of Vultr, in its own words, and what it refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import grpc
import pulumi
import pytest
from pulumi.runtime import mocks

from mesh.infra.providers.vultr import account
from mesh.infra.providers.vultr.driver import RULES
from mesh.spec import Problem, load
from tests.program.recording import KEYS, OPERATOR, PASSWORD, UNKNOWN, Answers, Registered, Run, run
from tests.stacks import ROOT, prod

NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
API_KEY = "an-api-key-of-the-tests"
IMAGE = "Debian 13 x64 (trixie)"
SOLD = {"vc2-1c-1gb": ["ewr", "lax", "mia", "ord"], "vc2-2c-4gb": ["lax"]}
METAL = {"vbm-4c-32gb": ["ewr"]}


class NothingFits(grpc.RpcError):
    """As the engine hands on what a data source says."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return "1 error occurred:\n\t* no results were found\n\n"


class VultrAnswers(Answers):
    """Vultr's catalogue, and what it makes."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        inputs = dict(args.inputs)
        if self.nothing_exists:
            return None, inputs
        kind = args.typ.rpartition(":")[2]
        if kind == "Operator":
            inputs |= {"private": OPERATOR, "public": "cHVibGlj"}
        if kind == "ReservedIp":
            inputs |= {"subnet": f"198.18.0.{len(args.name)}"}
        if kind in ("Instance", "BareMetalServer"):
            inputs |= {"dateCreated": "2026-01-01T00:00:00+00:00", "v6MainIp": "2001:db8::1"}
        return f"{args.name}-id", inputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        (asked,) = args.args["filters"][0]["values"]
        offers: dict[str, Mapping[str, Any]] = {
            "getOs": {IMAGE: {"id": "2625", "name": IMAGE}},
            "getPlan": {k: {"id": k, "locations": v} for k, v in SOLD.items()},
            "getBareMetalPlan": {k: {"id": k, "locations": v} for k, v in METAL.items()},
        }
        found = offers[args.token.rpartition(":")[2]].get(asked)
        if found is None:
            raise NothingFits
        return dict(found)


def stack(**changes: Any) -> dict[str, Any]:
    """The production stack with what it lacks; None removes a key."""
    keys = prod() | {
        "admin": {"ssh": ["207.231.1.46/32"], "keys": KEYS},
        "bgpPassword-vultr": PASSWORD,
        "vultr:apiKey": API_KEY,
        "providers": {"vultr": {"checkAccount": False}},
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


@pytest.fixture(scope="module")
def deployed() -> Run:
    return deploy()


class TestServer:
    """An instance is what the plan says, and stays what it was born as."""

    @pytest.fixture
    def one(self, deployed: Run) -> Registered:
        return deployed.resources["mesh-lax-vultr-1-instance"]

    def test_is_described_by_the_plan(self, one: Registered) -> None:
        user_data = one.inputs.pop("userData")
        assert one.inputs == {
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
        assert len(one.inputs["sshKeyIds"]) == len(KEYS)
        assert user_data.startswith("#cloud-config\n")

    def test_keeps_its_user_data_secret(self, one: Registered) -> None:
        assert "userData" in one.secrets

    def test_is_not_replaced_by_what_it_was_born_with(self, one: Registered) -> None:
        assert set(one.ignore_changes) == {"userData", "osId", "sshKeyIds", "hostname"}

    def test_gives_its_address_up_before_another_takes_it(self, one: Registered) -> None:
        assert one.delete_before_replace

    def test_without_ipv6_has_none(self) -> None:
        done = deploy(**nodes(**{"mia-vultr-1": {"number": 3, "ipv6": False}}))
        assert done.resources["mesh-mia-vultr-1-instance"].inputs["enableIpv6"] is False
        public = done.stack["topology"]["nodes"]["mia-vultr-1"]["addresses"]["public"]
        assert public["ipv6"] is None

    def test_as_bare_metal_has_the_other_api(self) -> None:
        metal = {"number": 4, "bareMetal": True, "plan": "vbm-4c-32gb"}
        done = deploy(**nodes(**{"ewr-vultr-1": metal}))
        (server,) = done.of("BareMetalServer")
        assert server.inputs["reservedIpv4"] == "mesh-ewr-vultr-1-address-id"
        assert server.inputs["plan"] == "vbm-4c-32gb"
        assert "firewallGroupId" not in server.inputs
        # A new image would reinstall it, in place.
        assert "osId" in server.ignore_changes
        sessions = done.stack["topology"]["nodes"]["ewr-vultr-1"]["sessions"]
        assert {s["peer_asn"] for s in sessions if s["kind"] == "upstream"} == {20473}


class TestAddress:
    """The address is there before the server, and after it."""

    def test_is_reserved_in_the_nodes_region_and_protected(self, deployed: Run) -> None:
        addresses = {each.inputs["label"]: each for each in deployed.of("ReservedIp")}
        assert set(addresses) == set(NODES)
        one = addresses["mia-vultr-1"]
        assert one.protect
        assert one.inputs == {"region": "mia", "ipType": "v4", "label": "mia-vultr-1"}

    def test_is_not_detached_because_a_refresh_saw_it_attached(self, deployed: Run) -> None:
        assert all("instanceId" in each.ignore_changes for each in deployed.of("ReservedIp"))

    def test_has_a_reverse_name_when_a_domain_is_given(self) -> None:
        done = deploy(providers={"vultr": {"checkAccount": False, "reverse": "example.net"}})
        names = {
            each.inputs["reverse"] for each in (*done.of("ReverseIpv4"), *done.of("ReverseIpv6"))
        }
        assert names == {f"{node}.example.net" for node in NODES}
        assert len(done.of("ReverseIpv6")) == len(NODES)

    def test_has_none_otherwise(self, deployed: Run) -> None:
        assert not deployed.of("ReverseIpv4")


class TestFirewall:
    """The group lets in what the plan says, and each node by itself."""

    def rules(self, done: Run) -> dict[str, dict[str, Any]]:
        return {each.name: each.inputs for each in done.of("FirewallRule")}

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            ("ssh-v4-207.231.1.46-32", ("v4", "tcp", "207.231.1.46", 32, "22")),
            ("wireguard-lax-vultr-1", ("v4", "udp", "198.18.0.24", 32, "51820")),
            ("registry-v6", ("v6", "tcp", "::", 0, "8443")),
            ("service-tcp-443-v4", ("v4", "tcp", "0.0.0.0", 0, "443")),
            ("icmp-v6", ("v6", "icmp", "::", 0, "")),
        ],
    )
    def test_speaks_vultrs_words(
        self, deployed: Run, name: str, rule: tuple[str, str, str, int, str]
    ) -> None:
        found = self.rules(deployed)[f"mesh-vultr-{name}"]
        keys = ("ipType", "protocol", "subnet", "subnetSize", "port")
        assert tuple(found[key] for key in keys) == rule
        assert found["firewallGroupId"] == "mesh-vultr-firewall-id"

    def test_ssh_is_open_to_the_operator_only(self, deployed: Run) -> None:
        ssh = [rule for rule in self.rules(deployed).values() if rule["port"] == "22"]
        assert [rule["subnet"] for rule in ssh] == ["207.231.1.46"]

    def test_another_network_of_the_operators_touches_no_other_rule(self, deployed: Run) -> None:
        admin = {"ssh": ["192.0.2.7/32", "207.231.1.46/32"], "keys": KEYS}
        before, after = self.rules(deployed), self.rules(deploy(admin=admin))
        assert set(after) - set(before) == {
            "mesh-vultr-ssh-v4-192.0.2.7-32",
        }
        assert all(after[name] == before[name] for name in before)

    @pytest.mark.parametrize("count", [4, 30, 45])
    def test_stays_within_the_groups_quota(self, count: int) -> None:
        done = deploy(**fleet(count))
        rules = self.rules(done)
        assert len(rules) <= RULES
        open_to_all = "mesh-vultr-wireguard-0.0.0.0-0" in rules or "mesh-vultr-wireguard" in rules
        assert open_to_all == (count == 45)

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
        assert {each["sshKey"] for each in named.values()} == set(KEYS)
        assert {each.name: each.inputs for each in turned.of("SSHKey")} == named


class TestUnknowns:
    """A preview of a stack of which nothing exists."""

    def test_plans_the_same_resources(self, deployed: Run) -> None:
        previewed = deploy(nothing_exists=True)
        assert set(previewed.resources) == set(deployed.resources)
        rule = previewed.resources["mesh-vultr-wireguard-lax-vultr-1"].inputs
        assert rule["subnet"] == rule["firewallGroupId"] == UNKNOWN


class TestRefusals:
    """What Vultr would refuse is said before anything is asked for."""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"vultr:apiKey": None}, ["vultr:apiKey = unset", "config set --secret"]),
            (
                {"providers": {"vultr": {"checkAccount": False, "plan": "vc2-9c-9gb"}}},
                ["mesh:providers.vultr.plan = vc2-9c-9gb", "no plan of this name"],
            ),
            (
                nodes(**{"mia-vultr-1": {"number": 3, "plan": "vc2-2c-4gb"}}),
                ["mesh:nodes.mia-vultr-1.plan = vc2-2c-4gb", "in mia", "sold in lax"],
            ),
            (
                {"providers": {"vultr": {"checkAccount": False, "image": "Debian 99"}}},
                ["mesh:providers.vultr.image = Debian 99", "no image of this name"],
            ),
        ],
        ids=["no key", "plan", "plan elsewhere", "image"],
    )
    def test_names_key_value_reason_and_cure(
        self, changes: dict[str, Any], said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("VULTR_API_KEY", raising=False)
        with pytest.raises(pulumi.RunError) as refusal:
            deploy(**changes)
        assert all(part in str(refusal.value) for part in said), refusal.value
        assert API_KEY not in str(refusal.value)

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ('{"error":"Invalid API token.","status":401}', "does not know this API key"),
            ('{"error":"Unauthorized IP address: 192.0.2.1","status":403}', "this machine"),
            ('1 error occurred:\n\t* Get "https://api": dial tcp: no such host', "no such host"),
        ],
    )
    def test_says_why_vultr_did_not_answer(self, said: str, reason: str) -> None:
        assert reason in account.refusal(said).reason


ACCOUNT = {
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
        return list(account.compared(spec, ACCOUNT | changes, PASSWORD))

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
            ({"networks": ACCOUNT["networks"][:1]}, ["mesh:prefixes.ipv6"], "192.30.120.0/23"),  # type: ignore[index]
            ({"password": "another"}, ["mesh:bgpPassword-vultr"], "not the BGP password"),
        ],
    )  # fmt: skip
    def test_names_what_would_leave_the_sessions_down(
        self, changes: dict[str, Any], keys: list[str], reason: str
    ) -> None:
        found = self.problems(**changes)
        assert [problem.key for problem in found] == keys
        assert all(reason in problem.reason for problem in found)
        assert not any(PASSWORD in str(p) or "another" in str(p) for p in found)

    @pytest.mark.parametrize(
        "answer", [{}, {"bgp_info": None}, {"bgp_info": {"enabled": True, "networks": [1]}}]
    )
    def test_an_answer_of_another_shape_is_a_warning(
        self, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with answering({"/account/bgp": (200, {}, json.dumps(answer).encode())}) as (url, _):
            monkeypatch.setenv(account.ENDPOINT, url)
            (problem,) = account.problems(load("prod", prod(), ROOT).spec, API_KEY)
        assert problem.severity == "warning"
        assert "could not be looked at" in problem.reason

    def test_the_key_follows_no_redirect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering({}) as (other, stolen):
            away = {"/account/bgp": (302, {"Location": f"{other}/account/bgp"}, b"")}
            with answering(away) as (url, asked):
                monkeypatch.setenv(account.ENDPOINT, url)
                (problem,) = account.problems(load("prod", prod(), ROOT).spec, API_KEY)
        assert (asked, stolen) == (["/account/bgp"], [])
        assert "could not be looked at" in problem.reason

    @pytest.mark.parametrize(
        "url", ["http://vultr.example/v2", "http://192.0.2.1/v2", "ftp://vultr.example", "v2"]
    )
    def test_the_key_never_crosses_a_network_in_the_clear(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(account.ENDPOINT, url)
        (problem,) = account.problems(load("prod", prod(), ROOT).spec, API_KEY)
        assert (problem.key, problem.severity) == (account.ENDPOINT, "error")
        assert "in the clear" in problem.reason


@contextmanager
def answering(
    pages: Mapping[str, tuple[int, Mapping[str, str], bytes]],
) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback with these pages: its address, and the paths that it is asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body = pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing: a test's output is the test's."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()
