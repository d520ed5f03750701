"""The stand-ins are as strict as the SDKs' own types, and fail when they are told to."""

from __future__ import annotations

from typing import Any

import ediri_vultr as sdk
import pytest

from tests.engine.standins.cloud import Cloud, Failure, Refused
from tests.engine.standins.schema import UNKNOWN, inputs_of, misfits
from tests.engine.standins.vultr import INSTANCE, KEY, RESERVED_IP, vultr

SERVER = {"region": "lax", "plan": "vc2-1c-1gb", "osId": 2625}


@pytest.fixture
def cloud() -> Cloud:
    one = vultr()
    one.called_by({"apiKey": KEY})
    return one


@pytest.mark.parametrize(
    ("inputs", "paths"),
    [
        ({}, []),
        ({"userData": UNKNOWN, "sshKeyIds": UNKNOWN}, []),
        ({"tags": ["a", UNKNOWN]}, []),
        ({"enableIpv6": "yes"}, ["enableIpv6"]),
        ({"osId": "2625"}, ["osId"]),
        ({"osId": 26.25}, ["osId"]),
        ({"tags": "one"}, ["tags"]),
        ({"tags": ["a", 1]}, ["tags[1]"]),
        ({"user_data": "snake"}, ["user_data"]),
        ({"backupsSchedule": {"type": "daily", "hours": 3}}, ["backupsSchedule.hours"]),
        ({"backupsSchedule": {"hour": 3}}, ["backupsSchedule.type"]),
        ({"appVariables": {"a": 1}}, ["appVariables.a"]),
        ({"region": None}, ["region"]),
    ],
)
def test_inputs_are_of_the_sdks_types(inputs: dict[str, Any], paths: list[str]) -> None:
    assert [path for path, _ in misfits(sdk.InstanceArgs, SERVER | inputs)] == paths


def test_what_the_sdk_requires_is_required() -> None:
    required = {name for name, one in inputs_of(sdk.FirewallRuleArgs).items() if one.required}
    assert required == {"firewallGroupId", "ipType", "protocol", "subnet", "subnetSize"}


def test_a_server_is_made_from_exactly_one_thing() -> None:
    assert [path for path, _ in INSTANCE.misfits(SERVER | {"snapshotId": "x"})] == ["osId"]


def test_an_address_is_at_one_server_only(cloud: Cloud) -> None:
    address, _ = cloud.create(RESERVED_IP, "address", {"region": "lax", "ipType": "v4"})
    first, _ = cloud.create(INSTANCE, "first", SERVER | {"reservedIpId": address.id})
    assert first.outputs["mainIp"] == address.outputs["subnet"]
    with pytest.raises(Refused, match="already attached"):
        cloud.create(INSTANCE, "second", SERVER | {"reservedIpId": address.id})
    with pytest.raises(Refused, match="Unable to detach"):
        cloud.delete(RESERVED_IP, address.id, "address")


@pytest.mark.parametrize(
    ("after", "exists", "told"),
    [("nothing", 0, False), ("made", 1, True), ("lost", 1, False)],
)
def test_a_creation_fails_as_far_as_it_is_told(
    cloud: Cloud, after: Any, exists: int, told: bool
) -> None:
    cloud.fail("Instance", Failure("no capacity", after), nth=2)
    cloud.create(INSTANCE, "first", SERVER)
    if told:
        made, reason = cloud.create(INSTANCE, "second", SERVER)
        assert (made.name, reason) == ("second", "no capacity")
    else:
        with pytest.raises(Refused, match="no capacity"):
            cloud.create(INSTANCE, "second", SERVER)
    assert len(cloud.of("Instance")) == 1 + exists
    cloud.create(INSTANCE, "third", SERVER)


def test_a_wrong_key_lets_nobody_in(cloud: Cloud) -> None:
    cloud.called_by({"apiKey": "another"})
    with pytest.raises(Refused, match="Invalid API token"):
        cloud.create(INSTANCE, "first", SERVER)
