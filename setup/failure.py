"""The set-up's error."""

from __future__ import annotations


class SetupFailure(Exception):
    """The set-up cannot go on. The message has the problem, its reason and the cure."""
