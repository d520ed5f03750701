"""What a node makes of a registry's words, over a real connection."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.host import Host
from mesh.agent.line import Ears, Line
from mesh.agent.state import Rejected, State, verified, verified_order
from mesh.discovery.client import Unreachable
from mesh.trust import keys, signing
from mesh.trust.documents import DrainOrder
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN, Kind
from mesh.trust.signing import Purpose, Signed
from tests.discovery.live import Fleet, live

FLEET = Fleet()
OPERATOR = keys.signing_public(FLEET.key)
NODE = "lax-vultr-1"


def listening(url: str, state: State) -> Line:
    def offered(_: Kind[Any], envelope: Signed, __: str) -> int:
        ordered = verified_order(OPERATOR, DRAIN, envelope)
        with contextlib.suppress(Rejected):
            state.accept_order(ordered)
        return ordered.number

    ears = Ears(
        held=lambda: state.highest,
        ordered=state.order,
        is_member=lambda: True,
        request=lambda: None,
        offer=lambda *_: None,
        offer_order=offered,
        certificate=lambda *_: None,
    )
    return Line(url, FLEET.node(NODE), ears, threading.Event())


@pytest.mark.parametrize("network", ["as27218-prod", "as27218-lab"])
def test_only_an_order_of_our_network_counts_in_what_is_waited_for(
    tmp_path: Path, network: str
) -> None:
    """Else a node would wait for what is above another network's number, and miss its own."""
    state = State(Host(tmp_path / "node"), OPERATOR)
    state.accept(verified(OPERATOR, FLEET.generation(1).generation.manifest))
    order = DrainOrder(network, 2**40, (NODE,))
    envelope = signing.signed_document(FLEET.key, Purpose.DRAIN, order)
    with live(tmp_path / "registry", OPERATOR) as registry, registry.client() as client:
        # It knows no generation, so it cannot tell whose order it is.
        assert client.ask("PUT", "/api/v1/drain", dump(envelope)).ok
        line = listening(registry.url, state)
        if network == "as27218-prod":
            assert line._take_order(client, DRAIN, fresh=True) == 2**40
        else:
            with pytest.raises(Unreachable, match="not ours"):
                line._take_order(client, DRAIN, fresh=True)
            assert state.order(DRAIN) is None
