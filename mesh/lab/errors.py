"""The one error of the lab: what was asked, why it cannot be, and what to do."""

from __future__ import annotations


class LabError(Exception):
    """A sentence for the person at the keyboard; holds no secret."""
