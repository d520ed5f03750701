"""Where whoami answers, so that other daemons can have its port."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.render import NodeFiles, node_files, placeholder_facts
from tests.kit.stacks import bent, one_node_without_ipv6, plan_of, prod

NODE = "lax-vultr-1"
UNIT = "anycast-mesh-whoami.service"
OWN = ["192.30.120.1", "2620:71:4000::1"]
WEB = {"kind": "web", "content": "site"}
EXTERNAL = {"kind": "external", "checks": [{"kind": "tcp", "port": 443}]}


def rendered(values: dict[str, Any], node: str = NODE) -> NodeFiles:
    plan = plan_of(values)
    return node_files(plan, placeholder_facts(plan))[node]


def config(files: NodeFiles) -> dict[str, Any]:
    (text,) = [file.content for file in files.files if file.path.endswith("/agent.json")]
    found: dict[str, Any] = json.loads(text)
    return found


def services(**given: dict[str, Any]) -> dict[str, Any]:
    """Services at addresses from 192.30.120.100 on."""
    return bent("services", {
        name: {"addresses": {
            "ipv4": f"192.30.120.{number}", "ipv6": f"2620:71:4000::{number}",
        }, **service}
        for number, (name, service) in enumerate(given.items(), 100)
    })  # fmt: skip


def test_without_a_kind_the_file_is_as_it_was() -> None:
    files = rendered(prod())
    document = config(files)
    assert "whoami_at" not in document
    assert not {"kind", "unit", "content"} & document["services"][0].keys()
    assert UNIT in files.units


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        ({"site": WEB}, OWN),
        ({"site": WEB, "who": {"kind": "whoami"}},
         [*OWN, "192.30.120.101", "2620:71:4000::101"]),
        ({"site": WEB, "old": {"ports": {"tcp": [80]}, "checks": [{"kind": "http", "port": 80}]}},
         [*OWN, "192.30.120.101", "2620:71:4000::101"]),
        ({"site": WEB, "old": {"ports": {"tcp": [443]}, "checks": [{"kind": "tcp", "port": 443}]}},
         OWN),
        ({"caddy": {**EXTERNAL, "ports": {"tcp": [443]}}}, OWN),
        ({"caddy": {**EXTERNAL, "ports": {"tcp": [80, 443]}}, "who": {"kind": "whoami"}},
         ["192.30.120.101", "2620:71:4000::101"]),
    ],
    ids=["a web server", "whoami beside it", "an old service beside it", "one at another port",
         "an external daemon", "an external daemon that may have port 80 of all addresses"],
)  # fmt: skip
def test_with_kinds_whoami_has_its_own_addresses(
    given: dict[str, Any], addresses: list[str]
) -> None:
    files = rendered(services(**given))
    assert sorted(config(files)["whoami_at"]) == sorted(addresses)
    assert UNIT in files.units


def test_whoami_does_not_run_where_it_would_answer_nothing() -> None:
    values = services(caddy={**EXTERNAL, "ports": {"tcp": [80]}, "nodes": [NODE]})
    assert UNIT not in rendered(values).units
    assert UNIT in rendered(values, "ord-vultr-1").units
    assert not any(UNIT in file.path for file in rendered(values).files)


def test_a_node_without_ipv6_has_ipv4_addresses_alone() -> None:
    values = one_node_without_ipv6()
    (node,) = [name for name, each in values["nodes"].items() if each.get("ipv6") is False]
    values["services"] = services(who={"kind": "whoami"})["services"]
    answering = config(rendered(values, node))["whoami_at"]
    assert answering
    assert not any(":" in address for address in answering)


def test_a_daemon_runs_where_its_service_is_served() -> None:
    values = services(site=WEB | {"nodes": [NODE]})
    unit = "anycast-mesh-web@site.service"
    assert unit in rendered(values).units
    assert unit not in rendered(values, "ord-vultr-1").units
    assert config(rendered(values, "ord-vultr-1"))["services"][0]["kind"] == "web"
