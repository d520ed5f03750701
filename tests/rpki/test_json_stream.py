"""A reader through JSON finds what `json.loads` finds, wherever its window ends."""

from __future__ import annotations

import io
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.rpki.json_stream import LONG, JsonReader, NotJson

SPACES = st.text(" \n\t\r", max_size=3)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
WINDOWS = st.integers(30, 60)


def walked(document: str) -> list[object]:
    reader = JsonReader(io.StringIO(document), math.inf)
    found = [reader.value() for _ in reader.entries()]
    reader.finish()
    return found


@given(st.lists(st.tuples(SPACES, VALUES, st.booleans())), WINDOWS)
def test_every_value_is_found_or_said_to_be_long(
    parts: list[tuple[str, object, bool]], window: int
) -> None:
    texts = [json.dumps(value, ensure_ascii=ascii) for _, value, ascii in parts]
    document = f"[{','.join(s + text + s for (s, *_), text in zip(parts, texts, strict=True))}]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mesh.rpki.json_stream.WINDOW", window)
        try:
            found = walked(document)
        except NotJson:
            # Texts and numbers are what it cannot step into.
            assert max(map(len, texts)) > window - 3
            return
    for text, value in zip(texts, found, strict=True):
        assert value == json.loads(text) or (value is LONG and len(text) > window - 3)


@pytest.mark.parametrize("number", ["1", "-1", "1.5", "1e5", "1.5e+10", "-0.5E-3", "0"])
@pytest.mark.parametrize("window", range(12, 40))
def test_a_number_is_never_cut(monkeypatch: pytest.MonkeyPatch, number: str, window: int) -> None:
    monkeypatch.setattr("mesh.rpki.json_stream.WINDOW", window)
    assert walked(f"[{number}, {number}, [], {number}, {number},{number}]") == [
        json.loads(each) for each in (number, number, "[]", number, number, number)
    ]


@given(st.text('[]{}",:1e.-tn\\ ', max_size=30), st.integers(5, 30))
def test_what_is_no_json_is_refused(text: str, window: int) -> None:
    document = f"[{text}]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mesh.rpki.json_stream.WINDOW", window)
        try:
            found = walked(document)
        except NotJson:
            return
    expected = json.loads(document)
    assert [a for a, b in zip(found, expected, strict=True) if a is not LONG and a != b] == []


def test_five_times_the_length_of_a_nested_value_is_about_five_times_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not twenty-five times: a document of some hundred megabytes would take hours."""
    monkeypatch.setattr("mesh.rpki.json_stream.WINDOW", 1 << 14)
    assert cost(100_000) < 12 * cost(20_000)


def cost(values: int) -> float:
    """Seconds of the processor, the least of three times: others make it slower, never faster."""
    document = "[" + "[" * 50 + "0," * values + "0" + "]" * 50 + ", 7]"

    def once() -> float:
        began = time.thread_time()
        assert walked(document) == [LONG, 7]
        return time.thread_time() - began

    return min(once() for _ in range(3))
