"""The stand-ins are as strict as the SDKs' own types, and fail when they are told to."""

from __future__ import annotations

from typing import Any

import ediri_vultr as sdk
import pytest

from tests.kit.clouds.cloud import Cloud, Failure, Refused
from tests.kit.clouds.schema import UNKNOWN, inputs_of, misfits
from tests.kit.clouds.vultr import (
    BARE_METAL,
    FIREWALL_GROUP,
    FIREWALL_RULE,
    INSTANCE,
    KEY,
    RESERVED_IP,
    TODAY,
    vultr,
)

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


def test_the_plugin_repeats_what_it_has_no_answer_to(cloud: Cloud) -> None:
    """Seen: five reserved addresses for four nodes, the fifth in no state."""
    wanted = {"region": "lax", "ipType": "v4"}
    cloud.fail("ReservedIp", Failure("Server error.", after="repeated"))
    told, reason = cloud.create(RESERVED_IP, "address", wanted)
    assert reason is None
    assert len(cloud.of("ReservedIp")) == 2
    cloud.fail("Instance", Failure("Server error.", after="repeated"))
    with pytest.raises(Refused, match="already attached"):
        cloud.create(INSTANCE, "server", SERVER | {"reservedIpId": told.id})


class TestTheApiOfToday:
    """What the plugin of 2025 makes of it, as it was seen."""

    @pytest.fixture(autouse=True)
    def today(self, cloud: Cloud) -> None:
        cloud.facts |= TODAY

    @pytest.mark.parametrize("kind", [INSTANCE, BARE_METAL], ids=lambda kind: kind.name)
    def test_no_server_can_be_read_and_so_none_made(self, cloud: Cloud, kind: Any) -> None:
        made, reason = cloud.create(kind, "server", SERVER)
        assert made.id in cloud.made, "it runs, and is billed"
        assert "error getting list of attached VPCs 2.0" in str(reason)
        with pytest.raises(Refused, match="list of attached VPCs"):
            cloud.read(kind, made.id)
        with pytest.raises(Refused, match="list of attached VPCs"):
            cloud.update(kind, made.id, SERVER)

    def test_a_server_that_is_gone_cannot_be_read_either(self, cloud: Cloud) -> None:
        with pytest.raises(Refused, match="instance not found"):
            cloud.read(INSTANCE, "gone")
        cloud.facts["gone"] = "invalid instance ID"
        assert cloud.read(INSTANCE, "gone") is None

    def test_a_rule_has_a_source_that_nobody_gave(self, cloud: Cloud) -> None:
        group, _ = cloud.create(FIREWALL_GROUP, "group", {})
        inputs = {"firewallGroupId": group.id, "ipType": "v4", "protocol": "tcp",
                  "subnet": "0.0.0.0", "subnetSize": 0, "port": "80", "source": ""}  # fmt: skip
        assert not list(FIREWALL_RULE.misfits(inputs))
        made, _ = cloud.create(FIREWALL_RULE, "rule", inputs)
        assert made.outputs["source"] == "0.0.0.0/0"
        refused = FIREWALL_RULE.misfits(inputs | {"source": made.outputs["source"]})
        assert [path for path, _ in refused] == ["source"], "what was read is not taken back"


def test_a_wrong_key_lets_nobody_in(cloud: Cloud) -> None:
    cloud.called_by({"apiKey": "another"})
    with pytest.raises(Refused, match="Invalid API token"):
        cloud.create(INSTANCE, "first", SERVER)
