"""The resources of our own: what replaces them, what a refresh sees, what the state holds."""

from __future__ import annotations

import base64
import json
import os
import pickletools
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.output import Unknown
from pydantic import TypeAdapter

import mesh.agent.bundle
import mesh.lab.containers
import mesh.lab.lab_files
import mesh.lab.wiring
import mesh.lab.world
import mesh.publish
import mesh.publish.rendered
from mesh.infra import sources
from mesh.infra.dynamic.base import GONE
from mesh.infra.dynamic.birth import BirthProvider
from mesh.infra.dynamic.candidate import CandidateProvider, digests, is_unfinished
from mesh.infra.dynamic.host import HostProvider
from mesh.infra.dynamic.hostkey import HostKeyProvider
from mesh.infra.dynamic.identity import IdentityProvider
from mesh.infra.dynamic.lab import AddressProvider, InstanceProvider, WorldProvider
from mesh.infra.dynamic.operator import OperatorProvider
from mesh.infra.dynamic.publish import PublishProvider
from mesh.infra.dynamic.vultr.address import AddressProvider as VultrAddressProvider
from mesh.infra.dynamic.vultr.bare_metal import BareMetalProvider
from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.dynamic.vultr.instance import InstanceProvider as VultrInstanceProvider
from mesh.infra.dynamic.vultr.key import KeyProvider
from mesh.infra.dynamic.vultr.reverse import ReverseProvider
from mesh.lab.containers import BoxState
from mesh.lab.errors import LabError
from mesh.lab.underlay import underlay
from mesh.plan import Plan
from mesh.plan.document import read_plan, write_plan
from mesh.publish import Fleet, Order, PublishError, SealedBefore
from mesh.publish.choices import Choices
from mesh.trust.keys import join_token
from tests.kit.program import OPERATOR, PASSWORD, UNKNOWN
from tests.kit.stacks import example, plan_of, prod
from tests.kit.wait import PATIENCE

PLAN = plan_of({"twin": "prod"}, "lab")
MORE = plan_of({"twin": "prod", "nodes": {"lax-vultr-2": {"number": 9}}}, "lab")
QUIETER = plan_of({"twin": "prod", "whoami": False}, "lab")
PROVIDERS = {
    "mesh.infra.dynamic.birth BirthProvider": BirthProvider,
    "mesh.infra.dynamic.candidate CandidateProvider": CandidateProvider,
    "mesh.infra.dynamic.host HostProvider": HostProvider,
    "mesh.infra.dynamic.hostkey HostKeyProvider": HostKeyProvider,
    "mesh.infra.dynamic.operator OperatorProvider": OperatorProvider,
    "mesh.infra.dynamic.publish PublishProvider": PublishProvider,
    "mesh.infra.dynamic.lab WorldProvider": WorldProvider,
    "mesh.infra.dynamic.lab AddressProvider": AddressProvider,
    "mesh.infra.dynamic.lab InstanceProvider": InstanceProvider,
    "mesh.infra.dynamic.identity IdentityProvider": IdentityProvider,
    "mesh.infra.dynamic.vultr.address AddressProvider": VultrAddressProvider,
    "mesh.infra.dynamic.vultr.bare_metal BareMetalProvider": BareMetalProvider,
    "mesh.infra.dynamic.vultr.firewall FirewallProvider": FirewallProvider,
    "mesh.infra.dynamic.vultr.instance InstanceProvider": VultrInstanceProvider,
    "mesh.infra.dynamic.vultr.key KeyProvider": KeyProvider,
    "mesh.infra.dynamic.vultr.reverse ReverseProvider": ReverseProvider,
}
INSTANCE = {
    "lab": "tests",
    "node": "mia-vultr-1",
    "region": "mia",
    "image": "debian-13",
    "hostname": "mia-vultr-1",
    "ssh_keys": ["ssh-ed25519 A"],
    "user_data": "#cloud-config",
    "ipv4": "203.0.113.25",
    "ipv6": "2001:db8::25",
}
BIRTH = "2026-01-01T00:00:00Z"
BORN = INSTANCE | {"instance_id": "i-1", "created": BIRTH}


class TestState:
    """A stack's state outlives versions of this code."""

    @pytest.mark.parametrize(("reference", "provider"), PROVIDERS.items())
    def test_holds_the_name_of_a_provider_and_nothing_else(
        self, reference: str, provider: Callable[[], ResourceProvider]
    ) -> None:
        pickled = base64.b64decode(serialize_provider(provider()))
        texts = [arg for _, arg, _ in pickletools.genops(pickled) if isinstance(arg, str)]
        assert texts == reference.split()
        assert len(pickled) < 90

    def test_a_plan_survives_the_way_through_the_engine(self) -> None:
        assert read_plan(write_plan(PLAN)) == PLAN

    @pytest.mark.parametrize("stack", ["prod", "budget", "growth", "mixed", "routed"])
    def test_is_written_as_its_types_say(self, stack: str) -> None:
        """States hold it: other bytes would be a change of every network."""
        plan = plan_of(prod() if stack == "prod" else example(stack), stack)
        assert write_plan(plan) == TypeAdapter(Plan).dump_json(plan).decode()


class TestOperator:
    """The root of trust is made once."""

    def test_is_a_fresh_key_each_time_it_is_made(self) -> None:
        first, second = (OperatorProvider().create({}).outs for _ in range(2))
        assert first and second
        assert set(first) == {"private", "public"}
        assert first["private"] != second["private"]

    def test_never_changes(self) -> None:
        assert OperatorProvider().diff("id", {}, {"anything": 1}).changes is False


class TestIdentity:
    """Who the network is to a provider, whatever its stack is called."""

    def test_is_drawn_anew_for_each_stack(self) -> None:
        drawn = {IdentityProvider().create({}).id for _ in range(20)}
        assert len(drawn) == 20
        assert all(re.fullmatch("[0-9a-f]{8}", each) for each in drawn)

    def test_never_changes(self) -> None:
        assert IdentityProvider().diff("id", {}, {"anything": 1}).changes is False


class TestBirth:
    """When a server was made, for its token's lifetime."""

    def test_is_noted_once_in_rfc_3339(self) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        outs = BirthProvider().create({"instance_id": "i-1"}).outs
        assert outs
        assert before <= datetime.fromisoformat(outs["created"]) <= datetime.now(UTC)

    @pytest.mark.parametrize(("now", "replaced"), [("i-1", []), ("i-2", ["instance_id"])])
    def test_is_another_for_another_instance_only(self, now: str, replaced: list[str]) -> None:
        olds = {"instance_id": "i-1", "created": BIRTH}
        difference = BirthProvider().diff("i-1", olds, {"instance_id": now})
        assert (difference.changes, difference.replaces) == (bool(replaced), replaced)


def raised_at_no_cost(monkeypatch: pytest.MonkeyPatch, folder: Path, *, ends: bool = True) -> None:
    """Let a world be raised without its boxes, which really stand in tests/lab."""

    def wait(*_: object) -> None:
        if not ends:
            raise LabError("BIRD of transit-lax has ended")

    for name in ("_drop_unplanned", "_start_routers", "_start_metadata"):
        monkeypatch.setattr(mesh.lab.world, name, lambda *_: None)
    monkeypatch.setattr(mesh.lab.wiring, "create", lambda *_: None)
    monkeypatch.setattr(mesh.lab.world, "_wait", wait)
    monkeypatch.setattr(mesh.lab.lab_files.LabFiles, "image", lambda _: folder)
    monkeypatch.setattr(mesh.lab.lab_files, "RUNTIME", folder)


class TestWorld:
    """The lab's surroundings follow the plan, and only what concerns them."""

    @pytest.mark.parametrize(
        ("news", "changes"),
        [
            ({}, False),
            ({"plan": write_plan(QUIETER)}, False),
            ({"plan": write_plan(MORE)}, True),
            ({"passwords": {"vultr": "another"}}, True),
        ],
    )
    def test_changes_with_what_stands_around_the_nodes(
        self, news: dict[str, Any], changes: bool
    ) -> None:
        olds = {"lab": "tests", "plan": write_plan(PLAN), "passwords": {"vultr": PASSWORD}}
        diff = WorldProvider().diff("tests", olds, olds | news)
        assert (diff.changes, diff.replaces or []) == (changes, [])

    @pytest.mark.parametrize(
        ("begun", "ends", "changes"),
        [
            (None, False, False),
            (PLAN, True, False),
            (MORE, True, True),
            (PLAN, False, True),
        ],
        ids=["nothing is known", "as in the state", "of a run that was not recorded", "cut"],
    )
    def test_changes_with_what_an_update_left_that_the_state_does_not_know(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        begun: Plan | None,
        ends: bool,
        changes: bool,
    ) -> None:
        raised_at_no_cost(monkeypatch, tmp_path, ends=ends)
        if begun is not None:
            with suppress(LabError):
                mesh.lab.world.raise_world(begun, "tests", {"vultr": PASSWORD})
        olds = {"lab": "tests", "plan": write_plan(PLAN), "passwords": {"vultr": PASSWORD}}
        assert WorldProvider().diff("tests", olds, dict(olds)).changes is changes
        if begun is not None:
            assert PASSWORD not in (tmp_path / "tests" / "raised").read_text()

    def test_that_it_stands_is_known_without_reading_the_plan(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Every preview asks, and to read a plan takes longer than all else that it asks."""
        raised_at_no_cost(monkeypatch, tmp_path)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        props = {"lab": "tests", "plan": write_plan(PLAN), "passwords": {"vultr": PASSWORD}}
        WorldProvider().create(props)
        assert PASSWORD not in (tmp_path / "tests" / "raised").read_text()
        script = (
            "import json, pathlib, sys, mesh.lab.lab_files; "
            "mesh.lab.lab_files.RUNTIME = pathlib.Path(sys.argv[1]); "
            "from mesh.infra.dynamic.lab import WorldProvider; "
            "props = json.loads(sys.argv[2]); "
            "print(WorldProvider().diff('tests', props, props).changes, *sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), json.dumps(props)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        changes, *loaded = done.stdout.split()
        assert changes == "False"
        assert not {"pydantic", "mesh.plan", "mesh.lab.world"} & set(loaded)

    def test_changes_where_the_state_is_of_another_version(self) -> None:
        olds = {"lab": "tests", "plan": "{}", "passwords": {}}
        assert WorldProvider().diff("tests", olds, olds | {"plan": write_plan(PLAN)}).changes

    def test_says_at_once_that_it_needs_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(LabError, match="sudo make up"):
            WorldProvider().create({"lab": "tests", "plan": write_plan(PLAN), "passwords": {}})

    def test_is_gone_when_it_does_not_stand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nothing(_name: str) -> None:
            raise LabError("not up")

        monkeypatch.setattr(mesh.lab.world, "load", nothing)
        assert WorldProvider().read("tests", {"lab": "tests"}).id == GONE


class TestAddress:
    """What is reserved is what the world has for the node."""

    @pytest.fixture(autouse=True)
    def standing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mesh.lab.world, "load", lambda _name: underlay(PLAN))

    def test_is_known_before_the_node_exists(self) -> None:
        wanted = {"lab": "tests", "node": "mia-vultr-1", "slot": 25, "with_ipv6": True}
        outs = AddressProvider().create(wanted).outs
        uplink = underlay(PLAN).node("mia-vultr-1")
        own: dict[str, Any] = {
            "ipv4": "203.0.113.25",
            "ipv6": str(uplink.ipv6),
            "inside": None,
            "routers": [],
        }
        assert outs == wanted | own

    def test_who_is_translated_holds_another_address_and_has_routers_to_speak_with(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mixed = underlay(plan_of(example("mixed"), "mixed"))
        monkeypatch.setattr(mesh.lab.world, "load", lambda _name: mixed)
        wanted = {"lab": "tests", "node": "ord-gcp-1", "slot": 13, "with_ipv6": False}
        outs = AddressProvider().create(wanted).outs
        assert outs is not None
        assert (outs["ipv4"], outs["inside"]) == ("203.0.113.13", "172.31.0.13")
        assert outs["routers"] == ["172.31.1.2", "172.31.1.3"]

    def test_a_node_without_ipv6_gets_none(self) -> None:
        wanted = {"lab": "tests", "node": "mia-vultr-1", "slot": 25, "with_ipv6": False}
        outs = AddressProvider().create(wanted).outs
        assert outs is not None
        assert outs["ipv6"] is None

    @pytest.mark.parametrize(
        ("news", "changes", "replaces"),
        [
            ({}, False, []),
            ({"with_ipv6": False}, True, []),
            ({"slot": 26}, True, ["slot"]),
            ({"lab": "other"}, True, ["lab"]),
        ],
    )
    def test_moves_only_with_its_place(
        self, news: dict[str, Any], changes: bool, replaces: list[str]
    ) -> None:
        olds = {"lab": "tests", "node": "mia-vultr-1", "slot": 25, "with_ipv6": True}
        diff = AddressProvider().diff("203.0.113.25", olds, olds | news)
        assert (diff.changes, diff.replaces) == (changes, replaces)


class TestInstance:
    """A server, with the rules of a real cloud."""

    @pytest.mark.parametrize(
        ("news", "replaces"),
        [
            ({}, []),
            ({"user_data": "#cloud-config\n"}, ["user_data"]),
            ({"user_data": UNKNOWN}, ["user_data"]),
            ({"hostname": "mia"}, ["hostname"]),
            ({"image": "debian-14"}, ["image"]),
            ({"ssh_keys": ["ssh-ed25519 A", "ssh-ed25519 B"]}, ["ssh_keys"]),
            ({"region": "ord"}, ["region"]),
            ({"ipv4": "203.0.113.26"}, ["ipv4"]),
            ({"ipv6": None}, ["ipv6"]),
            ({"__provider": "of a later version"}, []),
        ],
    )
    def test_is_replaced_by_what_a_provider_settles_at_birth(
        self, news: dict[str, Any], replaces: list[str]
    ) -> None:
        diff = InstanceProvider().diff("i-1", BORN, INSTANCE | news)
        assert (diff.changes, diff.replaces) == (bool(replaces), replaces)
        assert diff.delete_before_replace

    def test_starts_from_the_user_data_that_were_given(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[tuple[Any, ...]] = []
        uplink = underlay(PLAN).node("mia-vultr-1")

        def start(*given: Any) -> BoxState:
            started.append(given)
            return BoxState("i-1", BIRTH, uplink.ipv4, uplink.ipv6, "0" * 64)

        monkeypatch.setattr(mesh.lab.world, "load", lambda _name: underlay(PLAN))
        monkeypatch.setattr(mesh.lab.containers, "start_node", start)
        made = InstanceProvider().create(dict(INSTANCE))
        assert started == [("tests", "mia-vultr-1", underlay(PLAN), "#cloud-config")]
        assert (made.id, made.outs) == ("i-1", BORN)

    @pytest.mark.parametrize(("alive", "seen"), [(True, "i-1"), (False, GONE)])
    def test_a_refresh_tells_whether_it_runs(
        self, monkeypatch: pytest.MonkeyPatch, alive: bool, seen: str
    ) -> None:
        monkeypatch.setattr(mesh.lab.containers, "node_alive", lambda *_: alive)
        assert InstanceProvider().read("i-1", dict(BORN)).id == seen

    @pytest.mark.parametrize(("there", "stopped"), [("i-1", True), ("i-2", False), (None, True)])
    def test_deleting_it_never_stops_a_later_one(
        self, monkeypatch: pytest.MonkeyPatch, there: str | None, stopped: bool
    ) -> None:
        uplink = underlay(PLAN).node("mia-vultr-1")
        state = there and BoxState(there, BIRTH, uplink.ipv4, uplink.ipv6, "0" * 64)
        calls: list[tuple[str, ...]] = []
        monkeypatch.setattr(mesh.lab.containers, "read_state", lambda *_: state)
        monkeypatch.setattr(mesh.lab.containers, "stop_node", lambda *given: calls.append(given))
        InstanceProvider().delete("i-1", dict(BORN))
        assert calls == ([("tests", "mia-vultr-1")] if stopped else [])


class TestCandidate:
    """Each run that wants something else has a serial of its own, which a preview knows."""

    @pytest.mark.parametrize(
        ("olds", "wanted", "serial"),
        [
            ({}, {"plan": "1"}, 1),
            ({"wanted": {"plan": "1"}, "serial": 4.0}, {"plan": "1"}, 4),
            ({"wanted": {"plan": "1"}, "serial": 4.0}, {"plan": "2"}, 5),
            ({"wanted": {"plan": "1"}, "serial": 4.0}, Unknown(), 5),
        ],
        ids=["first", "the same", "another", "not known yet"],
    )
    def test_the_serial_grows_with_what_differs(
        self, olds: dict[str, Any], wanted: object, serial: int
    ) -> None:
        provider = CandidateProvider()
        if olds:
            olds = {"written": "a", **olds, "wanted": {**olds["wanted"], "code": "1"}}
        checked = provider.check(olds, {"wanted": wanted, "written": "a"}).inputs
        assert checked["serial"] == serial
        if olds:
            assert provider.diff("candidate", olds, checked).changes == (serial != 4)

    @pytest.mark.parametrize(
        ("before", "written", "code"),
        [
            pytest.param({}, "a", "2", id="first"),
            pytest.param({"written": "a", "wanted": {"code": "1"}}, "a", "1", id="the same files"),
            pytest.param({"written": "a", "wanted": {"code": "1"}}, "b", "2", id="other files"),
            pytest.param({"wanted": {"code": "1"}}, "b", "2", id="of an earlier version"),
            pytest.param({"written": "a", "wanted": {}}, "a", "2", id="without a digest"),
            pytest.param({"written": "a", "wanted": Unknown()}, "a", "2", id="never finished"),
        ],
    )
    def test_the_code_is_read_where_its_files_differ(
        self,
        monkeypatch: pytest.MonkeyPatch,
        before: dict[str, Any],
        written: str,
        code: str,
    ) -> None:
        monkeypatch.setattr(sources, "digest", lambda: "2")
        checked = CandidateProvider().check(before, {"wanted": {"plan": "p"}, "written": written})
        assert checked.inputs["wanted"] == {"plan": "p", "code": code}

    def test_the_first_candidate_with_the_present_secrets_is_known(self) -> None:
        """So that an update knows which secrets an unfinished one has brought."""
        checked: dict[str, Any] = {}
        sealed = []
        for wanted in (
            {"plan": "p", "sessions-vultr": "1"},
            {"plan": "q", "sessions-vultr": "1"},
            {"plan": "q", "sessions-vultr": "2"},
            {"plan": "r", "sessions-vultr": "2"},
            {"plan": "r", "sessions-vultr": "2", "receivers-ops": "1"},
            UNKNOWN,
        ):
            news = {"wanted": wanted, "written": "a"}
            checked = CandidateProvider().check(checked, news).inputs
            sealed.append((checked["serial"], checked["sealed"]))
        assert sealed == [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 6)]

    def test_a_state_of_before_tells_no_more_than_its_serial(self) -> None:
        olds = {"wanted": {"plan": "p", "sessions-vultr": "1"}, "serial": 4.0}
        news = {"wanted": {"plan": "q", "sessions-vultr": "1"}, "written": "a"}
        assert CandidateProvider().check(olds, news).inputs["sealed"] == 4

    def test_files_that_mean_the_same_are_no_other_candidate(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sources, "digest", lambda: "1")
        provider, wanted = CandidateProvider(), {"plan": "p"}
        first = provider.check({}, {"wanted": wanted, "written": "a"}).inputs
        second = provider.check(first, {"wanted": wanted, "written": "b"}).inputs
        assert (second["serial"], second["written"]) == (first["serial"], "b")
        assert not provider.diff("candidate", first, second).changes

    @pytest.mark.parametrize(
        ("seen", "serial", "unfinished"),
        [
            (4, 4, False),
            (4.0, 5, False),
            (4, 6, True),
            (4, 9, True),
            pytest.param(4, 1, True, id="made anew"),
            pytest.param(None, 1, False, id="of an earlier version"),
            pytest.param(4, Unknown(), False, id="not known yet"),
        ],
    )
    def test_a_publication_that_did_not_finish_leaves_a_gap(
        self, seen: object, serial: object, unfinished: bool
    ) -> None:
        assert is_unfinished(seen, serial) is unfinished
        inputs = PublishProvider().check({"candidate": seen}, {"candidate": serial}).inputs
        assert inputs["unfinished"] is unfinished

    def test_digests_tell_each_password_apart_and_show_none(self) -> None:
        def of(vultr: str, key: str = OPERATOR, plan: str = "p") -> dict[str, str]:
            return digests(key, {"plan": plan, "namespace": None}, {"vultr": vultr, "gcp": "x"})

        one, other = of("first"), of("second")
        assert {name for name in one if one[name] != other[name]} == {"sessions-vultr"}
        assert not [name for name, digest in of("first", key="another").items() if digest in one]
        assert {n for n, d in of("first", plan="q").items() if d != one[n]} == {"plan"}

    def test_what_receivers_keep_to_themselves_counts_where_there_are_any(self) -> None:
        def of(receivers: dict[str, str] | None) -> dict[str, str]:
            return digests(OPERATOR, {"plan": "p"}, {}, receivers)

        assert of(None) == of({}) == digests(OPERATOR, {"plan": "p"}, {})
        one, other = (of({"noc": secret, "pager": "x"}) for secret in ("first", "second"))
        assert {name for name in one if one[name] != other[name]} == {"receivers-noc"}
        assert "first" not in str(one)

    def test_what_the_engine_leaves_out_on_its_way_does_not_count(self) -> None:
        with_nulls: dict[str, Any] = {"instances": {"a": {"ipv6": None, "routers": []}}}
        without: dict[str, Any] = {"instances": {"a": {"routers": []}}}
        assert digests(OPERATOR, with_nulls, {}) == digests(OPERATOR, without, {})


class Publications:
    """Stands in for the operator's side of the network, and keeps what it was asked."""

    def __init__(self) -> None:
        self.orders: list[tuple[Order, Fleet | None]] = []
        self.retired: list[tuple[Order, Fleet]] = []
        self.before: Plan | None = None
        self.held = True

    def publish(
        self,
        order: Order,
        fleet: Fleet | None,
        progress: Callable[[str], None],
        before: Plan | None,
    ) -> tuple[Fleet, dict[str, str]]:
        self.orders.append((order, fleet))
        self.before = before
        progress("signed")
        done = Fleet((fleet.generation if fleet else 0) + 1, "f" * 64, {})
        places = {node: each.placement for node, each in order.instances.items()}
        return done, mesh.publish.rendered.digests(order.plan, {}, places, order.registries)

    def retire(self, order: Order, fleet: Fleet, progress: Callable[[str], None]) -> None:
        self.retired.append((order, fleet))

    def published(self, order: Order, fleet: Fleet, progress: Callable[[str], None]) -> bool:
        return self.held


class TestPublish:
    """A generation is published when something changed, and only then."""

    @pytest.fixture
    def network(self, monkeypatch: pytest.MonkeyPatch) -> Publications:
        made = Publications()
        for name in ("publish", "retire", "published"):
            monkeypatch.setattr(mesh.publish, name, getattr(made, name))
        return made

    @pytest.fixture
    def props(self) -> dict[str, Any]:
        return {
            "plan": write_plan(PLAN),
            "operator_key": OPERATOR,
            "passwords": {"vultr": PASSWORD},
            "instances": {
                "lax-vultr-1": {
                    "id": "i-1",
                    "created": "2026-01-01T00:00:00Z",
                    "ipv4": "203.0.113.1",
                    "ipv6": None,
                }
            },
            "bundle": mesh.agent.bundle.digest(mesh.agent.bundle.build()),
            "sources": "0" * 64,
            "registries": {"lax-vultr-1": "https://203.0.113.1:8443"},
            "namespace": "mesh-tests-operator",
            "candidate": 3,
            "deadline": 180,
            "__provider": "…",
        }

    def test_orders_what_was_planned(
        self, network: Publications, props: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = PublishProvider().create(props)
        (order, before), = network.orders  # fmt: skip
        assert before is None
        assert order.plan == PLAN
        assert order.instances["lax-vultr-1"].token == join_token(OPERATOR, "lax-vultr-1")
        assert order.instances["lax-vultr-1"].placement.ipv6 is None
        assert (order.namespace, order.deadline) == ("mesh-tests-operator", 180)
        assert made.outs is not None
        assert made.outs["generation"] == 1
        assert capsys.readouterr().out == "signed\n"

    def test_the_next_one_builds_on_the_last(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        provider = PublishProvider()
        first = provider.create(props).outs
        assert first is not None
        second = provider.update("generation", first, props).outs
        assert second is not None
        # The state is of a version that kept no name: the network's is that of its plan.
        assert network.orders[1][1] == Fleet(1, "f" * 64, {}, network="as27218-lab")
        assert second["generation"] == 2
        assert network.before == PLAN

    def test_a_plan_of_another_version_is_no_plan_before(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        olds = (PublishProvider().create(props).outs or {}) | {"plan": "{}"}
        PublishProvider().update("generation", olds, props)
        assert network.before is None

    def test_the_choices_of_a_run_are_those_of_its_environment(
        self, network: Publications, props: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MESH_ROLLOUT", "accept-outage,without=mia-vultr-1")
        PublishProvider().create(props)
        chosen = Choices(accept_outage=True, without=frozenset({"mia-vultr-1"}))
        assert network.orders[0][0].choices == chosen
        monkeypatch.setenv("MESH_ROLLOUT", "never")
        with pytest.raises(PublishError, match="MESH_ROLLOUT: 'never'"):
            PublishProvider().create(props)

    @pytest.mark.parametrize(
        ("news", "known"),
        [
            ({}, SealedBefore(1, since=2)),
            (
                {"passwords": {"vultr": "another"}},
                SealedBefore(1, frozenset({"bgpPassword-vultr"}), since=2),
            ),
            (
                {"receivers": {"ops": "another"}},
                SealedBefore(1, frozenset({"alertReceiver-ops"}), since=2),
            ),
            ({"candidate": 5}, SealedBefore(1)),
            ({"candidate": 5, "sealed": 5}, SealedBefore(1)),
            ({"candidate": 5, "sealed": 4}, SealedBefore(1, since=2)),
            ({"candidate": 5, "sealed": 2}, SealedBefore(1, since=2)),
            ({"candidate": 1, "sealed": 1}, SealedBefore(1)),
        ],
        ids=[
            "the same",
            "another password",
            "a receiver's",
            "another candidate in between",
            "one with other secrets in between",
            "one with the same secrets in between",
            "one with the secrets of the state in between",
            "candidates from the start again",
        ],
    )
    def test_the_state_tells_which_secrets_nodes_have(
        self, network: Publications, props: dict[str, Any], news: dict[str, Any],
        known: SealedBefore,
    ) -> None:  # fmt: skip
        """So that only the sessions restart whose password is another one."""
        outs = PublishProvider().create(props).outs
        assert outs is not None
        PublishProvider().update("generation", outs, props | news)
        assert [order.sealed_before for order, _ in network.orders] == [None, known]

    @pytest.mark.parametrize(
        ("news", "changes"),
        [
            ({}, False),
            ({"plan": write_plan(QUIETER)}, True),
            ({"bundle": "0" * 64}, True),
            ({"candidate": 4}, False),
            ({"unfinished": True, "candidate": 5}, True),
            ({"passwords": {"vultr": "another"}}, True),
            ({"instances": {}}, True),
            ({"instances": UNKNOWN}, True),
            ({"deadline": 900}, False),
            ({"__provider": "of a later version"}, False),
        ],
    )
    def test_a_change_is_an_update_and_never_a_replacement(
        self, network: Publications, props: dict[str, Any], news: dict[str, Any], changes: bool
    ) -> None:
        olds = PublishProvider().create(props).outs
        assert olds is not None
        diff = PublishProvider().diff("generation", olds, props | news)
        assert (diff.changes, diff.replaces) == (changes, [])

    def test_registries_that_lost_it_get_it_again(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        provider = PublishProvider()
        outs = provider.create(props).outs
        assert outs is not None
        network.held = False
        seen = provider.read("generation", outs)
        assert seen.outs is not None
        assert seen.id == "generation"
        assert provider.diff("generation", seen.outs, props).changes

    def test_what_an_earlier_version_published_is_published_once_more(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        provider = PublishProvider()
        outs = provider.create(props).outs or {}
        earlier = {key: outs[key] for key in outs if key not in ("rendered", "candidate")}
        assert provider.diff("generation", earlier, props).changes
        now = provider.update("generation", earlier, props).outs or {}
        assert not provider.diff("generation", now, props).changes

    def test_other_bytes_from_the_same_inputs_are_published_and_told(
        self, network: Publications, props: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        provider = PublishProvider()
        outs = provider.create(props).outs or {}
        before = {**outs, "rendered": {**outs["rendered"], "mia-vultr-1": "of another checkout"}}
        assert provider.diff("generation", before, props).changes
        assert "this checkout renders other files: mia-vultr-1" in capsys.readouterr().out

    def test_the_same_code_is_not_asked_twice(
        self, network: Publications, props: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider, one = PublishProvider(), props | {"wanted": {"code": "1"}}
        outs = provider.create(one).outs or {}
        asked: list[object] = []

        def ask(*given: object) -> object:
            asked.append(given)
            return outs["rendered"]

        monkeypatch.setattr(mesh.publish.rendered, "digests", ask)
        assert not provider.diff("generation", outs, one).changes
        assert not asked
        two = one | {"wanted": {"code": "2"}}
        first = provider.check(one, two).inputs
        assert not provider.diff("generation", outs, first).changes
        assert len(asked) == 1
        # The update got past it: the engine has kept these inputs, and the outputs of before.
        assert not provider.diff("generation", outs, provider.check(first, two).inputs).changes
        assert len(asked) == 1

    def test_a_refresh_shows_no_change_after_one_was_made_up_for(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        inputs = props | {"candidate": 6, "unfinished": True}
        olds = PublishProvider().create(props).outs or {}
        assert PublishProvider().diff("generation", olds, inputs).changes
        outs = PublishProvider().update("generation", olds, inputs).outs or {}
        assert not PublishProvider().diff("generation", outs, inputs).changes

    def test_what_cannot_be_rendered_is_left_to_the_update(
        self,
        network: Publications,
        props: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        outs = PublishProvider().create(props).outs or {}

        def broken(*_: object) -> dict[str, str]:
            raise KeyError("no such link")

        monkeypatch.setattr(mesh.publish.rendered, "digests", broken)
        assert PublishProvider().diff("generation", outs, props).changes
        assert "cannot be rendered: KeyError: 'no such link'" in capsys.readouterr().out

    def test_a_run_that_leaves_the_candidate_out_is_refused(self, props: dict[str, Any]) -> None:
        parts = ("plan", "instances", "bundle", "registries", "namespace")
        own = digests(OPERATOR, {key: props[key] for key in parts}, props["passwords"])
        right = {**props, "wanted": own | {"code": "0"}}
        check = PublishProvider().check
        assert not check({}, right).failures
        assert not check({}, right | {"instances": {"a": {"id": Unknown()}}}).failures
        assert not check({}, right | {"wanted": Unknown()}).failures
        (failure,) = check({}, right | {"passwords": {"vultr": "another"}}).failures
        assert "--target '**mesh-candidate'" in failure.reason

    def test_a_fleet_is_retired_when_it_ends(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        provider = PublishProvider()
        outs = provider.create(props).outs
        assert outs is not None
        provider.delete("generation", outs)
        assert [fleet.generation for _, fleet in network.retired] == [1]

    def test_a_newer_checkout_can_look_at_a_fleet_and_end_it(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        provider = PublishProvider()
        outs = (provider.create(props).outs or {}) | {"bundle": "of an older checkout"}
        assert provider.read("generation", outs).id == "generation"
        provider.delete("generation", outs)
        assert len(network.retired) == 1

    @pytest.mark.parametrize("key", ["plan", "fleet"])
    def test_what_another_version_published_is_published_again_and_can_be_ended(
        self,
        network: Publications,
        props: dict[str, Any],
        capsys: pytest.CaptureFixture[str],
        key: str,
    ) -> None:
        provider = PublishProvider()
        outs = (provider.create(props).outs or {}) | {key: '{"of": "another version"}'}
        seen = provider.read("generation", outs).outs
        assert seen is not None
        assert provider.diff("generation", seen, props).changes
        provider.delete("generation", outs)
        said = capsys.readouterr().out
        assert "warning" in said
        assert PASSWORD not in said
        assert not network.retired

    def test_sources_that_change_meanwhile_are_not_published(
        self, network: Publications, props: dict[str, Any]
    ) -> None:
        with pytest.raises(PublishError, match="pulumi up"):
            PublishProvider().create(props | {"bundle": "0" * 64})
        assert not network.orders


def test_a_provider_ends_with_its_engine() -> None:
    """Nothing that a killed run left behind signs a generation beside the next run's."""
    script = (
        "import sys, time\n"
        "from mesh.infra.dynamic.base import end_with_engine\n"
        "end_with_engine(sys.argv[1])\n"
        "time.sleep(60)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as engine:
        port = engine.getsockname()[1]
        provider = subprocess.Popen([sys.executable, "-c", script, f"127.0.0.1:{port}"])
        engine.settimeout(PATIENCE)
        engine.accept()[0].close()
        assert provider.poll() is None
    try:
        assert provider.wait(PATIENCE) == 1
    finally:
        provider.kill()


def test_the_provider_process_loads_nothing_heavy() -> None:
    """Every preview starts it: what it imports, every preview waits for."""
    script = (
        "import sys, mesh.infra.dynamic.lab, mesh.infra.dynamic.publish, "
        "mesh.infra.dynamic.candidate, "
        "mesh.infra.dynamic.operator, mesh.infra.dynamic.identity, "
        "mesh.infra.dynamic.vultr.address, mesh.infra.dynamic.vultr.bare_metal, "
        "mesh.infra.dynamic.vultr.firewall, mesh.infra.dynamic.vultr.instance, "
        "mesh.infra.dynamic.vultr.key, mesh.infra.dynamic.vultr.reverse; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    heavy = {"pydantic", "cryptography", "httpx", "jinja2", "mesh.plan", "mesh.lab", "mesh.publish"}
    heavy |= {"mesh.infra.providers"}
    assert not loaded & heavy
