"""Every server has the hook that drains its node, registered at every run; and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.infra.drain import RegistryAccess, drain_before_delete, node_of
from mesh.publish import drain as publishing
from mesh.publish.generation import make_retired
from mesh.trust import keys
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN
from tests.kit.nodes import Nodes, speaking
from tests.kit.program import run
from tests.kit.registry import Fleet, Live, live, shared_fleet

FLEET = shared_fleet()
MIA, SERVER = "mia-vultr-1", "mesh-mia-vultr-1-instance"


@pytest.mark.parametrize("nothing_exists", [False, True], ids=["deployed", "never up"])
def test_no_server_goes_without_its_node_being_drained(nothing_exists: bool) -> None:
    done = run(nothing_exists=nothing_exists)
    servers = {one.name: one.before_delete for one in done.of("Instance")}
    assert set(servers) == {
        f"mesh-{city}-vultr-1-instance" for city in ("ewr", "lax", "mia", "ord")
    }
    assert set(map(tuple, servers.values())) == {("mesh-drain",)}
    assert done.hooks == ["mesh-drain"]


def test_nothing_but_servers_waits_for_a_drain() -> None:
    done = run()
    others = [one for one in done.resources.values() if not one.type.endswith("Instance")]
    assert others
    assert not [one.name for one in others if one.before_delete]


# --- what it does --------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Live]:
    with live(tmp_path, keys.signing_public(FLEET.key), b"a bundle") as one:
        with one.client(FLEET.operator) as client:
            body = dump(FLEET.generation(5, registries={"lax-vultr-1": one.url}).generation)
            assert client.ask("PUT", "/api/v1/generation/packed", body, signed=True).ok
        yield one


def called(url: str, resource: str = SERVER, namespace: str | None = None) -> tuple[str, list[str]]:
    """The hook's warning, and what it says on the way."""
    said: list[str] = []
    access = RegistryAccess(FLEET.key, {"lax-vultr-1": url}, namespace, linger=0)
    warning = drain_before_delete("mesh", resource, access, said.append)
    assert FLEET.key not in warning + "".join(said)
    return warning, said


def drained(registry: Live) -> tuple[str, ...]:
    drains = registry.registry.standing(DRAIN)
    return () if drains is None else drains.order.nodes


def test_a_node_has_withdrawn_before_its_server_goes(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry)):
        warning, said = called(registry.url)
    assert warning == ""
    assert said == [f"{MIA}: draining before its server goes", f"{MIA}: withdrawn"]
    assert drained(registry) == (MIA,)


def test_no_order_is_signed_for_another_network_of_the_same_key(tmp_path: Path) -> None:
    """A registry that shows its manifest would get an order that drains its node."""
    foreign = Fleet(FLEET.plan, FLEET.key).generation(9, "as27218-another").generation
    with live(tmp_path, keys.signing_public(FLEET.key)) as one:
        one.registry.accept_manifest(dump(foreign.manifest))
        warning, said = called(one.url)
        assert drained(one) == ()
    assert (warning, len(said)) == ("", 1)
    assert "no registry answers, or holds a generation of this network" in said[0]


def test_a_node_that_refuses_the_order_is_not_waited_for(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, refusing={MIA})):
        warning, _ = called(registry.url)
    assert warning.startswith(f"{MIA} refuses drain order 1: of the network N")
    assert warning.endswith("its server is deleted without a drain")


def test_a_dead_node_is_let_go_with_a_warning(
    registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "DRAIN_SECONDS", 1.0)
    with speaking(Nodes(FLEET, registry, deaf={MIA})):
        warning, _ = called(registry.url)
    assert warning.startswith(f"{MIA}: no report within 1 s that it has withdrawn")


def test_a_server_without_a_member_goes_at_once(registry: Live) -> None:
    """It left by a publication before, or never joined."""
    warning, said = called(registry.url, "mesh-lax-vultr-7-instance")
    assert (warning, said) == ("", ["mesh-lax-vultr-7-instance: its node has left already"])
    assert drained(registry) == ()


def test_a_network_that_is_taken_down_is_not_drained_server_by_server(registry: Live) -> None:
    current = registry.registry.current()
    assert current is not None
    envelope, _ = make_retired(FLEET.order(), current.manifest, 6)
    with registry.client() as client:
        assert client.ask("PUT", "/api/v1/manifest", dump(envelope)).ok
    assert called(registry.url) == ("", [f"{SERVER}: the network is taken down"])
    assert drained(registry) == ()


@pytest.mark.parametrize(
    ("url", "namespace", "words"),
    [
        ("https://127.0.0.1:1", None, "no registry answers"),
        ("https://127.0.0.1:1", "mesh-none-operator", "namespace mesh-none-operator"),
    ],
    ids=["no registry answers", "the lab is gone"],
)
def test_where_nobody_can_be_told_the_server_goes_with_a_word(
    url: str, namespace: str | None, words: str
) -> None:
    warning, said = called(url, namespace=namespace)
    assert warning == ""
    assert len(said) == 1 and words in said[0]


@pytest.mark.parametrize(
    ("resource", "node"),
    [
        ("mesh-lax-vultr-1-instance", "lax-vultr-1"),
        ("mesh-lax-vultr-10-instance", "lax-vultr-10"),
        ("mesh-lax-vultr-1-server", "lax-vultr-1"),
        ("mesh-lax-vultr-2-instance", None),
        ("other-lax-vultr-1-instance", None),
    ],
)
def test_a_server_is_known_by_its_resources_name(resource: str, node: str | None) -> None:
    assert node_of("mesh", resource, ["lax-vultr-1", "lax-vultr-10"]) == node
