"""How a provider's process learns that its engine was interrupted.

On the first SIGINT or SIGTERM the engine asks every provider to cancel, and waits for the answer.
The SDK's server for dynamic providers answers that call and does nothing (``Cancel`` in
``pulumi/dynamic/__main__.py``), and it has four threads, so that the call would wait behind four
servers that boot. Both are changed here, in the process that runs it; with an SDK that differs
nothing is changed, and a wait ends at its own limit.
"""

from __future__ import annotations

import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import FunctionType
from typing import Any

interrupted = threading.Event()
"""Set once the engine has asked to cancel. It also does so at the end of each run."""

SERVICER = "DynamicResourceProviderServicer"
THREADS = 32
"""Above what an engine does at a time (four for each processor), so that one is always free."""


@cache
def attend() -> None:
    """Let an interruption of the engine end all waiting, and let as many resources be made in
    parallel as the engine asks for."""
    cancel = getattr(getattr(sys.modules["__main__"], SERVICER, None), "Cancel", None)
    if not isinstance(cancel, FunctionType) or cancel.__code__.co_freevars:
        return
    # The server holds the bound method, so the function's code is replaced.
    cancel.__code__ = _cancel.__code__
    for pool in (each for each in gc.get_objects() if type(each) is ThreadPoolExecutor):
        pool._max_workers = max(pool._max_workers, THREADS)


def _cancel(self: Any, request: Any, context: Any) -> Any:
    """In place of the SDK's own; it runs with the SDK's globals, so it imports what it needs."""
    from google.protobuf import empty_pb2

    from mesh.infra.dynamic import cancellation

    cancellation.interrupted.set()
    return empty_pb2.Empty()
