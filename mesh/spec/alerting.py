"""Whom alerts reach: the receivers of ``mesh:monitoring``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mesh.spec.section import Section

ReceiverKind = Literal["webhook", "email", "slack", "pagerduty"]
"""How a receiver is told."""
Severity = Literal["critical", "warning", "info"]
"""How urgent an alert is."""

# Alertmanager expands templates in these, and they stand in YAML: no braces, no quotes.
MailAddress = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]+$", max_length=254),
]
"""An address for mail, as ``noc@example.net``."""
MailServer = Annotated[
    str,
    StringConstraints(
        pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}$", max_length=260
    ),
]
"""A mail server with its port, as ``smtp.example.net:587``; an IPv6 address in brackets."""
MailUser = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+@-]+$", max_length=254)]
"""The name of an account at a mail server."""
Channel = Annotated[str, StringConstraints(pattern=r"^[#@]?[A-Za-z0-9._-]{1,80}$")]
"""A channel of Slack, as ``"#noc"``."""


class Receiver(Section):
    """Somebody whom alerts reach. Its URL, key or password is the secret
    ``mesh:alertReceiver-<name>``."""

    kind: ReceiverKind
    """How it is told: ``webhook`` gets Alertmanager's JSON by POST, ``slack`` a message by an
    incoming webhook, ``pagerduty`` an event (Events API v2), and ``email`` a mail."""
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] | None = None
    """Alerts of these severities reach it, among ``critical``, ``warning`` and ``info``; without
    it, ``critical`` and ``warning``."""
    to: MailAddress | None = None
    """The address that mail goes to; ``email`` needs it."""
    sender: Annotated[MailAddress | None, Field(alias="from")] = None
    """The address that mail comes from; ``email`` needs it."""
    server: MailServer | None = None
    """The mail server and its port, which has to offer TLS; ``email`` needs it."""
    user: MailUser | None = None
    """The account at the mail server, whose password is the secret; without it, mail is handed over
    without a log-in, and there is no secret."""
    channel: Channel | None = None
    """The channel of Slack; without it, the one for which the incoming webhook was made."""

    @property
    def has_secret(self) -> bool:
        """Whether ``mesh:alertReceiver-<name>`` is needed."""
        return self.kind != "email" or self.user is not None
