"""The reverse name of one address of an instance, of either family."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, gone, progress
from mesh.infra.dynamic.vultr.account import VultrProvider, about, account
from mesh.infra.dynamic.vultr.drift import NONE, difference, otherwise

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class ReverseProvider(VultrProvider):
    """Reverse names. They have no mark: they belong to an instance, which has one, and are deleted
    with it."""

    def create(self, props: Properties) -> CreateResult:
        """Set the name."""
        _set(props)
        return CreateResult(f"{props['instance_id']}/{props['ip']}", {**props, **NONE})

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Set the name again."""
        _set(news)
        return UpdateResult({**news, **NONE})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """A name belongs to an address of an instance."""
        replaces = ("instance_id", "ip")
        what = f"reverse name of {olds['ip']}"
        # Deleting the old one later would remove the new one's name.
        return difference(what, olds, news, ("reverse",), replaces, delete_before_replace=True)

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether it is still set; it is gone with the instance."""
        from mesh.infra.providers.vultr.v2 import ApiError

        try:
            with _about(props):
                found = _found(props)
        except ApiError as error:
            if error.kind == "gone":
                return gone()
            raise
        if found is None:
            return gone()
        drift = otherwise("name", found, props["reverse"])
        return ReadResult(id_, {**props, **NONE, "drift": drift})

    def delete(self, _id: str, props: Properties) -> None:
        """Remove the name; a server that is gone has none."""
        from mesh.infra.providers.vultr.v2 import ApiError

        client, path, ip = account().client, _path(props), props["ip"]
        try:
            with _about(props):
                if _is_ipv4(props):
                    client.send("POST", f"{path}/default", {"ip": ip})
                else:
                    client.send("DELETE", f"{path}/{ip}")
        except ApiError as error:
            if error.kind != "gone":
                raise


def _set(props: Properties) -> None:
    """Set the name; sent again where the answer is lost and the name is not there yet."""
    from mesh.infra.providers.vultr.v2.making import made

    def find() -> str | None:
        return props["reverse"] if _found(props) == props["reverse"] else None

    def post() -> str:
        body = {"ip": props["ip"], "reverse": props["reverse"]}
        account().client.send("POST", _path(props), body)
        return str(props["reverse"])

    with _about(props):
        made(find, post, f"reverse name of {props['ip']}", progress, look_first=False)


def _found(props: Properties) -> str | None:
    """The name that the address has; None for none."""
    client, ip = account().client, ip_address(props["ip"])
    entries = (
        client.addresses_of(props["instance_id"])
        if ip.version == 4
        else client.reverse(props["instance_id"])
    )
    # Vultr lists IPv6 addresses in any of their forms.
    return next((each.reverse for each in entries if each.is_for(ip)), None)


def _is_ipv4(props: Properties) -> bool:
    return ip_address(props["ip"]).version == 4


def _path(props: Properties) -> str:
    family = "ipv4" if _is_ipv4(props) else "ipv6"
    return f"/instances/{props['instance_id']}/{family}/reverse"


def _about(props: Properties) -> AbstractContextManager[None]:
    return about("mesh:providers.vultr.reverse", f"{props['reverse']} for {props['ip']}")


class Reverse(Resource, module="vultr", name="Reverse"):
    """The name in the reverse DNS of ``ip``."""

    def __init__(
        self,
        name: str,
        instance_id: Input[str],
        ip: Input[str],
        reverse: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            "instance_id": instance_id,
            "ip": ip,
            "reverse": reverse,
            "drift": None,
            "unrepaired": None,
        }
        super().__init__(ReverseProvider(), name, props, opts)
