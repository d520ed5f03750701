"""Canonical bytes, and parsing of what comes from outside."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.facts import Facts
from mesh.trust.documents import Manifest, Part, PublicFile
from mesh.trust.encoding import Malformed, b64, canonical, dump, parse, unb64

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES))
def test_the_same_value_gives_the_same_bytes_in_whatever_order_it_was_built(
    value: dict[str, object],
) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical(value) == canonical(backwards)
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize("value", [1.5, {"a": [1.0]}, {"a": {"b": float("nan")}}, {1: "a"}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical(value)


@given(st.binary(max_size=80))
def test_base64_has_one_text_per_value(data: bytes) -> None:
    assert unb64(b64(data)) == data


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("AA=", None),  # no base64
        ("AAB=", None),  # loose bits at the end: another text for the same bytes
        ("AAA= ", None),
        ("AAA\n=", None),
        ("ÄAA=", None),
        (b64(bytes(31)), 32),
        (b64(bytes(33)), 32),
    ],
)
def test_other_texts_for_bytes_are_refused(text: str, length: int | None) -> None:
    with pytest.raises(Malformed):
        unb64(text, length)


def test_an_unknown_key_is_refused() -> None:
    file = json.loads(dump(PublicFile("/etc/a", "x", 0o644, "root")))
    with pytest.raises(Malformed, match="owner"):
        parse(PublicFile, json.dumps(file | {"owner": "nobody"}))


def test_an_older_reader_finds_its_replacement_in_a_manifest_of_a_later_version() -> None:
    entry = {"part_sha256": "0" * 64, "identity": "A" * 43 + "=", "new": 1}
    later = {
        "network": "n", "generation": 7, "nonce": "A" * 43 + "=", "bundle": "1" * 64,
        "registries": [], "nodes": {"lax-vultr-1": entry}, "views_sha256": "0" * 64, "new": {},
    }  # fmt: skip
    assert parse(Manifest, json.dumps(later)).bundle == "1" * 64


def test_a_part_of_a_later_version_is_not_followed() -> None:
    part = {"node": "a", "files": [], "units": [], "sealed": [], "new": 1}
    with pytest.raises(Malformed, match="new"):
        parse(Part, json.dumps(part))


def test_an_error_never_quotes_what_came_in() -> None:
    """It may be a secret, and ends up in logs and answers."""
    with pytest.raises(Malformed) as caught:
        parse(PublicFile, json.dumps({"path": "hunter2", "content": 1, "mode": "hunter2"}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "etc/passwd",
        "/etc/../root/.ssh/authorized_keys",
        "/etc//passwd",
        "/etc/.hidden",
        "/etc/a b",
        "/etc/a\n",
        "/",
        "/etc/",
        "/etc/bird/\u202econf",
    ],
)
def test_a_part_names_plain_absolute_paths_only(path: str) -> None:
    text = json.dumps({"path": path, "content": "", "mode": 420, "group": "root"})
    with pytest.raises(Malformed):
        parse(PublicFile, text)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o777, 0o666, 0o602, 0o620, -1])
def test_a_part_sets_no_special_or_world_writable_modes(mode: int) -> None:
    text = json.dumps({"path": "/etc/a", "content": "", "mode": mode, "group": "root"})
    with pytest.raises(Malformed):
        parse(PublicFile, text)


@pytest.mark.parametrize("unit", ["a.service\nb.service", "--now", "../a.service", "a.timer", ""])
def test_a_part_names_units_only(unit: str) -> None:
    text = json.dumps({"node": "a", "files": [], "units": [unit], "sealed": []})
    with pytest.raises(Malformed):
        parse(Part, text)


@pytest.mark.parametrize("kind", [Manifest, Facts, Part])
@given(data=st.binary(max_size=200))
def test_noise_is_malformed_and_nothing_worse(kind: type, data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(kind, data)
