"""Secrets of a stack: which ones it needs, and whether a value can be one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mesh.spec.meaning import split_id
from mesh.spec.model import Spec
from mesh.spec.problems import Problem
from mesh.spec.providers import PROVIDERS

PREFIX = "bgpPassword-"
"""``mesh:bgpPassword-vultr``: one top-level key each, because Pulumi makes a whole object secret
when one value inside it is."""

MD5_LIMIT = 80
"""Linux takes TCP MD5 keys of up to 80 bytes (TCP_MD5SIG_MAXKEYLEN; RFC 2385)."""

_PLACEHOLDER = re.compile(
    r"^(<.*>|\[.*\]|\{.*\}|\$.*|x+|\*+|\.+|-+|change[-_ ]?me.*|your[-_ ].*|todo.*|tbd|fixme.*|"
    r"example.*|placeholder.*|replace.*|password|passwort|secret|none|null|test)$",
    re.IGNORECASE,
)


def needed(spec: Spec) -> tuple[str, ...]:
    """Names of the providers whose BGP password the stack needs, sorted."""
    used = {split_id(node_id)[1].rpartition("-")[0] for node_id in spec.nodes}
    return tuple(sorted(name for name in used if PROVIDERS[name].password))


def check_secrets(spec: Spec, values: Mapping[str, str | None]) -> Iterator[Problem]:
    """Problems of the stack's secrets. ``values`` maps the key (``bgpPassword-vultr``) to its
    clear value, or to None where it is set but cannot be read here (offline)."""
    for provider in needed(spec):
        key = PREFIX + provider
        cure = f"pulumi config set --secret mesh:{key} (the value is on the provider's BGP page)"
        if key not in values:
            yield Problem(f"mesh:{key}", "unset", "the secret is missing", cure, "preview")
            continue
        value = values[key]
        reason = None if value is None else _reason(value)
        if reason is not None:
            yield Problem(f"mesh:{key}", "[secret]", reason, cure)
    for key in sorted(values):
        if key.removeprefix(PREFIX) not in needed(spec):
            yield Problem(
                f"mesh:{key}", "[secret]", "no node of this stack needs it",
                f"pulumi config rm mesh:{key}",
            )  # fmt: skip


def _reason(value: str) -> str | None:
    """Why this cannot be a BGP password; None where it can."""
    if not value.strip():
        return "the secret is empty"
    if _PLACEHOLDER.match(value.strip()):
        return "the secret is a placeholder"
    if len(value.encode()) > MD5_LIMIT:
        return f"TCP MD5 takes at most {MD5_LIMIT} bytes"
    # BIRD's strings know no escape, so a quote or a line break could not be written.
    if not all("!" <= letter <= "~" for letter in value) or '"' in value:
        return "it has a character that BIRD cannot be given (quote, space or not ASCII)"
    return None
