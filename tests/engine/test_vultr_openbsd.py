"""A network with OpenBSD nodes at Vultr, by the real engine against Vultr's API: in order, the life
of its servers. What the nodes do there is in tests/openbsd."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.infra.ending import GIVEN_UP
from mesh.render import startup_script
from mesh.trust.keys import join_token
from tests.kit.clouds.deployment import production
from tests.kit.engine import Engine, changed
from tests.kit.stacks import prod
from tests.kit.vultr_api import Vultr, answering
from tests.kit.vultr_api.account import Call
from tests.kit.vultr_api.offers import DEBIAN_ID, OPENBSD, OPENBSD_ID
from tests.kit.vultr_api.stack import UP, stack

pytestmark = pytest.mark.engine

NODE, NEXT = "mia-vultr-1", "ord-vultr-1"


def nodes(*openbsd: str) -> dict[str, dict[str, object]]:
    """Three of the production network's nodes, of which these run OpenBSD."""
    found: dict[str, dict[str, object]] = prod()["nodes"]
    del found["ewr-vultr-1"]
    return {
        key: node | ({"os": "openbsd"} if key in openbsd else {}) for key, node in found.items()
    }


@pytest.fixture(scope="module")
def vultr() -> Vultr:
    return Vultr()


@pytest.fixture(scope="module")
def engine(vultr: Vultr, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("openbsd")
    document = production(nodes=nodes(NODE), protect=False)
    with (
        answering(vultr, folder / "tls") as served,
        stack(folder / "stack", served, document, servers_only=True) as engine,
    ):
        yield engine


def operator(engine: Engine) -> tuple[str, str]:
    """The operator's key pair, as the state has it."""
    (pair,) = (
        each["outputs"]
        for each in replace(engine, said=[]).resources("--show-secrets")
        if each["type"].endswith(":Operator")
    )
    return json.loads(pair["private"]["plaintext"]), pair["public"]


def posted(vultr: Vultr, path: str) -> list[Call]:
    return [call for call in vultr.calls if call.what == f"POST {path}"]


def test_the_script_has_no_secret_and_the_user_data_have_the_token(
    engine: Engine, vultr: Vultr
) -> None:
    shown = engine.run("up", "--yes").text
    assert " mesh-vultr-startup-script create" in shown
    assert f"{NODE} will run {OPENBSD}, the newest that Vultr has" in shown
    private, public = operator(engine)
    (script,) = posted(vultr, "/startup-scripts")
    assert script.body["type"] == "boot"
    assert base64.b64decode(script.body["script"]).decode() == startup_script(public)
    servers = {call.body["label"]: call.body for call in posted(vultr, "/instances")}
    (stored,) = vultr.scripts
    assert {
        label: (body["os_id"], body.get("script_id")) for label, body in servers.items()
    } == dict.fromkeys(nodes(), (DEBIAN_ID, None)) | {NODE: (OPENBSD_ID, stored)}
    sent = base64.b64decode(servers[NODE]["user_data"]).decode()
    assert join_token(private, NODE) in sent
    assert private not in sent


def test_nothing_secret_is_shown(engine: Engine) -> None:
    private, _ = operator(engine)
    shown = [*engine.said, json.dumps(engine.resources())]
    for secret in (private, join_token(private, NODE)):
        assert not [text for text in shown if secret in text]


def test_only_what_is_to_be_replaced_gets_the_newer_release_and_a_script_is_repaired(
    engine: Engine, vultr: Vultr, tmp_path: Path
) -> None:
    vultr.images.append(
        {"id": 9999, "name": "OpenBSD 10.0 x64", "family": "openbsd", "arch": "x64"}
    )
    (stored,) = vultr.scripts.values()
    text, stored.script = stored.script, base64.b64encode(b"echo\n").decode()
    (urn,) = [r["urn"] for r in engine.resources() if r["urn"].endswith(f"{NEXT}-instance")]
    before = vultr.server(NEXT)
    vultr.forget_calls()
    changed(engine, tmp_path, {"nodes": nodes(NODE, NEXT)}).run(*UP, "--refresh", "--replace", urn)
    assert stored.script == text
    assert sorted(vultr.changes()) == [
        f"DELETE /instances/{before.id}", f"PATCH /startup-scripts/{stored.id}", "POST /instances",
    ]  # fmt: skip
    after = vultr.server(NEXT)
    assert (after.os_id, after.script, after.main_ip) == (9999, stored.id, before.main_ip)
    assert "untrusted comment" in after.cloud_config


def test_destroy_leaves_nothing(engine: Engine, vultr: Vultr) -> None:
    engine.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert not any(vultr.holdings().values())
