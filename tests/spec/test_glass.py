"""``mesh:glass``: its port gives way to a service's, unless the stack file names it."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.plan import Glass
from mesh.spec import Problem, SpecError, load
from tests.kit.stacks import EXISTING, ROOT, bent, plan_of, prod


def of_glass(values: dict[str, Any]) -> list[Problem]:
    """What a stack file's check says of the looking glass."""
    try:
        problems = load("prod", values, ROOT).problems
    except SpecError as error:
        problems = error.problems
    return [problem for problem in problems if problem.key.startswith("mesh:glass")]


def on_8080(what: str) -> dict[str, Any]:
    """The seed's network with another listener at TCP 8080."""
    if what == "a service":
        return bent("services/web/ports", {"tcp": [80, 8080, 8081]})
    if what == "the registry":
        return prod() | {"registry": {"port": 8080}}
    values = prod()
    values["regions"]["ewr"]["slots"]["buyvm-1"] = "192.30.120.21"
    host = EXISTING | {"ssh": EXISTING["ssh"] | {"port": 8080}}
    values["nodes"]["ewr-buyvm-1"] = {"number": 7, "host": host}
    return values


OTHERS = {
    "a service": ("the service web has this TCP port", 8082),
    "the registry": ("the registry has this TCP port", 8081),
    "sshd of a host": ("SSH has this TCP port", 8081),
}


def test_every_node_has_one_at_8080_for_the_mesh_alone() -> None:
    assert plan_of(prod()).glass == Glass(8080, public=False)
    assert of_glass(prod()) == []


@pytest.mark.parametrize("what", OTHERS)
def test_the_default_port_gives_way_with_a_warning(what: str) -> None:
    reason, free = OTHERS[what]
    values = on_8080(what)
    assert plan_of(values).glass is None
    (problem,) = of_glass(values)
    assert (problem.key, problem.value, problem.severity) == ("mesh:glass.port", "8080", "warning")
    assert problem.reason.startswith(reason)
    assert f"mesh:glass: {{port: {free}}}" in problem.cure


@pytest.mark.parametrize("what", OTHERS)
def test_a_port_that_is_written_is_an_error_where_another_one_has_it(what: str) -> None:
    reason, free = OTHERS[what]
    (problem,) = of_glass(on_8080(what) | {"glass": {"port": 8080}})
    assert (problem.key, problem.value, problem.severity) == ("mesh:glass.port", "8080", "error")
    assert problem.reason.startswith(reason)
    assert problem.cure.endswith(f"for example {free}")


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("glass", [{"port": 8090}, {"enabled": False}], ids=["moved", "off"])
def test_there_is_nothing_to_say_where_it_has_no_port_of_theirs(
    what: str, glass: dict[str, Any]
) -> None:
    assert of_glass(on_8080(what) | {"glass": glass}) == []


def test_a_service_may_have_the_port_in_udp() -> None:
    values = bent("services/web/ports", {"tcp": [80], "udp": [8080]})
    assert of_glass(values) == []
    assert plan_of(values).glass is not None


def test_it_can_be_off() -> None:
    assert plan_of(prod() | {"glass": {"enabled": False}}).glass is None


@pytest.mark.parametrize("port", [0, 80, 1023, 65536])
def test_it_has_no_port_that_needs_a_privilege(port: int) -> None:
    (problem,) = of_glass(prod() | {"glass": {"port": port}})
    assert (problem.key, problem.severity) == ("mesh:glass.port", "error")


def test_a_public_one_says_what_becomes_visible() -> None:
    values = prod() | {"glass": {"public": True}}
    assert plan_of(values).glass == Glass(8080, public=True)
    (problem,) = of_glass(values)
    assert problem.severity == "warning"
    assert "everybody on the Internet sees" in problem.reason
    assert "their sessions with upstreams and RPKI caches, what is drained and blackholed" in (
        problem.reason
    )


def test_a_twin_has_it_from_its_original(tmp_path: Any) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text((ROOT / "Pulumi.prod.yaml").read_text() + "\n")
    original = (tmp_path / "Pulumi.prod.yaml").read_text()
    (tmp_path / "Pulumi.prod.yaml").write_text(
        original.replace("config:\n", "config:\n  mesh:glass: {port: 8090}\n", 1)
    )
    spec = load("twin", {"twin": "prod"}, tmp_path).spec
    assert spec.glass.port == 8090
