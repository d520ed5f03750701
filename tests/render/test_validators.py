"""``mesh:rpki.local``: every reflector is a validator of the network's own."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.agent.daemons import KINDS
from mesh.plan import Role
from mesh.render import Seed, node_files, placeholder_facts, user_data
from mesh.spec import load
from tests.kit.machine import Debian
from tests.kit.stacks import ROOT, plan_of, prod

SEED = Seed(("https://203.0.113.1:8443",), "operator", "0" * 64, "token")
TIMERS = {"anycast-mesh-validator.timer", "anycast-mesh-rtr.timer"}


def validating(**rpki: Any) -> dict[str, Any]:
    """The seed's network with two reflectors that validate."""
    return prod() | {
        "reflectors": ["lax-vultr-1", "ewr-vultr-1"],
        "routing": {"import": "full"},
        "rpki": {"local": True, **rpki},
    }


def test_edges_ask_every_reflector_and_whom_the_stack_file_names() -> None:
    plan = plan_of(validating(servers=["rtr://198.51.100.1:323", "rtr://10.10.10.4:3323"]))
    asked = [(str(each.address), each.port) for each in plan.rpki]
    assert asked == [("198.51.100.1", 323), ("10.10.10.4", 3323), ("10.10.10.1", 3323)]
    for files in node_files(plan, placeholder_facts(plan)).values():
        (conf,) = [file for file in files.files if file.path.endswith("/rpki.conf")]
        assert conf.content.count("protocol rpki ") == 3


@pytest.mark.parametrize("local", [True, False])
def test_reflectors_alone_run_and_let_in_what_it_takes(local: bool) -> None:
    plan = plan_of(validating(local=local))
    files = node_files(plan, placeholder_facts(plan))
    for node in plan.nodes:
        runs = local and Role.REFLECTOR in node.roles
        mine = {file.path: file.content for file in files[node.id].files}
        assert (set(files[node.id].units) >= TIMERS) == runs
        assert ("tcp dport 3323 accept" in mine["/etc/nftables.conf"]) == runs
        unit = mine.get("/etc/systemd/system/anycast-mesh-rtr.service", "")
        assert (f"-bind {node.tunnel.ipv4}:3323 " in unit) == runs
        refused = [path for path in mine if not any(kind.has(path) for kind in KINDS)]
        assert refused == [], "an agent would refuse it"
        born = user_data(plan, node.id, SEED)
        assert ("'rpki-client', 'stayrtr'" in born) == runs
        assert len(born.encode()) < 14 * 1024  # of 16


def test_a_twin_has_none_since_it_cannot_reach_the_world(tmp_path: Any) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text((ROOT / "Pulumi.prod.yaml").read_text())
    text = (tmp_path / "Pulumi.prod.yaml").read_text()
    (tmp_path / "Pulumi.prod.yaml").write_text(text + "  mesh:rpki:\n    local: true\n")
    spec = load("lab", {"twin": "prod"}, tmp_path).spec
    assert not spec.rpki.local


STUB = "#!/bin/sh\nexit 0\n"


@pytest.mark.image
@pytest.mark.parametrize("also", [["stayrtr"], []], ids=["installed", "not installed"])
def test_systemd_takes_the_units(tmp_path: Any, also: list[str]) -> None:
    """Without the packages it misses two programs, which is what the conditions are for."""
    plan = plan_of(validating())
    machine = Debian(tmp_path, also=also)
    machine.put(node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files)
    if also:
        program = tmp_path / "upper/usr/sbin/rpki-client"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(STUB)
        program.chmod(0o755)
    names = ("validator.service", "validator.timer", "rtr.service", "rtr.timer")
    paths = [f"/etc/systemd/system/anycast-mesh-{name}" for name in names]
    done = machine.run("systemd-analyze", "verify", "--man=no", *paths)
    said = [line for line in done.stderr.splitlines() if "anycast-mesh" in line]
    if also:
        assert (done.returncode, said) == (0, [])
    else:
        assert all("is not executable" in line for line in said), said
