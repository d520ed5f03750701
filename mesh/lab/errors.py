"""The error of the lab: what failed, the reason, and the cure."""

from __future__ import annotations


class LabError(Exception):
    """A message for the user; holds no secret."""
