"""An SSH key of the operator's, which servers get at their creation."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, gone, progress
from mesh.infra.dynamic.vultr.account import VultrProvider, about, account, delete, taken
from mesh.infra.dynamic.vultr.drift import NONE, difference, otherwise

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mesh.infra.providers.vultr.v2 import Mark, answers


class KeyProvider(VultrProvider):
    """SSH keys."""

    def create(self, props: Properties) -> CreateResult:
        """Register the key, or adopt the one that an earlier run registered."""
        from mesh.infra.providers.vultr.v2 import answers
        from mesh.infra.providers.vultr.v2.making import made

        vultr, mark = account(), _mark(props)
        body = {"name": mark.text(), "ssh_key": props["ssh_key"]}

        def find() -> answers.SshKey | None:
            own = [
                each
                for each in vultr.listings.ssh_keys(fresh=True)
                if mark.is_in(each.name) and _same(each.ssh_key, props["ssh_key"])
            ]
            return min(own, key=lambda each: each.id, default=None)

        def post() -> answers.SshKey:
            return vultr.client.post("/ssh-keys", body, "ssh_key", answers.SshKey)

        with _about(props):
            found = made(find, post, _what(props), progress).object
        vultr.listings.ssh_keys.forget()
        return CreateResult(taken(found.id), {**props, **NONE})

    def update(self, id_: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Write mark and key; existing servers keep theirs."""
        vultr = account()
        body = {"name": _mark(news).text(), "ssh_key": news["ssh_key"]}
        with _about(news):
            vultr.client.send("PATCH", f"/ssh-keys/{id_}", body)
        vultr.listings.ssh_keys.forget()
        return UpdateResult({**news, **NONE})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Changed in place, which running servers do not notice: they refer to its id."""
        return difference(_what(olds), olds, news, ("identity", "ssh_key"))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether it is still there, and the same."""
        from mesh.infra.providers.vultr.v2 import answers

        vultr = account()
        with _about(props):
            found = vultr.found(
                vultr.listings.ssh_keys, id_, "/ssh-keys", "ssh_key", answers.SshKey
            )
        if found is None:
            return gone()
        wanted = _mark(props).text() if props.get("identity") else found.name
        drift = otherwise("name", found.name, wanted)
        if not _same(found.ssh_key, props["ssh_key"]):
            drift.append("it is another key now")
        return ReadResult(id_, {**props, **NONE, "drift": drift})

    def delete(self, id_: str, props: Properties) -> None:
        """Remove it from the account; servers keep it."""
        with _about(props):
            delete(f"/ssh-keys/{id_}", _what(props), account().listings.ssh_keys)


def _same(one: str, other: str) -> bool:
    """Whether two lines hold the same key; comments do not count."""
    return one.split()[:2] == other.split()[:2]


def _mark(props: Properties) -> Mark:
    from mesh.infra.providers.vultr.v2 import Mark
    from mesh.infra.providers.vultr.v2.mark import NETWORK

    return Mark(props["identity"], NETWORK, f"key-{_digest(props)}")


def _digest(props: Properties) -> str:
    return sha256(props["ssh_key"].encode()).hexdigest()[:8]


def _what(props: Properties) -> str:
    return f"SSH key {_digest(props)}"


def _about(props: Properties) -> AbstractContextManager[None]:
    from mesh.spec.problems import shown

    return about("mesh:admin.keys", shown(props["ssh_key"]))


class Key(Resource, module="vultr", name="SSHKey"):
    """A public key at Vultr, as one line. ``id`` is Vultr's."""

    def __init__(
        self,
        name: str,
        identity: Input[str],
        ssh_key: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            "identity": identity,
            "ssh_key": ssh_key,
            "drift": None,
            "unrepaired": None,
        }
        super().__init__(KeyProvider(), name, props, opts)
