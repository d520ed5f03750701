"""What an account has of a network that its state does not know: found by the mark, and by nothing
else."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.infra.dynamic.vultr.address import AddressProvider
from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.dynamic.vultr.key import KeyProvider
from mesh.infra.dynamic.vultr.startup_script import StartupScriptProvider
from mesh.infra.providers.vultr.v2 import ApiError, Client, Mark, marking, stated, strays
from mesh.infra.providers.vultr.v2.holdings import AccountObject, Holdings, ObjectKind
from mesh.infra.providers.vultr.v2.strays import (
    StateObject,
    compared,
    in_use,
    remove,
)
from tests.kit.clouds.deployment import KEYS
from tests.kit.vultr_api import Fault, Knobs, Vultr, refused
from tests.kit.vultr_api.faults import LOCKED, PENDING, Answer
from tests.vultr import objects

OURS, THEIRS = "ab12cd34", "ffff0000"
GROUP: dict[str, Any] = {"rules": []}


def quiet(_line: str) -> None:
    """What waiting says is of no interest here."""


def made(identity: str) -> dict[ObjectKind, str]:
    """One object of each kind that costs no waiting, as an update makes it; ids by kind."""
    address = AddressProvider().create({"identity": identity, "node": "lax-vultr-1",
                                        "region": "lax"})  # fmt: skip
    group = FirewallProvider().create({"identity": identity, **GROUP})
    key = KeyProvider().create({"identity": identity, "ssh_key": KEYS[0]})
    script = StartupScriptProvider().create({"identity": identity, "script": "#!/bin/sh\n"})
    return {
        ObjectKind.ADDRESS: address.id,
        ObjectKind.GROUP: group.id,
        ObjectKind.KEY: key.id,
        ObjectKind.SCRIPT: script.id,
    }


def known(ids: dict[ObjectKind, str]) -> list[StateObject]:
    return [StateObject(kind, identity, f"mesh-{kind}") for kind, identity in ids.items()]


def strays_of(
    client: Client, identity: str, ids: dict[ObjectKind, str]
) -> dict[str, AccountObject]:
    found = compared(Holdings.of(client), identity, known(ids))
    return {one.id: one for one in found.strays}


def test_account_and_state_of_one_run_are_the_same(client: Client) -> None:
    ids = made(OURS)
    found = compared(Holdings.of(client), OURS, known(ids))
    assert (found.strays, found.begun, found.missing) == ((), (), ())


def test_what_no_state_knows_is_a_stray_of_its_node(client: Client) -> None:
    ids = made(OURS)
    lost = ids.pop(ObjectKind.ADDRESS)
    found = strays_of(client, OURS, ids)
    assert {one.id: one.mark for one in found.values()} == {
        lost: Mark(OURS, "lax-vultr-1", "address")
    }


def test_two_stacks_of_one_name_do_not_see_each_other(client: Client, vultr: Vultr) -> None:
    """Nodes, resources and the account are the same; the identity is not."""
    mine, other = made(OURS), made(THEIRS)
    assert not set(mine.values()) & set(other.values())
    assert strays_of(client, OURS, mine) == {}
    assert set(strays_of(client, OURS, {})) == set(mine.values())
    for one in strays_of(client, OURS, {}).values():
        assert remove(client, one, quiet)
    left = {*vultr.addresses, *vultr.groups, *vultr.keys, *vultr.scripts}
    assert left == set(other.values())


FOREIGN = {
    "no mark": "lax-vultr-1",
    "the network's words without its identity": "lax-vultr-1 address anycast-mesh",
    "another identity": Mark(THEIRS, "lax-vultr-1", "address").text(),
    "a mark and more": Mark(OURS, "lax-vultr-1", "address").text() + " (keep)",
}


@pytest.mark.parametrize("label", FOREIGN.values(), ids=FOREIGN)
def test_what_bears_another_mark_is_nobodys_business_here(
    client: Client, vultr: Vultr, label: str
) -> None:
    ids = made(OURS)
    vultr.addresses[ids.pop(ObjectKind.ADDRESS)].label = label
    assert strays_of(client, OURS, ids) == {}


def test_what_is_in_the_state_alone_is_told(client: Client, vultr: Vultr) -> None:
    ids = made(OURS)
    vultr.lose(ids[ObjectKind.GROUP])
    found = compared(Holdings.of(client), OURS, known(ids))
    assert found.missing == (
        StateObject(ObjectKind.GROUP, ids[ObjectKind.GROUP], "mesh-firewall group"),
    )


def test_what_an_update_had_begun_is_told_apart(client: Client) -> None:
    ids = made(OURS)
    held = compared(Holdings.of(client), OURS, [], [("lax-vultr-1", "address")])
    assert [one.id for one in held.begun] == [ids[ObjectKind.ADDRESS]]
    assert ids[ObjectKind.ADDRESS] not in {one.id for one in held.strays}


class TestRemoval:
    @pytest.fixture
    def stray(self, client: Client) -> AccountObject:
        ids = made(OURS)
        return strays_of(client, OURS, {})[ids[ObjectKind.ADDRESS]]

    def test_what_lost_its_mark_meanwhile_stays(
        self, client: Client, vultr: Vultr, stray: AccountObject
    ) -> None:
        """Somebody took it for himself between the list and the removal."""
        vultr.addresses[stray.id].label = "mail.example.net"
        with pytest.raises(ApiError, match="no longer has the mark") as caught:
            remove(client, stray, quiet)
        assert caught.value.kind == "foreign"
        assert stray.id in vultr.addresses

    def test_what_is_gone_is_no_error(
        self, client: Client, vultr: Vultr, stray: AccountObject
    ) -> None:
        vultr.lose(stray.id)
        assert not remove(client, stray, quiet)

    def test_what_still_comes_off_its_server_is_waited_for(
        self, client: Client, vultr: Vultr, stray: AccountObject
    ) -> None:
        said = "Unable to detach subnet, please restart your server from the control panel"
        vultr.fail(Fault("DELETE", f"/reserved-ips/{stray.id}", refused(said), times=2))
        assert remove(client, stray, quiet)
        assert stray.id not in vultr.addresses

    @pytest.mark.parametrize("answer", [LOCKED, PENDING], ids=["locked", "pending"])
    @pytest.mark.parametrize(
        ("make", "path"),
        [(objects.instance, "/instances"), (objects.bare_metal, "/bare-metals")],
        ids=["instance", "bare metal"],
    )
    def test_a_server_that_vultr_does_not_delete_yet_is_waited_for(
        self, client: Client, vultr: Vultr, make: Any, path: str, answer: Answer
    ) -> None:
        identity, _ = make(identity=OURS)
        vultr.fail(Fault("DELETE", f"{path}/{identity}", answer, times=6))
        said: list[str] = []
        assert remove(client, strays_of(client, OURS, {})[identity], said.append)
        assert identity not in vultr.servers
        assert any("Unable to destroy server" in line for line in said)

    def test_one_that_stays_locked_is_told(
        self, client: Client, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identity, _ = objects.instance(identity=OURS)
        monkeypatch.setitem(strays.UNLOCK_SECONDS, ObjectKind.INSTANCE, 0.3)
        vultr.fail(Fault("DELETE", "/instances/.*", LOCKED, times=1000))
        with pytest.raises(ApiError) as caught:
            remove(client, strays_of(client, OURS, {})[identity], quiet)
        said = str(caught.value)
        assert said.startswith(f"instance {identity}")
        assert "it is not deleted after 0 s" in said and "Server is currently locked" in said
        assert "`mesh strays --stack STACK --remove` again" in said

    def test_an_address_at_a_server_that_stays_is_held_fast(
        self, client: Client, vultr: Vultr, stray: AccountObject
    ) -> None:
        """It was attached by hand, to somebody's server."""
        body = {"region": "lax", "plan": "vc2-1c-1gb", "os_id": 2625, "label": "shop",
                "reserved_ipv4": stray.id}  # fmt: skip
        client.send("POST", "/instances", body)
        holdings = Holdings.of(client)
        strays = compared(holdings, OURS, []).strays
        assert in_use(strays, holdings) == {stray.id: "shop"}

    def test_servers_come_first(self, client: Client, vultr: Vultr, stray: AccountObject) -> None:
        vultr.knobs = Knobs(detach=0.2)
        mark = Mark(OURS, "lax-vultr-1", "instance")
        body = {"region": "lax", "plan": "vc2-1c-1gb", "os_id": 2625, "label": "lax-vultr-1",
                "reserved_ipv4": stray.id, "tags": list(mark.tags())}  # fmt: skip
        client.send("POST", "/instances", body)
        holdings = Holdings.of(client)
        strays = compared(holdings, OURS, []).strays
        assert [one.kind for one in strays][:2] == [ObjectKind.INSTANCE, ObjectKind.ADDRESS]
        assert in_use(strays, holdings) == {}
        for one in strays:
            assert remove(client, one, quiet)
        assert set(vultr.holdings().values()) == {0}


def entry(type_: str, id_: str, name: str, **inputs: Any) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:prod::mesh::{type_}::{name}", "type": type_, "id": id_,
            "inputs": inputs, "outputs": inputs}  # fmt: skip


ADDRESS = "pulumi-python:dynamic/vultr:Address"


class TestStated:
    def test_identity_and_objects_of_a_state(self) -> None:
        found = [entry(stated.IDENTITY, OURS, "mesh-vultr-identity", identity=OURS),
                 entry(ADDRESS, "1", "mesh-lax-vultr-1-address", node="lax-vultr-1"),
                 entry("pulumi-python:dynamic/mesh:Operator", "2", "mesh-operator")]  # fmt: skip
        state = {"deployment": {"resources": found}}
        assert stated.identity(state) == OURS
        assert list(stated.known(state)) == [
            StateObject(ObjectKind.ADDRESS, "1", "mesh-lax-vultr-1-address")
        ]

    def test_a_state_without_an_identity_has_none(self) -> None:
        nothing: list[dict[str, Any]] = [{}, {"deployment": {}}, {"deployment": {"resources": []}}]
        for state in nothing:
            assert stated.identity(state) is None

    def test_what_was_begun_counts_until_it_is_made(self) -> None:
        """The engine keeps the note of a killed update, also when the next one has made it."""
        making = entry(ADDRESS, "", "one", node="lax-vultr-1")
        begun = {"type": "creating", "resource": making}
        other = {"type": "updating", "resource": entry(ADDRESS, "1", "two", node="mia-vultr-1")}
        state: dict[str, Any] = {"deployment": {"pending_operations": [begun, other]}}
        assert list(stated.begun(state)) == [("lax-vultr-1", "address")]
        state["deployment"]["resources"] = [making | {"id": "2"}]
        assert list(stated.begun(state)) == []
        stated.forget(state, {("lax-vultr-1", "address")})
        assert state["deployment"]["pending_operations"] == [other]


def test_marks_are_those_that_an_update_writes(client: Client, vultr: Vultr) -> None:
    """What is adopted by `mesh adopt` bears the mark by which a later update would find it."""
    ids = made(OURS)
    inputs: dict[ObjectKind, dict[str, Any]] = {
        ObjectKind.ADDRESS: {"node": "lax-vultr-1"},
        ObjectKind.GROUP: GROUP,
        ObjectKind.KEY: {"ssh_key": KEYS[0]},
        ObjectKind.SCRIPT: {},
    }
    for one in Holdings.of(client).all():
        assert one.mark == stated.mark(OURS, one.kind, inputs[one.kind])
        marking.write(client, one, stated.mark(THEIRS, one.kind, inputs[one.kind]))
    assert set(strays_of(client, THEIRS, {})) == set(ids.values())
