"""`pulumi preview` by the real engine: what it shows and refuses, and that it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.engine import Done, Engine, changed, engine_of
from tests.kit.forks import with_forks
from tests.kit.lab_node import own_name
from tests.kit.stacks import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.root]

LAB = own_name("previewed")


@pytest.fixture(scope="module")
def engine(own_lab: None, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A fresh stack of which nothing exists."""
    engine = engine_of(tmp_path_factory.mktemp("state"))
    return replace(engine, environment=with_forks(engine.environment))


def untouched(engine: Engine) -> bool:
    """Whether neither the state nor the machine knows anything of the stack."""
    return not engine.resources() and not Path(f"/run/anycast-mesh/{LAB}").exists()


def password(engine: Engine) -> str:
    """The account's password, which no other command may show."""
    done = engine.run("config", "get", "mesh:bgpPassword-vultr")
    engine.said.pop()
    return done.stdout.strip()


def test_shows_every_resource_while_no_address_is_known(engine: Engine) -> None:
    shown = engine.run("preview").stdout
    assert "22 to create" in shown.replace("+ ", "")
    for name in ("mesh", "mesh-ord", "mesh-ord-vultr-1", "mesh-ord-vultr-1-instance"):
        assert f" {name} create" in shown
    assert "[unknown]" in shown
    assert untouched(engine)


def test_shows_no_secret_even_in_detail(engine: Engine) -> None:
    secret = password(engine)
    shown = engine.run("preview", "--diff").stdout
    assert "mesh-generation" in shown
    assert secret not in shown
    assert len(secret) > 16


# A preview tells all that is wrong at once, but of a password only where nothing else is wrong, and
# of an original that is not there alone.
BAD: dict[str, dict[str, Any]] = {
    "values": {
        "asn": 64512,
        "whoami": "perhaps",
        "prefixes": {"ipv4": "192.30.120.1/23"},
        "nodes": {"atl-vultr-1": {"number": 9}},
        "admin": {"ssh": ["0.0.0.0/0"]},
        "colour": "blue",
        "rpki": {"demand": "ftp://x"},
    },
    "no password": {"bgpPassword-vultr": None},
    "no real password": {"bgpPassword-vultr": "changeme"},
    "no original": {"twin": "nothing"},
}


@pytest.fixture(scope="module")
def refusal(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Done]:
    """How a preview with such keys ends, each tried once."""

    @cache
    def tried(bad: str) -> Done:
        return changed(engine, tmp_path_factory.mktemp("bad"), BAD[bad]).run("preview", check=False)

    return tried


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("values", ["mesh:asn = 64512", "private"]),
        ("values", ["mesh:asn", "mesh:whoami"]),
        ("no password", ["mesh:bgpPassword-vultr = unset", "config set --secret"]),
        ("no real password", ["mesh:bgpPassword-vultr = [secret]", "placeholder"]),
        ("values", ["mesh:prefixes.ipv4", "192.30.120.0/23"]),
        ("values", ["mesh:nodes.atl-vultr-1", "there is no region atl"]),
        ("values", ["mesh:admin.ssh", "0.0.0.0/0"]),
        ("no original", ["Pulumi.nothing.yaml", "prod"]),
        ("values", ["mesh:colour = blue", "unknown"]),
        ("values", ["mesh:rpki.demand = ftp://x", "name a file, https://"]),
    ],
)
def test_refuses_bad_configuration_with_key_value_reason_and_cure(
    engine: Engine,
    refusal: Callable[[str], Done],
    bad: str,
    said: list[str],
) -> None:
    done = refusal(bad)
    text = done.text
    assert done.returncode
    assert all(part in text for part in said), text
    assert "Traceback" not in text
    assert untouched(engine)


@pytest.mark.parametrize("command", [("preview",), ("up", "--yes", "--skip-preview")])
def test_changes_nothing_until_the_aggregates_are_valid_where_that_is_demanded(
    engine: Engine, tmp_path: Path, command: tuple[str, ...]
) -> None:
    listed = tmp_path / "vrps.json"
    roas = [{"asn": 27218, "prefix": "192.30.120.0/23", "maxLength": 23}]
    listed.write_text(json.dumps({"roas": roas}))
    done = changed(engine, tmp_path, {"rpki": {"demand": str(listed)}}).run(*command, check=False)
    text = done.text
    assert done.returncode
    assert "mesh:prefixes.ipv6 = 2620:71:4000::/48 from AS27218: NotFound: no ROA" in text
    assert "192.30.120.0/23 from" not in text
    assert "Traceback" not in text
    assert untouched(engine)


def test_refuses_a_cloud_without_its_key(engine: Engine, tmp_path: Path) -> None:
    """The production stack itself, as it is cloned."""
    original = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
    keys = {key.removeprefix("mesh:"): value for key, value in original.items()}
    own = yaml.safe_load(engine.config.read_text())["config"]["mesh:admin"]
    done = changed(engine, tmp_path, keys | {"twin": None, "admin": own}).run(
        "preview", check=False
    )
    text = done.text
    assert done.returncode
    assert "vultr:apiKey = unset" in text
    assert "pulumi config set --secret vultr:apiKey" in text
    assert "Traceback" not in text


def test_refuses_a_stack_file_that_is_not_yaml(engine: Engine, tmp_path: Path) -> None:
    broken = tmp_path / "Pulumi.lab.yaml"
    broken.write_text("config:\n  mesh:asn: [27218\n")
    done = Engine(engine.state, "lab", broken, engine.environment).run("preview", check=False)
    text = done.text
    assert done.returncode
    assert "YAML" in text
    assert "Traceback" not in text
