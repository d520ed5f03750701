"""Nothing is lost at the API, and nothing is made twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mesh.infra.dynamic.vultr import account
from mesh.infra.dynamic.vultr.address import AddressProvider
from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.dynamic.vultr.key import KeyProvider
from mesh.infra.dynamic.vultr.startup_script import StartupScriptProvider
from mesh.infra.providers.vultr.v2 import ApiError, Mark
from mesh.infra.providers.vultr.v2.server import left_behind
from tests.kit.vultr_api import KEY, Fault, Knobs, Vultr, html, limited, refused
from tests.kit.vultr_api.faults import Answer
from tests.kit.wait import repeating
from tests.vultr import objects

KINDS: dict[str, tuple[Callable[..., tuple[str, Any]], str, str]] = {
    "address": (objects.address, "/reserved-ips", "addresses"),
    "SSH key": (objects.key, "/ssh-keys", "keys"),
    "startup script": (objects.script, "/startup-scripts", "scripts"),
    "firewall group": (objects.firewall, "/firewalls", "groups"),
    "rule": (objects.firewall, "/firewalls/[^/]*/rules", "rules"),
    "instance": (objects.instance, "/instances", "servers"),
    "bare metal": (objects.bare_metal, "/bare-metals", "servers"),
}
COUNTS = {"rules": 2}
LOST: dict[str, list[Fault]] = {
    "500 after it was done": [Fault("POST", "", when="after")],
    "500 before it was done": [Fault("POST", "")],
    "a web page": [Fault("POST", "", html(502), when="after")],
    "429 after it was done": [Fault("POST", "", limited(0.1), when="after")],
    "429 before it was done": [Fault("POST", "", limited(0.1), times=3)],
    "429 without a time": [Fault("POST", "", limited(None), when="after")],
    "a connection that ends in the answer": [Fault("POST", "", when="cut")],
    "a connection that ends before the answer": [Fault("POST", "", when="reset")],
    "an answer without its object": [Fault("POST", "", Answer(201, {}), when="after")],
    "twice": [Fault("POST", ""), Fault("POST", "", when="reset")],
}


def forget_this_run() -> None:
    """The next one is another process."""
    account.use("")
    account.use(KEY)


def held_by(vultr: Vultr) -> set[str]:
    """The ids of what is no server."""
    return {*vultr.addresses, *vultr.keys, *vultr.groups, *vultr.scripts}


def prepared(vultr: Vultr, path: str, lost: str) -> None:
    vultr.fail(*(Fault(f.method, path, f.answer, f.times, f.when) for f in LOST[lost]))


def comes_up_when_seen(vultr: Vultr) -> None:
    """A server is active once it was seen pending, and has IPv6 once it was seen active."""
    looks = [call for call in list(vultr.calls) if call.what.startswith("GET /instances/")]
    if vultr.knobs.boot and looks:
        vultr.knobs.boot = 0.0
        vultr.forget_calls()
    elif not vultr.knobs.boot and len(looks) > 1:  # the first may have seen what was before
        vultr.knobs.ipv6 = 0.0


class TestLostAnswers:
    @pytest.mark.parametrize("lost", LOST)
    @pytest.mark.parametrize("kind", ["address", "instance"])
    def test_an_object_is_made_once(self, vultr: Vultr, kind: str, lost: str) -> None:
        make, path, holding = KINDS[kind]
        prepared(vultr, path, lost)
        identity, _ = make()
        assert vultr.holdings()[holding] == 1
        assert identity in {**vultr.addresses, **vultr.servers}
        assert not vultr.broken

    @pytest.mark.parametrize(
        "kind", ["SSH key", "startup script", "firewall group", "rule", "bare metal"]
    )
    def test_of_any_kind(self, vultr: Vultr, kind: str) -> None:
        make, path, holding = KINDS[kind]
        prepared(vultr, path, "500 after it was done")
        make()
        assert vultr.holdings()[holding] == COUNTS.get(holding, 1)

    def test_an_api_that_stays_away_is_told_and_the_next_run_goes_on(self, vultr: Vultr) -> None:
        prepared(vultr, "/reserved-ips", "500 after it was done")
        vultr.fail(Fault("GET", "/reserved-ips", html(503), times=20))
        with pytest.raises(ApiError) as caught:
            objects.address()
        assert str(caught.value).startswith(
            "mesh:nodes.lax-vultr-1 = a reserved address in lax: Vultr's API fails"
        )
        vultr.faults.clear()
        objects.address()
        assert vultr.holdings()["addresses"] == 1

    def test_a_second_post_that_is_refused_for_the_first_ones_sake_is_found(
        self, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The list lags behind: the look says that nothing was made, and the address is taken."""
        empty = Answer(200, {"instances": [], "meta": {"total": 0, "links": {"next": ""}}})
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.server.until_free", lambda *_: None)
        prepared(vultr, "/instances", "a connection that ends before the answer")
        vultr.fail(Fault("GET", "/instances", empty, times=2))
        objects.instance()
        assert vultr.holdings()["servers"] == 1


class TestLeftBehind:
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_an_earlier_run_has_made_is_taken_on(
        self, vultr: Vultr, kind: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make = KINDS[kind][0]
        first, _ = make()
        vultr.forget_calls()
        assert make()[0] == first
        assert vultr.changes() == []
        assert "an earlier run has left it behind; it is adopted" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("make", "provider"),
        [
            (objects.address, AddressProvider()),
            (objects.key, KeyProvider()),
            (objects.script, StartupScriptProvider()),
            (objects.firewall, FirewallProvider()),
        ],
        ids=["address", "SSH key", "startup script", "firewall group"],
    )
    def test_one_that_is_to_replace_itself_stays(
        self, vultr: Vultr, make: Callable[[], tuple[str, Any]], provider: Any
    ) -> None:
        """`pulumi up --replace`: the new one is made, and then the old one deleted."""
        old, outs = make()
        assert make()[0] == old
        provider.delete(old, outs)
        assert old in held_by(vultr)
        forget_this_run()
        provider.delete(old, outs)
        assert old not in held_by(vultr)

    def test_an_unfinished_set_of_rules_is_completed(self, vultr: Vultr) -> None:
        vultr.fail(Fault("POST", ".*/rules", refused("no", 400)))
        with pytest.raises(ApiError, match=r"mesh:providers\.vultr = a firewall group of 2 rules"):
            objects.firewall()
        first = next(iter(vultr.groups))
        assert objects.firewall()[0] == first
        assert vultr.holdings()["rules"] == 2

    @pytest.mark.parametrize("kind", KINDS)
    def test_two_stacks_of_one_name_do_not_take_each_others_objects(
        self, vultr: Vultr, kind: str
    ) -> None:
        make, _, holding = KINDS[kind]
        one, other = make(), make(identity="00000000")
        assert one[0] != other[0]
        assert vultr.holdings()[holding] == 2 * COUNTS.get(holding, 1)

    @pytest.mark.parametrize(
        "label",
        [
            "lax-vultr-1",
            "lax-vultr-1 address",
            "lax-vultr-1 address anycast-mesh-AB12CD34",
            "lax-vultr-1 address anycast-mesh-ab12cd34 (mine)",
            "ord-vultr-1 address anycast-mesh-ab12cd34",
        ],
    )
    def test_what_bears_only_the_name_is_somebody_elses(self, vultr: Vultr, label: str) -> None:
        objects.address()
        (theirs,) = vultr.addresses.values()
        theirs.label = label
        assert objects.address()[0] != theirs.id
        assert theirs.label == label

    def test_an_address_in_another_region_is_not_what_is_wanted(self, vultr: Vultr) -> None:
        first, _ = objects.address()
        second, _ = objects.address(region="ord")
        assert first != second
        assert vultr.addresses[second].region == "ord"

    @pytest.mark.parametrize(
        ("changes", "word"),
        [({"user_data": "#cloud-config of another run\n"}, "user data"), ({"os_id": 477}, "image")],
    )
    def test_a_server_that_was_born_otherwise_is_not_taken_on_nor_touched(
        self, vultr: Vultr, changes: dict[str, Any], word: str
    ) -> None:
        left, _ = objects.instance(**changes)
        vultr.forget_calls()
        with pytest.raises(ApiError) as caught:
            objects.instance()
        said = str(caught.value)
        assert f"another {word} (id {left})" in said
        assert "`mesh strays --stack STACK --remove`" in said
        assert "DELETE /instances/" + left not in vultr.changes()
        assert "cloud-config" not in said

    def test_one_of_another_plan_is_brought_to_it(self, vultr: Vultr) -> None:
        left, _ = objects.instance()
        same, outs = objects.instance(plan="vc2-2c-4gb")
        assert (same, outs["plan"]) == (left, "vc2-2c-4gb")
        assert vultr.servers[left].plan == "vc2-2c-4gb"

    def test_one_that_still_boots_is_waited_for(
        self, vultr: Vultr, capsys: pytest.CaptureFixture[str]
    ) -> None:
        vultr.knobs = Knobs(boot=math.inf, ipv6=math.inf)
        with repeating(partial(comes_up_when_seen, vultr), 0.01):
            _, outs = objects.instance()
        assert outs["ipv6"]
        said = capsys.readouterr().out
        assert "lax-vultr-1: pending" in said
        assert "lax-vultr-1: active, without an IPv6 address" in said


class TestMark:
    MARK = Mark("ab12cd34", "lax-vultr-1", "address")

    def test_is_read_as_it_was_written(self) -> None:
        assert Mark.read(self.MARK.text()) == self.MARK
        assert Mark.read_tags(["x", *reversed(self.MARK.tags())]) == self.MARK

    @pytest.mark.parametrize("text", ["", "anycast-mesh prod", "a b c anycast-mesh-ab12cd34"])
    def test_is_nobody_elses_label(self, text: str) -> None:
        assert Mark.read(text) is None

    def test_among_tags_is_one_or_none(self) -> None:
        other = Mark("00000000", "ord-vultr-1", "address")
        assert Mark.read_tags([*self.MARK.tags(), *other.tags()]) is None
        assert Mark.read_tags([*self.MARK.tags(), other.tags()[0]]) is None
        assert Mark.read_tags(self.MARK.tags()[:1]) is None

    def test_finds_the_oldest_of_two(self, vultr: Vultr) -> None:
        assert left_behind([], self.MARK) is None
