"""`mesh:rpki.demand` in the program: nothing is asked for unless every aggregate is Valid."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from mesh.infra.ending import ending
from tests.kit.program import Answers, run, twin
from tests.kit.proxy import answering
from tests.kit.stacks import ROOT

OURS4 = {"asn": "AS27218", "prefix": "192.30.120.0/23", "maxLength": 23}
OURS6 = {"asn": "AS27218", "prefix": "2620:71:4000::/48", "maxLength": 48}


class NoAnswers(Answers):
    """Nobody is asked for anything."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        raise AssertionError(f"the program asked for {args.name}")


def listed(folder: Path, *roas: dict[str, Any]) -> str:
    (folder / "vrps.json").write_text(json.dumps({"roas": list(roas)}))
    return str(folder / "vrps.json")


def refusal(demand: str) -> str:
    """What stops the program before it has asked for anything."""
    with pytest.raises(pulumi.RunError) as refused:
        run(twin(rpki={"demand": demand}), answers=NoAnswers)
    return str(refused.value)


def test_valid_aggregates_are_deployed_as_if_nothing_was_demanded(tmp_path: Path) -> None:
    done = run(twin(rpki={"demand": listed(tmp_path, OURS4, OURS6)}))
    assert {name: each.inputs for name, each in done.resources.items()} == {
        name: each.inputs for name, each in run().resources.items()
    }


@pytest.mark.parametrize(
    ("roas", "said"),
    [
        ([OURS4], "mesh:prefixes.ipv6 = 2620:71:4000::/48 from AS27218: NotFound"),
        ([OURS4 | {"asn": 64496}, OURS6], "mesh:prefixes.ipv4 = 192.30.120.0/23 from AS27218: I"),
        ([OURS4 | {"maxLength": 22}], "malformed: roas[0]: maxLength 22"),
        ([OURS4 | {"expires": 1}, OURS6], "1 of its VRPs for these prefixes have expired"),
        ([], "it holds no VRP at all"),
    ],
)
def test_what_is_not_valid_stops_everything(
    tmp_path: Path, roas: list[dict[str, Any]], said: str
) -> None:
    assert said in refusal(listed(tmp_path, *roas))


def test_a_server_that_does_not_answer_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.rpki.rtr.SILENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"rtr://127.0.0.1:{server.getsockname()[1]}"
        said = refusal(source)
    assert f"mesh:rpki.demand = {source}: it was silent for 0.3 s" in said


def test_dangers_beside_valid_aggregates_are_warnings(tmp_path: Path) -> None:
    done = run(twin(rpki={"demand": listed(tmp_path, OURS4 | {"maxLength": 24}, OURS6)}))
    assert any("also authorises /24" in line for line in done.log)
    assert done.of("Instance")


def test_a_list_that_whoever_is_on_the_way_may_write_is_warned_of(tmp_path: Path) -> None:
    content = Path(listed(tmp_path, OURS4, OURS6)).read_bytes()
    with answering(content):
        done = run(twin(rpki={"demand": "http://rpki.example.net/vrps.json"}))
    assert any("mesh:rpki.demand = http" in line and "plain HTTP" in line for line in done.log)
    assert done.of("Instance")


def test_a_relative_file_lies_where_the_stack_files_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.path.relpath(listed(tmp_path, OURS4, OURS6), ROOT)
    monkeypatch.chdir("/")
    assert run(twin(rpki={"demand": path})).of("Instance")
    assert f"{ROOT}/nowhere.json cannot be read" in refusal("nowhere.json")


def test_a_run_that_ends_the_network_asks_for_no_roa(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ending({}).items():
        monkeypatch.setenv(name, value)
    done = run(twin(rpki={"demand": listed(tmp_path)}))
    assert any("this run ends the network" in line for line in done.log)
    assert done.of("Instance")


def test_a_network_that_ends_needs_no_roa(tmp_path: Path) -> None:
    done = run(twin(protect=False, rpki={"demand": listed(tmp_path)}))
    assert any("it is not checked, since mesh:protect is false" in line for line in done.log)
    assert done.of("Instance")
