"""Clients that ask a looking glass all at once, as a process of their own: what they wait.

The order comes as JSON on standard input, the answers on standard output.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle

AT_MOST = 10.0
"""Seconds that a client waits for an answer."""
NONE = 0
"""The status of a question without an answer."""


@dataclass(frozen=True, slots=True)
class Client:
    """One that asks for each of the paths in turn, from an address of its own. ``kind`` is what its
    figures are called. Between an answer and the next question it waits as long as chance has it,
    ``1 / rate`` seconds in the mean: clients do not ask in step."""

    kind: str
    source: str
    rate: float
    paths: Sequence[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a client: the status of the answer, the milliseconds until its end, and its
    bytes."""

    kind: str
    status: int
    ms: float
    size: int


def asked(client: Client, port: int, path: str) -> Asked:
    """One question, on a connection of its own."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=AT_MOST, source_address=(client.source, 0)
    )
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        status, size = response.status, len(response.read())
    except (OSError, http.client.HTTPException):
        status, size = NONE, 0
    finally:
        connection.close()
    return Asked(client.kind, status, (time.perf_counter() - began) * 1000, size)


def _ask(client: Client, port: int, end: float, answers: list[Asked]) -> None:
    chance = random.Random(client.source)  # noqa: S311  # a load, no secret
    for path in cycle(client.paths):
        time.sleep(chance.expovariate(client.rate))
        if time.monotonic() > end:
            return
        answers.append(asked(client, port, path))


def main() -> None:
    """Asks for as many seconds as the order says."""
    given = json.load(sys.stdin)
    end = time.monotonic() + given["seconds"]
    answers: list[Asked] = []
    threads = [
        threading.Thread(target=_ask, args=(Client(**each), given["port"], end, answers))
        for each in given["clients"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump([asdict(each) for each in answers], sys.stdout)


if __name__ == "__main__":
    main()
