"""A content of 64 MiB from the operator to a registry, and on to four nodes at once: seconds, and
the most memory of registry and agent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.registry import PORT, Served, served
from mesh import netns
from mesh.agent.content_store import FOLDER
from mesh.content import artefact, folders
from mesh.limits import MAX_CONTENT_BYTES
from mesh.publish.contents import ContentDelivery, packed
from mesh.publish.generation import SignedGeneration
from mesh.publish.progress import ProgressLines
from mesh.registry import paths
from mesh.registry.client import Client
from mesh.trust.encoding import dump
from mesh.trust.keys import signing_public
from tests.kit.contents import Site

URL = f"https://127.0.0.1:{PORT}"
NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
FILES = 64
EACH = MAX_CONTENT_BYTES // FILES - 1024
"""Files of the content, and the bytes of each: with their headers it is as large as one may be."""


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch) / "registry") as one:
        top = Path(scratch)
        site = Site(top / "operator", one.fleet)
        for number in range(FILES):
            (site.root / "site" / f"{number}.bin").write_bytes(os.urandom(EACH))
        began = time.perf_counter()
        size, _ = artefact(site.root / "site").size, artefact(site.root / "site").sha256
        name = f"content of {size / 2**20:.0f} MiB"
        yield f"{name}: packed and hashed in a preview", time.perf_counter() - began, "s"
        made = site.generation(6)
        yield f"{name}: registry's memory before", one.memory(), "MiB"
        _forget_peak(one)
        began = time.perf_counter()
        netns.inside(one.namespace, lambda: _delivered(site))
        yield f"{name}: operator to a registry", time.perf_counter() - began, "s"
        yield f"{name}: registry's memory at most, receiving", _peak(one), "MiB"
        netns.inside(one.namespace, lambda: _named(site, made))
        _forget_peak(one)
        began = time.perf_counter()
        with ThreadPoolExecutor(len(NODES)) as pool:
            found = list(pool.map(lambda node: _fetched(one, site, made, top, node), NODES))
        yield (
            f"{name}: {len(NODES)} nodes at once, until the last one has it",
            max(seconds for seconds, _, _ in found),
            "s",
        )
        yield f"{name}: registry's memory at most, sending", _peak(one), "MiB"
        yield f"{name}: agent's memory before", max(before for _, before, _ in found), "MiB"
        yield f"{name}: agent's memory at most", max(peak for _, _, peak in found), "MiB"


def _delivered(site: Site) -> None:
    contents = packed(site.fleet.plan, folders(site.root, site.spec))
    with Client(URL, site.fleet.operator) as client:
        delivery = ContentDelivery(contents, {"registry": client}, ProgressLines(lambda _: None))
        delivery.deliver()
    if delivery.reasons:
        raise SystemExit(f"the registry does not take it: {delivery.reasons}")


def _named(site: Site, made: SignedGeneration) -> None:
    with Client(URL, site.fleet.operator) as client:
        answer = client.ask("PUT", paths.PACKED, dump(made.generation), signed=True, timeout=60)
    if not answer.ok:
        raise SystemExit(f"the registry does not take the generation: {answer.why()}")


def _fetched(
    one: Served, site: Site, made: SignedGeneration, top: Path, node: str
) -> tuple[float, float, float]:
    """Seconds, and MiB of memory before and at most, of one node."""
    order = {
        "folder": str(top / node),
        "operator": signing_public(one.fleet.key),
        "manifest": dump(made.generation.manifest).decode(),
        "part": made.generation.part(node),
        "node": node,
        "identity": one.fleet.identities[node],
        "url": URL,
        "unpacked": f"{FOLDER}/blog",
    }
    done = subprocess.run(
        ["ip", "netns", "exec", one.namespace, sys.executable, "-m", "bench.content_node"],
        input=json.dumps(order), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{node}: {done.stderr}")
    seconds, before, peak, unpacked = json.loads(done.stdout.splitlines()[-1])
    if unpacked != [site.digests()["blog"]]:
        raise SystemExit(f"{node}: has {unpacked}: {done.stdout}{done.stderr}")
    return seconds, before, peak


def _forget_peak(one: Served) -> None:
    """Starts the measurement of its memory anew (proc(5), clear_refs)."""
    Path(f"/proc/{one.pid}/clear_refs").write_text("5")


def _peak(one: Served) -> float:
    """The most MiB that a registry has had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{one.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
