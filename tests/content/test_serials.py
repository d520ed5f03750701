"""A zone that changes needs a higher serial than the published one: the preview says so."""

from __future__ import annotations

import pytest

from mesh.content.serials import problems, write_contents
from mesh.infra.dynamic.publish import PublishProvider
from mesh.services.content import Content, Zone


def contents(service: str, serial: int, digest: str) -> str:
    """A DNS service's content in the stack's state."""
    zone = Zone("example.com", serial, digest)
    text = write_contents({service: Content(digest * 64, 10240, 1, (zone,))})
    assert text is not None
    return text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((41, "a"), (42, "b"), ""),
        ((41, "a"), (41, "a"), ""),
        ((41, "a"), (41, "b"), "serial 41: the same serial with other records than was published"),
        ((41, "a"), (40, "b"), "serial 40: a lower serial than was published, 41; raise it above"),
        ((2**32 - 1, "a"), (0, "b"), ""),
        ((0, "a"), (2**32 - 1, "b"), "a lower serial"),
    ],
)
def test_the_serial_of_a_zone_that_changes(
    before: tuple[int, str], after: tuple[int, str], said: str
) -> None:
    found = list(problems(contents("dns", *before), contents("dns", *after)))
    assert bool(found) == bool(said)
    assert all(said in one for one in found)


def test_a_zone_that_moves_to_another_service_is_the_same_zone() -> None:
    (said,) = problems(contents("dns", 41, "a"), contents("names", 40, "b"))
    assert said.startswith("mesh:services.names.content: example.com.zone: serial 40")


def test_the_publication_refuses_it_before_anything_happens() -> None:
    olds, news = {"contents": contents("dns", 41, "a")}, {"contents": contents("dns", 40, "b")}
    found = PublishProvider().check(olds, news).failures
    assert [(one.property, one.reason.partition(":")[0]) for one in found] == [("", "mesh")]
    assert not PublishProvider().check({}, news).failures
