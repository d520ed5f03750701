"""What is to be published next, written into the stack's state before anything is signed.

The engine keeps the old state of a resource whose update fails or is killed. A publication has
its effect before it ends: the registries hold the generation, and the nodes apply it. So its own
state does not show that it was begun, and taking the change back would look like no change. This
resource is updated before the publication, and its ``serial`` grows with every change. The
publication compares the serial with the last one it has seen (:func:`is_unfinished`).
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
"""Prefix of the name of a BGP password's digest, before the password's name in the stack file. The
policy pack takes an input with ``password`` in its name for a secret."""
RECEIVERS = "receivers-"
"""The same for what a receiver of alerts keeps to itself, before the receiver's name."""
CODE = "code"
"""The digest of the code that renders nodes' files (:func:`mesh.infra.sources.digest`)."""


class CandidateProvider(Stub):
    """Counts the candidates of one stack. Nothing outside the state is touched."""

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """Compute the serial here, from the inputs in the state, so that a preview knows it."""
        serial, wanted = int(olds.get("serial") or 0), _with_code(olds, news)
        another = not olds or olds.get("wanted") != wanted
        serial += 1 if another else 0
        sealed = _sealed(olds, wanted, serial)
        return CheckResult({**news, "wanted": wanted, "serial": serial, "sealed": sealed}, [])

    def create(self, props: Properties) -> CreateResult:
        """The first candidate."""
        return CreateResult("candidate", dict(props))

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Another candidate; in the state once this returns."""
        return UpdateResult(dict(news))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Every difference makes another candidate, also a change that is taken back."""
        return difference(olds, news, updates=("wanted", "serial"))


def _with_code(olds: Properties, news: Properties) -> object:
    """``wanted`` with the digest of the code: the one in the state where the files are the same
    byte by byte, since computing it takes a tenth of a second."""
    wanted, before = news.get("wanted"), olds.get("wanted")
    if not isinstance(wanted, Mapping):
        return wanted  # not known yet
    code = before.get(CODE) if isinstance(before, Mapping) else None
    if code is None or olds.get("written") != news.get("written"):
        from mesh.infra import sources

        code = sources.digest()
    return {**wanted, CODE: code}


def _sealed(olds: Properties, wanted: object, serial: int) -> int:
    """The serial of the first candidate since which all have had the secrets of this one."""
    if _secrets(wanted) is None or _secrets(wanted) != _secrets(olds.get("wanted")):
        return serial
    return int(olds.get("sealed") or olds.get("serial") or serial)


def _secrets(wanted: object) -> dict[str, object] | None:
    """The digests of secrets; None where they are not known."""
    if not isinstance(wanted, Mapping):
        return None
    return {name: wanted[name] for name in wanted if name.startswith((SESSIONS, RECEIVERS))}


def digests(
    operator_key: str,
    wanted: Mapping[str, Any],
    passwords: Mapping[str, str],
    receivers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What distinguishes candidates: a digest (hex) of each part, and of each password and
    receiver's secret.

    The digests are keyed with the operator's key, so that secrets cannot be guessed by them.
    """
    secrets = {f"{SESSIONS}{name}": password for name, password in passwords.items()}
    secrets |= {f"{RECEIVERS}{name}": secret for name, secret in (receivers or {}).items()}
    parts = {**wanted, **secrets}
    return {name: _digest(operator_key, name, parts[name]) for name in sorted(parts)}


def is_known_since(seen: object, serial: object, sealed: object) -> bool:
    """Whether all candidates after the one that the publication has ``seen`` have had the same
    secrets; ``sealed`` is the serial of the first with those of the candidate ``serial``."""
    if not is_unfinished(seen, serial):
        return True
    numbers = (each for each in (seen, serial, sealed) if isinstance(each, int | float))
    match tuple(numbers):
        case (last, now, first):
            return last < now and first <= last + 1
    return False


def is_unfinished(seen: object, serial: object) -> bool:
    """Whether a publication of another candidate was begun and not finished.

    ``seen`` is the serial when the publication last ended or was found to need nothing. A run
    raises the serial by one at most, before the publication; a difference of two or more means that
    a run in between did not finish it. A smaller serial is of a candidate that was made anew.
    """
    if not isinstance(seen, int | float) or not isinstance(serial, int | float):
        return False
    return serial - seen not in (0, 1)


def _digest(key: str, name: str, value: Any) -> str:
    text = json.dumps([name, _settled(value)], sort_keys=True, separators=(",", ":"))
    secret = f"candidate {key}".encode()
    return hmac.new(secret, text.encode(), "sha256").hexdigest()[:32]


def _settled(value: Any) -> Any:
    """A value as a provider gets it, too: the engine may leave nulls out, and all its numbers are
    floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _settled(each) for key, each in value.items() if each is not None}
    return [_settled(each) for each in value] if isinstance(value, list | tuple) else value


class Candidate(Resource, module="mesh", name="Candidate"):
    """What is to be published. ``wanted`` are :func:`digests` of it, to which its provider adds
    one of the code; ``written`` is :func:`mesh.infra.sources.written`. ``sealed`` is the serial of
    the first candidate with the present secrets."""

    wanted: Output[Mapping[str, str]]
    serial: Output[int]
    sealed: Output[int]

    def __init__(
        self,
        name: str,
        wanted: Input[Mapping[str, str]],
        written: Input[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        computed = {"serial": None, "sealed": None}
        props: dict[str, Any] = {"wanted": wanted, "written": written, **computed}
        super().__init__(CandidateProvider(), name, props, opts)
