"""Networks that operators have are valid, announce what they are meant to, and their nodes' files
are accepted by the daemons that read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh.spec import Problem
from tests.kit.machine import BIRDS
from tests.networks.table import (
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
    at = machine(tmp_path, (Network("blog"), Network("hubs")))
    for node, path in (
        ("blog/lux-buyvm-1", "etc/bird/bird.conf"),
        ("hubs/sgp-vultr-1", "etc/nftables.conf"),
    ):
        with (tmp_path / "upper/nodes" / node / path).open("a") as file:
            file.write("mistake\n")
    assert re.findall("^/nodes.*$", refused_by_bird(at), re.M) == ["/nodes/blog/lux-buyvm-1:"]
    assert re.findall("^/nodes.*:$", refused_by_nftables(at), re.M) == ["/nodes/hubs/sgp-vultr-1:"]
