"""What counts as other bytes for a node, whatever code, template or table they come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mesh.agent import bundle
from mesh.infra import sources
from mesh.publish.rendered import MOST, VIEWS, differing, digests
from mesh.render import placeholder_facts, placeholder_placements
from tests.kit import mutants
from tests.kit.stacks import ROOT, plan_of, prod

PLAN = plan_of(prod())
FACTS, PLACES = placeholder_facts(PLAN), placeholder_placements(PLAN)
URLS = {"lax-vultr-1": "https://203.0.113.1:8443"}


def test_the_same_network_has_the_same_digests_each_time() -> None:
    first = digests(PLAN, FACTS, PLACES, URLS)
    assert first == digests(PLAN, dict(reversed(FACTS.items())), PLACES, URLS)
    assert set(first) == {node.id for node in PLAN.nodes} | {VIEWS}


def test_what_differs_is_named() -> None:
    before = digests(PLAN, FACTS, PLACES, URLS)
    moved = FACTS | {"mia-vultr-1": replace(FACTS["mia-vultr-1"], uplink="ens3")}
    assert differing(before, digests(PLAN, moved, PLACES, URLS)) == "mia-vultr-1"
    other = digests(PLAN, FACTS, PLACES, {"lax-vultr-1": "https://203.0.113.1:8444"})
    assert differing(before, other) == VIEWS
    many = {f"node-{number:02}": "1" for number in range(MOST + 3)}
    assert differing(many, {}).endswith(", node-11 and 3 more")
    assert differing(before, before) == ""


# --- copies of the checkout ----------------------------------------------------------------------

ASK = """
import json, sys
from mesh.agent import bundle
from mesh.infra import sources
from mesh.plan.document import write_plan
from mesh.publish.rendered import digests
from mesh.publish.generation import public_facts, views
from mesh.render import Seed, node_files, node_secrets, placeholder_facts, placeholder_placements
from mesh.plan import make
from mesh.spec import load
from pathlib import Path
from hashlib import sha256

found = {"bundle": bundle.digest(bundle.build()), "code": sources.digest()}
for name, keys in json.load(sys.stdin).items():
    plan = make(load(name, keys, Path()).spec)
    found["plan of " + name] = sha256(write_plan(plan).encode()).hexdigest()
    rendered = digests(plan, placeholder_facts(plan), placeholder_placements(plan), {})
    found |= {"digest of " + name + " " + node: digest for node, digest in rendered.items()}
    facts, places = placeholder_facts(plan), placeholder_placements(plan)
    names = {n: n for n in ("vultr", "gcp", "buyvm", "aws")}
    for node, files in node_files(plan, facts, places).items():
        # As they would lie on the node's disk, without the code that is judged here.
        disk = [(f.path, f.content, f.mode, f.group) for f in files.files]
        secrets = node_secrets(plan, node, names, {"mail": "mail"})
        disk += [(f.path, f.content, f.mode, f.group) for f in secrets]
        text = repr((disk, files.units)).encode()
        found["bytes of " + name + " " + node] = sha256(text).hexdigest()
    shown = views(plan, Seed((), "", "", ""), public_facts(facts, places))
    found["bytes of " + name + " what the API shows"] = sha256(repr(shown).encode()).hexdigest()
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Copy:
    """A copy of what a checkout renders and publishes with; ``stacks`` are rendered by it."""

    root: Path
    stacks: tuple[str, ...]

    def told(self) -> dict[str, str]:
        """The digests of it, by a Python that knows no other checkout."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", ASK], env=environment, cwd=self.root, text=True,
            input=json.dumps({name: mutants.STACKS[name] for name in self.stacks}),
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        found: dict[str, str] = json.loads(done.stdout)
        return found


FEW, ALL = ("prod",), tuple(mutants.STACKS)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """As the checkout is, but while an edit is judged."""
    return Copy(mutants.copied(tmp_path_factory.mktemp("copy") / "copy"), FEW)


@pytest.fixture(scope="module")
def before(copy: Copy) -> dict[str, str]:
    """The digests of this checkout."""
    return copy.told()


@pytest.fixture(scope="module")
def all_before(copy: Copy) -> dict[str, str]:
    """The digests of this checkout, by all stacks."""
    return replace(copy, stacks=ALL).told()


def test_a_clone_with_other_line_ends_is_the_same(tmp_path: Path, before: dict[str, str]) -> None:
    copy = Copy(mutants.copied(tmp_path / "copy"), FEW)
    for path in copy.root.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            content = path.read_bytes()
            assert b"\r\n" not in content
            path.write_bytes(content.replace(b"\n", b"\r\n"))
    assert copy.told() == before


def test_the_digest_of_the_code_covers_all_that_rendering_loads() -> None:
    """But what the bundle holds as well."""
    covered = {name for name, _ in sources._files()}
    carried = {*bundle.SINGLE}
    loaded = mutants.loaded_by_rendering()
    left = {
        name
        for name in loaded - covered - carried
        if not name.startswith(tuple(f"{each}/" for each in bundle.PACKAGES))
    }
    assert left <= {"mesh/publish/__init__.py"} | mutants.UNUSED, left


def cases(*, short: bool) -> list[object]:
    """The mutants that run with `make test`, and those that do not."""
    return [pytest.param(m, id=m.name) for m in mutants.MUTANTS if m.short is short]


def judge(mutant: mutants.Mutant, copy: Copy, before: dict[str, str]) -> None:
    """Other bytes of a node are another digest of that node, and nothing else is; and whatever
    changes bytes makes another candidate, by the code or by the bundle that holds it."""
    with mutant.applied(copy.root):
        now = copy.told()
    changed = {name for name in {*before, *now} if now.get(name) != before.get(name)}

    def of(kind: str) -> set[str]:
        return {name.removeprefix(kind) for name in changed if name.startswith(kind)}

    assert of("digest of ") == of("bytes of ")
    assert bool(of("bytes of ")) is mutant.bytes_, changed
    assert ("code" in changed) is mutant.code
    if mutant.bytes_:
        assert changed & {"code", "bundle"}


@pytest.mark.parametrize("mutant", cases(short=True))
def test_a_change_of_code_is_seen_where_bytes_change_and_nowhere_else(
    mutant: mutants.Mutant, copy: Copy, before: dict[str, str]
) -> None:
    judge(mutant, copy, before)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", cases(short=False))
def test_every_module_that_rendering_loads_is_seen(
    mutant: mutants.Mutant, copy: Copy, all_before: dict[str, str]
) -> None:
    judge(mutant, replace(copy, stacks=ALL), all_before)


@pytest.mark.slow
def test_every_module_and_template_has_a_mutant() -> None:
    wanted = mutants.loaded_by_rendering() | {
        path.relative_to(ROOT).as_posix()
        for pattern in sources.TEMPLATES
        for path in ROOT.glob(pattern)
    }
    missing = wanted - {mutant.path for mutant in mutants.MUTANTS} - mutants.UNUSED
    assert not missing, sorted(missing)
