"""A zone that changes needs a higher serial than the published one: the preview says so."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.content.serials import problems
from mesh.infra.dynamic.publish import PublishProvider


def content(serial: float, digest: str, name: str = "example.com") -> dict[str, Any]:
    """A content in the stack's state, where numbers may come back as floats."""
    return {"sha256": digest * 64, "zones": [{"name": name, "serial": serial, "sha256": digest}]}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((41.0, "a"), (42, "b"), ""),
        ((41, "a"), (41, "a"), ""),
        ((41, "a"), (41, "b"), "serial 41: the same serial with other records than was published"),
        ((41, "a"), (40, "b"), "serial 40: a lower serial than was published, 41; raise it above"),
        ((2**32 - 1, "a"), (0, "b"), ""),
        ((0, "a"), (2**32 - 1, "b"), "a lower serial"),
    ],
)
def test_the_serial_of_a_zone_that_changes(
    before: tuple[float, str], after: tuple[float, str], said: str
) -> None:
    found = list(problems({"dns": content(*before)}, {"dns": content(*after)}))
    assert bool(found) == bool(said)
    assert all(said in one for one in found)


def test_a_zone_that_moves_to_another_service_is_the_same_zone() -> None:
    (said,) = problems({"dns": content(41, "a")}, {"names": content(40, "b")})
    assert said.startswith("mesh:services.names.content: example.com.zone: serial 40")


def test_the_publication_refuses_it_before_anything_happens() -> None:
    olds, news = {"contents": {"dns": content(41, "a")}}, {"contents": {"dns": content(40, "b")}}
    found = PublishProvider().check(olds, news).failures
    assert [(one.property, one.reason.partition(":")[0]) for one in found] == [("contents", "mesh")]
    assert not PublishProvider().check({}, news).failures
