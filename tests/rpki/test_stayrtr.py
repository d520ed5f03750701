"""StayRTR as Debian has it: its RTR of both versions, and the list that it serves on the Web."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from mesh.rpki import SourceError, VrpList, read
from mesh.spec.vrps import VrpServer, VrpSource, VrpUrl
from tests.kit.machine import layer
from tests.kit.ports import free_port
from tests.kit.wait import PATIENCE
from tests.rpki.vrps import vrps

pytestmark = pytest.mark.image
OURS = (ip_network("192.30.120.0/23"), ip_network("2620:71:4000::/48"))
BOTH = [
    {"asn": "AS27218", "prefix": "192.30.120.0/23", "maxLength": 24, "ta": "arin"},
    {"asn": "AS27218", "prefix": "2620:71:4000::/48", "maxLength": 48, "ta": "arin"},
]
KNOWN = frozenset(vrps("192.30.120.0/23-24 27218", "2620:71:4000::/48 27218"))
DEADLINE = 120.0
# Debian's stayrtr is one static program, which needs none of the layer but itself.
PROGRAM = "usr/bin/stayrtr"


@dataclass(frozen=True)
class Stayrtr:
    """One that runs; ``rtr`` and ``web`` are its ports."""

    rtr: int
    web: int

    def server(self) -> VrpServer:
        return VrpServer("127.0.0.1", self.rtr)

    def listed(self) -> VrpUrl:
        return VrpUrl(f"http://127.0.0.1:{self.web}/rpki.json")


def running(folder: Path, roas: list[dict[str, Any]], *options: str) -> Iterator[Stayrtr]:
    cache = folder / "vrps.json"
    cache.write_text(json.dumps({"metadata": {"roas": len(roas)}, "roas": roas}))
    rtr, web = free_port(), free_port()
    process = subprocess.Popen(
        [layer("stayrtr") / PROGRAM, "-cache", cache, "-checktime=false", *options,
         "-bind", f"127.0.0.1:{rtr}", "-metrics.addr", f"127.0.0.1:{web}"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Stayrtr(rtr, web)
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(params=[1, 0], ids=["version 1", "version 0"], scope="module")
def stayrtr(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stayrtr]:
    """One that speaks at most that version."""
    options = ("-protocol", str(request.param), "-enforce.version")
    yield from running(tmp_path_factory.mktemp("stayrtr"), BOTH, *options)


def once_it_is_up(source: VrpSource) -> VrpList:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return read(source, OURS, Path())
        except SourceError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_rtr_is_read(stayrtr: Stayrtr) -> None:
    assert once_it_is_up(stayrtr.server()) == VrpList(KNOWN, seen=2, expired=0)


def test_its_list_is_read(stayrtr: Stayrtr) -> None:
    assert once_it_is_up(stayrtr.listed()) == VrpList(KNOWN, seen=2, expired=0)


def test_an_empty_one_is_no_answer(tmp_path: Path) -> None:
    for empty in running(tmp_path, []):
        end = time.monotonic() + DEADLINE
        said = ""
        while "no VRP at all" not in said and "no data yet" not in said:
            assert time.monotonic() < end, said
            with pytest.raises(SourceError) as refused:
                read(empty.server(), OURS, Path())
            said = str(refused.value)
            time.sleep(0.05)


def test_many_come_whole(tmp_path: Path) -> None:
    many = [
        {"asn": "AS64496", "prefix": f"{IPv4Address(i << 12)}/20", "maxLength": 24, "ta": ""}
        for i in range(3 << 18, (3 << 18) + 100_000)
    ]
    for full in running(tmp_path, BOTH + many):
        listed = once_it_is_up(full.server())
        assert listed.seen == 100_002
        assert listed.vrps == KNOWN | set(vrps("192.30.112.0/20-24 64496"))
