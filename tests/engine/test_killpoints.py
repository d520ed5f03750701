"""After an update that did not finish, the next one brings about what the stack file says.

One case of each kind; the whole table is `python -m tests.engine.killpoints`, or the marker slow.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.killpoints import (
    AFTERWARDS,
    NODE,
    POINTS,
    After,
    Point,
    Stack,
    expected,
    laid,
    outcome,
    previewed,
    rolled_back,
    settled,
    standing,
)
from tests.kit import mutants
from tests.kit.engine import Engine
from tests.kit.stacks import ROOT
from tests.kit.vultr_api.stack import UP

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with standing(tmp_path_factory.mktemp("killpoints")) as one:
        yield one


SHORT: tuple[tuple[str, After], ...] = (
    ("a node rolls back", "revert"),
    ("killed while a node is dark", "revert"),
)


def cases(*, short: bool) -> list[object]:
    """The points that run with `make test`, and those that do not."""
    return [
        pytest.param(point, after, id=f"{point.name}, {after}")
        for point in POINTS
        for after in AFTERWARDS
        if ((point.name, after) in SHORT) is short
    ]


def judge(stack: Stack, point: Point, after: After) -> None:
    """What the next update shows, and what the fleet runs afterwards."""
    found = outcome(stack, point, after)
    before, left, now = found.held
    assert (left > before) is point.signed
    assert (now > left) is expected(point, after), "a generation of its own"
    assert (found.shown is not None) is expected(point, after), "without a refresh"
    unfinished = any("did not finish" in reason for reason in found.because)
    assert unfinished is point.begun
    assert found.right, "the fleet runs what the stack file says"


@pytest.mark.parametrize(("point", "after"), cases(short=True))
def test_the_next_update_sees_one_that_did_not_finish(
    stack: Stack, point: Point, after: After
) -> None:
    judge(stack, point, after)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "after"), cases(short=False))
def test_wherever_it_ended(stack: Stack, point: Point, after: After) -> None:
    judge(stack, point, after)
    assert settled(stack)


@pytest.mark.slow
def test_the_publication_alone_is_refused_where_its_candidate_is_another(stack: Stack) -> None:
    engine = stack.with_whoami(not stack.shows_whoami())
    number = stack.number()
    done = engine.run(*UP, "--target", "**mesh-generation", check=False)
    assert done.returncode
    assert "--target '**mesh-candidate'" in done.text
    assert stack.number() == number
    both = ("--target", "**mesh-candidate", "--target", "**mesh-generation")
    engine.run(*UP, *both)
    assert stack.number() == number + 1


@pytest.mark.slow
def test_a_first_publication_that_failed_is_published_above_what_it_left(tmp_path: Path) -> None:
    with laid(tmp_path) as stack:
        rolled_back(stack, stack.with_whoami(True))
        assert (stack.number(), stack.shows_whoami()) == (1, True)
        stack.town.mood.failing.clear()
        other = stack.with_whoami(False)
        assert previewed(other).generation == "first"
        other.run(*UP)
        assert (stack.number(), stack.shows_whoami()) == (2, False)


@pytest.mark.slow
def test_a_state_from_a_backup_is_seen_by_a_refresh(stack: Stack) -> None:
    """Nothing of it differs from the stack file; but the registries know more."""
    on, kept = stack.shows_whoami(), stack.checkpoint.read_bytes()
    stack.with_whoami(not on).run(*UP)
    number = stack.number()
    stack.checkpoint.write_bytes(kept)
    engine = stack.with_whoami(on)
    assert previewed(engine).generation is None
    said = engine.run(*UP, "--refresh").told
    assert f"the registries hold generation {number}, and this state knows {number - 1}" in said
    assert (stack.number(), stack.shows_whoami()) == (number + 1, on)


def copied(root: Path) -> Path:
    """The program with all that it runs by."""
    mutants.copied(root)
    for name in ("__main__.py", "Pulumi.yaml", "Pulumi.prod.yaml"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "site", root / "site")
    (root / ".venv").symlink_to(ROOT / ".venv")
    return root


@pytest.mark.slow
def test_changed_code_that_failed_and_was_taken_back_is_published_again(
    stack: Stack, tmp_path: Path
) -> None:
    """The same stack file by another checkout: only the rendered bytes tell."""
    root = copied(tmp_path / "copy")
    environment = {**stack.engine.environment, "PYTHONPATH": str(root)}
    engine = Elsewhere(
        stack.engine.state, stack.engine.stack, stack.with_whoami(stack.shows_whoami()).config,
        environment, root=root,
    )  # fmt: skip
    assert previewed(engine).generation is None, "a copy is no change"
    template = root / "templates/debian/network/sysctl.conf.j2"
    before, number = template.read_text(), stack.number()
    template.write_text(before + "# a line of this test\n")
    shown = engine.run("preview").stdout
    assert "this checkout renders other files: lax-vultr-1, mia-vultr-1" in shown
    # This process has the templates of its own checkout, and cannot tell which nodes.
    assert previewed(engine).because == ("rendered files",)
    stack.town.mood.failing.add(NODE)
    assert engine.run(*UP, check=False).returncode
    stack.town.mood.failing.clear()
    assert "# a line of this test" in stack.town.part(NODE)
    template.write_text(before)
    (reason,) = previewed(engine).because
    assert reason.startswith("an earlier update that began after generation")
    engine.run(*UP)
    assert stack.number() == number + 2
    assert "# a line of this test" not in stack.town.part(NODE)
    comment = root / "mesh/render/node.py"
    comment.write_text(comment.read_text() + "\n# A comment renders nothing.\n")
    engine.run(*UP, "--expect-no-changes")


@dataclass
class Elsewhere(Engine):
    """The engine on the program of another checkout."""

    root: Path = ROOT

    def _folder(self, command: str) -> Path:
        return self.root if super()._folder(command) == ROOT else self.state
