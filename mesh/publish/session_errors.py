"""What BIRD's errors of upstream sessions mean, and the cure, where both are known."""

from __future__ import annotations

from mesh.plan import UpstreamSession


def explained(session: UpstreamSession | None, state: str, error: str) -> str:
    """The error of a session that is down, with what to do; the error alone where that is not
    known. Measured with BIRD 2.0.12, 2.17.6 and 3.1.8."""
    if session is None:
        return error
    if "nacceptable hold time" in error:
        where = "holdTime" if session.label else "an entry of upstreams with holdTime"
        return (
            f"{error}: the neighbor does not take {session.hold_time} s; write {where}, with the "
            "seconds that it asks for"
        )
    # BIRD waits for the link of a neighbor, and says nothing where it never was there.
    if session.interface is not None and state == "Idle" and error in ("", "Error: Neighbor lost"):
        return (
            f"{session.interface} is missing or down on the node, or has no address with "
            f"{session.neighbor} in its subnet"
        )
    return error
