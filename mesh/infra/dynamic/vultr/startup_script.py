"""The startup script of a network's servers whose system does not run user data."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, gone, progress
from mesh.infra.dynamic.vultr.account import VultrProvider, about, account, delete, taken
from mesh.infra.dynamic.vultr.drift import NONE, difference, otherwise

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mesh.infra.providers.vultr.v2 import Mark, answers

WHAT, PATH, NAME = "startup script", "/startup-scripts", "startup_script"


class StartupScriptProvider(VultrProvider):
    """Startup scripts. A server runs its script once, at its first boot."""

    def create(self, props: Properties) -> CreateResult:
        """Store the script, or adopt the one that an earlier run has stored."""
        from mesh.infra.providers.vultr.v2 import answers
        from mesh.infra.providers.vultr.v2.making import made

        vultr, mark = account(), _mark(props)
        body = _body(props) | {"type": "boot"}

        def find() -> answers.StartupScript | None:
            listed = vultr.listings.startup_scripts(fresh=True)
            own = [each for each in listed if mark.is_in(each.name)]
            return min(own, key=lambda each: each.id, default=None)

        def post() -> answers.StartupScript:
            return vultr.client.post(PATH, body, NAME, answers.StartupScript)

        with _about():
            found = made(find, post, WHAT, progress)
            if found.found:
                _settle(found.object.id, props)
        vultr.listings.startup_scripts.forget()
        return CreateResult(taken(found.object.id), {**props, **NONE})

    def update(self, id_: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Write mark and text; servers that run have run theirs."""
        with _about():
            _write(id_, news)
        account().listings.startup_scripts.forget()
        return UpdateResult({**news, **NONE})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Changed in place: servers refer to its id."""
        return difference(WHAT, olds, news, ("identity", "script"))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether it is still there, and the same; a list would not have its text."""
        from mesh.infra.providers.vultr.v2 import answers

        with _about():
            found = account().fetched(f"{PATH}/{id_}", NAME, answers.StartupScript)
        if found is None:
            return gone()
        drift = otherwise("name", found.name, _mark(props).text())
        if _text(found) != props["script"]:
            drift.append("its text is another one")
        return ReadResult(id_, {**props, **NONE, "drift": drift})

    def delete(self, id_: str, props: Properties) -> None:
        """Remove it from the account; servers that run do not need it."""
        with _about():
            delete(f"{PATH}/{id_}", WHAT, account().listings.startup_scripts)


def _settle(identity: str, props: Properties) -> None:
    """Write the text of an adopted script where it has another one."""
    from mesh.infra.providers.vultr.v2 import answers

    stored = account().client.get(f"{PATH}/{identity}", NAME, answers.StartupScript)
    if _text(stored) != props["script"]:
        _write(identity, props)


def _write(identity: str, props: Properties) -> None:
    account().client.send("PATCH", f"{PATH}/{identity}", _body(props))


def _body(props: Properties) -> dict[str, str]:
    script = base64.b64encode(props["script"].encode()).decode()
    return {"name": _mark(props).text(), "script": script}


def _text(found: answers.StartupScript) -> str | None:
    """The text of a script; None where it is none."""
    try:
        return base64.b64decode(found.script).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _mark(props: Properties) -> Mark:
    from mesh.infra.providers.vultr.v2 import Mark
    from mesh.infra.providers.vultr.v2.mark import NETWORK

    return Mark(props["identity"], NETWORK, "startup-script")


def _about() -> AbstractContextManager[None]:
    return about("mesh:providers.vultr.openbsd", f"its {WHAT}")


class StartupScript(Resource, module="vultr", name="StartupScript"):
    """A script at Vultr, as text without any secret: whoever may read the account may read it, and
    so may every process of a server. ``id`` is Vultr's."""

    def __init__(
        self,
        name: str,
        identity: Input[str],
        script: Input[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            "identity": identity,
            "script": script,
            "drift": None,
            "unrepaired": None,
        }
        super().__init__(StartupScriptProvider(), name, props, opts)
