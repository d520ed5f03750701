"""Our own program at every provider at once keeps the rules, and what the preview makes of its
servers. The publication is left out of what is deployed: no server of a stand-in ever joins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.preview.gate import Asked, Limit, gate
from mesh.preview.kinds import ResourceKind, kind_of
from mesh.preview.state import read_state
from mesh.preview.steps import Preview, read
from mesh.preview.summary import Summary, summarise
from tests.kit.clouds.aws import ACCESS_KEY, SECRET_KEY, aws
from tests.kit.clouds.deployment import PASSWORD, production
from tests.kit.clouds.gcp import CREDENTIALS, PROJECT, gcp
from tests.kit.engine import Engine, changed
from tests.kit.stacks import ROOT, prod
from tests.kit.vultr_api import KEY, Vultr, answering
from tests.kit.vultr_api.stack import stack

pytestmark = pytest.mark.engine

PACK = ("--policy-pack", str(ROOT / "mesh" / "policy"), "--suppress-outputs")
SERVERS = ("--exclude", "**mesh-generation", "--exclude", "**mesh-candidate")
VULTR, AWS, GCP = "lax-vultr-1", "lax-aws-1", "ord-gcp-1"
NODES = {VULTR: {"number": 1}, "ewr-vultr-1": {"number": 4}, AWS: {"number": 5}, GCP: {"number": 6}}
SECRETS = {
    "mesh:bgpPassword-vultr": PASSWORD,
    "mesh:bgpPassword-gcp": "bgp-password-of-cloud-router-in-tests",
    "vultr:apiKey": KEY,
    "aws:accessKey": ACCESS_KEY,
    "aws:secretKey": SECRET_KEY,
    "gcp:credentials": CREDENTIALS,
}
OPTIONS: dict[str, Any] = {"gcp": {"project": PROJECT}, "vultr": {"checkAccount": False}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A fleet with nodes at Vultr, AWS and GCP."""
    document = {**production(nodes=NODES, providers=OPTIONS), "aws:region": "us-east-1"}
    folder, clouds = tmp_path_factory.mktemp("clouds"), [aws(), gcp()]
    with answering(Vultr()) as served, stack(folder, served, document, SECRETS, clouds) as engine:
        yield engine


def summary(engine: Engine, *options: str) -> tuple[Preview, Summary]:
    done = engine.run("preview", "--json", "--show-sames", *options)
    found = read(done.stdout)
    return found, summarise(found)


def test_the_first_preview_names_a_server_and_addresses_for_every_node(engine: Engine) -> None:
    _, found = summary(engine)
    assert sorted(each.node or "" for each in found.servers) == sorted(NODES)
    # What routers of a cloud share is no node's.
    assert {each.node for each in found.addresses} - {None} == set(NODES)
    assert found.firewalls
    (cost,) = found.notes
    assert cost.startswith("Vultr costs 10.00 US dollars a month after this update, nothing now")


def test_the_drivers_keep_every_rule_also_where_everything_is_known(engine: Engine) -> None:
    for command in (("preview",), ("up", "--yes", "--skip-preview", *SERVERS)):
        done = engine.run(*command, *PACK)
        assert "anycast-mesh@v" in done.stdout
        assert "[mandatory]" not in done.stdout
        assert "can't run policy" not in done.stdout + done.stderr


def test_the_gate_knows_every_type_of_resource_that_the_drivers_make(engine: Engine) -> None:
    made = {each["type"] for each in engine.resources() if each.get("custom")}
    assert {each for each in made if kind_of(each) is ResourceKind.UNKNOWN} == set()
    assert len(made) > 20


@pytest.mark.parametrize("node", [VULTR, AWS, GCP])
def test_the_state_knows_the_server_and_the_protected_addresses_of_a_node(
    engine: Engine, node: str
) -> None:
    resources = engine.resources()
    held = read_state({"deployment": {"resources": resources}})[node]
    assert [each.kind for each in held].count(ResourceKind.SERVER) == 1
    assert any(each.protected and each.kind is ResourceKind.ADDRESS for each in held)


def test_a_change_that_a_cloud_answers_with_another_server_is_refused_by_the_gate(
    engine: Engine, tmp_path: Path
) -> None:
    """A GCP instance's zone and a Vultr instance's region are settled at its birth."""
    regions = prod()["regions"]
    regions["lax"]["at"] = {"vultr": "fra"}
    moved = changed(engine, tmp_path, {"regions": regions})
    found, told = summary(moved, "--ignore-protect")
    assert [(each.node, each.fate) for each in told.servers] == [(VULTR, "replaced")]
    assert "region" in told.servers[0].reasons
    refused = gate(found, Asked(), Limit())
    assert f"mesh-{VULTR}-instance" in {each.key for each in refused}
