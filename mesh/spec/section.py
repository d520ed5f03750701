"""The base class of a stack file's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

Sections = Mapping[str, Any]
"""The sections of a stack file that could be parsed, by their keys."""


class Section(BaseModel):
    """A part of the stack file: frozen, and an unknown key is an error."""

    # What checks a part is made when the first value is: few stack files have all of them. For the
    # same reason defaults, which pydantic does not check, are made by ``model_construct``.
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)
