"""What the agent reads from the node's disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mesh.agent.host import Host

PATH = "/etc/bird/bird.conf"


def test_a_file_is_read_and_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.read(PATH) is None
    host.write(PATH, b"router id 192.0.2.1;", 0o644)
    assert host.read(PATH) == b"router id 192.0.2.1;"
    assert host.read(f"{PATH}/below") is None


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_an_error_at_once_and_gives_way_to_one(
    tmp_path: Path, kind: str
) -> None:
    host = Host(tmp_path)
    path = host.path(PATH)
    path.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="is not a file"):
        host.read(PATH)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    if kind != "folder":
        host.write(PATH, b"", 0o644)
        assert host.read(PATH) == b""
