"""How long a release is supported, as far as its number tells."""

from __future__ import annotations

from datetime import date

import pytest

from mesh.operating_systems import OperatingSystem, unsupported_from


@pytest.mark.parametrize(
    ("release", "first"),
    [
        # openbsd.org: 7.5 of April 2024 ended with 7.7 of April 2025, 7.6 of October 2024 with 7.8
        # of October 2025.
        ("7.5", date(2025, 6, 1)),
        ("7.6", date(2025, 12, 1)),
        ("7.9", date(2027, 6, 1)),
        ("8.0", date(2027, 12, 1)),
        ("7.9-current", None),
        ("", None),
    ],
)
def test_a_release_of_openbsd_ends_with_the_second_one_after_it(
    release: str, first: date | None
) -> None:
    assert unsupported_from(OperatingSystem.OPENBSD, release) == first


def test_of_debian_the_number_says_nothing() -> None:
    assert unsupported_from(OperatingSystem.DEBIAN, "7.9") is None
