"""Each kind of object through its life: what a refresh sees of it, what an update puts right."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pulumi.dynamic import ReadResult

from mesh.infra.dynamic.vultr.account import account, use
from mesh.infra.dynamic.vultr.address import AddressProvider
from mesh.infra.dynamic.vultr.bare_metal import BareMetalProvider
from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.dynamic.vultr.instance import InstanceProvider
from mesh.infra.dynamic.vultr.key import KeyProvider
from mesh.infra.dynamic.vultr.reverse import ReverseProvider
from mesh.infra.dynamic.vultr.servers import ServerProvider
from mesh.infra.dynamic.vultr.startup_script import StartupScriptProvider
from mesh.infra.providers.vultr.v2 import ApiError
from mesh.infra.providers.vultr.v2.server import INSTANCE
from tests.kit.program import UNKNOWN
from tests.kit.vultr_api import KEY, Fault, Knobs, Vultr, html, refused
from tests.kit.vultr_api.faults import LOCKED, PENDING, Answer
from tests.kit.wait import repeating
from tests.vultr import objects

Outs = dict[str, Any]
SERVERS: dict[str, tuple[Callable[[], tuple[str, Outs]], ServerProvider]] = {
    "instance": (objects.instance, InstanceProvider()),
    "bare metal": (objects.bare_metal, BareMetalProvider()),
}


@pytest.fixture
def server(vultr: Vultr) -> tuple[str, Outs]:
    return objects.instance()


def reverse(server: tuple[str, Outs], family: str) -> tuple[str, Outs]:
    identity, outs = server
    props = {"instance_id": identity, "ip": outs[family], "reverse": "lax.example.net"}
    done = ReverseProvider().create(props)
    assert done.outs is not None
    return done.id, done.outs


def next_run() -> None:
    """Another process of the engine's."""
    use("")
    use(KEY)


def look(provider: Any, identity: str, outs: Outs) -> ReadResult:
    """What a refresh of a later run finds."""
    names = ("ssh_keys", "startup_scripts", "addresses", "groups", "instances", "bare_metals")
    for name in names:
        getattr(account().listings, name).forget()
    found = provider.read(identity, outs)
    assert isinstance(found, ReadResult)
    return found


def seen(provider: Any, identity: str, outs: Outs) -> Outs:
    """What a refresh finds of an object that is there."""
    found = look(provider, identity, outs)
    assert (found.id, found.outs is not None) == (identity, True)
    return found.outs or {}


class TestServer:
    def test_stands_on_its_address_behind_its_group(self, vultr: Vultr) -> None:
        _, outs = objects.instance()
        (made,) = vultr.servers.values()
        assert outs["ipv4"] == made.main_ip == vultr.addresses[made.address].subnet
        assert outs["ipv6"] == made.v6_main_ip
        assert outs["created"] == made.created
        assert (made.label, made.hostname) == (objects.NODE, objects.NODE)
        assert made.tags == [
            "anycast-mesh", "prod", "anycast-mesh-ab12cd34", "anycast-mesh:lax-vultr-1:instance",
        ]  # fmt: skip
        assert made.cloud_config == objects.INSTANCE["user_data"]
        assert made.firewall_group in vultr.groups
        assert not made.activation_email

    @pytest.mark.parametrize("make", [objects.instance, objects.bare_metal])
    def test_of_passwords_and_consoles_nothing_is_kept(
        self, vultr: Vultr, make: Callable[[], tuple[str, Outs]]
    ) -> None:
        text = json.dumps(make()[1])
        assert "default-password" not in text
        assert "TOKEN-OF-" not in text
        assert "kvm" not in text

    @pytest.mark.parametrize(
        ("news", "changes", "replaces"),
        [
            ({}, False, []),
            ({"plan": "vc2-2c-4gb"}, True, []),
            ({"enable_ipv6": False}, True, []),
            ({"ddos_protection": True}, True, []),
            ({"firewall_group_id": UNKNOWN}, True, []),
            ({"identity": "00000000"}, True, []),
            ({"tags": ["anycast-mesh"]}, True, []),
            ({"user_data": "#cloud-config\n#\n"}, True, ["user_data"]),
            ({"hostname": "lax"}, True, ["hostname"]),
            ({"os_id": 477}, True, ["os_id"]),
            ({"ssh_key_ids": ["a"]}, True, ["ssh_key_ids"]),
            ({"script_id": "s"}, True, ["script_id"]),
            ({"region": "ord"}, True, ["region"]),
            ({"address_id": UNKNOWN}, True, ["address_id"]),
        ],
    )
    def test_is_replaced_by_what_it_was_born_with(
        self, news: Outs, changes: bool, replaces: list[str]
    ) -> None:
        olds = objects.INSTANCE | {
            "firewall_group_id": "g", "address_id": "a", "ssh_key_ids": [], "drift": [],
        }  # fmt: skip
        diff = InstanceProvider().diff("i", olds, olds | news)
        assert (diff.changes, diff.replaces) == (changes, replaces)
        assert diff.delete_before_replace

    def test_a_change_of_plan_is_waited_for(self, vultr: Vultr, server: tuple[str, Outs]) -> None:
        identity, outs = server
        news = {k: v for k, v in outs.items() if k in InstanceProvider.updates or k in (
            *InstanceProvider.replaces, "node")} | {"plan": "vc2-2c-4gb"}  # fmt: skip
        done = InstanceProvider().update(identity, outs, news).outs
        assert done is not None
        assert vultr.servers[identity].plan == done["plan"] == "vc2-2c-4gb"
        assert done["created"] == outs["created"]

    def test_a_smaller_plan_is_told_in_one_sentence(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        identity, outs = server
        vultr.servers[identity].plan = "vc2-2c-4gb"
        with pytest.raises(ApiError) as caught:
            InstanceProvider().update(identity, outs, outs)
        assert str(caught.value).startswith("mesh:nodes.lax-vultr-1 = vc2-1c-1gb in lax: Vultr ref")
        assert "or `mesh replace lax-vultr-1` makes a new server" in str(caught.value)

    @pytest.mark.parametrize(
        ("has", "wanted", "said"),
        [
            ("vc2-1c-1gb", "vc2-2c-4gb", None),
            ("vc2-2c-4gb", "vc2-1c-1gb", "it offers vhp-4c-8gb-amd"),
            ("vc2-2c-4gb", "vc2-no-such", "it offers vhp-4c-8gb-amd"),
            ("vhp-4c-8gb-amd", "vc2-2c-4gb", "its disk is larger"),
            ("vhp-4c-8gb-amd", "vc2-no-such", None),
        ],
    )
    def test_the_preview_refuses_a_plan_that_it_cannot_be_changed_to(
        self, vultr: Vultr, has: str, wanted: str, said: str | None
    ) -> None:
        vultr.plans.append(vultr.plans[1] | {"id": "vhp-4c-8gb-amd", "disk": 180})
        identity, outs = objects.instance(plan=has)
        if said is None:
            assert InstanceProvider().diff(identity, outs, outs | {"plan": wanted}).changes
            return
        with pytest.raises(ApiError) as caught:
            InstanceProvider().diff(identity, outs, outs | {"plan": wanted})
        told = str(caught.value)
        assert told.startswith(f"mesh:nodes.lax-vultr-1 = {wanted} in lax: Vultr does not change")
        assert said in told and "`mesh replace lax-vultr-1`" in told

    def test_the_preview_asks_only_for_a_new_plan_and_refuses_nothing_unheard(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        identity, outs = server
        smaller = outs | {"plan": "vc2-0"}
        vultr.forget_calls()
        InstanceProvider().diff(identity, outs, outs | {"enable_ipv6": False})
        InstanceProvider().diff(identity, outs, smaller | {"region": "ord"})
        assert not vultr.calls
        vultr.fail(Fault("GET", "/instances/.*/upgrades", refused("Not found.", 404)))
        assert InstanceProvider().diff(identity, outs, smaller).changes
        nothing = Answer(200, {"upgrades": {"plans": []}})
        vultr.fail(Fault("GET", "/instances/.*/upgrades", nothing))
        assert InstanceProvider().diff(identity, outs, smaller).changes

    def test_one_that_was_changed_in_the_console_already_is_not_refused(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        identity, outs = server
        vultr.servers[identity].plan = "vc2-2c-4gb"
        assert InstanceProvider().diff(identity, outs, outs | {"plan": "vc2-2c-4gb"}).changes

    def test_one_that_goes_lets_its_address_go_before_the_next_one_comes(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        identity, outs = server
        vultr.knobs = Knobs(detach=0.2)
        next_run()
        InstanceProvider().delete(identity, outs)
        second, _ = objects.instance(address_id=outs["address_id"])
        assert list(vultr.servers) == [second] != [identity]
        next_run()
        InstanceProvider().delete(second, outs)
        AddressProvider().delete(outs["address_id"], objects.ADDRESS)
        FirewallProvider().delete(outs["firewall_group_id"], dict(objects.FIREWALL))
        assert not any(vultr.holdings().values())

    @pytest.mark.parametrize("answer", [LOCKED, PENDING], ids=["locked", "pending"])
    @pytest.mark.parametrize("kind", ["instance", "bare metal"])
    def test_one_that_vultr_does_not_delete_yet_is_deleted_once_it_does(
        self, vultr: Vultr, kind: str, answer: Answer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make, provider = SERVERS[kind]
        identity, outs = make()
        next_run()
        vultr.fail(Fault("DELETE", f".*/{identity}", answer, times=6))
        provider.delete(identity, outs)
        assert identity not in vultr.servers
        assert "lax-vultr-1: Vultr answers: Unable to destroy server" in capsys.readouterr().out

    def test_one_that_stays_locked_is_told_with_its_node_and_what_to_do(
        self, vultr: Vultr, server: tuple[str, Outs], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identity, outs = server
        short = dataclasses.replace(INSTANCE, bound=0.3)
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.server.INSTANCE", short)
        next_run()
        vultr.fail(Fault("DELETE", "/instances/.*", LOCKED, times=1000))
        with pytest.raises(ApiError) as caught:
            InstanceProvider().delete(identity, outs)
        said = str(caught.value)
        assert said.startswith("mesh:nodes.lax-vultr-1 = vc2-1c-1gb in lax: it is not deleted aft")
        for part in (f"id {identity}", "currently locked", "`mesh undrain lax-vultr-1`"):
            assert part in said
        assert identity in vultr.servers

    def test_its_successor_waits_for_a_limit_that_still_counts_it(
        self, vultr: Vultr, server: tuple[str, Outs], capsys: pytest.CaptureFixture[str]
    ) -> None:
        vultr.quotas, vultr.knobs = {"monthly fee": 5}, Knobs(counted=math.inf)
        next_run()
        InstanceProvider().delete(*server)
        with repeating(partial(objects.counts_no_longer_once_it_refused, vultr), 0.01):
            second, _ = objects.instance(address_id=server[1]["address_id"])
        assert list(vultr.servers) == [second]
        said = capsys.readouterr().out
        assert "monthly fee limit" in said and "the server just deleted may still count" in said

    def test_a_limit_that_stays_is_told_in_the_end(
        self, vultr: Vultr, server: tuple[str, Outs], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.server.COUNTED", 1.5)
        vultr.quotas, vultr.knobs = {"monthly fee": 5}, Knobs(counted=math.inf)
        next_run()
        InstanceProvider().delete(*server)
        with pytest.raises(ApiError) as caught:
            objects.instance(address_id=server[1]["address_id"])
        said = str(caught.value)
        assert said.startswith("mesh:nodes.lax-vultr-1 = vc2-1c-1gb in lax: ")
        assert "monthly fee limit" in said and "raise the account's limit" in said
        assert not vultr.servers

    def test_any_other_failure_of_a_deletion_is_not_waited_for(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        next_run()
        vultr.fail(Fault("DELETE", "/instances/.*", times=1000))
        with pytest.raises(ApiError, match="Vultr's API fails"):
            InstanceProvider().delete(*server)

    def test_a_404_of_the_route_is_not_taken_for_a_server_that_is_gone(
        self, vultr: Vultr, server: tuple[str, Outs], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the endpoint of VPC 2.0 answers since July 2026; and this one would stay billed."""
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.server.FREED", 0.5)
        next_run()
        vultr.fail(Fault("DELETE", "/instances/.*", refused("Not found.", 404)))
        with pytest.raises(ApiError, match=r"not ready after .* \(deleted, and still active\)"):
            InstanceProvider().delete(*server)

    def test_an_address_at_somebody_elses_server_is_told_at_once(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        identity, outs = server
        vultr.servers[identity].tags, vultr.servers[identity].label = [], "somebody's"
        with pytest.raises(ApiError) as caught:
            objects.instance(address_id=outs["address_id"])
        assert "its address is attached to the server somebody's" in str(caught.value)
        assert len(vultr.servers) == 1


def _lose_address(vultr: Vultr, identity: str) -> None:
    vultr.detach(vultr.addresses[vultr.servers[identity].address], at_once=True)


DRIFT: dict[str, tuple[Callable[[Vultr, str], object], str]] = {
    "another label": (
        lambda v, i: setattr(v.servers[i], "label", "mine"), "its label is mine, not lax-vultr-1"
    ),
    "a tag is gone": (lambda v, i: v.servers[i].tags.pop(), "its tags are anycast-mesh, prod, "),
    "a tag more": (lambda v, i: v.servers[i].tags.append("mine"), "its tags are anycast-mesh"),
    "another plan": (
        lambda v, i: setattr(v.servers[i], "plan", "vhp-1c-2gb-amd"),
        "its plan is vhp-1c-2gb-amd, not vc2-2c-4gb",
    ),
    "IPv6 switched off": (
        lambda v, i: setattr(v.servers[i], "enable_ipv6", False), "its IPv6 is off"
    ),
    "DDoS protection switched on": (
        lambda v, i: setattr(v.servers[i], "ddos_protection", True), "its DDoS protection is on"
    ),
    "powered off": (lambda v, i: setattr(v.servers[i], "running", False), "it is powered off"),
    "taken out of its group": (
        lambda v, i: setattr(v.servers[i], "firewall_group", ""),
        "it is not behind its firewall group",
    ),
    "address detached": (_lose_address, " is not attached to it"),
}  # fmt: skip


class TestDrift:
    @pytest.mark.parametrize("case", DRIFT)
    def test_of_a_server_is_seen_told_and_repaired(
        self, vultr: Vultr, case: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        identity, outs = objects.instance(plan="vc2-2c-4gb")
        happen, words = DRIFT[case]
        happen(vultr, identity)
        found = seen(InstanceProvider(), identity, outs)
        assert [words in told for told in found["drift"]] == [True], found["drift"]
        assert InstanceProvider().diff(identity, found, outs).changes
        assert (
            f"lax-vultr-1: {found['drift'][0]}; `pulumi up` repairs it" in capsys.readouterr().out
        )
        InstanceProvider().update(identity, found, outs)
        assert seen(InstanceProvider(), identity, outs) == outs

    def test_of_an_image_is_told_and_left(
        self, vultr: Vultr, server: tuple[str, Outs], capsys: pytest.CaptureFixture[str]
    ) -> None:
        identity, outs = server
        vultr.servers[identity].os_id = 477
        found = seen(InstanceProvider(), identity, outs)
        assert not InstanceProvider().diff(identity, found, outs).changes
        said = capsys.readouterr().out
        assert "warning: lax-vultr-1: it was reinstalled with another image (477, not 2625)" in said
        assert "`mesh replace lax-vultr-1`" in said

    @pytest.mark.parametrize(
        ("make", "provider"),
        [
            (objects.address, AddressProvider()),
            (objects.key, KeyProvider()),
            (objects.script, StartupScriptProvider()),
            (objects.instance, InstanceProvider()),
            (objects.bare_metal, BareMetalProvider()),
        ],
        ids=["address", "SSH key", "startup script", "instance", "bare metal"],
    )
    def test_what_is_gone_is_gone(
        self, vultr: Vultr, make: Callable[[], tuple[str, Outs]], provider: Any
    ) -> None:
        identity, outs = make()
        assert seen(provider, identity, outs) == outs
        vultr.lose(identity)
        assert look(provider, identity, outs).id == ""
        next_run()
        provider.delete(identity, outs)

    @pytest.mark.parametrize("gone", ["new", "old"])
    def test_an_update_of_what_is_gone_says_what_to_do(
        self, vultr: Vultr, server: tuple[str, Outs], gone: str
    ) -> None:
        vultr.knobs = Knobs(gone=gone)
        identity, outs = server
        vultr.lose(identity)
        with pytest.raises(ApiError, match="run `pulumi refresh`"):
            InstanceProvider().update(identity, outs, outs)

    @pytest.mark.parametrize(
        ("make", "provider"),
        [
            (objects.address, AddressProvider()),
            (objects.key, KeyProvider()),
            (objects.script, StartupScriptProvider()),
            (objects.firewall, FirewallProvider()),
            (objects.bare_metal, BareMetalProvider()),
        ],
        ids=["address", "SSH key", "startup script", "firewall group", "bare metal"],
    )
    def test_whatever_it_is(
        self, vultr: Vultr, make: Callable[[], tuple[str, Outs]], provider: Any
    ) -> None:
        identity, outs = make()
        vultr.lose(identity)
        with pytest.raises(ApiError, match="run `pulumi refresh`") as caught:
            provider.update(identity, outs, outs)
        assert str(caught.value).startswith("mesh:")

    def test_of_an_address_and_a_key(self, vultr: Vultr) -> None:
        for make, provider, holding, field in (
            (objects.address, AddressProvider(), vultr.addresses, "label"),
            (objects.key, KeyProvider(), vultr.keys, "name"),
        ):
            identity, outs = make()
            setattr(holding[identity], field, "mine")
            found = seen(provider, identity, outs)
            assert found["drift"][0].startswith(f"its {field} is mine, not ")
            assert provider.diff(identity, found, outs).changes
            provider.update(identity, found, outs)
            assert seen(provider, identity, outs) == outs

    def test_of_a_bare_metal_server(self, vultr: Vultr) -> None:
        identity, outs = objects.bare_metal()
        vultr.servers[identity].label = "mine"
        found = seen(BareMetalProvider(), identity, outs)
        BareMetalProvider().update(identity, found, outs)
        assert seen(BareMetalProvider(), identity, outs) == outs

    def test_an_api_that_is_away_says_nothing_of_anything_gone(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        vultr.fail(Fault("GET", ".*", html(503), times=99))
        account().listings.instances.forget()
        with pytest.raises(ApiError, match="API fails"):
            InstanceProvider().read(*server)

    def test_nor_does_a_list_that_is_not_there(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        """As the one of VPC 2.0: 404, and every server would count as gone."""
        vultr.fail(Fault("GET", "/instances", refused("Not found.", 404), times=9))
        account().listings.instances.forget()
        with pytest.raises(ApiError, match="Vultr answers: Not found"):
            InstanceProvider().read(*server)

    def test_of_one_that_is_suspended_is_told_at_once(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        (made,) = vultr.servers.values()
        answer = Answer(200, {"instance": vultr.shown(made) | {"status": "suspended"}})
        vultr.fail(Fault("GET", f"/instances/{made.id}", answer, times=99))
        with pytest.raises(ApiError, match=r"Vultr has suspended it .* billing"):
            InstanceProvider().update(*server, server[1])

    def test_what_was_adopted_gets_its_mark_by_the_first_update(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        identity, outs = server
        vultr.servers[identity].tags = ["anycast-mesh", "prod"]
        adopted = {k: v for k, v in outs.items() if k not in ("identity", "drift", "unrepaired")}
        found = seen(InstanceProvider(), identity, adopted)
        assert found["drift"] == []
        diff = InstanceProvider().diff(identity, found, outs)
        assert (diff.changes, diff.replaces) == (True, [])
        InstanceProvider().update(identity, found, outs)
        assert "anycast-mesh-ab12cd34" in vultr.servers[identity].tags


class TestUnknownWords:
    """A word that the API may have tomorrow is waited for to pass, or passed over."""

    def shown(self, vultr: Vultr, **fields: str) -> Fault:
        (made,) = vultr.servers.values()
        answer = Answer(200, {"instance": vultr.shown(made) | fields})
        return Fault("GET", f"/instances/{made.id}", answer, times=99)

    def test_of_a_state(
        self, vultr: Vultr, server: tuple[str, Outs], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        short = dataclasses.replace(INSTANCE, bound=0.4)
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.server.INSTANCE", short)
        vultr.fail(self.shown(vultr, status="migrating"))
        with pytest.raises(ApiError) as caught:
            InstanceProvider().update(*server, server[1])
        said = str(caught.value)
        assert said.startswith("mesh:nodes.lax-vultr-1 = vc2-1c-1gb in lax: it is not ready after")
        assert "(migrating)" in said
        assert "`mesh strays --stack STACK --remove`" in said

    def test_of_power(self, vultr: Vultr, server: tuple[str, Outs]) -> None:
        vultr.fail(self.shown(vultr, power_status="eco", server_status="warm", colour="blue"))
        assert InstanceProvider().update(*server, server[1]).outs == server[1]


class TestStartupScript:
    """One for all servers, which refer to it once."""

    @pytest.fixture
    def script(self, vultr: Vultr) -> tuple[str, Outs]:
        return objects.script()

    def test_is_named_by_its_mark_and_run_at_the_first_boot(
        self, vultr: Vultr, script: tuple[str, Outs]
    ) -> None:
        stored = vultr.scripts[script[0]]
        assert (stored.name, stored.type) == (
            "network startup-script anycast-mesh-ab12cd34",
            "boot",
        )
        assert stored.text == objects.SCRIPT["script"]

    @pytest.mark.parametrize("make", [objects.instance, objects.bare_metal])
    def test_is_named_when_a_server_is_made(
        self, vultr: Vultr, script: tuple[str, Outs], make: Callable[..., tuple[str, Outs]]
    ) -> None:
        identity, _ = make(script_id=script[0])
        assert vultr.servers[identity].script == script[0]

    @pytest.mark.parametrize("make", [objects.instance, objects.bare_metal])
    def test_of_a_server_without_one_is_not_spoken_of(
        self, vultr: Vultr, make: Callable[[], tuple[str, Outs]]
    ) -> None:
        make()
        assert not [call for call in vultr.calls if "script_id" in call.body]

    def test_is_changed_in_place(self, vultr: Vultr, script: tuple[str, Outs]) -> None:
        identity, outs = script
        news = outs | {"script": "#!/bin/sh\n# another\n"}
        diff = StartupScriptProvider().diff(identity, outs, news)
        assert (diff.changes, diff.replaces) == (True, [])
        StartupScriptProvider().update(identity, outs, news)
        assert vultr.scripts[identity].text == news["script"]
        assert seen(StartupScriptProvider(), identity, news) == news

    def test_of_an_earlier_run_gets_the_text_of_this_one(
        self, vultr: Vultr, script: tuple[str, Outs]
    ) -> None:
        identity, outs = objects.script(script="#!/bin/sh\n# another\n")
        assert list(vultr.scripts) == [identity] == [script[0]]
        assert vultr.scripts[identity].text == outs["script"]

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("name", "mine", "its name is mine, not network startup-script anycast-mesh-ab12cd34"),
            ("script", "ZWNobwo=", "its text is another one"),
            ("script", "/w==", "its text is another one"),
        ],
        ids=["name", "text", "no text"],
    )
    def test_that_was_changed_by_hand_is_told_and_repaired(
        self, vultr: Vultr, script: tuple[str, Outs], field: str, value: str, words: str
    ) -> None:
        identity, outs = script
        setattr(vultr.scripts[identity], field, value)
        found = seen(StartupScriptProvider(), identity, outs)
        assert found["drift"] == [words]
        assert StartupScriptProvider().diff(identity, found, outs).changes
        StartupScriptProvider().update(identity, found, outs)
        assert seen(StartupScriptProvider(), identity, outs) == outs

    def test_that_somebody_deleted_stops_no_server(
        self, vultr: Vultr, script: tuple[str, Outs]
    ) -> None:
        identity, outs = objects.instance(script_id=script[0])
        vultr.lose(script[0])
        assert InstanceProvider().update(identity, outs, outs).outs == outs


class TestReverse:
    @pytest.mark.parametrize("expanded", [True, False])
    @pytest.mark.parametrize("family", ["ipv4", "ipv6"])
    def test_is_set_seen_and_taken_off(
        self, vultr: Vultr, server: tuple[str, Outs], family: str, expanded: bool
    ) -> None:
        vultr.knobs = Knobs(expanded=expanded)
        identity, outs = reverse(server, family)
        assert seen(ReverseProvider(), identity, outs) == outs
        one = vultr.servers[server[0]]
        names = [one.reverse4] if family == "ipv4" else list(one.reverse6.values())
        assert names == ["lax.example.net"]
        ReverseProvider().delete(identity, outs)
        assert not one.reverse4
        assert not one.reverse6

    @pytest.mark.parametrize("family", ["ipv4", "ipv6"])
    def test_goes_with_its_server(
        self, vultr: Vultr, server: tuple[str, Outs], family: str
    ) -> None:
        identity, outs = reverse(server, family)
        vultr.lose(server[0])
        assert ReverseProvider().read(identity, outs).id == ""
        ReverseProvider().delete(identity, outs)

    def test_another_one_is_repaired(self, vultr: Vultr, server: tuple[str, Outs]) -> None:
        identity, outs = reverse(server, "ipv4")
        vultr.servers[server[0]].reverse4 = "vultrusercontent.com"
        found = seen(ReverseProvider(), identity, outs)
        assert found["drift"] == ["its name is vultrusercontent.com, not lax.example.net"]
        ReverseProvider().update(identity, found, outs)
        assert seen(ReverseProvider(), identity, outs) == outs

    def test_is_set_once_though_its_answer_is_lost(
        self, vultr: Vultr, server: tuple[str, Outs]
    ) -> None:
        vultr.fail(Fault("POST", ".*/ipv6/reverse", when="reset"))
        reverse(server, "ipv6")
        assert [c.what for c in vultr.calls if "reverse" in c.what].count(
            f"POST /instances/{server[0]}/ipv6/reverse"
        ) == 1


REFUSALS: dict[str, tuple[Callable[[Vultr], object], Callable[[], object], tuple[str, ...]]] = {
    "a quota of addresses": (
        lambda v: v.quotas.update(addresses=0), objects.address,
        ("mesh:nodes.lax-vultr-1 = a reserved address in lax", "Reserved IP limit reached",
         "raise the account's limit"),
    ),
    "a quota of servers": (
        lambda v: v.quotas.update(instances=0), objects.instance,
        ("mesh:nodes.lax-vultr-1 = vc2-1c-1gb in lax", "Instance limit reached",
         "raise the account's limit"),
    ),
    "sold out": (
        lambda v: v.sold_out.add(("lax", "vc2-1c-1gb")), objects.instance,
        ("mesh:nodes.lax-vultr-1 = vc2-1c-1gb in lax", "not available in the selected datacenter",
         "another plan or region"),
    ),
    "a plan that the region lacks": (
        lambda v: v.plans[0].update(locations=["ord"]), objects.instance,
        ("vc2-1c-1gb in lax", "not available in the selected datacenter"),
    ),
    "an image that has vanished": (
        lambda v: v.images.clear(), objects.instance,
        ("Invalid os_id", "an image that Vultr has in mesh:providers.vultr.image"),
    ),
    "an account at its monthly fee": (
        lambda v: v.quotas.update({"monthly fee": 4}), objects.instance,
        ("mesh:nodes.lax-vultr-1 = vc2-1c-1gb in lax", "maximum monthly fee limit",
         "raise the account's limit"),
    ),
    "an SSH key that is none": (
        lambda v: None, lambda: objects.key(ssh_key="ssh-dss"),
        ("mesh:admin.keys = ssh-dss", "Invalid SSH key format"),
    ),
    "a key from another address": (
        lambda v: setattr(v, "knobs", Knobs(sources=("192.0.2.1",))), objects.address,
        ("vultr:apiKey = [secret]", "from this machine's address 127.0.0.1"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_vultr_refuses_is_one_sentence_and_makes_nothing(vultr: Vultr, case: str) -> None:
    happen, make, words = REFUSALS[case]
    happen(vultr)
    with pytest.raises(ApiError) as caught:
        make()
    said = str(caught.value)
    assert not [word for word in words if word not in said], said
    assert not vultr.servers
    assert sum(call.method == "POST" and call.status >= 400 for call in vultr.calls) <= 1


def test_a_hundred_objects_are_looked_at_by_one_list(vultr: Vultr) -> None:
    made = [objects.address(node=f"n{number}") for number in range(20)]
    vultr.forget_calls()
    for identity, outs in made:
        assert AddressProvider().read(identity, outs).outs == outs
    assert [call.what for call in vultr.calls] == ["GET /reserved-ips"]
