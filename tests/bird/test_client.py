"""The control socket, answered by a stand-in; tests of routing have the real one."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesh.bird.client import Bird, BirdError
from tests.kit.bird_control import control


def test_a_reply_is_read_as_birdc_prints_it(tmp_path: Path) -> None:
    answers = {
        "show status": "1000-BIRD 2.17.6\n1011-Router ID is 10.10.10.1\n Current time\n0013 up\n",
        "no": "9001 syntax error\n",
    }
    with control(tmp_path, answers) as bird, bird.asking() as ask:
        reply = ask("show status")
        assert reply.text == "BIRD 2.17.6\nRouter ID is 10.10.10.1\nCurrent time\nup\n"
        assert [code for code, _ in reply.lines] == [1000, 1011, 1011, 13]
        assert reply.error is None
        assert ask("no").error == "syntax error"


def test_a_path_that_no_socket_address_holds_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)
    with control(tmp_path, {"show status": "0013 up\n"}):
        (tmp_path / "bird.ctl").rename(deep / "bird.ctl")
        assert Bird(deep / "bird.ctl").answers()


@pytest.mark.parametrize("answer", ["1000-BIRD\n", "0001", ""])
def test_a_reply_that_breaks_off_is_an_error(tmp_path: Path, answer: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bird.ctl"))
        listener.listen(1)
        ours = Bird(tmp_path / "bird.ctl")

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(answer.encode())

        with ThreadPoolExecutor(1) as pool:
            served = pool.submit(serve)
            with pytest.raises(BirdError, match="is cut off"):
                ours.ask("show status")
            served.result()


KERNEL = """1002-kernel4    Kernel     master4    up     14:20:42.297
1006-  Channel ipv4
     State:          {state}
     Import state:   {state}
     Export state:   {export}
"""


@pytest.mark.parametrize(
    ("shown", "waits"),
    [
        (KERNEL.format(state="UP", export="DOWN"), True),
        (KERNEL.format(state="UP", export="READY"), False),
        (KERNEL.format(state="DOWN", export="DOWN"), False),
        ("1006-  Channel ipv4\n     State:          UP\n", False),  # BIRD 2
    ],
    ids=["before the scan", "after the scan", "disabled", "BIRD 2"],
)
def test_the_kernel_is_waited_for_until_its_first_scan(
    tmp_path: Path, shown: str, waits: bool
) -> None:
    asked: list[str] = []

    def answer(command: str) -> str:
        asked.append(command)
        return (shown if len(asked) < 3 else KERNEL.format(state="UP", export="READY")) + "0000 \n"

    with control(tmp_path, answer) as bird:
        bird.wait_for_kernel()
    assert len(asked) == (3 if waits else 1)


def test_a_scan_that_never_ends_is_not_waited_for_any_longer(tmp_path: Path) -> None:
    shown = KERNEL.format(state="UP", export="DOWN") + "0000 \n"
    with control(tmp_path, lambda _: shown) as bird:
        begin = time.monotonic()
        bird.wait_for_kernel(0.2)
        assert time.monotonic() - begin >= 0.2
