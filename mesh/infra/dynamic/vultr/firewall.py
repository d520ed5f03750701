"""A firewall group with its rules as one set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, gone, progress
from mesh.infra.dynamic.vultr.account import VultrProvider, about, account, delete, taken
from mesh.infra.dynamic.vultr.drift import NONE, difference, otherwise

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mesh.infra.providers.vultr.v2 import Mark, answers
    from mesh.infra.providers.vultr.v2.rules import Match

WHAT = "firewall group"


class FirewallProvider(VultrProvider):
    """Firewall groups."""

    def create(self, props: Properties) -> CreateResult:
        """Make the group and its rules, or complete what an earlier run has made of them."""
        from mesh.infra.providers.vultr.v2 import answers
        from mesh.infra.providers.vultr.v2.making import made

        vultr, mark = account(), _mark(props)

        def find() -> answers.Group | None:
            listed = vultr.listings.groups(fresh=True)
            own = [each for each in listed if mark.is_in(each.description)]
            return min(own, key=lambda each: each.id, default=None)

        def post() -> answers.Group:
            body = {"description": mark.text()}
            return vultr.client.post("/firewalls", body, "firewall_group", answers.Group)

        with _about(props):
            found = made(find, post, WHAT, progress).object
            _settle(found, props)
        vultr.listings.groups.forget()
        return CreateResult(taken(found.id), {**props, **NONE})

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        """Write the mark, and repair the rules."""
        from mesh.infra.providers.vultr.v2 import answers

        vultr, path = account(), f"/firewalls/{id_}"
        with _about(news):
            found = vultr.client.get(path, "firewall_group", answers.Group)
            if not _mark(news).is_in(found.description):
                vultr.client.send("PUT", path, {"description": _mark(news).text()})
            _settle(found, news)
        vultr.listings.groups.forget()
        return UpdateResult({**news, **NONE})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """The group stays, whatever its rules become."""
        return difference(WHAT, olds, news, ("identity", "rules"))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether it is still there, with these rules and no others."""
        from mesh.infra.providers.vultr.v2 import ApiError, answers
        from mesh.infra.providers.vultr.v2.rules import differences, of_answer

        vultr = account()
        with _about(props):
            found = vultr.found(
                vultr.listings.groups, id_, "/firewalls", "firewall_group", answers.Group
            )
            if found is None:
                return gone()
            try:
                rules = vultr.client.rules(id_)
            except ApiError as error:
                if error.kind == "gone":
                    return gone()
                raise
        wanted = _mark(props).text() if props.get("identity") else found.description
        drift = otherwise("description", found.description, wanted)
        drift += differences(map(of_answer, rules), _wanted(props))
        return ReadResult(id_, {**props, **NONE, "drift": drift})

    def delete(self, id_: str, props: Properties) -> None:
        """Delete it, once no server uses it any more."""
        with _about(props):
            delete(f"/firewalls/{id_}", WHAT, account().listings.groups)


def _settle(group: answers.Group, props: Properties) -> None:
    from mesh.infra.providers.vultr.v2 import rules

    most = group.max_rule_count or rules.MOST
    rules.settle(account().client, group.id, _wanted(props), most, progress)


def _wanted(props: Properties) -> dict[Match, str]:
    """The rules with their names. Two openings may give the same rule."""
    from mesh.infra.providers.vultr.v2.rules import match

    found: dict[Match, str] = {}
    for each in props["rules"]:
        size, family = int(each["size"]), int(each["family"])
        rule = match(family, each["protocol"], each["subnet"], size, each["port"])
        found.setdefault(rule, each["notes"])
    return found


def _mark(props: Properties) -> Mark:
    from mesh.infra.providers.vultr.v2 import Mark
    from mesh.infra.providers.vultr.v2.mark import NETWORK

    return Mark(props["identity"], NETWORK, "firewall")


def _about(props: Properties) -> AbstractContextManager[None]:
    return about("mesh:providers.vultr", f"a firewall group of {len(props['rules'])} rules")


@dataclass(frozen=True)
class RuleArgs:
    """A rule that lets packets in. ``family`` is 4 or 6, ``port`` empty for ICMP, else ``22`` or
    ``51820:51840``; ``notes`` is its name."""

    notes: str
    family: int
    protocol: str
    subnet: Input[str]
    size: int
    port: str


class Firewall(Resource, module="vultr", name="Firewall"):
    """A group of these rules and no others. ``id`` is Vultr's id of the group."""

    def __init__(
        self,
        name: str,
        identity: Input[str],
        rules: Sequence[RuleArgs],
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            "identity": identity,
            # Sorted by name: their order has no meaning.
            "rules": [dict(vars(rule)) for rule in sorted(rules, key=lambda one: one.notes)],
            "drift": None,
            "unrepaired": None,
        }
        super().__init__(FirewallProvider(), name, props, opts)
