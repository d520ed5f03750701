"""A machine without room for a node says so."""

from __future__ import annotations

import pytest

from mesh.lab.capacity import check_inotify
from mesh.lab.errors import LabError


def test_a_machine_with_room_says_nothing_and_gives_back_what_was_tried() -> None:
    for _ in range(40):
        check_inotify(5)


def test_a_machine_without_room_names_the_setting_and_the_cure() -> None:
    with pytest.raises(LabError, match=r"fs\.inotify\.max_user_instances = \d+: .*sysctl"):
        check_inotify(10_000_000)
