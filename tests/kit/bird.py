"""A node's BIRD on a machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mesh.agent import file_paths
from mesh.agent.announce_state import AnnounceState, Network
from mesh.render import File
from tests.kit.machine import Debian, bird_of
from tests.kit.wait import until

FIRST = ("nice", "-n", "-15")
"""Before a command: a daemon that misses its neighbors' packets for a second loses its sessions,
and so it comes before other tests on a busy machine. Where that may not be, it runs like them."""


def in_service(prefixes: Iterable[Network] = ()) -> File:
    """The file by which an agent has its BIRD announce; ``prefixes`` are those that come and go
    each by itself."""
    state = AnnounceState(in_service=True, prefixes=tuple((each, True) for each in prefixes))
    return File(file_paths.ANNOUNCE, state.file().decode())


@contextmanager
def running(
    machine: Debian, namespace: str, *options: str, preload: str | None = None
) -> Iterator[int]:
    """BIRD with what is on the machine's disk; its process id, once it answers.

    ``options`` are more of its command line; ``preload`` is a library on the disk.
    """
    (machine.folder / "upper/run/bird").mkdir(parents=True)
    before = (*FIRST, "env", f"LD_PRELOAD={preload}") if preload else FIRST
    process = machine.start(
        *before, "bird", "-f", "-s", "/run/bird/bird.ctl", *options, namespace=namespace
    )
    try:
        until(bird_of(process.pid).answers, 20, "BIRD is up")
        yield process.pid
    finally:
        process.kill()
        process.wait()
