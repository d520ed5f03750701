"""A stand-in for BIRD behind its control socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh.bird.client import Bird
from tests.kit.wait import PATIENCE


@contextmanager
def control(folder: Path, answers: dict[str, str] | Callable[[str], str] | None) -> Iterator[Bird]:
    """BIRD's control socket as a stand-in has it: with an answer to each command, or, with None,
    of a BIRD that is stopped, where the kernel alone takes the connection."""
    place = folder / "bird.ctl"
    answer = answers.__getitem__ if isinstance(answers, dict) else answers
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(1)

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer, peer.makefile("rwb") as file:
                    file.write(b"0001 BIRD ready.\n")
                    file.flush()
                    for command in file:
                        assert answer is not None
                        file.write(answer(command.decode().strip()).encode())
                        file.flush()

        if answers is not None:
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
        try:
            yield Bird(place)
        finally:
            if answers is not None:
                # Closing alone would not wake who waits in accept().
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(PATIENCE)
