"""The product deploys, short of paying: the committed stack file, the production driver, the API
over TLS, servers that boot from their user data, and clients who get an answer in four cities."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any

import pytest
import yaml

from mesh.infra.ending import DESTROY, GIVEN_UP, ending
from mesh.lab.probe import probe
from tests.kit.clouds.deployment import KEYS
from tests.kit.engine import Engine
from tests.kit.stacks import ROOT
from tests.kit.vultr_api.account import Knobs
from tests.vultr_api.whole import STACK, Whole, whole

pytestmark = [pytest.mark.slow, pytest.mark.lab, pytest.mark.engine]

CITIES = ("ewr", "lax", "mia", "ord")
SERVICE = ("192.30.120.100", "2620:71:4000::100")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """All of it, after one `pulumi up`."""
    with whole(tmp_path_factory.mktemp("whole"), "vultr-test", Knobs(boot=1, ipv6=1)) as one:
        one.engine.run("up", "--yes", "--skip-preview")
        yield one


def test_only_what_an_operator_gives_stands_beside_the_committed_file(deployed: Whole) -> None:
    committed = yaml.safe_load((ROOT / f"Pulumi.{STACK}.yaml").read_text())["config"]
    given = yaml.safe_load(deployed.engine.config.read_text())["config"]
    assert set(given) - set(committed) == {"vultr:apiKey", "mesh:bgpPassword-vultr"}
    assert given["mesh:admin"].pop("keys") == KEYS
    assert committed["mesh:admin"].pop("keys") == []
    assert as_text({key: given[key] for key in committed}) == as_text(committed)


def as_text(value: Any) -> Any:
    """A value of a stack file: `pulumi config set` writes numbers as text."""
    if isinstance(value, dict):
        return {key: as_text(each) for key, each in value.items()}
    return [as_text(each) for each in value] if isinstance(value, list) else str(value)


def test_four_servers_stand_behind_one_firewall_group(deployed: Whole) -> None:
    held = deployed.vultr.holdings()
    assert (held["servers"], held["addresses"], held["groups"]) == (4, 4, 1)
    assert not deployed.vultr.broken


@pytest.mark.parametrize("address", SERVICE)
def test_every_client_is_answered_by_its_own_city(deployed: Whole, address: str) -> None:
    def ask(city: str) -> tuple[int, dict[str, int]]:
        found = probe(
            deployed.lab, f"client-{city}", ip_address(address), interval=0.02, duration=2.0
        )
        return found.sent - found.answered, dict(found.by)

    with ThreadPoolExecutor() as pool:
        for city, (lost, by) in zip(CITIES, pool.map(ask, CITIES), strict=True):
            assert (lost, set(by)) == (0, {f"{city}-vultr-1"})


def test_a_second_up_changes_nothing(deployed: Whole) -> None:
    deployed.vultr.forget_calls()
    deployed.engine.run("up", "--yes", "--skip-preview", "--refresh", "--expect-no-changes")
    assert not deployed.vultr.changes()


def test_the_end_leaves_nothing(deployed: Whole) -> None:
    engine = deployed.engine
    ended = Engine(
        engine.state, engine.stack, engine.config, ending(engine.environment),
        program=engine.program, inside=engine.inside,
    )  # fmt: skip
    done = ended.run(*DESTROY, *GIVEN_UP)
    assert "4 of 4 withdrawn" in done.told
    assert not any(deployed.vultr.holdings().values())
