"""A health check is added as CONTRIBUTING.md says: one file, and one entry."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit import mutants
from tests.kit.stacks import ROOT, prod

CHECKS = "mesh/services/checks"
IS = """
Check = Annotated[
    HttpCheck | HttpsCheck | TcpCheck | DnsCheck | UdpCheck | ExecCheck,
    Field(discriminator="kind"),
]
"""

ASK = """
import json, sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from mesh.agent.config import Config
from mesh.services.checks.check import Target
from mesh.plan import make
from mesh.reference import configuration
from mesh.render import node_files, placeholder_facts
from mesh.spec import SpecError, load
from mesh.trust.encoding import parse

HERE = Target(IPv4Address("127.0.0.1"), "lax-vultr-1")
keys, wrong = json.load(sys.stdin)
plan = make(load("prod", keys, Path()).spec)
files = node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files
agent = next(file.content for file in files if file.path.endswith("agent.json"))
(check,) = parse(Config, agent).services[0].checks
problem = replace(check, timeout=60.0).problem(HERE)  # who greets may be late
found = {"subject": check.subject, "problem": problem, "errors": []}
found["agent.json"] = json.loads(agent)["services"][0]["checks"]
for each in wrong:
    keys["services"]["web"]["checks"] = [each]
    try:
        load("prod", keys, Path())
    except SpecError as error:
        found["errors"] += map(str, error.problems)
found["keys"] = [key.path for key in configuration.every() if ".checks[]" in key.path]
print(json.dumps(found))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this one after the steps of the page."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.partition("### Add a check\n")[2].partition("\n### ")[0]
    file, entry = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    root = mutants.copied(tmp_path / "copy")
    (root / CHECKS / "banner.py").write_text(file)
    union = root / CHECKS / "__init__.py"
    before = union.read_text()
    added, becomes = entry.strip().split("\n\n")
    assert IS in before, "the page shows what this becomes"
    after = before.replace(IS, f"\n{becomes}\n")
    union.write_text(after.replace("from mesh.services", f"{added}\nfrom mesh.services", 1))
    return root


def asked(root: Path, check: dict[str, Any], wrong: list[dict[str, Any]]) -> dict[str, Any]:
    """What that checkout makes of a check, and of others that it should refuse."""
    keys = prod()
    keys["services"]["web"]["checks"] = [check]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, cwd=root, text=True,
        input=json.dumps([keys, wrong]), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def greeting(words: bytes) -> Iterator[int]:
    """A server that says so to the first who connects; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(words)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield server.getsockname()[1]


def test_a_new_check_goes_from_the_stack_file_to_the_node(checkout: Path) -> None:
    with greeting(b"SSH-2.0-mine\r\n") as port:
        check = {"kind": "banner", "port": port, "begin": "SSH-2.0"}
        wrong: list[dict[str, Any]] = [
            {"kind": "banner", "port": port, "begin": ""},
            {"kind": "banner"},
            {"kind": "banner", "port": port, "path": "/"},
            {"kind": "ftp", "port": port},
        ]
        found = asked(checkout, check, wrong)
    assert found["subject"] == f"banner port {port}"
    assert found["problem"] == ""
    assert found["agent.json"] == [{**check, "interval": 0.2, "rise": 2, "fall": 2}]
    where = "mesh:services.web.checks.0"
    empty, missing, unknown, kind = found["errors"]
    assert empty.startswith(f'{where}.begin = ""')
    assert missing.startswith(f"{where}.port = unset: the key is missing; add it")
    assert unknown.startswith(f"{where}.path = /: the key is unknown here")
    assert kind.startswith(f"{where}.kind = ftp: it is none of 'banner', 'http', ")
    assert "mesh:services.SERVICE.checks[].begin" in found["keys"]


def test_a_new_check_says_why_a_service_does_not_work(checkout: Path) -> None:
    with greeting(b"554 go away\r\n") as port:
        found = asked(checkout, {"kind": "banner", "port": port}, [])
    assert found["problem"] == "greets in another way"
