"""What the providers of this folder share: how a change is told from none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pulumi.dynamic import DiffResult, ReadResult, ResourceProvider

Properties = dict[str, Any]
GONE = ""
"""The id by which a provider says that a resource no longer exists."""


class Stub(ResourceProvider):
    """A provider without state of its own, so that its pickled form is a name."""

    # It is a reference to a class; encrypting it would only hide the resource's real changes.
    serialize_as_secret_always = False


def gone() -> ReadResult:
    """The answer to a refresh for what is no longer there; `up` will create it again."""
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
