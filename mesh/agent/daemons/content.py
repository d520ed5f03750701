"""Contents of services: NSD's own check of zones first, then one link is swapped.

nginx opens what the link leads to at each request; NSD reads changed zones when it is told to. A
content that could not be fetched yet is left out here, and swapped once it is there
(:mod:`mesh.agent.contents`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mesh.agent.content_store import POINTERS, ContentStore, pointed, service_of
from mesh.agent.daemons import dns
from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.daemons.service_units import unit
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage

CHECK = "/usr/sbin/nsd-checkzone"
PATIENCE = 15.0
"""Seconds: a content that has just come is swapped by itself."""


def check_zones(host: Host, service: str, digest: str, configuration: Path) -> None:
    """Raises CommandFailed where NSD refuses a zone of a content. ``configuration`` is the
    service's, which only a service of kind ``dns`` has."""
    if not configuration.exists() or not host.path(CHECK).exists():
        return
    for zone, path in ContentStore(host).zones(service, digest):
        result = host.run(CHECK, zone, path, timeout=120)
        if result.code != 0:
            raise CommandFailed(f"content of {service}: zone {zone}: {result.why()}")


def bring_into_service(node: ChangedNode, service: str, digest: str) -> None:
    """Serves a content that is here. Raises CommandFailed if the daemon refuses it."""
    ContentStore(node.host).swap(service, digest)
    reader = unit(f"{dns.FOLDER}/{service}.conf")
    if reader in node.running:
        node.manager.reload_if_active(reader)


def _parsed(path: str, content: bytes) -> tuple[str, str]:
    service, digest = service_of(path), pointed(content)
    if service is None or digest is None:
        raise CommandFailed(f"{path}: names no content of a service")
    return service, digest


def _validate(stage: Stage, changes: Changes) -> None:
    store = ContentStore(stage.host)
    for change in changes:
        if change.new is None:
            continue
        service, digest = _parsed(change.path, change.new)
        if store.has(service, digest):
            configuration = stage.host.path(stage.path(f"{dns.FOLDER}/{service}.conf"))
            check_zones(stage.host, service, digest, configuration)


def _apply(node: ChangedNode, changes: Changes) -> None:
    store = ContentStore(node.host)
    for change in changes:
        if change.new is None:
            continue  # The contents of a service that has gone are removed later.
        service, digest = _parsed(change.path, change.new)
        if store.has(service, digest) and store.current(service) != digest:
            bring_into_service(node, service, digest)


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    store = ContentStore(node.host)
    for path in paths:
        service, digest = _parsed(path, node.host.read(path) or b"")
        if store.has(service, digest) and store.current(service) != digest:
            mend = partial(bring_into_service, node, service, digest)
            yield Difference(f"content {service}", "is another one", mend, PATIENCE)


KIND = DaemonKind(
    name="content",
    patterns=(f"{POINTERS}/*",),
    validate=_validate,
    apply=_apply,
    differences=_differences,
)
