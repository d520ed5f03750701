"""Networks that operators have are valid, announce what they are meant to, and their nodes' files
are accepted by the daemons that read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mesh.spec import Problem, SpecError, load, read_stack_file
from tests.kit.machine import BIRDS
from tests.networks.table import (
    FOLDER,
    NETWORKS,
    Network,
    announced,
    machine,
    refused_by_bird,
    refused_by_nftables,
)

every = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)


@every
def test_each_file_says_what_its_operator_wants(network: Network) -> None:
    assert network.wish.endswith(".")
    assert len(network.wish.split()) > 5
    assert network.announces


@every
def test_it_is_valid_and_announces_what_is_wanted(network: Network) -> None:
    assert not [each for each in network.problems() if _matters(each)]
    assert dict(announced(network.plan)) == dict(network.announces)


def _matters(problem: Problem) -> bool:
    """Whether more is missing than keys that log in and secrets, which stand in no file here."""
    left_out = ("mesh:admin.keys", "mesh:bgpPassword-", "mesh:sshKey-")
    return problem.severity != "warning" and not problem.key.startswith(left_out)


@pytest.mark.image
@pytest.mark.parametrize("bird", BIRDS)
def test_bird_accepts_the_files_of_every_node(bird: str, tmp_path: Path) -> None:
    assert refused_by_bird(machine(tmp_path, NETWORKS, bird)) == ""


@pytest.mark.image
def test_nftables_accepts_the_ruleset_of_every_node(tmp_path: Path) -> None:
    assert refused_by_nftables(machine(tmp_path, NETWORKS)) == ""


@pytest.mark.image
def test_a_mistake_in_one_of_all_files_is_seen(tmp_path: Path) -> None:
    at = machine(tmp_path, NETWORKS)
    for node, path in (
        ("blog/lux-buyvm-1", "etc/bird/bird.conf"),
        ("hubs/sgp-vultr-1", "etc/nftables.conf"),
    ):
        with (tmp_path / "upper/nodes" / node / path).open("a") as file:
            file.write("mistake\n")
    assert re.findall("^/nodes.*$", refused_by_bird(at), re.M) == ["/nodes/blog/lux-buyvm-1:"]
    assert re.findall("^/nodes.*:$", refused_by_nftables(at), re.M) == ["/nodes/hubs/sgp-vultr-1:"]


MISTAKES: dict[str, tuple[str, str, Any, str, str]] = {
    "SSH as a service": (
        "seed", "services/web/ports/tcp", [22], "mesh:services.web.ports.tcp", "SSH listens",
    ),
    "the registry as a service": (
        "blog", "services/blog/ports/tcp", [8443], "mesh:services.blog.ports.tcp", "registry",
    ),
    "a service at no node": (
        "seed", "services/web/nodes", [], "mesh:services.web.nodes", "at least 1",
    ),
    "a service without an address": (
        "blog", "services/dns/addresses", {}, "mesh:services.dns.addresses", "no address",
    ),
    "a service address that is no address of ours": (
        "several-addresses", "services/dns/addresses/ipv6", ["2620:71:4000::53", "2001:db8::53"],
        "mesh:services.dns.addresses.ipv6", "outside the aggregate",
    ),
}  # fmt: skip
"""A network, one of its keys and another value for it, the key that is refused, and why."""


@pytest.mark.parametrize(
    ("name", "path", "value", "key", "reason"), MISTAKES.values(), ids=MISTAKES.keys()
)
def test_a_mistake_is_refused_by_its_key(
    name: str, path: str, value: Any, key: str, reason: str
) -> None:
    values = read_stack_file(FOLDER / f"Pulumi.{name}.yaml")
    *parents, last = path.split("/")
    place = values
    for parent in parents:
        place = place[parent]
    place[last] = value
    with pytest.raises(SpecError) as refused:
        load(name, values, FOLDER)
    (problem,) = [each for each in refused.value.problems if each.severity == "error"]
    assert problem.key == key
    assert reason in problem.reason
