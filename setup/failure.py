"""The one error that the set-up raises on purpose."""

from __future__ import annotations


class SetupFailure(Exception):
    """Something on this machine is in the way. The text says what, why, and the cure."""
