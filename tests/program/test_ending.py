"""The end of a network (`mesh destroy`): what a provider would not make stops it no more, and a key
or an API that does not work does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from mesh.infra.ending import VARIABLE
from mesh.infra.providers import plugins
from mesh.publish import size
from tests.kit.program import Answers, Run
from tests.kit.vultr_api import Fault, Vultr, html
from tests.program import test_aws as aws
from tests.program import test_gcp as gcp
from tests.program import test_vultr as of_vultr

Deploy = Callable[..., Run]

ENDS = "nothing has to be done, since this run ends the network"
UNKNOWN_TO_AWS = "api error AuthFailure: AWS was not able to validate the credentials"
NO_GCP = (
    "google: could not find default credentials. See "
    "https://cloud.google.com/docs/authentication/external/set-up-adc"
)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.delenv("VULTR_API_KEY", raising=False)


@pytest.fixture
def account(vultr: Vultr) -> Iterator[Vultr]:
    """An account at Vultr to be changed for one test."""
    kept = (vultr.regions, vultr.images, vultr.plans, vultr.bgp, list(vultr.faults))
    yield vultr
    vultr.regions, vultr.images, vultr.plans, vultr.bgp, vultr.faults = kept


def refusing_gcp(text: str) -> type[Answers]:
    """A GCP that says this to whatever is asked."""

    class Refusing(gcp.GcpAnswers):
        def call(self, args: mocks.MockCallArgs) -> Any:
            raise aws.Said(text)

    return Refusing


@pytest.mark.usefixtures("ends")
class TestIsNotStopped:
    def told(self, done: Run, said: str) -> None:
        (line,) = [line for line in done.log if said in line]
        assert ENDS in line
        assert done.of("Instance")

    @pytest.mark.parametrize(
        ("what", "left", "said"),
        [
            ("plans", [], "Vultr has no plan of this name"),
            ("images", [], "Vultr has no image of this name"),
            ("bgp", {"enabled": False}, "BGP is not enabled for the account at Vultr"),
        ],
    )
    def test_by_what_vultr_no_longer_has(
        self, account: Vultr, what: str, left: Any, said: str
    ) -> None:
        setattr(account, what, left)
        self.told(of_vultr.deploy(**of_vultr.options(checkAccount=True)), said)

    def test_by_a_plugin_that_makes_no_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(plugins.TRY, raising=False)
        self.told(of_vultr.deploy(**of_vultr.options(through="plugin")), "VPC 2.0")

    def test_by_a_network_that_has_grown_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mesh.capacity.PER_NODE", 1 << 30)
        monkeypatch.setattr(size, "at_most", lambda plan, limit: limit + 1)
        self.told(of_vultr.deploy(), "registries take")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"providers": {"aws": {"image": "debian-99-*"}}}, "no image of that name"),
            ({"providers": {"aws": {"plan": "t3.smal"}}}, "no such instance type"),
            ({"nodes": aws.NODES | {"lax-aws-1": {"number": 200}}}, "upper half"),
            ({"nodes": aws.NODES | {"ord-aws-1": {"number": 6}}}, "region is not enabled"),
        ],
        ids=["image", "size", "number", "region"],
    )
    def test_by_what_aws_would_not_make(self, changes: dict[str, Any], said: str) -> None:
        self.told(aws.deploy(**changes), said)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"plan": "e2-tiny"}, "us-central1-b has no such machine type"),
            ({"network": "10.128.0.0/24"}, "it is too small for a /24"),
        ],
        ids=["size", "network"],
    )
    def test_by_what_gcp_would_not_make(self, options: dict[str, Any], said: str) -> None:
        providers = gcp.stack()["providers"]
        options = {**providers["gcp"], **options}
        self.told(gcp.deploy(providers=providers | {"gcp": options}), said)


@pytest.mark.usefixtures("ends")
class TestIsStopped:
    """Where nothing can be deleted, the fleet would withdraw for nothing."""

    @pytest.mark.parametrize(
        ("deploy", "changes", "said"),
        [
            (of_vultr.deploy, {"vultr:apiKey": None}, "vultr:apiKey = unset"),
            (of_vultr.deploy, {"vultr:apiKey": "another"}, "does not know this API key"),
            (
                aws.deploy,
                {"answers": aws.refusing(UNKNOWN_TO_AWS)},
                "AWS does not know these credentials",
            ),
            (
                aws.deploy,
                {"answers": aws.refusing("Post https://ec2.us-east-1: dial tcp: no such host")},
                "AWS answers: Post",
            ),
        ],
        ids=["no key", "wrong key", "aws", "aws away"],
    )
    def test_by_a_key_or_an_api_that_does_not_work(
        self, deploy: Deploy, changes: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(pulumi.RunError, match=said):
            deploy(**changes)

    def test_by_vultrs_api(self, account: Vultr) -> None:
        account.fail(Fault("GET", "/os", html(502), times=9))
        with pytest.raises(pulumi.RunError, match="Vultr's API fails"):
            of_vultr.deploy()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (NO_GCP, "no Google credentials"),
            ("googleapi: Error 500: Internal error., backendError", "GCP answers: Error 500"),
        ],
        ids=["no credentials", "away"],
    )
    def test_by_gcp(self, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gcp, "GcpAnswers", refusing_gcp(text))
        with pytest.raises(pulumi.RunError, match=said):
            gcp.deploy()
