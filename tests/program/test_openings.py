"""What the providers' firewalls let through."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from mesh.infra.providers.openings import PRIVATE, Opening, openings
from mesh.plan import Plan
from tests.kit.stacks import bent, plan_of, prod

NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")


def of(plan: Plan, provider: str = "vultr") -> dict[str, Opening]:
    found = openings(plan, [node for node in plan.nodes if node.provider == provider])
    names = [each.name for each in found]
    assert len(names) == len(set(names))
    return {each.name: each for each in found}


@pytest.mark.parametrize(
    ("name", "family", "protocol", "ports", "networks"),
    [
        ("icmp-v4", 4, "icmp", None, ["0.0.0.0/0"]),
        ("icmp-v6", 6, "icmp", None, ["::/0"]),
        ("ssh-v4", 4, "tcp", (22, 22), ["207.231.1.46/32"]),
        ("bgp-upstream-v4", 4, "tcp", (179, 179), ["169.254.169.254/32"]),
        ("bgp-upstream-v6", 6, "tcp", (179, 179), ["2001:19f0:ffff::1/128"]),
        ("registry-v6", 6, "tcp", (8443, 8443), ["::/0"]),
        ("service-tcp-443-v4", 4, "tcp", (443, 443), ["0.0.0.0/0"]),
    ],
)
def test_an_edge_is_open_to_what_the_plan_says(
    name: str, family: int, protocol: str, ports: tuple[int, int] | None, networks: list[str]
) -> None:
    one = of(plan_of(prod()))[name]
    assert (one.family, one.protocol, one.ports) == (family, protocol, ports)
    assert one.networks == tuple(ip_network(each) for each in networks)


def test_wireguard_is_open_to_each_node_by_itself() -> None:
    wireguard = {k: o for k, o in of(plan_of(prod())).items() if k.startswith("wireguard")}
    assert {one.node for one in wireguard.values()} == set(NODES)
    assert {(one.node, one.ports) for one in wireguard.values()} == {
        ("lax-vultr-1", (51820, 51820)),
        ("ord-vultr-1", (51821, 51821)),
        ("mia-vultr-1", (51822, 51822)),
        ("ewr-vultr-1", (51823, 51823)),
    }
    assert all(one.family == 4 for one in wireguard.values())


def test_nothing_of_a_tunnels_inside_is_opened() -> None:
    assert not [name for name in of(plan_of(prod())) if "mesh" in name or "bfd" in name]


def test_the_looking_glass_is_open_at_the_provider_where_it_is_public_alone() -> None:
    assert not [name for name in of(plan_of(prod())) if "glass" in name]
    found = of(plan_of(prod() | {"glass": {"public": True}}))
    public = {name: one for name, one in found.items() if "glass" in name}
    assert {name: (one.ports, one.networks) for name, one in public.items()} == {
        "glass-v4": ((8080, 8080), (ip_network("0.0.0.0/0"),)),
        "glass-v6": ((8080, 8080), (ip_network("::/0"),)),
    }


def test_the_registrys_port_is_open_where_a_registry_is() -> None:
    plan = plan_of(prod())
    elsewhere = openings(plan, [plan.node("mia-vultr-1")])
    assert not [one for one in elsewhere if one.name.startswith("registry")]


def test_planned_nodes_are_let_in_to_a_registry_whose_sources_leave_them_out() -> None:
    found = of(plan_of(bent("registry", {"sources": ["198.51.100.0/24", "2001:db8::/32"]})))
    registry = {name: one for name, one in found.items() if name.startswith("registry")}
    others = [node for node in NODES if node != "lax-vultr-1"]
    assert set(registry) == {"registry-v4", "registry-v6", *(f"registry-{n}" for n in others)}
    assert {registry[f"registry-{node}"].node for node in others} == set(others)
    assert {(one.family, one.protocol, one.ports) for one in registry.values()} == {
        (4, "tcp", (8443, 8443)), (6, "tcp", (8443, 8443)),
    }  # fmt: skip


def test_two_registries_let_each_other_in() -> None:
    values = bent("registry", {"sources": ["198.51.100.0/24"]})
    values["registries"] = ["lax-vultr-1", "ord-vultr-1"]
    found = of(plan_of(values))
    assert {one.node for name, one in found.items() if name.startswith("registry")} == {
        None, *NODES,
    }  # fmt: skip


def test_a_registry_that_all_may_reach_has_no_rule_more() -> None:
    registry = [name for name in of(plan_of(prod())) if name.startswith("registry")]
    assert registry == ["registry-v4", "registry-v6"]


def test_a_member_is_open_to_its_routers_and_to_who_lives_in_its_vpc_alone() -> None:
    nodes = prod()["nodes"] | {"lax-aws-1": {"number": 9}}
    found = of(plan_of(bent("nodes", nodes)), "aws")
    assert found["bgp-vpc"].routers
    assert found["bfd-vpc"].ports == (3784, 3784)
    assert found["service-tcp-80-v4"].networks == PRIVATE
    assert not [name for name in found if name.startswith("bgp-upstream") or "tcp-80-v6" in name]
    assert {one.node for one in found.values() if one.node} == set(NODES)
