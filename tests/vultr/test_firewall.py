"""A group's rules are one set: what stays open is never closed for a moment."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.providers.vultr.v2.rules import Match, match
from tests.kit.vultr_api import Knobs, Vultr
from tests.kit.vultr_api.account import MAX_RULES
from tests.kit.vultr_api.objects import Rule
from tests.vultr.objects import FIREWALL, firewall, rule

SSH, SSH6 = FIREWALL["rules"]


def updated(identity: str, olds: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    FirewallProvider().update(identity, olds, FIREWALL | {"rules": rules})


def subnets(vultr: Vultr) -> set[str]:
    return {f"{each.subnet}/{each.size}" for each in vultr.rules}


class TestRules:
    def test_are_made_as_they_are_named(self, vultr: Vultr) -> None:
        firewall()
        assert {each.notes for each in vultr.rules} == {"a", "b"}
        assert subnets(vultr) == {"192.0.2.7/32", "2001:db8::/48"}

    def test_a_changed_one_is_one_post_and_one_delete_in_this_order(self, vultr: Vultr) -> None:
        identity, outs = firewall()
        vultr.forget_calls()
        updated(identity, outs, [rule("a", "192.0.2.8"), SSH6])
        assert [call.split()[0] for call in vultr.changes()] == ["POST", "DELETE"]
        assert subnets(vultr) == {"192.0.2.8/32", "2001:db8::/48"}

    def test_another_name_or_order_changes_none(self, vultr: Vultr) -> None:
        identity, outs = firewall()
        vultr.forget_calls()
        updated(identity, outs, [SSH6, SSH | {"notes": "another"}])
        assert not vultr.changes()

    def test_two_openings_that_come_to_the_same_are_one(self, vultr: Vultr) -> None:
        firewall(rules=[SSH, SSH | {"notes": "again"}])
        assert len(vultr.rules) == 1

    def test_a_full_group_takes_another_rule_for_one_that_goes(self, vultr: Vultr) -> None:
        full = [rule(f"r{n}", f"198.51.100.{n}") for n in range(MAX_RULES)]
        identity, outs = firewall(rules=full)
        vultr.forget_calls()
        updated(identity, outs, [*full[1:], SSH])
        assert [call.split()[0] for call in vultr.changes()] == ["DELETE", "POST"]
        assert len(vultr.rules) == MAX_RULES
        assert "192.0.2.7/32" in subnets(vultr)

    @pytest.mark.parametrize("filled", [True, False])
    def test_a_source_that_repeats_the_subnet_is_nothing(self, vultr: Vultr, filled: bool) -> None:
        """Reported since 2026; the plugin replaced every rule for it."""
        vultr.knobs = Knobs(filled=filled, page=1)
        identity, outs = firewall()
        assert FirewallProvider().read(identity, outs).outs == outs

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("tcp", "2001:db8:0:0::", 48, "22"), ("TCP", "2001:0db8::", 48, "22:22")),
            (("udp", "192.0.2.7", 24, "1:9"), ("udp", "192.0.2.0", 24, "1-9")),
        ],
    )
    def test_spellings_are_one_rule(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
        family = 6 if ":" in one[1] else 4
        assert match(family, *one) == match(family, *other)


class TestDrift:
    def test_in_the_console_is_seen_and_repaired(self, vultr: Vultr) -> None:
        identity, outs = firewall()
        (group,) = vultr.groups.values()
        group.description = "mine"
        del group.rules[1]
        group.rules[7] = Rule(7, "v4", "tcp", "23", "0.0.0.0", 0, "", "telnet")
        group.rules[8] = Rule(8, "v4", "tcp", "80", "0.0.0.0", 0, "cloudflare", "")
        seen = FirewallProvider().read(identity, outs).outs
        assert seen is not None
        assert seen["drift"] == [
            "its description is mine, not network firewall anycast-mesh-ab12cd34",
            "the rule tcp port 22 from 192.0.2.7/32 is gone",
            "the rule tcp port 23 from 0.0.0.0/0 was added",
            "the rule tcp port 80 from cloudflare was added",
        ]
        assert FirewallProvider().diff(identity, seen, FIREWALL).changes
        FirewallProvider().update(identity, seen, FIREWALL)
        assert FirewallProvider().read(identity, outs).outs == outs
        assert subnets(vultr) == {"192.0.2.7/32", "2001:db8::/48"}

    def test_a_deleted_group_is_gone(self, vultr: Vultr) -> None:
        identity, outs = firewall()
        vultr.lose(identity)
        assert FirewallProvider().read(identity, outs).id == ""

    def test_one_that_goes_while_it_is_looked_at_is_gone(
        self, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mesh.infra.dynamic.vultr.account import account

        identity, outs = firewall()
        account().listings.groups()
        vultr.lose(identity)
        assert FirewallProvider().read(identity, outs).id == ""


def test_what_vultr_makes_of_a_source_is_never_wanted() -> None:
    assert Match(4, "tcp", "0.0.0.0/0", "80", "cloudflare") != match(4, "tcp", "0.0.0.0", 0, "80")
