"""Resources that the plugin of ``ediri_vultr`` has made, and that ours must not replace.

The program names the plugin's types as aliases, so that the engine passes their inputs to our
providers at the first preview by the API. It would plan to replace every address and server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulumi.dynamic import CheckFailure

PROVIDER = "__provider"
"""Every input of a dynamic resource has it (sdk/python/lib/pulumi/dynamic/dynamic.py)."""

NEEDS_ADOPTION = (
    "mesh:providers.vultr.through = api: the plugin has made this resource, and the update would "
    "replace it; move the stack once by `mesh adopt --stack STACK`, or set "
    "mesh:providers.vultr.through to plugin"
)


def failures(olds: Mapping[str, Any]) -> list[CheckFailure]:
    """Why a resource with these inputs in the state is not ours; empty where it is, and where there
    is none."""
    return [CheckFailure("", NEEDS_ADOPTION)] if olds and PROVIDER not in olds else []
