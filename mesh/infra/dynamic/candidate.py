"""What is to be published next, written into the stack's state before anything is signed.

The engine keeps the old state of a resource whose update fails or is killed. A publication has
its effect before it ends: the registries hold the generation, and the nodes apply it. So its own
state cannot tell that it was begun, and taking the change back would look like no change. This
resource is updated before the publication, and its ``serial`` grows with everything that differs.
The publication compares the serial with the one that it has seen last
(:func:`is_unfinished`).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, Stub, difference

SESSIONS = "sessions-"
"""Begins the name of the digest of a BGP password, before the name under which the stack file has
it. It is no password, and the policy pack would take it for one by that name."""
CODE = "code"
"""Of what the files of nodes are made beside the plan (:func:`mesh.infra.sources.digest`)."""


class CandidateProvider(Stub):
    """Counts the candidates of one stack. Nothing outside the state is touched."""

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """The serial is settled here, from the inputs in the state, so that a preview knows it."""
        serial, wanted = int(olds.get("serial") or 0), _with_code(olds, news)
        another = not olds or olds.get("wanted") != wanted
        serial += 1 if another else 0
        return CheckResult({**news, "wanted": wanted, "serial": serial}, [])

    def create(self, props: Properties) -> CreateResult:
        """The first candidate."""
        return CreateResult("candidate", dict(props))

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Another candidate; in the state once this returns."""
        return UpdateResult(dict(news))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Whatever differs makes another candidate, a change that is taken back as well."""
        return difference(olds, news, updates=("wanted", "serial"))


def _with_code(olds: Properties, news: Properties) -> object:
    """What is wanted, with the digest of the code. It is the one in the state where the files are
    the same byte by byte, since making it anew takes a tenth of a second."""
    wanted, before = news.get("wanted"), olds.get("wanted")
    if not isinstance(wanted, Mapping):
        return wanted  # not known yet
    code = before.get(CODE) if isinstance(before, Mapping) else None
    if code is None or olds.get("written") != news.get("written"):
        from mesh.infra import sources

        code = sources.digest()
    return {**wanted, CODE: code}


def digests(
    operator_key: str, wanted: Mapping[str, Any], passwords: Mapping[str, str]
) -> dict[str, str]:
    """What tells one candidate from another: a digest (hex) of each part, and of each password.

    The digests are keyed with the operator's key, a secret: nobody can try out passwords.
    """
    parts = {**wanted, **{f"{SESSIONS}{name}": word for name, word in passwords.items()}}
    return {name: _digest(operator_key, name, parts[name]) for name in sorted(parts)}


def is_unfinished(seen: object, serial: object) -> bool:
    """Whether a publication was begun, and never finished, of another candidate than this one.

    ``seen`` is the serial when the publication was last done or found to need nothing. A run lets
    the serial grow by one at most, before the publication; so two or more are a run between that
    did not get past it. One that is smaller comes from a candidate that was made anew.
    """
    if not isinstance(seen, int | float) or not isinstance(serial, int | float):
        return False
    return serial - seen not in (0, 1)


def _digest(key: str, name: str, value: Any) -> str:
    text = json.dumps([name, _settled(value)], sort_keys=True, separators=(",", ":"))
    secret = f"candidate {key}".encode()
    return hmac.new(secret, text.encode(), "sha256").hexdigest()[:32]


def _settled(value: Any) -> Any:
    """A value without what the engine may leave out on the way to a provider: nulls."""
    if isinstance(value, Mapping):
        return {key: _settled(each) for key, each in value.items() if each is not None}
    return [_settled(each) for each in value] if isinstance(value, list | tuple) else value


class Candidate(Resource, module="mesh", name="Candidate"):
    """What is to be published. ``wanted`` are :func:`digests` of it, to which its provider adds
    one of the code; ``written`` is :func:`mesh.infra.sources.written`."""

    wanted: Output[Mapping[str, str]]
    serial: Output[int]

    def __init__(
        self,
        name: str,
        wanted: Input[Mapping[str, str]],
        written: Input[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {"wanted": wanted, "written": written, "serial": None}
        super().__init__(CandidateProvider(), name, props, opts)
