"""What takes minutes is built once, found by its recipe, and picked up after a killed build."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from setup import cache
from setup.failure import SetupFailure
from setup.progress import Progress, Step
from tests.kit.wait import PATIENCE


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    """A step whose cache is a folder of the test's own."""
    monkeypatch.setenv("MESH_CACHE", str(tmp_path / "cache"))
    return Step("thing", Progress(io.StringIO()), tmp_path / "log")


def recipe(make: object = None, space: int = 0) -> cache.Recipe:
    """A recipe that writes one file, unless told otherwise."""

    def write(part: Path, _lock: int) -> None:
        (part / "content").write_text("built")

    chosen = write if make is None else make
    return cache.Recipe("thing", "0123", ((cache.root(), space),), chosen)  # type: ignore[arg-type]


def test_a_recipe_is_built_once(step: Step) -> None:
    first = cache.fetch(recipe(), step)

    def never(_part: Path, _lock: int) -> None:
        raise AssertionError("built twice")

    assert cache.fetch(recipe(never), step) == first
    assert (first / "content").read_text() == "built"


def test_what_a_killed_build_left_is_removed_and_never_taken_for_finished(step: Step) -> None:
    leftover = cache.root() / "thing-0123.part"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("")
    built = cache.fetch(recipe(), step)
    assert not leftover.exists()
    assert [file.name for file in built.iterdir()] == ["content"]


def test_a_failed_build_leaves_nothing_and_the_next_one_succeeds(step: Step) -> None:
    def fail(part: Path, _lock: int) -> None:
        (part / "half").write_text("")
        raise SetupFailure("the download broke")

    with pytest.raises(SetupFailure, match="the download broke"):
        cache.fetch(recipe(fail), step)
    assert not list(cache.root().glob("thing-*"))
    assert cache.fetch(recipe(), step).is_dir()


def test_two_at_the_same_time_build_once(step: Step) -> None:
    built = []
    inside, go_on = threading.Event(), threading.Event()

    def slowly(part: Path, _lock: int) -> None:
        built.append(part)
        inside.set()
        assert go_on.wait(PATIENCE)

    threads = [threading.Thread(target=cache.fetch, args=(recipe(slowly), step)) for _ in range(2)]
    threads[0].start()
    assert inside.wait(PATIENCE)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(built) == 1


def test_a_full_disk_is_said_before_building(step: Step) -> None:
    def never(_part: Path, _lock: int) -> None:
        raise AssertionError("built on a full disk")

    with pytest.raises(SetupFailure, match=r"GiB free, and building needs .*MESH_CACHE"):
        cache.fetch(recipe(never, space=2**60), step)


def test_needs_on_one_disk_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 3 * cache.GIB

    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage)
    here, below = tmp_path, tmp_path / "not" / "there"
    cache.require_space([(here, 2 * cache.GIB)])
    with pytest.raises(SetupFailure, match=r"3\.0 GiB free, and building needs 4\.0 GiB"):
        cache.require_space([(here, 2 * cache.GIB), (below, 2 * cache.GIB)])


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupFailure, match="MESH_CACHE"):
        cache.make_folder(tmp_path / "file" / "cache")


def test_the_key_changes_with_name_content_and_words(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    two.write_text("a")
    keys = [
        cache.recipe_key([one]),
        cache.recipe_key([two]),
        cache.recipe_key([one, two]),
        cache.recipe_key([one], "x"),
        cache.recipe_key([one], "x", "y"),
        cache.recipe_key([one], "xy"),
    ]
    one.write_text("b")
    keys.append(cache.recipe_key([one]))
    assert len(set(keys)) == len(keys)
    one.write_text("a")
    assert cache.recipe_key([two, one]) == keys[2]


MOUNTINFO = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
90 22 0:5 / /cache/image-1.part/proc rw - proc proc rw
91 90 0:6 / /cache/image-1.part/proc/sys\\040x rw - proc proc rw
92 22 0:7 / /cache/image-1.part-not rw - tmpfs tmpfs rw
"""


def test_mounts_of_a_killed_build_are_found_in_the_order_they_were_made() -> None:
    found = cache.mounts_below(Path("/cache/image-1.part"), MOUNTINFO)
    assert found == ["/cache/image-1.part/proc", "/cache/image-1.part/proc/sys x"]


def test_a_link_follows_the_latest(tmp_path: Path) -> None:
    link = tmp_path / "new" / "link"
    for target in ("a", "b", "b"):
        cache.point(link, Path(target))
        assert link.readlink() == Path(target)
    assert [entry.name for entry in link.parent.iterdir()] == ["link"]
