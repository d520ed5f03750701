"""A twin of the production network with Prometheus and Alertmanager on one node."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.kit.stacks import ROOT
from tests.kit.wait import until
from tests.monitoring.cases import MONITOR
from tests.monitoring.rung import BOX, DEADMAN
from tests.twin.conftest import Twin, another, checkout_of

SECTION: dict[str, Any] = {
    "nodes": [MONITOR],
    "receivers": {BOX: {"kind": "webhook"}, DEADMAN: {"kind": "webhook"}},
    "watchdog": DEADMAN,
}
"""``mesh:monitoring``; the working copy of a lab has the receivers' addresses."""


def with_monitoring(root: Path) -> Path:
    """The lab's stack file of a checkout, with monitoring."""
    file = root / "Pulumi.lab.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["mesh:monitoring"] = SECTION
    file.write_text(yaml.safe_dump(document))
    return file


@contextmanager
def monitored(name: str, folder: Path) -> Iterator[Twin]:
    """The twin, up and well; whatever happens, nothing of it stays."""
    root = checkout_of(folder, "prod", services=True)
    shutil.copytree(ROOT / "site", root / "site")
    with_monitoring(root)
    with another(name, root) as state:
        twin = Twin(state, root, name)
        twin.mesh("lab", "up")
        until(lambda: twin.mesh("status", check=False).returncode == 0, 90, "all is well", nap=1)
        yield twin
