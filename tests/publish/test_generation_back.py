"""The operator gets a generation back from registries, or nothing: never a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.publish.registry_pool import RegistryPool
from mesh.registry import gate, paths
from mesh.registry.client import Answer
from mesh.trust import keys, signing
from mesh.trust.documents import PackedGeneration
from mesh.trust.encoding import dump
from mesh.trust.signing import Purpose
from tests.kit.registry import Live, holding, shared_fleet

FLEET = shared_fleet()
FIFTH = FLEET.fifth.generation


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Live]:
    """A registry that holds generation 5."""
    with holding(tmp_path, FLEET) as one:
        yield one


@pytest.fixture
def pool(registry: Live) -> Iterator[RegistryPool]:
    """The operator's connection to it."""
    one = RegistryPool(FLEET.key, {"lax-vultr-1": registry.url})
    yield one
    one.close()


def test_a_generation_comes_back_as_it_was_brought(pool: RegistryPool) -> None:
    assert pool.generation(5) == FIFTH


def test_a_generation_that_no_registry_has_is_none(pool: RegistryPool) -> None:
    assert pool.generation(4) is None
    assert RegistryPool(FLEET.key, {}).generation(5) is None


def test_a_registry_of_an_earlier_version_gives_the_parts_of_its_highest(
    monkeypatch: pytest.MonkeyPatch, pool: RegistryPool
) -> None:
    before = tuple(d for d in gate.DOORS if not d.path.fullmatch(paths.packed(5)))
    monkeypatch.setattr(gate, "DOORS", before)
    back = pool.generation(5)
    assert back is not None
    assert back.unpacked() == replace(FIFTH.unpacked(), views="")
    assert pool.generation(4) is None


def _stranger() -> PackedGeneration:
    key = keys.new_operator_key()[0]
    manifest = signing.signed_document(key, Purpose.MANIFEST, FLEET.fifth.manifest)
    return replace(FIFTH, manifest=manifest)


def _tampered() -> PackedGeneration:
    texts = (*FIFTH.texts[:-1], FIFTH.texts[-1] + " ")
    return replace(FIFTH, texts=texts)


def _out_of_range() -> PackedGeneration:
    return replace(FIFTH, parts=FIFTH.parts | {"lax-vultr-1": (len(FIFTH.texts),)})


def _endless() -> PackedGeneration:
    """A part of a terabyte."""
    places = (len(FIFTH.texts),) * 2**20
    texts = (*FIFTH.texts, "x" * 2**20)
    return replace(FIFTH, texts=texts, parts=FIFTH.parts | {"lax-vultr-1": places})


LIES: dict[str, Callable[[], bytes]] = {
    "noise": lambda: b"{",
    "another generation": lambda: dump(FLEET.generation(6).generation),
    "signed by a stranger": lambda: dump(_stranger()),
    "a part changed": lambda: dump(_tampered()),
    "a part of no text": lambda: dump(_out_of_range()),
    "a part without an end": lambda: dump(_endless()),
    "a part left out": lambda: dump(
        replace(FIFTH, parts={n: p for n, p in FIFTH.parts.items() if n != "mia-vultr-1"})
    ),
    "other views": lambda: dump(replace(FIFTH, views=FIFTH.views + " ")),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_registry_that_gives_something_else_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    pool, answers = RegistryPool(FLEET.key, {}), [LIES[lie](), dump(FIFTH)]

    def asked(_: str, target: str, **__: Any) -> Iterator[tuple[str, Answer]]:
        if target == paths.packed(5):
            yield from (("", Answer(200, body)) for body in answers)

    monkeypatch.setattr(pool, "_ask", asked)
    assert pool.generation(5) == FIFTH
    answers.pop()
    assert pool.generation(5) is None


def test_texts_that_nobody_has_signed_do_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be published with the content, or make it too large for that."""
    stuffed = replace(
        FIFTH,
        texts=("unsigned", *FIFTH.texts),
        parts={node: tuple(at + 1 for at in places) for node, places in FIFTH.parts.items()},
    )
    pool = RegistryPool(FLEET.key, {})
    answer = "", Answer(200, dump(stuffed))
    monkeypatch.setattr(pool, "_ask", lambda *_, **__: iter([answer]))
    assert pool.generation(5) == FIFTH
