"""Advice on a stack file that is valid: what `mesh check` would write in another way."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.spec.model import Spec


def advice(spec: Spec) -> Iterator[str]:
    """Each piece of advice, on one line."""
    yield from _unnamed(spec)
    yield from _sharing(spec)


def _unnamed(spec: Spec) -> Iterator[str]:
    unnamed = [name for name, service in spec.services.items() if service.kind is None]
    if unnamed and spec.whoami:
        yield (
            f"{_keys(unnamed)}: without a kind whoami has port 80 of every address of the nodes; "
            "write kind: whoami, or web, dns or external"
        )
    elif unnamed:
        yield f"{_keys(unnamed)}: no kind is named; write kind: external"


def _sharing(spec: Spec) -> Iterator[str]:
    """An external daemon at a port of ours: on the same nodes it must not take all addresses."""
    for name, service in spec.services.items():
        if service.kind != "external":
            continue
        beside = [
            other
            for other, one in spec.services.items()
            if one.kind in ("web", "dns", "whoami")
            and _meet(service.nodes, one.nodes)
            and any(
                set(getattr(service.open_ports, protocol)) & set(getattr(one.open_ports, protocol))
                for protocol in ("tcp", "udp")
            )
        ]
        if beside:
            yield (
                f"mesh:services.{name}: its daemon has to listen at its own addresses, since one "
                f"that listens at all addresses takes a port of {_keys(beside)} on the same nodes"
            )


def _meet(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Whether two services have a node in common; None is all nodes."""
    return some is None or others is None or bool(set(some) & set(others))


def _keys(names: list[str]) -> str:
    return ", ".join(f"mesh:services.{name}" for name in names)
