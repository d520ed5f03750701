"""Writes the mark into an existing object; nothing else of it changes."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.infra.providers.vultr.v2.client import Client
from mesh.infra.providers.vultr.v2.holdings import SERVERS, AccountObject, ObjectKind
from mesh.infra.providers.vultr.v2.mark import Mark


def write(client: Client, held: AccountObject, mark: Mark, tags: Sequence[str] = ()) -> None:
    """Write this mark; a server gets ``tags`` beside it. ApiError where Vultr refuses it. No server
    restarts."""
    if held.kind in SERVERS:
        body = {"label": mark.node, "tags": [*tags, *mark.tags()]}
        client.send("PATCH", held.path, body)
    elif held.kind is ObjectKind.GROUP:
        client.send("PUT", held.path, {"description": mark.text()})
    elif held.kind is ObjectKind.ADDRESS:
        client.send("PATCH", held.path, {"label": mark.text()})
    else:
        client.send("PATCH", held.path, {"name": mark.text()})
