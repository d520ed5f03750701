"""The host as a resource: what its provider answers to the engine, over a real sshd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pulumi.output import UNKNOWN

from mesh.infra.dynamic.host import HostProvider
from mesh.infra.dynamic.hostkey import HostKeyProvider
from mesh.ssh import DeliveryError, HostUnreachable
from tests.kit.existing_host import ADMIN, LOGIN, NODE, STRANGER, ExistingHost, key_text

pytestmark = pytest.mark.lab

PROVIDER = HostProvider()
KEYS = HostKeyProvider()
OTHERS_KEY = " ".join(STRANGER.export_public_key("openssh").decode().split()[:2])


def inputs(box: ExistingHost, **changes: Any) -> dict[str, Any]:
    """The host as the stack file has it."""
    return {
        "node": NODE,
        "provider": "buyvm",
        "ipv4": box.address,
        "ipv6": box.ipv6,
        "port": 22,
        "user": "root",
        "host_keys": [],
        "host_key": box.host_key,
        "admin": [ADMIN],
        "ssh_key": key_text(LOGIN),
        "user_data": box.given().user_data,
    } | changes


@pytest.fixture(scope="module")
def made(box: ExistingHost) -> Iterator[dict[str, Any]]:
    """The resource's outputs, once it is made."""
    outs: dict[str, Any] = box.operator(lambda: PROVIDER.create(inputs(box))).outs or {}
    yield outs
    box.operator(lambda: PROVIDER.delete(outs["instance_id"], outs))


def test_another_key_than_the_one_on_record_is_never_believed(
    box: ExistingHost, made: dict[str, Any]
) -> None:
    """Whoever shows it sits in between, or the host was reinstalled: not asked, not delivered
    to, not cleared, and at a preview of its re-creation not logged in to."""
    swapped = made | {"host_key": OTHERS_KEY}
    one = made["instance_id"]
    calls: list[Callable[[], object]] = [
        lambda: PROVIDER.read(one, swapped),
        lambda: PROVIDER.delete(one, swapped),
        lambda: PROVIDER.create(inputs(box, host_key=OTHERS_KEY)),
        lambda: PROVIDER.update(one, swapped, inputs(box, user="carol")),
    ]
    for call in calls:
        with pytest.raises(DeliveryError, match="presents another key"):
            box.operator(call)
    again = box.operator(lambda: PROVIDER.check({}, inputs(box, host_key=OTHERS_KEY)))
    assert "presents another key" in again.failures[0].reason


@pytest.mark.parametrize("unrecorded", [UNKNOWN, "", None])
def test_without_a_key_on_record_a_host_is_looked_at_and_nothing_more(
    box: ExistingHost, unrecorded: object
) -> None:
    news = inputs(box, host_key=unrecorded)
    assert box.operator(lambda: PROVIDER.check({}, news)).failures == []
    with pytest.raises(DeliveryError, match="presents another key"):
        box.operator(lambda: PROVIDER.create(news))


class TestFirstKey:
    """``trustFirst``: the key that is shown first, and no other one ever after."""

    def test_it_is_recorded_once(self, box: ExistingHost) -> None:
        outs = recorded(box)
        assert outs["key"] == box.host_key
        others: list[dict[str, Any]] = [
            {}, {"port": 2222}, {"user": "carol"}, {"ssh_key": "new"}, {"host_keys": [OTHERS_KEY]},
        ]  # fmt: skip
        for changes in others:
            assert not KEYS.diff("", outs, keyed(box, **changes)).changes

    def test_nothing_is_recorded_where_the_stack_file_says_which(self, box: ExistingHost) -> None:
        """Nor is the host asked: there may be no way to it from here."""
        outs = KEYS.create(keyed(box, host_keys=[OTHERS_KEY])).outs or {}
        assert outs["key"] == ""
        news = keyed(box, host_keys=[box.host_key])
        assert KEYS.diff("", outs, news).changes, "these are known from here on"
        assert KEYS.update("", outs, news).outs == {**news, "key": ""}

    def test_who_takes_the_given_keys_away_gets_one_of_them_recorded(
        self, box: ExistingHost
    ) -> None:
        news = keyed(box)
        for given in (box.host_key, OTHERS_KEY):
            olds = KEYS.create(keyed(box, host_keys=[given])).outs or {}
            diff = KEYS.diff("", olds, news)
            assert (diff.changes, diff.replaces) == (True, [])
            if given == box.host_key:
                outs = box.operator(partial(KEYS.update, "", olds, news)).outs or {}
                assert outs["key"] == box.host_key
            else:
                with pytest.raises(DeliveryError, match="presents another key"):
                    box.operator(partial(KEYS.update, "", olds, news))

    @pytest.mark.parametrize("key", ["ipv4", "node"])
    def test_another_address_is_another_host(self, box: ExistingHost, key: str) -> None:
        diff = KEYS.diff("", recorded(box), keyed(box, **{key: "other"}))
        assert diff.replaces == [key]

    def test_nothing_is_recorded_where_nobody_gets_in(self, box: ExistingHost) -> None:
        with pytest.raises(DeliveryError, match="does not accept"):
            box.operator(lambda: KEYS.create(keyed(box, user="erin")))


def keyed(box: ExistingHost, **changes: Any) -> dict[str, Any]:
    """The host as its key's resource has it."""
    names = ("node", "provider", "ipv4", "port", "user", "host_keys", "ssh_key")
    return {name: inputs(box)[name] for name in names} | changes


def recorded(box: ExistingHost) -> dict[str, Any]:
    """The outputs once its key is on record."""
    return box.operator(lambda: KEYS.create(keyed(box))).outs or {}


def test_what_a_cut_delivery_left_is_said_when_the_host_is_given_up(
    box: ExistingHost, made: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The state never heard of it, so no other resource can say so."""
    key = box.operator(lambda: KEYS.create(inputs(box, host_keys=[box.host_key]))).outs or {}
    box.operator(lambda: KEYS.delete("", key))
    said = capsys.readouterr().out
    assert f"{NODE}: {box.address} still holds" in said
    assert "receiver.py remove" in said
    box.operator(lambda: KEYS.delete("", key | {"node": "another-buyvm-1"}))
    assert capsys.readouterr().out == ""
    box.operator(lambda: KEYS.delete("", key | {"host_keys": [OTHERS_KEY]}))
    assert "it is unknown whether its host still holds" in capsys.readouterr().out


def test_another_way_to_the_same_host_is_an_update(box: ExistingHost, made: dict[str, Any]) -> None:
    news = inputs(box, user="carol", host_keys=[box.host_key])
    diff = PROVIDER.diff(made["instance_id"], made, news)
    assert (diff.changes, diff.replaces) == (True, [])
    outs = box.operator(lambda: PROVIDER.update(made["instance_id"], made, news)).outs or {}
    assert (outs["user"], outs["instance_id"]) == ("carol", made["instance_id"])


def test_a_way_that_does_not_lead_there_is_refused(box: ExistingHost, made: dict[str, Any]) -> None:
    news = inputs(box, host_keys=[OTHERS_KEY])
    with pytest.raises(DeliveryError, match="presents another key"):
        box.operator(lambda: PROVIDER.update(made["instance_id"], made, news))
    with pytest.raises(DeliveryError, match="is not the instance host-0"):
        box.operator(lambda: PROVIDER.update("host-0", made, inputs(box, user="carol")))


@pytest.mark.parametrize("key", ["ipv4", "node"])
def test_another_address_is_another_host(box: ExistingHost, made: dict[str, Any], key: str) -> None:
    diff = PROVIDER.diff(made["instance_id"], made, inputs(box, **{key: "other"}))
    assert diff.replaces == [key]
    assert diff.delete_before_replace


def test_a_refresh_tells_gone_from_silent(
    box: ExistingHost, made: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    one = made["instance_id"]
    assert box.operator(lambda: PROVIDER.read(one, made)).id == one
    assert box.operator(lambda: PROVIDER.read("host-0", made)).id == "", "made again by `up`"
    silent = made | {"ipv4": "198.51.100.250"}
    assert box.operator(lambda: PROVIDER.read(one, silent)).id == one
    said = capsys.readouterr().out
    assert "warning: kept as it is in the state" in said
    assert "nothing listens there" in said


def test_a_host_out_of_reach_is_not_forgotten(box: ExistingHost, made: dict[str, Any]) -> None:
    """It may go on announcing: the state keeps it, and the error says both ways out."""
    with pytest.raises(HostUnreachable) as error:
        box.operator(
            lambda: PROVIDER.delete(made["instance_id"], made | {"ipv4": "198.51.100.250"})
        )
    for part in ("host.ipv4 = 198.51.100.250", "pulumi state delete", "receiver.py remove"):
        assert part in str(error.value)
