"""A state that the plugin's way has written (two of the four cities, as the real engine exported
it), and what becomes of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic.dynamic import serialize_provider

from mesh.infra.dynamic.identity import Identity
from mesh.infra.dynamic.vultr.address import Address
from mesh.infra.dynamic.vultr.bare_metal import BareMetal
from mesh.infra.dynamic.vultr.firewall import Firewall
from mesh.infra.dynamic.vultr.instance import Instance, InstanceArgs, InstanceProvider
from mesh.infra.dynamic.vultr.key import Key
from mesh.infra.dynamic.vultr.reverse import Reverse
from mesh.infra.dynamic.vultr.servers import ServerArgs
from mesh.infra.dynamic.vultr.startup_script import StartupScript
from mesh.infra.providers.vultr.adoption.resources import (
    TRANSLATIONS,
    Adoption,
    adopt,
    held_by_plugin,
)
from mesh.infra.providers.vultr.adoption.state import ordered
from mesh.infra.providers.vultr.v2 import answers, stated
from mesh.infra.providers.vultr.v2.holdings import Holdings, ObjectKind
from mesh.spec import SpecError

EXPORTED = json.loads((Path(__file__).parent / "made_by_the_plugin.json").read_text())
OURS = "ab12cd34"
CIPHER = "ciphertext"


def state() -> dict[str, Any]:
    return copy.deepcopy(EXPORTED)


def of(document: dict[str, Any], type_: str) -> Iterator[dict[str, Any]]:
    """The resources whose type ends so."""
    yield from (r for r in document["deployment"]["resources"] if r["type"].endswith(type_))


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (r for r in document["deployment"]["resources"] if r["urn"].endswith(f"::{name}"))
    return dict(found)


def account(document: dict[str, Any]) -> Holdings:
    """An account with all that the state has, as the plugin's way labelled it."""
    return Holdings(
        instances=tuple(
            answers.Instance(
                id=r["id"], label=r["inputs"]["label"], region=r["inputs"]["region"],
                plan=r["inputs"]["plan"], os_id=2625, main_ip=r["outputs"]["mainIp"],
                v6_main_ip=r["outputs"]["v6MainIp"], status="active",
                date_created=r["outputs"]["dateCreated"], tags=r["inputs"]["tags"],
                firewall_group_id="", power_status="running", server_status="ok",
            )
            for r in of(document, ":Instance")
        ),
        addresses=tuple(
            answers.Address(
                id=r["id"], region=r["inputs"]["region"], ip_type="v4",
                subnet=r["outputs"]["subnet"], subnet_size=32, label=r["inputs"]["label"],
                instance_id="",
            )
            for r in of(document, ":ReservedIp")
        ),
        groups=tuple(
            answers.Group(id=r["id"], description=r["inputs"]["description"])
            for r in of(document, ":FirewallGroup")
        ),
        keys=tuple(
            answers.SshKey(id=r["id"], name=r["inputs"]["name"], ssh_key=r["inputs"]["sshKey"])
            for r in of(document, ":SSHKey")
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def adopted() -> Adoption:
    return adopt(state(), account(state()), OURS)


def test_nothing_of_the_plugin_stays(adopted: Adoption) -> None:
    assert held_by_plugin(state())
    assert held_by_plugin(adopted.document) == []
    text = json.dumps(adopted.document)
    assert "providers:vultr" not in text
    assert "vultr:index" not in text


def test_every_object_keeps_its_name_and_its_id(adopted: Adoption) -> None:
    before = {r["urn"].rpartition("::")[2]: r["id"] for r in held_by_plugin(state())
              if r["type"] in TRANSLATIONS}  # fmt: skip
    for name, identity in before.items():
        found = named(adopted.document, name)
        if "reverse" in name:
            assert found["id"].endswith(found["inputs"]["ip"])
        else:
            assert found["id"] == identity


def test_the_types_are_those_of_the_resources() -> None:
    """The state holds them for ever."""
    classes = (Address, BareMetal, Firewall, Instance, Key, Reverse)
    ours = {f"pulumi-python:{each._resource_type_name}" for each in classes}
    assert {each.ours for each in TRANSLATIONS.values()} == ours
    # The plugin's stacks had no startup script.
    own = ours - {"pulumi-python:dynamic/vultr:Reverse"}
    assert set(stated.TYPES) == own | {f"pulumi-python:{StartupScript._resource_type_name}"}
    assert f"pulumi-python:{Identity._resource_type_name}" == stated.IDENTITY


def test_an_instance_in_the_form_of_ours(adopted: Adoption) -> None:
    before, found = (named(d, "mesh-lax-vultr-1-instance") for d in (state(), adopted.document))
    inputs = found["inputs"]
    assert {key: inputs[key] for key in ("identity", "node", "region", "plan", "os_id")} == {
        "identity": OURS, "node": "lax-vultr-1", "region": "lax", "plan": "vc2-1c-1gb",
        "os_id": 2625,
    }  # fmt: skip
    assert inputs["address_id"] == named(adopted.document, "mesh-lax-vultr-1-address")["id"]
    assert inputs["__provider"] == serialize_provider(InstanceProvider())
    assert found["outputs"]["ipv4"] == before["outputs"]["mainIp"]
    assert found["outputs"]["created"] == before["outputs"]["dateCreated"]
    assert (found["outputs"]["drift"], found["outputs"]["unrepaired"]) == ([], [])
    assert found["resourceHooks"] == {"BeforeDelete": ["mesh-drain"]}
    assert found["ignoreChanges"] == ["user_data", "os_id", "ssh_key_ids", "hostname"]


WITHOUT = {"script_id"}
"""What the program hands over for no server that the plugin has made."""


def test_the_inputs_are_those_that_the_program_hands_over(adopted: Adoption) -> None:
    """An input too many or too few would be a change at the next update."""
    given = {
        "instance": {field.name for field in fields(InstanceArgs)} - WITHOUT,
        "address": {"identity", "node", "region"},
        "firewall": {"identity", "rules"},
    }
    for name, wanted in given.items():
        (found, *_) = (r for r in adopted.document["deployment"]["resources"]
                       if r["urn"].endswith(f"-{name}"))  # fmt: skip
        assert set(found["inputs"]) == {*wanted, "__provider"}


def test_bare_metal_in_the_form_of_ours() -> None:
    """It has no firewall group at Vultr, and names its address by another key."""
    text = json.dumps(EXPORTED)
    document = json.loads(text.replace("/instance:Instance", "/bareMetalServer:BareMetalServer"))
    for server in of(document, ":BareMetalServer"):
        inputs = server["inputs"]
        inputs["reservedIpv4"] = inputs.pop("reservedIpId")
        for key in ("firewallGroupId", "ddosProtection", "backups"):
            del inputs[key]
    holdings = account(state())
    metal = tuple(answers.BareMetal.model_validate(one.model_dump()) for one in holdings.instances)
    found = adopt(document, replace(holdings, instances=(), bare_metals=metal), OURS)
    server = named(found.document, "mesh-lax-vultr-1-instance")
    wanted = {field.name for field in fields(ServerArgs)} - WITHOUT
    assert set(server["inputs"]) == {*wanted, "__provider"}
    assert server["type"] == "pulumi-python:dynamic/vultr:BareMetal"
    marks = {each.name: each.mark.resource for each in found.taken}
    assert marks["mesh-lax-vultr-1-instance"] == "bare-metal"


def test_user_data_stay_encrypted_and_passwords_go(adopted: Adoption) -> None:
    before, found = (named(d, "mesh-lax-vultr-1-instance") for d in (state(), adopted.document))
    assert CIPHER in before["outputs"]["defaultPassword"]
    assert found["inputs"]["user_data"] == before["inputs"]["userData"]
    assert CIPHER in found["outputs"]["user_data"]
    text = json.dumps(adopted.document)
    assert "defaultPassword" not in text
    assert before["outputs"]["defaultPassword"][CIPHER] not in text


def test_a_console_address_in_the_clear_goes() -> None:
    """Reported of the plugin: terraform-provider-vultr, issue 690."""
    document = state()
    for server in of(document, ":Instance"):
        server["outputs"]["kvm"] = "https://my.vultr.com/subs/vps/novnc/api.php?data=TOKEN"
    assert "TOKEN" not in json.dumps(adopt(document, account(document), OURS).document)


def test_rules_become_part_of_their_group(adopted: Adoption) -> None:
    group = named(adopted.document, "mesh-vultr-firewall")
    rules = {rule["notes"]: rule for rule in group["inputs"]["rules"]}
    assert adopted.rules == len(rules)
    assert list(rules) == sorted(rules)
    assert rules["registry-v6"] == {
        "notes": "registry-v6", "family": 6, "protocol": "tcp", "subnet": "::", "size": 0,
        "port": "8443",
    }  # fmt: skip
    addresses = {r["urn"] for r in of(adopted.document, "vultr:Address")}
    assert set(group["propertyDependencies"]["rules"]) == addresses


def test_the_identity_comes_before_all_that_bears_it(adopted: Adoption) -> None:
    marker = named(adopted.document, "mesh-vultr-identity")
    assert (marker["id"], marker["outputs"]["identity"]) == (OURS, OURS)
    assert stated.identity(adopted.document) == OURS
    order = [r["urn"] for r in adopted.document["deployment"]["resources"]]
    for each in of(adopted.document, "dynamic/vultr:Instance"):
        assert marker["urn"] in each["dependencies"]
        assert order.index(marker["urn"]) < order.index(each["urn"])


def test_it_holds_together_as_the_engine_wants_it(adopted: Adoption) -> None:
    found = adopted.document["deployment"]["resources"]
    assert ordered(found) == found


def test_an_identity_that_is_there_stays() -> None:
    """A stack that was half moved, or has nodes of both ways."""
    once = adopt(state(), account(state()), OURS).document
    document = state()
    document["deployment"]["resources"].append(named(once, "mesh-vultr-identity"))
    again = adopt(document, account(document), "ffffffff")
    assert again.identity == OURS
    assert len(list(of(again.document, ":Identity"))) == 1


class TestWhatIsNotThere:
    def test_a_server_that_is_gone_is_left_out_with_its_names(self) -> None:
        document = state()
        holdings = account(document)
        lost = replace(holdings, instances=tuple(
            one for one in holdings.instances if one.label != "mia-vultr-1"
        ))  # fmt: skip
        found = adopt(document, lost, OURS)
        assert set(found.gone) == {
            "mesh-mia-vultr-1-instance",
            "mesh-mia-vultr-1-reverse-v4",
            "mesh-mia-vultr-1-reverse-v6",
        }
        assert "mia-vultr-1-instance" not in json.dumps(found.document)
        assert named(found.document, "mesh-mia-vultr-1-address")["protect"] is True

    def test_a_group_that_is_gone_takes_its_rules_along(self) -> None:
        document = state()
        found = adopt(document, replace(account(document), groups=()), OURS)
        assert found.gone == ("mesh-vultr-firewall",)
        urns = [each["urn"] for each in found.document["deployment"]["resources"]]
        assert "firewall" not in json.dumps(urns)

    def test_what_looks_like_ours_and_is_in_no_state_is_told(self) -> None:
        """The plugin's own repetitions leave such objects: a fifth address for four nodes."""
        document = state()
        holdings = account(document)
        fifth = holdings.addresses[0].model_copy(update={"id": "the-fifth"})
        foreign = fifth.model_copy(update={"id": "mail", "label": "mail"})
        more = replace(holdings, addresses=(*holdings.addresses, fifth, foreign))
        assert [one.id for one in adopt(document, more, OURS).alike] == ["the-fifth"]

    def test_what_an_update_was_making_is_forgotten_and_told(self) -> None:
        document = state()
        (first, *_) = of(document, ":Instance")
        document["deployment"]["pending_operations"] = [{"type": "creating", "resource": first}]
        found = adopt(document, account(document), OURS)
        assert found.forgotten == (first["urn"].rpartition("::")[2],)
        assert found.document["deployment"]["pending_operations"] == []


def test_half_made_servers_are_taken_as_they_are() -> None:
    """With the plugin of today each server that it makes counts as failed."""
    document = state()
    for server in of(document, ":Instance"):
        server["initErrors"] = ["error getting list of attached VPCs 2.0"]
    found = adopt(document, account(document), OURS)
    for each in of(found.document, "dynamic/vultr:Instance"):
        assert "initErrors" not in each


def test_the_key_of_another_account_is_refused() -> None:
    """Everything would be left out, and made a second time."""
    with pytest.raises(SpecError, match="objects of the state is in this account"):
        adopt(state(), Holdings(), OURS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "vultr:index/kubernetes:Kubernetes"}, "kubernetes:Kubernetes: this program"),
        (None, "its first update ended before the operator's key was made"),
    ],
    ids=["a type of somebody's own", "without the operator's key"],
)
def test_a_state_that_is_none_of_this_programs_is_refused(
    change: dict[str, str] | None, said: str
) -> None:
    document = state()
    found = document["deployment"]["resources"]
    if change is None:
        document["deployment"]["resources"] = [r for r in found if "dynamic" not in r["type"]]
    else:
        next(of(document, ":SSHKey")).update(change)
    with pytest.raises(SpecError, match=said):
        adopt(document, account(document), OURS)


def test_marks_name_the_node_of_each_object(adopted: Adoption) -> None:
    marks = {each.name: each.mark for each in adopted.taken}
    assert marks["mesh-mia-vultr-1-instance"].tags() == (
        f"anycast-mesh-{OURS}", "anycast-mesh:mia-vultr-1:instance",
    )  # fmt: skip
    assert marks["mesh-vultr-firewall"].text() == f"network firewall anycast-mesh-{OURS}"
    assert {each.held.kind for each in adopted.taken} == {
        ObjectKind.INSTANCE, ObjectKind.ADDRESS, ObjectKind.GROUP, ObjectKind.KEY,
    }  # fmt: skip
    assert {each.tags for each in adopted.taken if each.held.kind is ObjectKind.INSTANCE} == {
        ("anycast-mesh", "prod")
    }
