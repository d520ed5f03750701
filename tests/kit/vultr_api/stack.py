"""The real engine on the program, against the API: a stack of its own.

vultr = Vultr()
with answering(vultr) as served, stack(folder, served) as engine:
    engine.run(*UP)                # with nodes: inhabited(folder, lambda: servers(vultr))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.kit.clouds.cloud import Cloud
from tests.kit.clouds.deployment import deployment, production
from tests.kit.clouds.inhabitants import Server
from tests.kit.engine import Engine
from tests.kit.stacks import ROOT
from tests.kit.vultr_api.account import BGP_PASSWORD, KEY, Vultr
from tests.kit.vultr_api.serving import Served

UP = ("up", "--yes", "--skip-preview")
PROJECT = {
    "name": "anycast-mesh",
    "runtime": {"name": "python", "options": {"virtualenv": str(ROOT / ".venv")}},
    "main": str(Path(__file__).parent / "servers"),
}
SECRETS = {"vultr:apiKey": KEY, "mesh:bgpPassword-vultr": BGP_PASSWORD}


@contextmanager
def stack(
    folder: Path,
    served: Served,
    document: Mapping[str, Any] | None = None,
    secret: Mapping[str, str] = SECRETS,
    clouds: Sequence[Cloud] = (),
    servers_only: bool = False,
) -> Iterator[Engine]:
    """The engine on a stack of its own in ``folder``, of the production network unless another
    ``document`` is given. ``clouds`` stand in for plugins; no other plugin is there, and none can
    be fetched. With ``servers_only`` the program is :mod:`tests.kit.vultr_api.servers`."""
    with deployment(folder, document or production(), clouds, secret) as engine:
        program = engine.program
        if servers_only:
            program = folder
            (folder / "Pulumi.yaml").write_text(yaml.safe_dump(PROJECT))
        own = {**engine.environment, **served.environment}
        yield replace(engine, environment=own, program=program)


def servers(vultr: Vultr) -> list[Server]:
    """The servers of an account that are up, for :func:`tests.kit.clouds.inhabitants.inhabited`."""
    with vultr.lock:
        return [
            Server(one.id, one.main_ip, one.v6_main_ip if one.enable_ipv6 else None,
                   one.cloud_config)
            for one in vultr.servers.values()
            if one.running and vultr.state(one)[0] == "active"
        ]  # fmt: skip
