"""Alerts of two faults reach a receiver, by the real rules: Prometheus, Alertmanager, a box.

`python -m tests.monitoring` does it for each fault, and shows that what is over is said to be, and
that a healthy twin rings nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.lab import receivers
from mesh.lab.lab_files import files_of
from tests.kit.wait import until
from tests.monitoring.cases import QUICK
from tests.monitoring.network import SECTION
from tests.monitoring.rung import BOX, DEADMAN, beats, since
from tests.twin.conftest import NAME, Twin

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]


@pytest.fixture
def monitored(twin: Twin, tmp_path: Path) -> Iterator[Twin]:
    """The twin with monitoring, and without it again."""
    secrets = {f"alertReceiver-{name}": receivers.url(name) for name in (BOX, DEADMAN)}
    file = twin.with_keys(tmp_path, {"monitoring": SECTION, **secrets})
    twin.pulumi("up", "--yes", "--skip-preview", config=file)
    try:
        yield twin
    finally:
        twin.pulumi("up", "--yes", "--skip-preview")


def test_two_faults_ring_for_themselves_and_for_nothing_else(monitored: Twin) -> None:
    files, broken = files_of(NAME), time.time()
    wanted = {ring for case in QUICK for ring in case.rings}
    longest = max(case.within for case in QUICK)
    for case in QUICK:
        monitored.mesh("lab", "fault", case.verb, case.target)
    try:
        until(lambda: wanted <= set(since(files, broken).first), longest, "they ring", nap=0.5)
    finally:
        for case in QUICK:
            monitored.mesh("lab", "heal", case.target)
    until(lambda: beats(files, broken), longest, "the dead man's switch hears of it", nap=0.5)
    assert set(since(files, broken).first) == wanted
