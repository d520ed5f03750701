"""Resources of one preview run in threads, and each imports what it needs at once with others."""

from __future__ import annotations

import subprocess
import sys

from tests.kit.stacks import ROOT

THREADS = """
import importlib, sys, threading
sys.setswitchinterval(1e-6)
names = ["mesh.lab.routers", "mesh.lab.world", "mesh.publish.publish", "mesh.render",
         "mesh.plan.document", "mesh.infra.dynamic.lab", "mesh.spec", "mesh.ssh"]
begin, errors = threading.Barrier(len(names)), []

def load(name):
    begin.wait()
    try:
        importlib.import_module(name)
    except ImportError as error:
        errors.append(f"{name}: {error}")

threads = [threading.Thread(target=load, args=(name,)) for name in names]
for each in threads:
    each.start()
for each in threads:
    each.join()
sys.exit("; ".join(errors) or 0)
"""


def test_no_import_meets_a_module_that_another_thread_has_half_loaded() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", THREADS], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
