"""GCP's driver under mocks: what is asked of GCP, in its own words, and what it refuses.

The driver is imported where it is used: each worker of a run imports this file, and the SDK takes
longer than most of the others' tests.
"""

from __future__ import annotations

import contextvars
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import grpc
import pulumi
import pytest
from pulumi.runtime import mocks

from mesh.infra.providers.protocol import StackConfiguration
from mesh.plan import make
from mesh.spec import Problem, load
from mesh.spec.providers.gcp import FACTS
from tests.kit.program import KEYS, OPERATOR, PASSWORD, UNKNOWN, Answers, Registered, Run, run
from tests.kit.stacks import ROOT, prod
from tests.kit.vultr_api import KEY
from tests.kit.wait import PATIENCE

NODE = "mesh-ord-gcp-1"
PROJECT = "anycast-mesh-example"
GCP_PASSWORD = "a-password-of-cloud-router"


class GcpAnswers(Answers):
    """What GCP makes; Vultr's part is what its own tests say."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        inputs = dict(args.inputs)
        if self.nothing_exists:
            return None, inputs
        kind = args.typ.rpartition(":")[2]
        more: dict[str, Any] = {"name": args.name, "selfLink": f"link-of-{args.name}"}
        match args.typ.partition(":")[0], kind:
            case _, "Operator":
                more = {"private": OPERATOR, "public": "cHVibGlj"}
            case "gcp", "Address":
                more["address"] = f"address-of-{args.name}"
            case "gcp", "Instance":
                more |= {"instanceId": "4711", "creationTimestamp": "2026-01-01T00:00:00.000Z"}
            case "pulumi-python", "Identity":
                more = {"identity": "ab12cd34"}
            case "pulumi-python", "Address":
                more = {"ipv4": f"198.18.0.{len(args.name)}"}
            case "pulumi-python", "Instance":
                more = {"created": "2026-01-01T00:00:00+00:00", "ipv6": "2001:db8::1"}
        return f"{args.name}-id", inputs | more

    def call(self, args: mocks.MockCallArgs) -> Any:
        if args.token.endswith("getMachineTypes"):
            return {"machineTypes": [{"name": "e2-small"}]}
        return {"name": "debian-13-trixie-v20261110"}


def stack(**changes: Any) -> dict[str, Any]:
    """An edge at Vultr and a member at GCP; None removes a key."""
    keys = prod() | {
        "admin": {"ssh": ["207.231.1.46/32", "2001:db8:1::/48"], "keys": KEYS},
        "nodes": {"lax-vultr-1": {"number": 1}, "ord-gcp-1": {"number": 6}},
        "reflectors": ["lax-vultr-1"],
        "registries": ["lax-vultr-1"],
        "providers": {"gcp": {"project": PROJECT}, "vultr": {"checkAccount": False}},
        "bgpPassword-vultr": PASSWORD,
        "bgpPassword-gcp": GCP_PASSWORD,
        "vultr:apiKey": KEY,
    }
    return {key: value for key, value in (keys | changes).items() if value is not None}


def deploy(nothing_exists: bool = False, **changes: Any) -> Run:
    return run(
        stack(**changes),
        stack="prod",
        nothing_exists=nothing_exists,
        secret_keys=("bgpPassword-vultr", "bgpPassword-gcp", "vultr:apiKey"),
        answers=GcpAnswers,
    )


@pytest.fixture(scope="module")
def deployed() -> Run:
    return deploy()


class TestServer:
    """An instance is what the plan says, and stays what it was born as."""

    @pytest.fixture
    def one(self, deployed: Run) -> Registered:
        return deployed.resources[f"{NODE}-instance"]

    def test_is_described_by_the_plan(self, one: Registered) -> None:
        given = dict(one.inputs)
        metadata = given.pop("metadata")
        assert given == {
            "project": PROJECT,
            "machineType": "e2-small",
            "zone": "us-central1-b",
            "bootDisk": {
                "initializeParams": {
                    "image": "projects/debian-cloud/global/images/family/debian-13"
                }
            },
            "networkInterfaces": [
                {
                    "subnetwork": "link-of-mesh-gcp-us-central1-subnet",
                    "networkIp": f"address-of-{NODE}-inside",
                    "accessConfigs": [{"natIp": f"address-of-{NODE}-address"}],
                    "stackType": "IPV4_IPV6",
                    "ipv6AccessConfigs": [
                        {
                            "name": "External IPv6",
                            "networkTier": "PREMIUM",
                            "externalIpv6": f"address-of-{NODE}-address6",
                            "externalIpv6PrefixLength": "96",
                        }
                    ],
                }
            ],
            "canIpForward": True,
            "tags": ["mesh"],
            "labels": {"mesh-node": "ord-gcp-1", "mesh-region": "ord"},
            "shieldedInstanceConfig": {
                "enableSecureBoot": True,
                "enableVtpm": True,
                "enableIntegrityMonitoring": True,
            },
            "allowStoppingForUpdate": True,
            "deletionProtection": False,
        }
        from mesh.infra.providers.gcp.driver import STARTUP

        assert metadata.pop("user-data").startswith("#cloud-config\n")
        assert metadata.pop("startup-script") == STARTUP
        assert metadata == {"block-project-ssh-keys": "TRUE", "serial-port-enable": "FALSE"}

    def test_keeps_its_user_data_secret(self, one: Registered) -> None:
        assert "metadata.user-data" in one.secrets
        assert "metadata" in one.secret_outputs

    def test_is_not_replaced_by_what_it_was_born_with(self, one: Registered) -> None:
        assert set(one.ignore_changes) == {
            "zone",
            'metadata["user-data"]',
            'metadata["startup-script"]',
            "bootDisk.initializeParams.image",
        }

    def test_gives_its_addresses_up_before_another_takes_them(self, one: Registered) -> None:
        assert one.delete_before_replace

    def test_without_ipv6_has_none(self) -> None:
        nodes = {"lax-vultr-1": {"number": 1}, "ord-gcp-1": {"number": 6, "ipv6": False}}
        done = deploy(nodes=nodes)
        (interface,) = done.resources[f"{NODE}-instance"].inputs["networkInterfaces"]
        assert interface["stackType"] == "IPV4_ONLY"
        assert "ipv6AccessConfigs" not in interface
        assert f"{NODE}-address6" not in done.resources
        assert done.resources["mesh-gcp-us-central1-subnet"].inputs["stackType"] == "IPV4_ONLY"
        public = done.stack["topology"]["nodes"]["ord-gcp-1"]["addresses"]["public"]
        assert public["ipv6"] is None


class TestPlacement:
    """Where a node is, as the publication is told it."""

    def test_is_what_gcp_reserved(self, deployed: Run) -> None:
        told = deployed.resources["mesh-generation"].inputs["instances"]["ord-gcp-1"]
        assert told == {
            "id": "4711",
            "created": "2026-01-01T00:00:00.000Z",
            "ipv4": f"address-of-{NODE}-address",
            "ipv6": f"address-of-{NODE}-address6",
            "inside": f"address-of-{NODE}-inside",
            "routers": [f"address-of-mesh-gcp-us-central1-speaker-{n}" for n in (1, 2)],
        }

    def test_is_unknown_in_the_first_preview_and_nothing_fails(self) -> None:
        done = deploy(nothing_exists=True)
        inputs = done.resources[f"{NODE}-instance"].inputs["networkInterfaces"][0]
        assert inputs["networkIp"] == UNKNOWN
        assert {r.name for r in done.of("RouterPeer")} == {f"{NODE}-vpc1", f"{NODE}-vpc2"}

    def test_addresses_are_protected_and_nothing_else(self, deployed: Run) -> None:
        protected = {r.name for r in deployed.resources.values() if r.protect and NODE in r.name}
        assert protected == {f"{NODE}-{part}" for part in ("address", "address6", "inside")}

    def test_what_nodes_share_is_the_stacks(self, deployed: Run) -> None:
        parents = {r.name: r.parent for r in deployed.resources.values() if "gcp" in r.type}
        assert {parent for name, parent in parents.items() if name.startswith(NODE)} == {NODE}
        assert {parent for name, parent in parents.items() if not name.startswith(NODE)} == {"mesh"}


class TestCloudRouter:
    """The BGP sessions of a node with its VPC."""

    @pytest.mark.parametrize("number", [1, 2])
    def test_speaks_from_each_interface_with_the_nodes_inside(
        self, deployed: Run, number: int
    ) -> None:
        peer = deployed.resources[f"{NODE}-vpc{number}"]
        assert peer.inputs == {
            "project": PROJECT,
            "region": "us-central1",
            "router": "mesh-gcp-us-central1-router",
            "interface": f"mesh-gcp-us-central1-interface-{number}",
            "peerAsn": 27218,
            "peerIpAddress": f"address-of-{NODE}-inside",
            "routerApplianceInstance": f"link-of-{NODE}-instance",
            "md5AuthenticationKey": {"name": f"{NODE}-vpc{number}", "key": GCP_PASSWORD},
        }
        assert peer.secrets == {"md5AuthenticationKey.key"}
        assert f"{NODE}-spoke" in peer.depends_on

    def test_has_two_interfaces_that_stand_in_for_each_other(self, deployed: Run) -> None:
        first, second = (
            deployed.resources[f"mesh-gcp-us-central1-interface-{n}"].inputs for n in (1, 2)
        )
        assert "redundantInterface" not in first
        assert second["redundantInterface"] == "mesh-gcp-us-central1-interface-1"
        assert first["privateIpAddress"] != second["privateIpAddress"]

    def test_a_spoke_names_one_node(self, deployed: Run) -> None:
        (spoke,) = deployed.of("Spoke")
        assert spoke.inputs["linkedRouterApplianceInstances"] == {
            "instances": [
                {
                    "virtualMachine": f"link-of-{NODE}-instance",
                    "ipAddress": f"address-of-{NODE}-inside",
                }
            ],
            "siteToSiteDataTransfer": False,
        }


class TestFirewall:
    """GCP lets in what the plan says, and nothing for the aggregates."""

    @pytest.fixture
    def rules(self, deployed: Run) -> dict[str, dict[str, Any]]:
        ours = [r for r in deployed.of("Firewall") if r.type.startswith("gcp:")]
        return {r.name.removeprefix("mesh-gcp-"): r.inputs for r in ours}

    @pytest.mark.parametrize(
        ("name", "protocol", "ports", "sources"),
        [
            ("icmp-v4", "icmp", None, ["0.0.0.0/0"]),
            ("icmp-v6", "58", None, ["::/0"]),
            ("ssh-v4", "tcp", ["22"], ["207.231.1.46/32"]),
            ("ssh-v6", "tcp", ["22"], ["2001:db8:1::/48"]),
            ("wireguard-lax-vultr-1", "udp", ["51820"], ["198.18.0.24/32"]),
            (
                "bgp-vpc", "tcp", ["179"],
                [f"address-of-mesh-gcp-us-central1-speaker-{n}/32" for n in (1, 2)],
            ),
        ],
    )  # fmt: skip
    def test_lets_in(
        self,
        rules: dict[str, dict[str, Any]],
        name: str,
        protocol: str,
        ports: list[str] | None,
        sources: list[str],
    ) -> None:
        rule = rules[name]
        wanted = {"protocol": protocol} | ({} if ports is None else {"ports": ports})
        assert rule["allows"] == [wanted]
        assert rule["sourceRanges"] == sources
        assert (rule["direction"], rule["targetTags"]) == ("INGRESS", ["mesh"])

    def test_lets_in_nothing_else(self, rules: dict[str, dict[str, Any]]) -> None:
        known = {
            "icmp-v4", "icmp-v6", "ssh-v4", "ssh-v6", "wireguard-lax-vultr-1", "bgp-vpc",
            "service-tcp-80-v4", "service-tcp-443-v4",
        }  # fmt: skip
        assert set(rules) == known


class TestSubnets:
    """Each of GCP's regions has a /24 for life."""

    @pytest.mark.parametrize(
        ("place", "subnet"),
        [
            ("us-west1", "10.200.0.0/24"),
            ("us-west2", "10.200.1.0/24"),
            ("us-central1", "10.200.4.0/24"),
            ("us-east1", "10.200.5.0/24"),
            ("us-east4", "10.200.6.0/24"),
            ("europe-west3", "10.200.14.0/24"),
            ("asia-northeast1", "10.200.19.0/24"),
            ("africa-south1", "10.200.26.0/24"),
        ],
    )
    def test_never_moves(self, place: str, subnet: str) -> None:
        from mesh.infra.providers.gcp.driver import subnet_of

        assert str(subnet_of(IPv4Network("10.200.0.0/16"), place)) == subnet

    def test_are_all_different(self) -> None:
        from mesh.infra.providers.gcp.driver import subnet_of

        network = IPv4Network("10.200.0.0/16")
        assert len({subnet_of(network, place) for place in FACTS.regions}) == len(FACTS.regions)

    def test_are_of_the_network_or_none(self) -> None:
        from mesh.infra.providers.gcp.driver import subnet_of

        with pytest.raises(ValueError, match=r"ends before 10\.200\.26\.0/24"):
            subnet_of(IPv4Network("10.200.0.0/20"), "africa-south1")


class Refuses(grpc.RpcError):
    """As the engine hands on what a data source says."""

    def __init__(self, said: str) -> None:
        self._said = said

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return f"1 error occurred:\n\t* {self._said}\n\n"


def problems(said: str | None = None, types: tuple[str, ...] = (), **changes: Any) -> list[Problem]:
    """The problems of a stack when GCP says so."""

    class Says(Answers):
        def call(self, args: mocks.MockCallArgs) -> Any:
            if said is not None:
                raise Refuses(said)
            return {"machineTypes": [{"name": name} for name in types], "name": "debian-13"}

    found: list[Problem] = []

    def ask() -> pulumi.Output[None]:
        keys = {k: v for k, v in stack(**changes).items() if ":" not in k and "Password" not in k}
        spec = load("prod", keys, ROOT).spec
        nothing: pulumi.Output[Any] = pulumi.Output.from_input({})
        from mesh.infra.providers.gcp import account

        setting = StackConfiguration(spec, make(spec), nothing, nothing, "0" * 64, ROOT)
        found.extend(account.problems(setting))
        return pulumi.Output.from_input(None)

    def mocked() -> None:
        mocks.set_mocks(
            Says(nothing_exists=True), project="anycast-mesh", stack="prod", preview=True
        )
        mocks.test(ask)()

    contextvars.copy_context().run(mocked)
    return found


def options(**given: Any) -> dict[str, Any]:
    return {"providers": {"gcp": {"project": PROJECT} | given}}


NO_CREDENTIALS = (
    "failed to load application credentials. To use your default gcloud credentials, run: "
    "`gcloud auth application-default login` Original error: google: could not find default "
    "credentials."
)
FAMILY = "projects/debian-cloud/global/images/family/debian-99"
DISABLED = (
    "googleapi: Error 403: Compute Engine API has not been used in project 1 before or it is "
    "disabled. Enable it by visiting a page then retry., accessNotConfigured"
)


class TestProblems:
    """What GCP would refuse is told with key, value, reason and cure."""

    @pytest.mark.parametrize(
        ("said", "key", "value", "reason", "cure"),
        [
            (NO_CREDENTIALS, "gcp:credentials", "unset", "no Google credentials", "gcloud auth"),
            (
                'oauth2: cannot fetch token: 400 Response: {"error":"invalid_grant"}',
                "gcp:credentials", "[secret]", "does not accept", "GOOGLE_CREDENTIALS",
            ),
            (
                "googleapi: Error 401: Invalid Credentials, authError",
                "gcp:credentials", "[secret]", "does not accept", "GOOGLE_CREDENTIALS",
            ),
            (DISABLED, "mesh:providers.gcp.project", PROJECT, "is off", "gcloud services enable"),
            (
                f"googleapi: Error 404: The resource 'projects/{PROJECT}' was not found, notFound",
                "mesh:providers.gcp.project", PROJECT, "no such project", "gcloud projects list",
            ),
            (
                "googleapi: Error 403: Required 'compute.images.getFromFamily' permission for "
                "'projects/debian-cloud', forbidden",
                "mesh:providers.gcp.project", PROJECT, "getFromFamily", "roles/compute.admin",
            ),
            (
                f"googleapi: Error 404: The resource '{FAMILY}' was not found, notFound",
                "mesh:providers.gcp.image", "debian-99", "none of that name", "images list",
            ),
            (
                "googleapi: Error 500: Internal error. Please try again, backendError",
                "GCP", "refused", "Internal error. Please try", "try again",
            ),
        ],
    )  # fmt: skip
    def test_in_gcps_words(self, said: str, key: str, value: str, reason: str, cure: str) -> None:
        (found,) = problems(said, **options(image="debian-99"))
        assert (found.key, found.value) == (key, value)
        assert reason in found.reason
        assert cure in found.cure
        assert "\n" not in str(found)

    @pytest.mark.parametrize(
        ("node", "key"),
        [
            ({"number": 6}, "mesh:providers.gcp.plan"),
            ({"number": 6, "plan": "e2-small"}, "mesh:nodes.ord-gcp-1.plan"),
        ],
    )
    def test_of_a_machine_type_name_where_it_stands(self, node: dict[str, Any], key: str) -> None:
        nodes = {"lax-vultr-1": {"number": 1}, "ord-gcp-1": node}
        (found,) = problems(types=("e2-medium",), nodes=nodes)
        assert (found.key, found.value) == (key, "e2-small")
        assert "us-central1-b" in found.reason

    def test_there_are_none_where_all_is_well(self) -> None:
        assert problems(types=("e2-small",)) == []

    def test_a_project_is_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from mesh.infra.providers.gcp import account

        for variable in account.PROJECT_VARIABLES:
            monkeypatch.delenv(variable, raising=False)
        (found,) = problems("never asked", providers={"gcp": {}})
        assert (found.key, found.value) == ("mesh:providers.gcp.project", "unset")

    def test_a_project_may_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GOOGLE_PROJECT", PROJECT)
        assert problems(types=("e2-small",), providers={"gcp": {}}) == []

    @pytest.mark.parametrize(
        ("network", "reason"),
        [
            ("10.10.0.0/16", "overlaps the network's 10.10.10.0/24"),
            ("10.200.0.0/22", "too small for a /24 for us-central1"),
        ],
    )
    def test_a_network_that_cannot_be_is_told(self, network: str, reason: str) -> None:
        (found,) = problems(types=("e2-small",), **options(network=network))
        assert (found.key, found.value) == ("mesh:providers.gcp.network", network)
        assert reason in found.reason

    def test_user_data_above_the_limit_are_told_with_their_size(self) -> None:
        body = "AAAAC3NzaC1lZDI1NTE5AAAAI"
        keys = [f"ssh-ed25519 {body}{number:043d} {'x' * 300}" for number in range(800)]
        admin = {"ssh": ["207.231.1.46/32"], "keys": keys}
        (found,) = problems(types=("e2-small",), admin=admin)
        assert found.key == "mesh:nodes.ord-gcp-1"
        assert int(found.value.split()[0]) > FACTS.user_data_limit
        assert "262144" in found.reason


class TestFirstBoot:
    """Google's Debian has no cloud-init, and its agent runs a script of ours."""

    @pytest.fixture
    def commands(self, tmp_path: Path) -> dict[str, str]:
        """An environment whose commands write down that they were called; a mirror that answers
        the second time; no package is there yet."""
        log, here = tmp_path / "log", tmp_path / "bin"
        here.mkdir()
        scripts = {
            "dpkg-query": f"cat {tmp_path}/status 2>/dev/null",
            "apt-get": f'echo "apt-get $*" >>{log}\n[ "$(grep -c update {log})" -gt 1 ]',
            **{name: f'echo "{name} $*" >>{log}' for name in ("dpkg", "sleep", "reboot")},
        }
        for name, text in scripts.items():
            (here / name).write_text(f"#!/bin/sh\n{text}\n")
            (here / name).chmod(0o755)
        return {"PATH": f"{here}:/usr/bin:/bin"}

    def boot(self, folder: Path, commands: dict[str, str]) -> list[str]:
        from mesh.infra.providers.gcp.driver import STARTUP

        script = STARTUP.replace("/etc/", f"{folder}/")
        subprocess.run(
            ["/bin/sh"], input=script, text=True, env=commands, check=True, timeout=PATIENCE
        )
        log = folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def test_installs_cloud_init_as_soon_as_a_mirror_answers(
        self, tmp_path: Path, commands: dict[str, str]
    ) -> None:
        assert self.boot(tmp_path, commands) == [
            "dpkg --configure -a",
            "apt-get -q update",
            "sleep 10",
            "dpkg --configure -a",
            "apt-get -q update",
            "apt-get -qy install cloud-init",
            "reboot ",
        ]
        (setting,) = (tmp_path / "cloud/cloud.cfg.d").iterdir()
        assert setting.read_text() == "network: {config: disabled}\n"

    @pytest.mark.parametrize(
        ("status", "done"), [("installed", True), ("half-configured", False), ("", False)]
    )
    def test_does_nothing_once_cloud_init_is_there(
        self, tmp_path: Path, commands: dict[str, str], status: str, done: bool
    ) -> None:
        (tmp_path / "status").write_text(status)
        assert (self.boot(tmp_path, commands) == []) is done


@pytest.fixture(scope="module")
def said() -> list[str]:
    """Lines of a Python that imports our driver, and then all of the SDK."""
    program = (
        "import sys, mesh.infra.providers.gcp.driver as ours\n"
        "print(len([m for m in sys.modules if m.startswith('pulumi_gcp.compute.')]))\n"
        "from pulumi_gcp import compute\n"
        "print(compute.Instance is ours.Instance and bool(compute.URLMap))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


class TestImport:
    """A preview pays for what is used of the SDK."""

    def test_takes_no_more_of_the_sdk_than_it_uses(self, said: list[str]) -> None:
        assert int(said[0]) <= 12

    def test_leaves_the_sdk_whole_for_others(self, said: list[str]) -> None:
        assert said[1] == "True"
