"""What instances and bare metal servers share as resources."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pulumi import Input, Output
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, UpdateResult

from mesh.infra.dynamic.base import Properties, gone, progress
from mesh.infra.dynamic.vultr.account import (
    Account,
    VultrProvider,
    about,
    account,
    is_taken,
    taken,
)
from mesh.infra.dynamic.vultr.drift import NONE, difference

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mesh.infra.providers.vultr.v2.answers import Address, Server
    from mesh.infra.providers.vultr.v2.listing import Listing
    from mesh.infra.providers.vultr.v2.server import ServerApi, Wanted

FIXED_AT_CREATION = ("user_data", "os_id", "ssh_key_ids", "hostname", "script_id")
"""Inputs whose change would replace a server, and is ignored on a running one. The API takes
``script_id`` in the request that makes a server, and in no later one."""


@dataclass(frozen=True, kw_only=True)
class ServerArgs:
    """The inputs of a server. ``region``, ``plan`` and the ids are Vultr's; ``address_id`` is a
    reserved address; ``user_data`` is text, and a secret. ``tags`` are those beside the mark's,
    which are added. ``script_id`` is a startup script, None for none. It, ``user_data``, ``os_id``,
    ``ssh_key_ids`` and ``hostname`` are fixed at its creation."""

    identity: Input[str]
    node: str
    region: str
    plan: str
    os_id: Input[int]
    address_id: Input[str]
    ssh_key_ids: Sequence[Input[str]]
    enable_ipv6: bool
    hostname: str
    tags: Sequence[str]
    user_data: Input[str]
    script_id: Input[str] | None = None

    def properties(self) -> Properties:
        """The inputs of the resource, and the names of its outputs."""
        return {
            **vars(self),
            "ssh_key_ids": list(self.ssh_key_ids),
            "tags": list(self.tags),
            "user_data": Output.secret(self.user_data),
            "ipv4": None,
            "ipv6": None,
            "created": None,
            "drift": None,
            "unrepaired": None,
        }


class ServerProvider(VultrProvider):
    """Servers; ``resource`` is the last part of their marks."""

    resource: str
    updates: Sequence[str]
    replaces: Sequence[str]

    def kind(self) -> ServerApi[Any]:
        """How the API names them."""
        raise NotImplementedError

    def listing(self, vultr: Account) -> Listing[Any]:
        """The list that they are looked up in."""
        raise NotImplementedError

    def create(self, props: Properties) -> CreateResult:
        """Start one and wait until it runs, or continue with one that an earlier run started."""
        from mesh.infra.providers.vultr.v2 import server
        from mesh.infra.providers.vultr.v2.making import made

        vultr, kind, wanted = account(), self.kind(), self._wanted(props)
        node = wanted.mark.node

        def find() -> Server | None:
            # A replaced server is deleted by now, so one with the mark was left behind.
            return server.left_behind(self.listing(vultr)(fresh=True), wanted.mark)

        def post() -> Server:
            server.until_free(vultr.client, wanted.address, node, progress)
            begun: Server = vultr.client.post(kind.path, wanted.body(), kind.name, kind.model)
            return begun

        with _about(props):
            begun = server.within_limit(
                lambda: made(find, post, node, progress), node, vultr.deleted, progress
            )
            self._forget(vultr)
            if begun.found:
                server.refuse_misfit(vultr.client, kind, begun.object, wanted)
                found = self._settled(vultr, begun.object.id, wanted)
            else:
                found = server.until_ready(vultr.client, kind, begun.object.id, wanted, progress)
        return CreateResult(taken(found.id), _outs(props, found))

    def update(self, id_: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Change what can be changed on the same server."""
        vultr = account()
        with _about(news):
            found = self._settled(vultr, id_, self._wanted(news))
        return UpdateResult(_outs(news, found))

    def diff(self, id_: str, olds: Properties, news: Properties) -> DiffResult:
        """Region, address and what is fixed at its creation replace a server; the old one has to
        release the address first. ApiError where the plan is one that it cannot be changed to; the
        engine asks for no diff of what ``--replace`` names."""
        found = difference(
            olds["node"], olds, news, self.updates, self.replaces, delete_before_replace=True
        )
        if olds.get("plan") != news["plan"] and not found.replaces:
            self._refuse_plan(id_, news)
        return found

    def _refuse_plan(self, id_: str, news: Properties) -> None:
        """The preview's word on it, if Vultr can be asked; the update hears of it in any case."""
        from mesh.infra.providers.vultr.v2 import ApiError
        from mesh.infra.providers.vultr.v2.server import refuse_plan

        try:
            with _about(news):
                refuse_plan(account().client, id_, news["plan"], news["node"])
        except ApiError as error:
            if error.kind in ("plan", "stopped"):
                raise

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether it is still there, and what of it differs."""
        from mesh.infra.providers.vultr.v2.server import beyond_repair, drift

        vultr, kind = account(), self.kind()
        with _about(props):
            found = vultr.found(self.listing(vultr), id_, kind.path, kind.name, kind.model)
            if found is None:
                return gone()
            held = _held(vultr, props["address_id"])
        wanted = self._wanted(props)
        if not props.get("identity"):
            # An adopted one has no mark before its first update.
            wanted = replace(wanted, label=found.label, tags=found.tags)
        differences = {
            "drift": drift(found, wanted, held),
            "unrepaired": beyond_repair(found, wanted, held),
        }
        return ReadResult(id_, _outs(props, found) | differences)

    def delete(self, id_: str, props: Properties) -> None:
        """Delete it, once Vultr lets it go, and wait until it is no longer listed."""
        from mesh.infra.providers.vultr.v2 import server

        vultr = account()
        if is_taken(id_, props["node"]):
            return
        with _about(props):
            try:
                server.delete(vultr.client, self.kind(), id_, props["node"], progress)
                vultr.deleted = time.monotonic()
            finally:
                self._forget(vultr)
            listing = self.listing(vultr)
            server.until_unlisted(lambda: listing(fresh=True), id_, props["node"], progress)
        self._forget(vultr)

    def _settled(self, vultr: Account, identity: str, wanted: Wanted) -> Server:
        """Change what differs, and wait until it runs with it."""
        from mesh.infra.providers.vultr.v2 import server

        kind = self.kind()
        path = f"{kind.path}/{identity}"
        found: Server = vultr.client.get(path, kind.name, kind.model)
        server.refuse_suspended(found, wanted.mark.node)
        body = server.changes(found, wanted)
        if body and found.status == server.PENDING:
            first = replace(wanted, plan=found.plan, ipv6=False)
            server.until_ready(vultr.client, kind, identity, first, progress)
        if body:
            server.change(vultr.client, path, body, wanted.mark.node)
        server.start(vultr.client, found)
        ready: Server = server.until_ready(vultr.client, kind, identity, wanted, progress)
        server.attach(vultr.client, identity, wanted, progress)
        self._forget(vultr)
        return ready

    def _forget(self, vultr: Account) -> None:
        """Drop the lists of servers and of addresses, which have changed."""
        self.listing(vultr).forget()
        vultr.listings.addresses.forget()

    def _wanted(self, props: Properties) -> Wanted:
        from mesh.infra.providers.vultr.v2 import Mark
        from mesh.infra.providers.vultr.v2.server import Wanted

        mark = Mark(props.get("identity") or "", props["node"], self.resource)
        return Wanted(
            mark=mark,
            label=props["node"],
            hostname=props["hostname"],
            region=props["region"],
            plan=props["plan"],
            os_id=int(props["os_id"]),
            address=props["address_id"],
            ssh_keys=tuple(props["ssh_key_ids"]),
            ipv6=props["enable_ipv6"],
            ddos=props.get("ddos_protection") or False,
            group=props.get("firewall_group_id"),
            tags=(*props["tags"], *mark.tags()),
            user_data=props["user_data"],
            script=props.get("script_id"),
        )


def _outs(props: Properties, found: Server) -> Properties:
    """The outputs, without the passwords and console addresses that Vultr answers."""
    return {
        **props,
        **NONE,
        "ipv4": found.ipv4,
        "ipv6": found.v6_main_ip if props["enable_ipv6"] else "",
        "created": found.date_created,
    }


def _held(vultr: Account, address: str) -> Address | None:
    return next((each for each in vultr.listings.addresses() if each.id == address), None)


def _about(props: Properties) -> AbstractContextManager[None]:
    return about(f"mesh:nodes.{props['node']}", f"{props['plan']} in {props['region']}")
