"""Errors of Vultr's API, each in one sentence: key, value, reason, cure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Literal

from mesh.foreign import printable
from mesh.spec.problems import Problem

Kind = Literal[
    "unset",  # no API key, or an endpoint that must not get one
    "key",  # 401: Vultr does not know the key
    "source",  # 403: the key may not be used from this machine's address, or not for this
    "gone",  # 404, and other answers with the same meaning
    "limit",  # a quota of the account
    "capacity",  # sold out, or not sold there
    "plan",  # a plan that an existing server cannot be changed to
    "locked",  # a server that cannot be deleted yet: it is locked, or still pending
    "refused",  # any other 4xx
    "rate",  # 429, after all repetitions
    "unclear",  # sent, and it is not known whether it was done: 5xx, a connection that broke
    "unreachable",  # never sent
    "answer",  # an invalid answer: a web page, a missing field, no last page
    "waiting",  # it did not become ready in time
    "stopped",  # SIGINT or SIGTERM came while it waited
    "foreign",  # an object with our mark that is not as wanted
]

KEY = "vultr:apiKey"
SET_KEY = f"pulumi config set --secret {KEY} (from my.vultr.com/settings/#settingsapi)"
LIMITS = (
    "ask Vultr's support to raise the account's limit, or make room, and run `pulumi up` again; "
    "what was deleted a moment ago may count for some minutes"
)
LATER = "run `pulumi up` again; it goes on where this stopped"
SECRET = "[secret]"  # noqa: S105  shown instead of one
LONGEST = 200
"""Characters of Vultr's own text in our messages."""

NO_KEY = Problem(KEY, "unset", "Vultr wants the API key of an account", SET_KEY)
WRONG_KEY = Problem(KEY, SECRET, "Vultr does not know this API key", SET_KEY)


class ApiError(Exception):
    """``kind`` is for the program, ``problem`` for people; ``retry_after`` are the seconds that
    Vultr asks to wait, None where it does not."""

    def __init__(self, kind: Kind, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(str(problem))
        self.kind: Kind = kind
        self.problem = problem
        self.retry_after = retry_after

    def about(self, key: str, value: str) -> ApiError:
        """The same error with this key of the stack file; an error about the API key stays."""
        if self.kind in ("unset", "key", "source"):
            return self
        return ApiError(self.kind, replace(self.problem, key=key, value=value), self.retry_after)


GONE = re.compile(
    r"not found|invalid (instance|bare metal|reserved-?\s?ip|ssh key|firewall( group| rule)?) ?id"
    r"|invalid firewall group",
    re.IGNORECASE,
)
LIMIT = re.compile(
    r"limit reached|maximum (number|amount|monthly fee)|limit exceeded|request a limit increase"
    r"|\bquota\b",
    re.IGNORECASE,
)
LOCKED = re.compile(r"currently locked|not currently active|\bpending\b", re.IGNORECASE)
"""Vultr's answer, with status 500, to the DELETE of a server that was made or changed a moment ago
(vultr/ansible-collection-vultr issue 113, pull request 89; dstackai/dstack pull request 2132)."""
DELETED = re.compile(r"DELETE /(instances|bare-metals)/[^/]+")
"""The DELETE of a server."""
CAPACITY = re.compile(
    r"not available in|sold out|out of stock|no (available )?capacity|insufficient capacity",
    re.IGNORECASE,
)


def refusal(asked: str, status: int, content: bytes) -> ApiError:
    """What an answer of status 400 to 499 means. ``asked`` is method and path."""
    answer = sentence(content)
    if status == 401:
        return ApiError("key", WRONG_KEY)
    if status == 403:
        return _forbidden(asked, answer)
    if status == 404 or (status in (400, 410, 422) and GONE.search(answer)):
        cure = "run `pulumi refresh`, and `pulumi up` again"
        return ApiError("gone", Problem(asked, f"HTTP {status}", f"Vultr answers: {answer}", cure))
    if _is_locked(asked, answer):
        return _locked(asked, status, answer)
    if LIMIT.search(answer):
        return ApiError(
            "limit", Problem(asked, f"HTTP {status}", f"Vultr answers: {answer}", LIMITS)
        )
    if CAPACITY.search(answer):
        cure = "give it another plan or region, or try again later"
        return ApiError(
            "capacity", Problem(asked, f"HTTP {status}", f"Vultr answers: {answer}", cure)
        )
    cure = "change it in the stack file, and run `pulumi up` again; what was made stays"
    if "os_id" in answer:
        cure = (
            "name an image that Vultr has in mesh:providers.vultr.image (openbsd for OpenBSD "
            "nodes), and run it again"
        )
    return ApiError(
        "refused", Problem(asked, f"HTTP {status}", f"Vultr refuses it: {answer}", cure)
    )


def _forbidden(asked: str, answer: str) -> ApiError:
    found = re.search(
        r"unauthorized ip address:?\s*([0-9a-f.:/]*[0-9a-f/])?", answer, re.IGNORECASE
    )
    if found:
        source = f"this machine's address {found[1] or ''}".rstrip()
        problem = Problem(
            KEY, SECRET, f"Vultr does not take this API key from {source}",
            "add it under access control at my.vultr.com/settings/#settingsapi",
        )  # fmt: skip
    else:
        problem = Problem(
            KEY, SECRET, f"Vultr does not let this API key do {asked}: {answer}",
            "give its user the permission at my.vultr.com/settings/#settingsusers",
        )  # fmt: skip
    return ApiError("source", problem)


def busy(asked: str, retry_after: float | None) -> ApiError:
    """429."""
    reason = "Vultr answers that there are too many requests"
    cure = "wait a minute, see that nothing else uses this API key, and run it again"
    return ApiError("rate", Problem(asked, "HTTP 429", reason, cure), retry_after)


def fault(asked: str, status: int, content: bytes, retry_after: float | None = None) -> ApiError:
    """5xx: a proxy in front of the API may have answered, so the request may have been done."""
    answer = sentence(content)
    if _is_locked(asked, answer):
        return _locked(asked, status, answer)
    reason = f"Vultr's API fails (HTTP {status}): {answer}"
    return ApiError("unclear", Problem(asked, f"HTTP {status}", reason, LATER), retry_after)


def _is_locked(asked: str, answer: str) -> bool:
    return DELETED.fullmatch(asked) is not None and LOCKED.search(answer) is not None


def _locked(asked: str, status: int, answer: str) -> ApiError:
    return ApiError("locked", Problem(asked, f"HTTP {status}", f"Vultr answers: {answer}", LATER))


def broken(asked: str, why: str, *, sent: bool) -> ApiError:
    """A connection that could not be made, or that broke."""
    reason = f"Vultr's API does not answer: {_short(why)}"
    cure = "see that this machine reaches it, and run it again"
    problem = Problem(asked, "no answer", reason, cure)
    return ApiError("unclear" if sent else "unreachable", problem)


def nonsense(asked: str, value: str, what: str) -> ApiError:
    """An answer that is not as documented: ``what`` is wrong, such as "lacks an id"."""
    reason = f"Vultr's answer to {asked} {what}"
    cure = "run it again; if that does not help, Vultr's API has changed: use a newer version"
    return ApiError("answer", Problem(asked, _short(value), reason, cure))


def stopped(what: str) -> ApiError:
    """An interruption while it waited."""
    reason = "the run was interrupted while it waited"
    return ApiError("stopped", Problem(what, "not done", reason, LATER))


def sentence(content: bytes) -> str:
    """The text of an error: from the API's JSON, or a web page's title."""
    text = content[:10_000].decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        return _short(found["error"])
    title = re.search(r"<title>([^<]*)</title>", text, re.IGNORECASE)
    if title:
        return _short(f'a web page, "{title[1].strip()}"')
    return "a web page" if "<" in text else _short(text) or "nothing"


def _short(text: str) -> str:
    line = printable(" ".join(text.split())).rstrip(".")
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
