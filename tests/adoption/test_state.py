"""A state in which other types stand for some resources; what it says has to hold together."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mesh.infra.providers.vultr.adoption.state import (
    StateChange,
    Successor,
    ordered,
    rewritten,
    unused,
)

BASE = "urn:pulumi:prod::anycast-mesh::"
CIPHER = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "x"}
PLUGIN = f"{BASE}pulumi:providers:cloud::default"
OURS = f"{BASE}pulumi:providers:pulumi-python::default"
MESH = f"{BASE}mesh:index:Mesh::mesh"
SERVER = f"{BASE}mesh:index:Mesh$cloud:index:Server::lax"
GROUP = f"{BASE}mesh:index:Mesh$cloud:index:Group::wall"
RULE = f"{BASE}mesh:index:Mesh$cloud:index:Rule::ssh"
NAME = f"{BASE}mesh:index:Mesh$cloud:index:Server$cloud:index:Name::lax-name"
NOTE = f"{BASE}mesh:index:Mesh$pulumi-python:dynamic/mesh:Note::note"
NEW_SERVER = f"{BASE}mesh:index:Mesh$pulumi-python:dynamic/own:Server::lax"
NEW_GROUP = f"{BASE}mesh:index:Mesh$pulumi-python:dynamic/own:Group::wall"
NEW_NAME = (
    f"{BASE}mesh:index:Mesh$pulumi-python:dynamic/own:Server$pulumi-python:dynamic/own:Name"
    "::lax-name"
)


def entry(urn: str, identity: str = "", **more: Any) -> dict[str, Any]:
    return {"urn": urn, "id": identity, "type": urn.split("::")[2].rpartition("$")[2], **more}


def document() -> dict[str, Any]:
    by_plugin = {"provider": f"{PLUGIN}::1", "parent": MESH}
    found = [
        entry(f"{BASE}pulumi:pulumi:Stack::anycast-mesh-prod"),
        entry(PLUGIN, "1", parent=None),
        entry(MESH, parent=f"{BASE}pulumi:pulumi:Stack::anycast-mesh-prod"),
        entry(GROUP, "g", **by_plugin),
        entry(RULE, "4", **by_plugin, dependencies=[GROUP]),
        entry(
            SERVER, "s", **by_plugin, protect=True, inputs={"groupId": "g", "userData": CIPHER},
            outputs={"password": CIPHER}, additionalSecretOutputs=["password"],
            dependencies=[GROUP, RULE], propertyDependencies={"groupId": [GROUP], "size": []},
            initErrors=["gone wrong"], ignoreChanges=["userData", "kind"],
            resourceHooks={"BeforeDelete": ["drain"]},
        ),
        entry(NAME, "n", provider=f"{PLUGIN}::1", parent=SERVER, dependencies=[SERVER]),
        entry(OURS, "2", parent=None),
        entry(
            NOTE, "note", provider=f"{OURS}::2", parent=MESH, dependencies=[SERVER, RULE],
            propertyDependencies={"of": [SERVER]}, outputs={"of": SERVER},
        ),
    ]  # fmt: skip
    return {"version": 3, "deployment": {"manifest": {"magic": "m"}, "resources": found}}


SUCCESSORS = {
    (SERVER, "s"): Successor(
        "pulumi-python:dynamic/own:Server", f"{OURS}::2", {"user_data": CIPHER, "group": "g"},
        {"group": "g"}, keys={"groupId": "group", "userData": "user_data"},
    ),
    (GROUP, "g"): Successor("pulumi-python:dynamic/own:Group", f"{OURS}::2", {"rules": []}, {}),
    (NAME, "n"): Successor("pulumi-python:dynamic/own:Name", f"{OURS}::2", {}, {}),
}  # fmt: skip
CHANGE = StateChange(SUCCESSORS, absorbed={(RULE, "4"): GROUP})


def after(change: StateChange = CHANGE) -> dict[str, dict[str, Any]]:
    return {each["urn"]: each for each in rewritten(document(), change)["deployment"]["resources"]}


def test_names_follow_the_types_of_all_that_a_resource_stands_under() -> None:
    found = after()
    assert {NEW_SERVER, NEW_GROUP, NEW_NAME, NOTE} <= set(found)
    assert not {SERVER, GROUP, RULE, NAME} & set(found)
    assert found[NEW_NAME]["parent"] == NEW_SERVER
    assert found[NEW_SERVER]["id"] == "s"


def test_whoever_referred_to_it_refers_to_what_stands_for_it() -> None:
    note = after()[NOTE]
    assert note["dependencies"] == [NEW_SERVER, NEW_GROUP]
    assert note["propertyDependencies"] == {"of": [NEW_SERVER]}
    assert note["outputs"] == {"of": NEW_SERVER}


def test_what_protects_and_what_drains_a_server_stays() -> None:
    server = after()[NEW_SERVER]
    assert server["protect"] is True
    assert server["resourceHooks"] == {"BeforeDelete": ["drain"]}
    assert server["ignoreChanges"] == ["user_data"]
    assert server["propertyDependencies"] == {"group": [NEW_GROUP]}
    assert server["provider"] == f"{OURS}::2"


def test_what_the_plugin_kept_is_kept_no_more() -> None:
    server = after()[NEW_SERVER]
    assert server["outputs"] == {"group": "g"}
    assert "additionalSecretOutputs" not in server
    assert "initErrors" not in server


def test_a_secret_moves_as_it_was_encrypted() -> None:
    assert after()[NEW_SERVER]["inputs"]["user_data"] == CIPHER


def test_each_stands_after_what_it_refers_to() -> None:
    """The engine refuses a state in another order: its provider of ours came last here."""
    order = list(after())
    assert order.index(OURS) < order.index(NEW_GROUP) < order.index(NEW_SERVER)
    assert order.index(NEW_SERVER) < order.index(NEW_NAME)


def test_what_is_gone_leaves_no_reference() -> None:
    gone = {(SERVER, "s"): None, (NAME, "n"): None, (RULE, "4"): GROUP}
    kept = {key: each for key, each in SUCCESSORS.items() if key not in gone}
    found = after(StateChange(kept, gone))
    assert found[NOTE]["dependencies"] == [NEW_GROUP]
    assert found[NOTE]["propertyDependencies"] == {"of": []}


def test_what_is_added_comes_before_what_needs_it() -> None:
    new = f"{BASE}mesh:index:Mesh$pulumi-python:dynamic/own:Identity::mark"
    needing = {
        key: Successor(
            each.type, each.provider, each.inputs, each.outputs, each.keys, {"mark": [new]}
        )
        for key, each in SUCCESSORS.items()
    }
    added = [entry(new, "ab12cd34", parent=MESH, provider=f"{OURS}::2")]
    found = after(StateChange(needing, CHANGE.absorbed, added))
    order = list(found)
    assert order.index(MESH) < order.index(new) < order.index(NEW_GROUP)
    assert found[NEW_SERVER]["dependencies"] == [NEW_GROUP, new]
    assert found[NEW_SERVER]["propertyDependencies"]["mark"] == [new]


def test_what_is_yet_to_be_deleted_is_moved_beside_what_lives() -> None:
    """A replacement that was killed leaves two of one name, told apart by their ids."""
    state = document()
    old = copy.deepcopy(state["deployment"]["resources"][5]) | {"id": "old", "delete": True}
    state["deployment"]["resources"].append(old)
    both = SUCCESSORS | {(SERVER, "old"): SUCCESSORS[SERVER, "s"]}
    found = rewritten(state, StateChange(both, CHANGE.absorbed))["deployment"]["resources"]
    servers = [
        (each["id"], each.get("delete", False)) for each in found if each["urn"] == NEW_SERVER
    ]
    assert servers == [("s", False), ("old", True)]


def test_the_document_itself_is_left_alone() -> None:
    state = document()
    rewritten(state, CHANGE)
    assert state == document()


def test_a_provider_that_nobody_has_any_more_is_left_out() -> None:
    found = rewritten(document(), CHANGE)["deployment"]["resources"]
    left = [each["urn"] for each in unused(found, {"pulumi:providers:cloud"})]
    assert PLUGIN not in left
    assert OURS in left
    assert (
        unused(document()["deployment"]["resources"], {"pulumi:providers:cloud"})
        == (document()["deployment"]["resources"])
    )


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ({"a": ["b"], "b": ["a"]}, "by others"),
        ({"a": ["c"]}, "which the state does not have"),
    ],
)
def test_a_state_that_does_not_hold_together_is_refused(
    references: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ordered([{"urn": urn, "dependencies": others} for urn, others in references.items()])
