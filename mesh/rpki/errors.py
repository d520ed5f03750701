"""Why a list of VRPs could not be read."""

from __future__ import annotations


class SourceError(Exception):
    """A source gave no usable list of VRPs; ``cure`` is what to do about it."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason)
        self.cure = cure
