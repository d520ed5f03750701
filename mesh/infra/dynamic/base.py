"""What the providers of this folder share: their base class, progress, and diffs."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from pulumi.dynamic import ConfigureRequest, DiffResult, ReadResult, ResourceProvider

Properties = dict[str, Any]
GONE = ""
"""The id of a resource that no longer exists."""


class Stub(ResourceProvider):
    """A provider without state of its own, so that its pickled form is its name."""

    # A reference to a class; encrypting it would hide the resource's real changes.
    serialize_as_secret_always = False

    def __init_subclass__(cls) -> None:
        """Operations import what they need when they need it, each in a thread of its own."""
        super().__init_subclass__()
        for name in ("create", "read", "update", "delete"):
            if name in cls.__dict__:
                setattr(cls, name, _after_loading(cls.__dict__[name]))

    def configure(self, _req: ConfigureRequest) -> None:
        """Called once, in the process that the engine started for us."""
        end_with_engine(*sys.argv[1:2])


P = ParamSpec("P")
T = TypeVar("T")
_LOADING = threading.Lock()


def _after_loading(operation: Callable[P, T]) -> Callable[P, T]:
    """The operation, once the packages that import their own modules are loaded. Where one thread
    loads such a package while another one loads a module of it, each waits for the other, and
    Python breaks the circle with a module that is not complete."""

    @wraps(operation)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
        with _LOADING:
            for package in ("mesh.spec", "mesh.plan", "mesh.render"):
                import_module(package)
        return operation(*args, **kwargs)

    return loaded


WATCH = 1.0
"""Seconds between two looks at the engine."""


@cache
def end_with_engine(address: str) -> None:
    """End this process once the engine, which listens at ``address`` (host:port), is gone.

    A killed engine leaves its plugins behind: a publication would go on, and sign a generation
    beside the next run's.
    """
    host, _, port = address.rpartition(":")

    def watch() -> None:
        while True:
            time.sleep(WATCH)
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except ConnectionRefusedError:
                os._exit(1)
            except OSError:
                continue

    threading.Thread(target=watch, name="watch the engine", daemon=True).start()


def progress(line: str) -> None:
    """Show a line under the resource. Flushed, or the engine would show it at the end; written at
    once, since several resources write at the same time."""
    from mesh.foreign import printable

    sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.flush()


def gone() -> ReadResult:
    """The result of a refresh for what is no longer there; `up` creates it again."""
    return ReadResult(GONE, {})


def changed(keys: Iterable[str], olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
    """The keys whose value differs; one that is not known yet differs from any."""
    return [key for key in keys if olds.get(key) != news.get(key)]


def difference(
    olds: Mapping[str, Any],
    news: Mapping[str, Any],
    updates: Iterable[str] = (),
    replaces: Iterable[str] = (),
    delete_before_replace: bool = False,
) -> DiffResult:
    """A diff by two lists of keys: those that are changed in place, and those that are not."""
    replaced = changed(replaces, olds, news)
    return DiffResult(
        changes=bool(replaced or changed(updates, olds, news)),
        replaces=replaced,
        delete_before_replace=delete_before_replace,
    )
