"""Two networks whose stacks have one name, one plan and one account at Vultr."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from mesh.infra.ending import GIVEN_UP
from tests.kit.engine import Engine
from tests.kit.stacks import ROOT
from tests.kit.vultr_api import Vultr, answering
from tests.kit.vultr_api.objects import Address
from tests.kit.vultr_api.stack import UP, stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

BOTH = {"servers": 8, "addresses": 8, "groups": 2, "keys": 4}


@pytest.fixture(scope="module")
def vultr() -> Vultr:
    return Vultr()


@pytest.fixture(scope="module")
def engines(vultr: Vultr, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    with (
        answering(vultr) as served,
        stack(folders[0], served, servers_only=True) as one,
        stack(folders[1], served, servers_only=True) as other,
    ):
        for engine in (one, other):
            engine.run(*UP)
        yield [one, other]


def strays(engine: Engine, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / ".venv" / "bin" / "mesh", "strays", "--stack", engine.stack, "--json", *words],
        cwd=engine.state, env=dict(engine.environment), capture_output=True, text=True, check=False,
    )  # fmt: skip


def ids(engine: Engine) -> set[str]:
    return {each["id"] for each in engine.resources() if "dynamic/vultr" in each["type"]}


def test_each_makes_its_own(engines: list[Engine], vultr: Vultr) -> None:
    found = vultr.holdings()
    assert {kind: found[kind] for kind in BOTH} == BOTH
    assert not ids(engines[0]) & ids(engines[1])


def test_neither_takes_the_others_for_strays(engines: list[Engine], vultr: Vultr) -> None:
    before = vultr.holdings()
    for engine in engines:
        done = strays(engine, "--remove", "--yes")
        assert (done.returncode, json.loads(done.stdout)["strays"]) == (0, []), done.stderr
    assert vultr.holdings() == before


def test_a_stray_is_of_the_one_whose_mark_it_bears(engines: list[Engine], vultr: Vultr) -> None:
    """An address that a lost answer left behind, a second one with the same mark."""
    one, other = engines
    (mine,) = (a for a in vultr.addresses.values() if a.id in ids(one) and "lax" in a.label)
    vultr.addresses["lost"] = Address("lost", "lax", "v4", "127.18.9.9", 32, mine.label)
    assert strays(other).returncode == 0
    listed = json.loads(strays(one).stdout)["strays"]
    assert [(each["id"], each["node"]) for each in listed] == [("lost", "lax-vultr-1")]
    assert strays(one, "--remove", "--yes").returncode == 0
    assert "lost" not in vultr.addresses


def test_the_end_of_one_leaves_the_other(engines: list[Engine], vultr: Vultr) -> None:
    one, other = engines
    one.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert {*vultr.servers, *vultr.addresses, *vultr.groups, *vultr.keys} <= ids(other)
    assert vultr.holdings()["servers"] == 4
