"""The mixed fleet of examples/ on the real engine: four cities at Vultr, a member at AWS and one at
GCP on their stand-ins, and a host of one's own with a real sshd. In order, one stack's life.

What is published is left out (``--exclude``): no server of a stand-in ever joins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh import netns
from mesh.infra.ending import GIVEN_UP
from mesh.lab import namespaces
from mesh.plan.firewall import PRIVATE4
from tests.engine.test_existing import Inside
from tests.kit import existing_host
from tests.kit.clouds import aws as amazon
from tests.kit.clouds import gcp as google
from tests.kit.clouds.cloud import Cloud
from tests.kit.clouds.deployment import KEYS, PASSWORD, steps
from tests.kit.clouds.servicer import SECRET
from tests.kit.engine import Engine, changed, secrets_of
from tests.kit.existing_host import LOGIN, ExistingHost, key_text
from tests.kit.lab_node import own_name
from tests.kit.stacks import example
from tests.kit.vultr_api import KEY, Vultr, answering
from tests.kit.vultr_api.stack import stack

pytestmark = [pytest.mark.engine, pytest.mark.lab, pytest.mark.beside_labs]

SERVERS = ("--exclude", "**mesh-generation", "--exclude", "**mesh-candidate")
UP = ("up", "--yes", "--skip-preview", *SERVERS)
NODES = (
    "ewr-buyvm-1", "ewr-vultr-1", "lax-aws-1", "lax-vultr-1", "mia-vultr-1", "ord-gcp-1",
    "ord-vultr-1",
)  # fmt: skip
PASSWORDS = {name: f"{PASSWORD}-{name}" for name in ("vultr", "gcp", "buyvm")}
SECRETS = {
    **{f"mesh:bgpPassword-{name}": value for name, value in PASSWORDS.items()},
    "mesh:sshKey-buyvm": key_text(LOGIN),
    "vultr:apiKey": KEY,
    "aws:accessKey": amazon.ACCESS_KEY,
    "aws:secretKey": amazon.SECRET_KEY,
    "gcp:credentials": google.CREDENTIALS,
}


@dataclass(frozen=True)
class Fleet:
    """The stack, run from the operator's network, with its clouds and its host."""

    engine: Inside
    vultr: Vultr
    aws: Cloud
    gcp: Cloud
    host: ExistingHost

    def clouds(self) -> tuple[Cloud, ...]:
        return (self.aws, self.gcp)

    def is_empty(self) -> bool:
        """Whether nothing is left at any provider."""
        return not any(cloud.made for cloud in self.clouds()) and not any(
            self.vultr.holdings().values()
        )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    vultr, clouds, folder = Vultr(), (amazon.aws(), google.gcp()), tmp_path_factory.mktemp("fleet")
    with existing_host.host(own_name("fleet")) as host, ExitStack() as running:
        namespace = host.place.namespace("operator")
        namespaces.ip(["link set lo up"], namespace)
        served = running.enter_context(answering(vultr, folder / "tls", namespace=namespace))
        made = stack(folder / "stack", served, document(host), SECRETS, clouds)
        # The stand-ins listen where the engine looks for them.
        plain = netns.inside(namespace, lambda: running.enter_context(made))
        engine = Inside(
            plain.state, plain.stack, plain.config, plain.environment, namespace=namespace
        )
        yield Fleet(engine, vultr, *clouds, host)


def document(host: ExistingHost) -> dict[str, Any]:
    """The example with what it leaves to its reader."""
    keys = example("mixed")
    keys["admin"] = {"ssh": [existing_host.ADMIN, "207.231.1.46/32"], "keys": KEYS}
    keys["providers"]["vultr"] = {"checkAccount": False}
    keys["nodes"]["ewr-buyvm-1"]["host"] |= {
        "ipv4": host.address, "ipv6": host.ipv6, "ssh": {"hostKeys": [host.host_key]},
    }  # fmt: skip
    return {f"mesh:{key}": value for key, value in keys.items()} | {"aws:region": "us-east-1"}


def of(nodes: str, steps: dict[str, str]) -> dict[str, str]:
    """The steps whose names hold one of these words."""
    return {name: step for name, step in steps.items() if any(n in name for n in nodes.split())}


def test_a_preview_of_nothing_shows_every_server(fleet: Fleet) -> None:
    found = steps(fleet.engine)
    assert set(found.values()) == {"create"}
    for node in NODES:
        assert f"mesh-{node}-instance" in found
    assert "mesh-generation" in found
    assert fleet.is_empty()


def test_up_makes_them_all(fleet: Fleet) -> None:
    fleet.engine.run(*UP)
    assert len(fleet.vultr.servers) == 4
    assert len(fleet.aws.of("Instance")) == len(fleet.gcp.of("Instance")) == 1
    assert fleet.host.delivered_files()


def test_every_tunnel_is_let_in_everywhere(fleet: Fleet) -> None:
    """By the provider's own firewall: a rule for each peer, named after it."""
    names = {resource["urn"].rpartition("::")[2] for resource in fleet.engine.resources()}
    at_vultr = {rule.notes for rule in fleet.vultr.rules}
    for node in NODES:
        assert f"wireguard-{node}" in at_vultr
    assert not {
        name for name in names if "wireguard-lax-aws-1" in name and "aws" in name.split("wire")[0]
    }


def test_a_second_up_changes_nothing(fleet: Fleet) -> None:
    for cloud in fleet.clouds():
        cloud.forget_events()
    fleet.vultr.forget_calls()
    fleet.engine.run(*UP, "--expect-no-changes")
    done = {e.operation for cloud in fleet.clouds() for e in cloud.events}
    assert done <= {"invoke", "read"}
    assert not fleet.vultr.changes()


VPC_RULES = {
    f"mesh-aws-us-west-1-service-tcp-8080-v4-{network.replace('/', '-')}" for network in PRIVATE4
}
"""What those who live in a VPC there are let in by."""

EDITS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("a service more", {"services": {"app": {"ports": {"tcp": [80, 443, 8080], "udp": [443]}}}},
     {"mesh-vultr-firewall", "mesh-gcp-service-tcp-8080-v4", *VPC_RULES}),
    ("whoami switched off", {"whoami": False}, set()),
    ("another reflector", {"reflectors": ["lax-vultr-1", "mia-vultr-1"]}, set()),
    ("slower BFD", {"tunnels": {"bfd": {"interval": 300}}}, set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "touched"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS]
)
def test_an_edit_of_the_plan_touches_no_server(
    fleet: Fleet, tmp_path: Path, keys: dict[str, Any], touched: set[str]
) -> None:
    before = yaml.safe_load(fleet.engine.config.read_text())["config"]
    merged = {key: _over(before.get(f"mesh:{key}"), value) for key, value in keys.items()}
    found = steps(inside(fleet, changed(fleet.engine, tmp_path, merged)), *SERVERS)
    assert set(found) - {"mesh-generation"} == touched
    assert set(found.values()) <= {"create", "update"}


def test_a_city_more_touches_no_existing_server(fleet: Fleet, tmp_path: Path) -> None:
    keys = yaml.safe_load(fleet.engine.config.read_text())["config"]
    nodes = keys["mesh:nodes"] | {"mia-vultr-2": {"number": 8}}
    found = steps(inside(fleet, changed(fleet.engine, tmp_path, {"nodes": nodes})), *SERVERS)
    assert found.pop("mesh-vultr-firewall") == "update", "a rule more"
    assert set(found.values()) == {"create"}
    assert {n for n in found if n.endswith("-instance")} == {"mesh-mia-vultr-2-instance"}
    assert all("mia-vultr-2" in name for name in found), found


def test_a_city_less_takes_its_rules_along_everywhere(fleet: Fleet, tmp_path: Path) -> None:
    keys = yaml.safe_load(fleet.engine.config.read_text())["config"]
    nodes = {node: given for node, given in keys["mesh:nodes"].items() if node != "mia-vultr-1"}
    released = inside(fleet, changed(fleet.engine, tmp_path, {"nodes": nodes}))
    address = next(
        r["urn"] for r in fleet.engine.resources() if r["urn"].endswith("mesh-mia-vultr-1-address")
    )
    fleet.engine.run("state", "unprotect", address, "--yes")
    found = steps(released, *SERVERS)
    fleet.engine.run("state", "protect", address, "--yes")
    assert found.pop("mesh-vultr-firewall") == "update", "a rule less"
    assert set(found.values()) == {"delete"}
    assert "mesh-mia-vultr-1-instance" in found
    assert len([name for name in found if "wireguard-mia-vultr-1" in name]) == 2
    assert all("mia-vultr-1" in name or name == "mesh-mia" for name in found), found


def test_no_secret_was_ever_shown(fleet: Fleet) -> None:
    engine = fleet.engine
    said = [*engine.said, json.dumps(engine.resources())]
    said.append(engine.run("preview", "--diff", *SERVERS).stdout)
    # The engine's own mark of a secret within a secret is none.
    secrets = secrets_of(engine.resources("--show-secrets")) - {SECRET} | set(PASSWORDS.values())
    assert len(secrets) >= 10
    for secret in secrets:
        # A peer's key stands beside the peer's own name, in one secret object.
        if not secret.startswith("mesh-"):
            assert not [text for text in said if secret in text]


def test_destroy_leaves_nothing_anywhere(fleet: Fleet) -> None:
    fleet.engine.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert fleet.engine.resources() == []
    assert fleet.is_empty()
    assert not fleet.host.delivered_files()


def inside(fleet: Fleet, engine: Engine) -> Inside:
    """The same engine in the operator's network."""
    return replace(fleet.engine, config=engine.config)


def _over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _over(below.get(key), value) for key, value in above.items()}
    return above
