"""User data are read from the text that a cloud gets: nothing in it is lost without a word."""

from __future__ import annotations

import pytest
import yaml

from mesh.render import Seed, user_data
from mesh.ssh.payload import NotOurs, payload
from tests.kit.existing_host import NODE, planned

SEED = Seed(("https://203.0.113.1:8443",), "b3BlcmF0b3I=", "ab" * 32, "dG9rZW4=")


def text(**host: object) -> str:
    """The user data of the host."""
    return user_data(planned(**host), NODE, SEED)


def test_every_file_arrives_as_cloud_init_would_write_it() -> None:
    files = {file["path"]: file for file in yaml.safe_load(text())["write_files"]}
    items = {item.path: item for item in payload(text()).items}
    assert set(items) == set(files)
    for path, item in items.items():
        assert item.content.decode() == files[path]["content"]
        assert item.mode == int(files[path]["permissions"], 8)
    assert next(reversed(items)) == "/etc/anycast-mesh/seed.json", "where it is, all others are"


def test_who_it_is_for_is_read_from_the_seed() -> None:
    parts = payload(text())
    assert (parts.node, parts.operator, parts.bundle) == (NODE, SEED.operator, SEED.bundle)
    assert parts.registry
    assert len(parts.keys) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("#!/bin/sh\ntrue\n", "not a cloud-config"),
        ("#cloud-config\nruncmd: [reboot]\nwrite_files: []\n", "runcmd"),
        ("#cloud-config\nwrite_files: []\n", "seed.json"),
    ],
)
def test_a_text_that_says_more_or_less_is_refused(given: str, said: str) -> None:
    with pytest.raises(NotOurs, match=said):
        payload(given)


def test_the_firewall_lets_the_operator_in_where_the_host_listens() -> None:
    """Another port than 22, in the base rules and in every generation's."""
    (base,) = (
        item.content.decode()
        for item in payload(text(ssh={"trustFirst": True, "port": 2222})).items
        if item.path == "/etc/nftables.conf"
    )
    for port in (22, 2222):
        assert f"ip saddr 198.51.100.250/32 tcp dport {port} accept" in base
    rules = planned(ssh={"trustFirst": True, "port": 2222}).firewall
    assert {rule.ports for rule in rules if rule.source == "admin"} == {(22, 22), (2222, 2222)}
    assert {rule.ports for rule in planned().firewall if rule.source == "admin"} == {(22, 22)}
