"""What the gate does not know it refuses: types of resources, operations, and whose they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pulumi.automation import OpType

from mesh.infra.providers.vultr.v2 import Mark
from mesh.infra.providers.vultr.v2.answers import Address, Instance
from mesh.infra.providers.vultr.v2.server import Wanted, drift
from mesh.preview.gate import Asked, Limit, LiveAnnouncers, gate
from mesh.preview.kinds import KINDS, ResourceKind
from mesh.preview.steps import VERBS, read
from mesh.preview.summary import summarise
from mesh.spec.problems import KEEPS
from tests.kit.previews import (
    NODE,
    SERVER,
    STACK,
    VULTR_SERVER,
    by_plan,
    generation,
    preview,
    step,
    text,
)
from tests.kit.stacks import plan_of, prod

PLAN = plan_of(prod())
NODES = tuple(node.id for node in PLAN.nodes)
STRANGE = "other:index/machine:Machine"
EVERYTHING = Asked(frozenset(NODES), frozenset(NODES), restart_sessions=True)
PUBLISHED = generation(PLAN, PLAN, bundle="1")


def refused(*steps: Any, asked: Asked = EVERYTHING, most: str = "1") -> list[tuple[str, str]]:
    """Key and value of each refusal."""
    found = gate(preview(*steps, PUBLISHED), asked, Limit.of(most), LiveAnnouncers(by_plan(PLAN)))
    assert all(problem.reason and problem.cure for problem in found)
    return [(problem.key, problem.value) for problem in found]


def moved(document: dict[str, Any], parent: str | None) -> dict[str, Any]:
    """The same step of a resource with another parent."""
    for key in ("oldState", "newState"):
        if document[key]:
            document[key]["parent"] = parent
    return document


@pytest.mark.parametrize("op", ["replace", "delete", "create-replacement", "delete-replaced"])
def test_four_servers_of_an_unknown_type_go_nowhere_whatever_is_asked(op: str) -> None:
    found = refused(*(step(op, node, STRANGE) for node in NODES))
    verb = "delete" if op == "delete" else "replace"
    assert found[:4] == [(f"mesh-{node}-instance", verb) for node in NODES]
    assert {key for key, _ in found[4:]} == {"mesh:prefixes.ipv4", "mesh:prefixes.ipv6"}


UNDER_THE_MESH = f"{STACK}mesh:index:Mesh::mesh"
UNDER_A_SERVER = f"{STACK}{NODE}${SERVER}::mesh-mia-vultr-1-instance"
UNDER_THE_NODE = f"{STACK}{NODE}::mesh-mia-vultr-1"
UNDER_THE_PROVIDER = f"{STACK}mesh:index:Mesh$aws:index:Ground::mesh-aws"


@pytest.mark.parametrize(
    ("op", "parent", "stops"),
    [
        ("replace", UNDER_THE_NODE, True),
        ("delete", UNDER_THE_NODE, True),
        ("update", UNDER_THE_NODE, True),
        ("create", UNDER_THE_NODE, False),
        ("same", UNDER_THE_NODE, False),
        ("replace", UNDER_A_SERVER, True),
        ("update", UNDER_A_SERVER, True),
        ("replace", UNDER_THE_MESH, True),
        ("delete", UNDER_THE_MESH, True),
        ("delete", UNDER_THE_PROVIDER, True),
        ("replace", None, True),
        ("delete", None, True),
        ("create", None, False),
        ("update", UNDER_THE_MESH, False),
        ("delete-replaced", UNDER_THE_NODE, True),
        ("import-replacement", UNDER_THE_NODE, True),
        ("read-replacement", None, True),
        ("read", UNDER_THE_NODE, False),
        ("discard", None, False),
        ("refresh", UNDER_THE_NODE, False),
        ("an-operation-to-come", UNDER_THE_NODE, True),
        ("an-operation-to-come", None, True),
    ],
)
def test_what_an_unknown_type_may_see(op: str, parent: str | None, stops: bool) -> None:
    server = step("same", "mia-vultr-1")
    strange = moved(step(op, "mia-vultr-1", STRANGE), parent)
    keys = {key for key, _ in refused(server, strange)}
    assert ("mesh-mia-vultr-1-instance" in keys) == stops


@pytest.mark.parametrize("type_", [SERVER, "aws:ec2/subnet:Subnet", "mesh:index:Node"])
def test_an_operation_that_is_not_known_is_refused_of_every_type(type_: str) -> None:
    strange = step("an-operation-to-come", "mia-vultr-1", type_)
    assert ("mesh-mia-vultr-1-instance", "an-operation-to-come") in refused(strange)
    assert any(each.fate == "unknown" for each in _touched(strange))


def _touched(*steps: Any) -> list[Any]:
    found = summarise(preview(*steps))
    return [*found.servers, *found.others]


def test_every_operation_of_the_engine_is_known() -> None:
    assert {str(op.value) for op in OpType} <= VERBS.keys()


@pytest.mark.parametrize("op", ["replace", "delete", "an-operation-to-come"])
def test_a_step_without_any_state_is_refused_like_an_unknown_type(op: str) -> None:
    bare = {"op": op, "urn": f"{STACK}{NODE}${STRANGE}::mesh-mia-vultr-1-disk"}
    found = gate(
        read(text(bare, PUBLISHED)), EVERYTHING, Limit.of("1"), LiveAnnouncers(by_plan(PLAN))
    )
    assert [problem.key for problem in found] == ["mesh-mia-vultr-1-disk"]


def test_a_deletion_that_a_refresh_found_is_not_hidden_by_what_comes_after_it() -> None:
    parts = [step("delete", "mia-vultr-1"), step("create", "mia-vultr-1")]
    assert ("mesh-mia-vultr-1-instance", "delete") in refused(*parts, asked=Asked())


@pytest.mark.parametrize(
    ("type_", "op", "asked", "stops"),
    [
        ("aws:ec2/route:Route", "delete", Asked(), True),
        ("aws:ec2/route:Route", "delete", Asked(remove=frozenset({"mia-vultr-1"})), False),
        ("aws:ec2/route:Route", "update", Asked(), False),
        ("pulumi-python:dynamic/lab:World", "delete", Asked(), True),
        ("aws:ec2/subnet:Subnet", "delete", Asked(), False),
        ("vultr:index/sSHKey:SSHKey", "replace", Asked(), False),
        ("aws:vpc/routeServerPeer:RouteServerPeer", "replace", Asked(), False),
        ("gcp:compute/routerPeer:RouterPeer", "replace", Asked(), False),
        ("pulumi:providers:aws", "delete", Asked(), False),
        ("pulumi:providers:pulumi-python", "replace", Asked(), False),
    ],
)
def test_what_all_nodes_of_a_place_share(type_: str, op: str, asked: Asked, stops: bool) -> None:
    shared = moved(step(op, "shared", type_), UNDER_THE_MESH)
    leaving = [step("delete", "mia-vultr-1", "aws:ec2/instance:Instance")] if asked.remove else []
    keys = {key for key, _ in refused(shared, *leaving, asked=asked)}
    assert ("mesh-shared-instance" in keys) == stops


def test_a_type_is_known_as_what_it_is() -> None:
    assert ResourceKind.UNKNOWN not in KINDS.values()


@pytest.mark.parametrize(
    ("type_", "inputs", "restarts"),
    [
        ("vultr:index/instance:Instance", ({"plan": "a"}, {"plan": "b"}), True),
        ("vultr:index/instance:Instance", ({"label": "a"}, {"label": "b"}), False),
        ("vultr:index/instance:Instance", ({}, {}), True),
        (VULTR_SERVER, ({"plan": "a"}, {"plan": "b"}), True),
        (VULTR_SERVER, ({"ddos_protection": False}, {"ddos_protection": True}), True),
        (VULTR_SERVER, ({"tags": []}, {"tags": ["b"]}), False),
        (VULTR_SERVER, ({"identity": ""}, {"identity": "ab12cd34"}), False),
        (VULTR_SERVER, ({}, {}), True),
        ("aws:ec2/instance:Instance", ({"instanceType": "a"}, {"instanceType": "b"}), True),
        ("aws:ec2/instance:Instance", ({"tags": {"a": "b"}}, {"tags": {}}), False),
        ("gcp:compute/instance:Instance", ({"machineType": "a"}, {"machineType": "b"}), True),
        ("gcp:compute/instance:Instance", ({"labels": {}}, {"labels": {"a": "b"}}), False),
        ("pulumi-python:dynamic/host:Host", ({"port": 22}, {"port": 2222}), False),
        ("pulumi-python:dynamic/host:Host", ({}, {}), False),
    ],
)
def test_a_server_that_is_updated_in_place_may_be_restarted_by_it(
    type_: str, inputs: tuple[Any, Any], restarts: bool
) -> None:
    """So all at once is an outage, and is judged as one; nobody has to ask for a single one."""
    steps = [step("update", node, type_) for node in NODES]
    for each in steps:
        each["oldState"] = {**each["oldState"], "inputs": inputs[0]}
        each["newState"] = {**each["newState"], "inputs": inputs[1]}
    assert [each.restarts for each in _touched(*steps)] == [restarts] * 4
    assert bool(refused(*steps, asked=Asked())) == restarts
    assert refused(steps[0], asked=Asked(), most="1/3") == []


def server(**changes: Any) -> Instance:
    """A server at Vultr as it shall be, but for these."""
    wanted = {
        "id": "i", "label": "mia-vultr-1", "region": "mia", "plan": "vc2-1c-1gb", "os_id": 1,
        "main_ip": "192.0.2.1", "status": "active", "date_created": "", "features": ["ipv6"],
        "tags": list(WANTED.tags), "firewall_group_id": "g", "power_status": "running",
        "server_status": "ok",
    }  # fmt: skip
    return Instance.model_validate(wanted | changes)


WANTED = Wanted(
    mark=Mark("ab12cd34", "mia-vultr-1", "instance"), label="mia-vultr-1", hostname="mia-vultr-1",
    region="mia", plan="vc2-1c-1gb", os_id=1, address="a", ssh_keys=(), ipv6=True, ddos=False,
    group="g", tags=("anycast-mesh",), user_data="",
)  # fmt: skip
HELD = {"id": "a", "region": "mia", "ip_type": "v4", "subnet": "192.0.2.1", "subnet_size": 32,
        "label": "", "instance_id": "i"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "at", "restarts"),
    [
        ({"label": "x"}, "i", False),
        ({"tags": []}, "i", False),
        ({"firewall_group_id": ""}, "i", False),
        ({"power_status": "stopped"}, "i", False),
        ({}, "another", False),
        ({"plan": "vc2-2c-4gb"}, "i", True),
        ({"features": []}, "i", True),
        ({"features": ["ipv6", "ddos_protection"]}, "i", True),
        ({"label": "x", "plan": "vc2-2c-4gb"}, "i", True),
    ],
)
def test_repairing_a_server_may_restart_it_where_that_is_what_it_takes(
    changes: dict[str, Any], at: str, restarts: bool
) -> None:
    told = drift(server(**changes), WANTED, Address.model_validate(HELD | {"instance_id": at}))
    assert told
    mended = step("update", "mia-vultr-1", VULTR_SERVER)
    mended["oldState"] = {**mended["oldState"], "outputs": {"drift": told}}
    assert [each.restarts for each in _touched(mended)] == [restarts]


@pytest.mark.parametrize(("node", "stops"), [("mia-vultr-1", True), ("ord-vultr-1", False)])
def test_a_server_that_could_not_be_made_again_is_not_replaced(node: str, stops: bool) -> None:
    """Not even where it is asked for: the old one goes before another one is ordered."""
    warned = "mesh:nodes.mia-vultr-1.plan = x: Vultr does not sell this plan in mia; mia-vultr-1 "
    document = json.loads(text(step("replace", node), PUBLISHED))
    document["diagnostics"] = [
        {"severity": "warning", "message": f"warning: {warned}{KEEPS}; wait\n"}
    ]
    found = gate(
        read(json.dumps(document)), EVERYTHING, Limit.of("1"), LiveAnnouncers(by_plan(PLAN))
    )
    assert bool([each for each in found if "does not sell" in each.reason]) == stops
