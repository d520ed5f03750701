"""The host as a resource: what its provider answers to the engine, over a real sshd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mesh.delivery import DeliveryError, Unreachable
from mesh.infra.dynamic.host import HostProvider
from tests.delivery.ground import ADMIN, LOGIN, NODE, STRANGER, Box, key_text

pytestmark = pytest.mark.lab

PROVIDER = HostProvider()
OTHERS_KEY = " ".join(STRANGER.export_public_key("openssh").decode().split()[:2])


def inputs(box: Box, **changes: Any) -> dict[str, Any]:
    """The host as the stack file has it."""
    return {
        "node": NODE,
        "provider": "buyvm",
        "ipv4": box.address,
        "ipv6": box.ipv6,
        "port": 22,
        "user": "root",
        "host_keys": [],
        "trust_first": True,
        "admin": [ADMIN],
        "ssh_key": key_text(LOGIN),
        "user_data": box.given().user_data,
    } | changes


@pytest.fixture(scope="module")
def made(box: Box) -> Iterator[dict[str, Any]]:
    """The resource's outputs, once it is made."""
    outs: dict[str, Any] = box.operator(lambda: PROVIDER.create(inputs(box))).outs or {}
    yield outs
    box.operator(lambda: PROVIDER.delete(outs["instance_id"], outs))


def test_the_key_that_was_shown_first_is_on_record(box: Box, made: dict[str, Any]) -> None:
    assert made["host_key"] == box.host_key
    swapped = made | {"host_key": OTHERS_KEY}
    with pytest.raises(DeliveryError, match="shows another key"):
        box.operator(lambda: PROVIDER.read(made["instance_id"], swapped))
    with pytest.raises(DeliveryError, match="shows another key"):
        box.operator(lambda: PROVIDER.delete(made["instance_id"], swapped))


def test_another_way_to_the_same_host_is_an_update(box: Box, made: dict[str, Any]) -> None:
    news = inputs(box, user="carol", host_keys=[box.host_key], trust_first=False)
    diff = PROVIDER.diff(made["instance_id"], made, news)
    assert (diff.changes, diff.replaces) == (True, [])
    outs = box.operator(lambda: PROVIDER.update(made["instance_id"], made, news)).outs or {}
    assert (outs["user"], outs["instance_id"]) == ("carol", made["instance_id"])


def test_a_way_that_does_not_lead_there_is_refused(box: Box, made: dict[str, Any]) -> None:
    news = inputs(box, host_keys=[OTHERS_KEY], trust_first=False)
    with pytest.raises(DeliveryError, match="shows another key"):
        box.operator(lambda: PROVIDER.update(made["instance_id"], made, news))
    with pytest.raises(DeliveryError, match="is not the instance host-0"):
        box.operator(lambda: PROVIDER.update("host-0", made, inputs(box, user="carol")))


@pytest.mark.parametrize("key", ["ipv4", "node"])
def test_another_address_is_another_host(box: Box, made: dict[str, Any], key: str) -> None:
    diff = PROVIDER.diff(made["instance_id"], made, inputs(box, **{key: "other"}))
    assert diff.replaces == [key]
    assert diff.delete_before_replace


def test_a_refresh_tells_gone_from_silent(
    box: Box, made: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    one = made["instance_id"]
    assert box.operator(lambda: PROVIDER.read(one, made)).id == one
    assert box.operator(lambda: PROVIDER.read("host-0", made)).id == "", "made again by `up`"
    silent = made | {"ipv4": "198.51.100.250"}
    assert box.operator(lambda: PROVIDER.read(one, silent)).id == one
    said = capsys.readouterr().out
    assert "warning: kept as it was known" in said
    assert "nothing listens there" in said


def test_a_host_out_of_reach_is_not_forgotten(box: Box, made: dict[str, Any]) -> None:
    """It may go on announcing: the state keeps it, and the error says both ways out."""
    with pytest.raises(Unreachable) as error:
        box.operator(
            lambda: PROVIDER.delete(made["instance_id"], made | {"ipv4": "198.51.100.250"})
        )
    for part in ("host.ipv4 = 198.51.100.250", "pulumi state delete", "receiver.py remove"):
        assert part in str(error.value)
