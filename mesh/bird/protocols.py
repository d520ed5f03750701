"""BGP sessions, and what waits for the kernel, parsed from BIRD's list of protocols."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.bird.reply import Reply

_SESSION_STATES = (
    "Established",
    "OpenConfirm",
    "OpenSent",
    "Connect",
    "Active",
    "Idle",
    "Passive",
    "Close",
    "Down",
)

IBGP = ("mate4_", "mate6_")
"""How the names of iBGP sessions begin."""


@dataclass(frozen=True, slots=True)
class Session:
    """A BGP session as BIRD prints it: its state, since when (a time of today, or a date), and the
    last error, empty if there is none."""

    state: str
    since: str
    error: str


def sessions(reply: Reply) -> dict[str, Session]:
    """The BGP sessions in the reply to ``show protocols``, by name.

    A line has name, ``BGP``, table, state of the protocol, since when, state of the session, and
    the last error (``bgp_get_status`` in BIRD's sources); a session that is shut down has no state
    of its own.
    """
    found: dict[str, Session] = {}
    for code, text in reply.lines:
        fields = text.split()
        if code != 1002 or len(fields) < 4 or fields[1] != "BGP":
            continue
        rest = [text.rstrip(":") for text in fields[4:]]
        at = next((n for n, text in enumerate(rest) if text in _SESSION_STATES), None)
        # Without a session state, the error follows the time.
        error = fields[5:] if at is None else fields[5 + at :]
        found[fields[0]] = Session(
            fields[3] if at is None else rest[at], fields[4] if fields[4:] else "", " ".join(error)
        )
    return found


def export_has_begun(reply: Reply) -> bool:
    """Whether every channel that is up exports, in the reply to ``show protocols all``. BIRD 2 does
    not print it, and exports from the start."""
    state = ""
    for _, text in reply.lines:
        label, _, value = text.strip().partition(":")
        if label == "State":
            state = value.strip()
        if label == "Export state" and state == "UP" and value.strip() == "DOWN":
            return False
    return True
