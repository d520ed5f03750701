"""The account at Vultr that a stack lives in, as the command line asks it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mesh.cli.stacks import Stack
from mesh.infra.providers.vultr.v2 import ApiError, Client, connect, errors


@contextmanager
def account_of(stack: Stack) -> Iterator[Client]:
    """The account of a stack's API key: of its configuration, or of ``VULTR_API_KEY``. The key
    stays in this process. ApiError where there is none."""
    key = stack.setting(errors.KEY) or os.environ.get("VULTR_API_KEY")
    if not key:
        raise ApiError("unset", errors.NO_KEY)
    with connect(key, stack.environment.get("VULTR_API_ENDPOINT")) as client:
        yield client
