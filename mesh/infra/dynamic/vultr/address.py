"""A reserved IPv4 address, which outlives its server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, gone, progress
from mesh.infra.dynamic.vultr.account import VultrProvider, about, account, delete, taken
from mesh.infra.dynamic.vultr.drift import NONE, difference, otherwise

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mesh.infra.providers.vultr.v2 import Mark, answers


class AddressProvider(VultrProvider):
    """Reserved addresses."""

    def create(self, props: Properties) -> CreateResult:
        """Reserve one, or adopt one that an earlier run has reserved for this node."""
        from mesh.infra.providers.vultr.v2 import answers
        from mesh.infra.providers.vultr.v2.making import made

        vultr, mark = account(), _mark(props)
        body = {"region": props["region"], "ip_type": "v4", "label": mark.text()}

        def find() -> answers.Address | None:
            wanted = (props["region"], "v4")
            own = [
                each
                for each in vultr.listings.addresses(fresh=True)
                if mark.is_in(each.label) and (each.region, each.ip_type) == wanted
            ]
            return min(own, key=lambda each: each.id, default=None)

        def post() -> answers.Address:
            return vultr.client.post("/reserved-ips", body, "reserved_ip", answers.Address)

        with _about(props):
            found = made(find, post, _what(props), progress).object
        vultr.listings.addresses.forget()
        return CreateResult(taken(found.id), {**props, **NONE, "ipv4": found.subnet})

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        """Write the mark; the address stays at its server."""
        vultr = account()
        with _about(news):
            vultr.client.send("PATCH", f"/reserved-ips/{id_}", {"label": _mark(news).text()})
        vultr.listings.addresses.forget()
        return UpdateResult({**news, **NONE, "ipv4": olds["ipv4"]})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Another region is another address, made before the old one is deleted: of what is deleted
        first, the engine replaces all dependents, and a registry's address is in the user data of
        every server."""
        return difference(_what(olds), olds, news, ("identity", "node"), ("region",))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether it is still reserved, with its mark."""
        from mesh.infra.providers.vultr.v2 import answers

        vultr = account()
        with _about(props):
            found = vultr.found(
                vultr.listings.addresses, id_, "/reserved-ips", "reserved_ip", answers.Address
            )
        if found is None:
            return gone()
        # An adopted one has no identity before its first update.
        wanted = _mark(props).text() if props.get("identity") else found.label
        drift = otherwise("label", found.label, wanted)
        return ReadResult(id_, {**props, **NONE, "ipv4": found.subnet, "drift": drift})

    def delete(self, id_: str, props: Properties) -> None:
        """Give it back, once its server has released it."""
        with _about(props):
            delete(f"/reserved-ips/{id_}", _what(props), account().listings.addresses)


def _mark(props: Properties) -> Mark:
    from mesh.infra.providers.vultr.v2 import Mark

    return Mark(props["identity"], props["node"], "address")


def _what(props: Properties) -> str:
    return f"address of {props['node']}"


def _about(props: Properties) -> AbstractContextManager[None]:
    return about(f"mesh:nodes.{props['node']}", f"a reserved address in {props['region']}")


class Address(Resource, module="vultr", name="Address"):
    """A node's reserved address, in its region (by Vultr's id). ``id`` is Vultr's."""

    ipv4: Output[str]

    def __init__(
        self,
        name: str,
        identity: Input[str],
        node: str,
        region: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            "identity": identity,
            "node": node,
            "region": region,
            "ipv4": None,
            "drift": None,
            "unrepaired": None,
        }
        super().__init__(AddressProvider(), name, props, opts)
