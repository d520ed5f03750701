"""Secrets of a stack: which it needs, and whether their values are valid."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from urllib.parse import urlsplit

from mesh.spec.alerting import Receiver, ReceiverKind
from mesh.spec.capabilities import passwords
from mesh.spec.ids import provider_of
from mesh.spec.model import Spec
from mesh.spec.problems import Problem
from mesh.spec.providers import PROVIDERS

# One top-level key each, because Pulumi makes a whole object secret when one value inside it is.
PREFIX = "bgpPassword-"
"""The TCP MD5 password (RFC 2385) of the BGP sessions of the nodes at this provider."""

SSH_PREFIX = "sshKey-"
"""The private key, without a passphrase, by which the operator logs in to the existing hosts of
this provider."""

RECEIVER_PREFIX = "alertReceiver-"
"""What a receiver of ``mesh:monitoring`` keeps to itself: the URL of a ``webhook`` or of ``slack``,
the integration key of ``pagerduty``, the password of ``email``."""

PREFIXES = (PREFIX, SSH_PREFIX, RECEIVER_PREFIX)

RECEIVER_LIMIT = 2048
"""Characters of a receiver's secret: no URL that is in use has more."""
MD5_LIMIT = 80
"""Linux takes TCP MD5 keys of up to 80 bytes (TCP_MD5SIG_MAXKEYLEN; RFC 2385)."""

_PLACEHOLDER = re.compile(
    r"^(<.*>|\[.*\]|\{.*\}|\$.*|x+|\*+|\.+|-+|change[-_ ]?me.*|your[-_ ].*|todo.*|tbd|fixme.*|"
    r"example.*|placeholder.*|replace.*|password|passwort|secret|none|null|test)$",
    re.IGNORECASE,
)


def needed(spec: Spec) -> tuple[str, ...]:
    """Names of the BGP passwords that the stack needs, sorted: ``<provider>``, or
    ``<node>-<session>`` for a session of ``upstreams``."""
    return tuple(sorted({name for n, node in spec.nodes.items() for name in passwords(n, node)}))


def instead(name: str) -> str | None:
    """The name of the password that a session has without one of its own: the provider's."""
    return name.split("-")[1] if "-" in name else None


def given(name: str, keys: Container[str], prefix: str = PREFIX) -> str:
    """The name of the secret that counts among those set: of passwords a session's own, else the
    provider's."""
    other = instead(name) if prefix == PREFIX else None
    if other is None or prefix + name in keys or prefix + other not in keys:
        return name
    return other


def needed_ssh_keys(spec: Spec) -> tuple[str, ...]:
    """Names of the providers whose existing hosts are reached over SSH, sorted; none in a twin,
    whose hosts are boxes of the lab."""
    if spec.twin is not None:
        return ()
    return _providers(spec, {n for n, node in spec.nodes.items() if node.host is not None})


def needed_receivers(spec: Spec) -> tuple[str, ...]:
    """Names of the receivers of alerts that have a secret, sorted."""
    if spec.monitoring is None:
        return ()
    return tuple(sorted(n for n, each in spec.monitoring.receivers.items() if each.has_secret))


def _providers(spec: Spec, nodes: set[str]) -> tuple[str, ...]:
    return tuple(sorted({provider_of(node_id) for node_id in nodes}))


def check_secrets(spec: Spec, values: Mapping[str, str | None]) -> Iterator[Problem]:
    """Problems of the stack's secrets. ``values`` maps the key (``bgpPassword-vultr``) to its
    clear value, or to None where it is set but cannot be read here (offline)."""
    wanted: dict[str, Callable[[str], str | None]]
    wanted = {PREFIX + given(name, values): _password_problem for name in needed(spec)}
    wanted |= {SSH_PREFIX + name: _ssh_key_problem for name in needed_ssh_keys(spec)}
    wanted |= {RECEIVER_PREFIX + name: _of_receiver(spec, name) for name in needed_receivers(spec)}
    for key, check in sorted(wanted.items()):
        file = " < KEYFILE" if key.startswith(SSH_PREFIX) else ""
        cure = f"`pulumi config set --secret mesh:{key}{file}` ({_origin(spec, key)})"
        if key not in values:
            yield Problem(f"mesh:{key}", "unset", "the secret is missing", cure, "preview")
            continue
        value = values[key]
        reason = None if value is None else check(value)
        if reason is not None:
            yield Problem(f"mesh:{key}", "[secret]", reason, cure)
    for key in sorted(set(values) - set(wanted)):
        whose = "receiver" if key.startswith(RECEIVER_PREFIX) else "node"
        yield Problem(
            f"mesh:{key}", "[secret]", f"no {whose} of this stack needs it",
            f"`pulumi config rm mesh:{key}`",
        )  # fmt: skip


def _origin(spec: Spec, key: str) -> str:
    """Where the operator gets a secret's value."""
    if key.startswith(SSH_PREFIX):
        return "a private key without a passphrase, made for this"
    if key.startswith(RECEIVER_PREFIX):
        return _SECRET[_receiver(spec, key.removeprefix(RECEIVER_PREFIX)).kind]
    provider = PROVIDERS.get(key.removeprefix(PREFIX))
    if provider is not None and not provider.announces:
        return "of your own choice: the routers of the VPC get it"
    if (name := instead(key.removeprefix(PREFIX))) is not None:
        return f"of this session, or mesh:{PREFIX}{name} for all sessions of the nodes there"
    return "the value is on the provider's BGP page"


_SECRET: dict[ReceiverKind, str] = {
    "webhook": "the URL to which alerts are posted",
    "slack": "the URL of an incoming webhook, which Slack shows once",
    "pagerduty": "the integration key of an Events API v2 integration",
    "email": "the password of the account at the mail server",
}
"""What the secret of a receiver is, by its kind."""
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")


def _receiver(spec: Spec, name: str) -> Receiver:
    assert spec.monitoring is not None, "it has this receiver"
    return spec.monitoring.receivers[name]


def _of_receiver(spec: Spec, name: str) -> Callable[[str], str | None]:
    """Says why a value is no valid secret of a receiver."""
    return partial(_receiver_problem, _receiver(spec, name).kind)


def _receiver_problem(kind: ReceiverKind, value: str) -> str | None:
    """Why this is no valid secret of a receiver; None where it is one."""
    if not value.strip():
        return "the secret is empty"
    if _PLACEHOLDER.match(value.strip()):
        return "the secret is a placeholder"
    if len(value) > RECEIVER_LIMIT or not all("!" <= letter <= "~" for letter in value):
        return f"it has more than {RECEIVER_LIMIT} characters, or one that is a blank or not ASCII"
    if kind in ("webhook", "slack"):
        return _url_problem(value)
    if kind == "pagerduty" and not _ROUTING_KEY.fullmatch(value):
        return "an integration key has 32 letters and digits"
    return None


def _url_problem(value: str) -> str | None:
    """Why alerts cannot be posted there."""
    try:
        parts = urlsplit(value)
        there = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        there = None
    return None if there else "it is not a URL that begins with https:// or http://"


def _ssh_key_problem(value: str) -> str | None:
    """Why this is no valid private key; None where it is one."""
    if not value.strip():
        return "the secret is empty"
    if "PRIVATE KEY-----" not in value:
        return "it is not a private key in PEM or OpenSSH form"
    return None


def _password_problem(value: str) -> str | None:
    """Why this is no valid BGP password; None where it is one."""
    if not value.strip():
        return "the secret is empty"
    if _PLACEHOLDER.match(value.strip()):
        return "the secret is a placeholder"
    if len(value.encode()) > MD5_LIMIT:
        return f"TCP MD5 takes at most {MD5_LIMIT} bytes"
    # BIRD's strings have no escapes: a quote or a line break cannot be written.
    if not all("!" <= letter <= "~" for letter in value) or '"' in value:
        return "it has a character that BIRD does not take (quote, space or not ASCII)"
    return None
