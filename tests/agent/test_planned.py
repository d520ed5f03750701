"""Who is planned gets into the firewall of a registry's node, by that registry's own word."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.agent import planned
from mesh.agent.daemons.nftables import RULESET
from mesh.agent.host import Host
from mesh.agent.planned import PlannedNodes
from mesh.trust.encoding import dump
from mesh.trust.keys import signing_public
from tests.kit.registry import PLACES, Fleet, live

NODE = "lax-vultr-1"


def test_the_set_is_filled_with_who_is_planned_and_anew_with_other_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, said, rules = Fleet(), tmp_path / "said", [1]
    monkeypatch.setattr(planned, "ruleset_id", lambda: rules[-1])
    # In place of the command: what nft is given.
    host = Host(tmp_path, prefix=("sh", "-c", f"cat > {said}", "sh"))
    host.write(RULESET, b"ip saddr @planned4 accept", 0o644)
    with live(tmp_path / "registry", signing_public(fleet.key)) as registry:
        nodes = PlannedNodes(host, registry.port, fleet.candidate(NODE))
        nodes.tend()
        assert not said.exists(), "nobody is planned yet"
        registry.registry.accept_planned(dump(fleet.planned()))
        nodes.tend()
        first, *rest = said.read_text().splitlines()
        assert (first, len(rest)) == ("flush set inet mesh planned4", 1)
        assert all(f" {address}" in rest[0] for address in PLACES.values())
        said.unlink()
        nodes.tend()
        assert not said.exists(), "it is there"
        rules.append(2)
        nodes.tend()
        assert said.exists()
        said.unlink()
        host.write(RULESET, b"other rules", 0o644)
        rules.append(3)
        nodes.tend()
        assert not said.exists(), "everybody may come"
    nodes.tend()
