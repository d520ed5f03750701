"""What the agent makes of the files of Prometheus and Alertmanager before they are in place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.agent import bundle
from mesh.render import node_files, placeholder_facts
from tests.kit.machine import Debian
from tests.kit.stacks import plan_of, prod

NODE = "lax-vultr-1"
FOLDER = "/etc/anycast-mesh/monitoring"
JUDGE = """
import json, sys
from mesh.agent.daemons.kind import FileChange
from mesh.agent.daemons.monitoring import KIND
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage

host, found = Host(), {}
for name, (path, new) in json.load(sys.stdin).items():
    stage, content = Stage(host), None if new is None else new.encode()
    stage.fill({path: content})
    try:
        KIND.validate(stage, [FileChange(path, host.read(path), content)])
        found[name] = ""
    except CommandFailed as error:
        found[name] = str(error)
    finally:
        stage.clear()
print(json.dumps(found))
"""
CASES: dict[str, tuple[str, str | None, str]] = {
    "a rule that is no expression": (
        "rules.yml",
        "groups: [{name: a, rules: [{alert: A, expr: 'sum('}]}]",
        "/usr/bin/promtool refuses: ",
    ),
    "a rule that is one": (
        "rules.yml",
        "groups: [{name: a, rules: [{alert: A, expr: up == 0}]}]",
        "",
    ),
    "an unknown key": ("prometheus.yml", "globe: {}", "/usr/bin/promtool refuses: "),
    "rules that are not there": (
        "prometheus.yml",
        "rule_files: [other.yml]",
        "/usr/bin/promtool refuses: ",
    ),
    "a route to nobody": (
        "alertmanager.yml",
        "route: {receiver: a}\nreceivers: [{name: b}]",
        "/usr/bin/amtool refuses: ",
    ),
    "a secret, which nobody reads yet": ("receivers/noc", "https://example.net/", ""),
    "a file that goes": ("rules.yml", None, ""),
}


@pytest.mark.image
def test_a_configuration_that_its_daemon_does_not_take_is_refused(tmp_path: Path) -> None:
    plan = plan_of(prod() | {"monitoring": {"nodes": [NODE]}})
    machine = Debian(tmp_path)
    machine.put(node_files(plan, placeholder_facts(plan))[NODE].files)
    (tmp_path / "upper/root").mkdir(exist_ok=True)
    (tmp_path / "upper/root/bundle.pyz").write_bytes(bundle.build())
    cases = {name: (f"{FOLDER}/{path}", new) for name, (path, new, _) in CASES.items()}
    done = machine.run(
        "sh", "-c", 'PYTHONPATH=/root/bundle.pyz exec python3 -c "$1"', "sh", JUDGE,
        stdin=json.dumps(cases),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for name, (_, _, begin) in CASES.items():
        assert said[name].startswith(begin) if begin else said[name] == "", name
