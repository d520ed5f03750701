"""Lists of VRPs from files: the dialects of validators, what is malformed in them, and many."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.rpki import SourceError, Vrp, VrpList, read
from mesh.spec.vrps import VrpFile
from tests.rpki.memory import measured
from tests.rpki.vrps import vrp, vrps

OURS = (ip_network("192.30.120.0/23"), ip_network("2620:71:4000::/48"))
BOTH = frozenset(vrps("192.30.120.0/23 27218", "2620:71:4000::/48 27218"))
ENTRY = {"asn": "AS27218", "prefix": "192.30.120.0/23", "maxLength": 23}

Reader = Callable[[str | bytes], VrpList]


FIELDS = st.sampled_from(["roas", "prefix", "maxLength", "asn", "expires", "x"])


@st.composite
def entries(draw: st.DrawFn) -> str:
    """A list of entries of which some are bent."""
    known = st.sampled_from(["192.30.120.0/23", "::/0", "2620:71:4000::/48", "1.2.3.4/33", 5])
    numbers = st.integers(-1, 130) | st.sampled_from(["AS1", "AS", None, True, 4294967296])
    made = st.fixed_dictionaries(
        {"prefix": known}, optional={"maxLength": numbers, "asn": numbers, "expires": numbers}
    )
    return json.dumps({"roas": draw(st.lists(made, max_size=4))})


@pytest.fixture
def read_text(tmp_path: Path) -> Reader:
    """Reads a list of that text from a file."""

    def read_it(text: str | bytes) -> VrpList:
        content = text.encode() if isinstance(text, str) else text
        (tmp_path / "vrps").write_bytes(content)
        return read(VrpFile(Path("vrps")), OURS, tmp_path)

    return read_it


RPKI_CLIENT = """{
  "metadata": {"buildmachine": "rpki", "roas": 2, "vrps": 3},
  "roas": [
    {"asn": 27218, "prefix": "192.30.120.0/23", "maxLength": 23, "ta": "arin",
     "expires": 4000000000},
    {"asn": 27218, "prefix": "2620:71:4000::/48", "maxLength": 48, "ta": "arin",
     "expires": 4000000000},
    {"asn": 64496, "prefix": "203.0.113.0/24", "maxLength": 24, "ta": "ripe",
     "expires": 4000000000}
  ],
  "bgpsec_keys": [{"asn": 15562, "ski": "5D", "pubkey": "MF", "ta": "ripe", "expires": 1}],
  "aspas": [{"customer_asid": 945, "expires": 1, "providers": [1, 2]}]
}"""
ROUTINATOR = """{
  "metadata": {"generated": 1, "generatedTime": "2026-01-01T00:00:00Z"},
  "roas": [
    {"asn": "AS27218", "prefix": "192.30.120.0/23", "maxLength": 23,
     "source": [{"type": "roa", "uri": "rsync://x/y.roa", "tal": "arin",
                 "validity": {"notBefore": "2026-01-01T00:00:00Z"}}]},
    {"asn": "AS27218", "prefix": "2620:71:4000::/48", "maxLength": 48, "source": []},
    {"asn": "AS64496", "prefix": "203.0.113.0/24", "maxLength": 24, "source": []}
  ]
}"""
STAYRTR = """{"roas":[
  {"prefix":"192.30.120.0/23","maxLength":23,"asn":"AS27218","ta":""},
  {"prefix":"2620:71:4000::/48","maxLength":48,"asn":"27218"},
  {"prefix":"203.0.113.0/24","asn":64496}]}"""
CSV = """ASN,IP Prefix,Max Length,Trust Anchor
AS27218,192.30.120.0/23,23,arin
AS27218,2620:71:4000::/48,48,arin
AS64496,203.0.113.0/24,24,ripe
"""
CSV_EXPIRES = """ASN,IP Prefix,Max Length,Trust Anchor,Expires
AS27218,192.30.120.0/23,23,arin,4000000000
AS27218,2620:71:4000::/48,48,arin,4000000000
AS64496,203.0.113.0/24,24,ripe,1
"""
CSV_COMPAT = """"ASN","IP Prefix","Max Length","Trust Anchor"
"27218","192.30.120.0/23","23","arin"
"27218","2620:71:4000::/48","48","arin"
"64496","203.0.113.0/24","","ripe"
"""
CSV_EXTENDED = """URI,ASN,IP Prefix,Max Length,Not Before,Not After
rsync://x/a.roa,AS27218,192.30.120.0/23,23,2026-01-01 00:00:00,2027-01-01 00:00:00
rsync://x/b.roa,AS27218,2620:71:4000::/48,48,2026-01-01 00:00:00,2027-01-01 00:00:00

rsync://x/c.roa,AS64496,203.0.113.0/24,24,2026-01-01 00:00:00,2027-01-01 00:00:00
"""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(RPKI_CLIENT, id="rpki-client JSON"),
        pytest.param(ROUTINATOR, id="Routinator jsonext"),
        pytest.param(STAYRTR, id="StayRTR JSON"),
        pytest.param("\ufeff" + STAYRTR, id="JSON with a byte order mark"),
        pytest.param(CSV, id="Routinator CSV"),
        pytest.param(CSV.replace("\n", "\r\n"), id="CSV of another system"),
        pytest.param(CSV_EXPIRES, id="rpki-client CSV"),
        pytest.param(CSV_COMPAT, id="Routinator csvcompat"),
        pytest.param(CSV_EXTENDED, id="Routinator csvext"),
    ],
)
def test_a_validators_list_is_read(read_text: Reader, text: str) -> None:
    assert read_text(text) == VrpList(BOTH, seen=3, expired=0)


def test_what_covers_or_lies_in_ours_is_kept_and_the_rest_counted(read_text: Reader) -> None:
    near = ["0.0.0.0/0-24 0", "192.30.0.0/16 1", "192.30.121.0/24 2", "192.30.120.7/32 3"]
    far = ["192.30.122.0/23 4", "193.0.0.0/8 5", "::/0 6", "2620:71:4001::/48 7"]
    roas = [
        {"prefix": str(each.prefix), "maxLength": each.max_length, "asn": each.asn}
        for each in map(vrp, near + far)
    ]
    listed = read_text(json.dumps({"roas": roas * 2}))
    assert listed.vrps == {*vrps(*near), vrp("::/0 6")}
    assert listed.seen == 16


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_what_has_expired_is_not_used(read_text: Reader, kind: str) -> None:
    past, to_come = int(time.time()) - 1, int(time.time()) + 3600
    entries = [ENTRY | {"expires": past}, ENTRY | {"asn": 64496, "expires": to_come}]
    if kind == "json":
        listed = read_text(json.dumps({"roas": entries}))
    else:
        rows = [f"{e['asn']},{e['prefix']},{e['maxLength']},x,{e['expires']}" for e in entries]
        listed = read_text("\n".join(["ASN,IP Prefix,Max Length,Trust Anchor,Expires", *rows]))
    assert listed == VrpList(frozenset(vrps("192.30.120.0/23 64496")), seen=2, expired=1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither JSON nor CSV"),
        ("prefix,asn\n", "neither JSON nor CSV"),
        ("AS27218,192.30.120.0/23,23,arin\n", "neither JSON nor CSV"),
        ("<html>it works!</html>", "neither JSON nor CSV"),
        (b"\x1f\x8b\x08\x00", "it is not text (byte 1)"),
        ('{"roas": [', "it is not JSON (Expecting value at character 10)"),
        ('{"roas": [{"asn": 1', "it is not JSON (Expecting ',' delimiter at character 19)"),
        ('{"roas": [] "x": 1}', "it is not JSON (Expecting ',' or '}' at character 12)"),
        ('{"roas": [],}', "it is not JSON (Expecting property name"),
        ('{"roas": []} {}', "it is not JSON (Extra data at character 13)"),
        ('{"roas": [], "x": "' + "x" * (1 << 19), "it is not JSON (Unterminated string"),
        (" " * (1 << 19) + '{"roas": [1, nil]}', f"Expecting value at character {(1 << 19) + 13}"),
        ('{"x": [' + "[]," * (1 << 18) + "nil]}", f"Expecting value at character {7 + (3 << 18)}"),
        ('{"roas": [], "roas": []}', "there is more than one list `roas`"),
        ('{"roas": 5}', "there is no list `roas`"),
        ('{"vrps": []}', "there is no list `roas`"),
        ("[]", "there is no list `roas`"),
        ('{"roas": ' + "[" * 100_000, "JSON has too many layers"),
        ('{"x": ' + '{"x":' * 1_000_000, "JSON has too many layers"),
        (b"ASN,IP Prefix,Max Length" + b"\n" * 200_000 + b"\xff", "it is not text (byte 200024)"),
        ('{"roas": []}', "holds no VRP at all"),
        ("ASN,IP Prefix,Max Length,Trust Anchor\n", "holds no VRP at all"),
    ],
)
def test_what_is_no_list_is_refused(read_text: Reader, text: str | bytes, reason: str) -> None:
    with pytest.raises(SourceError) as refused:
        read_text(text)
    assert reason in str(refused.value)
    assert refused.value.cure


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prefix": None}, "it has no prefix"),
        ({"prefix": 7}, "it has no prefix"),
        ({"prefix": "192.30.120.0"}, "the prefix's length is not a number"),
        ({"prefix": "192.30.120.0/x"}, "the prefix's length is not a number"),
        ({"prefix": "192.30.120.0/-1"}, "the prefix's length is not a number"),
        ({"prefix": "192.30.120.0/33", "maxLength": 33}, "is not between"),
        ({"prefix": "192.30.120.1/23"}, "bits set beyond its length"),
        ({"prefix": "192.30.120/23"}, "its prefix is invalid"),
        ({"prefix": "2620:71:4000:/48"}, "its prefix is invalid"),
        ({"prefix": "nowhere/8"}, "its prefix is invalid"),
        ({"prefix": "\x00/8"}, "its prefix is invalid"),
        ({"maxLength": 22}, "maxLength 22 is not between /23 and /32"),
        ({"maxLength": 33}, "maxLength 33 is not between /23 and /32"),
        ({"maxLength": "long"}, "maxLength is not a number"),
        ({"maxLength": True}, "maxLength is not a number"),
        ({"maxLength": 23.0}, "maxLength is not a number"),
        ({"asn": None}, "the ASN is not a number"),
        ({"asn": "ASx"}, "the ASN is not a number"),
        ({"asn": "AS-1"}, "the ASN is not a number"),
        ({"asn": 4294967296}, "4294967296 is not an ASN"),
        ({"asn": -1}, "-1 is not an ASN"),
        ({"asn": 10**4000}, "the ASN is not a number"),
        ({"maxLength": 10**4000}, "maxLength is not a number"),
        ({"prefix": "\ud800::/8"}, "its prefix is invalid"),
        ({"expires": "tomorrow"}, "the time of expiry is not a number"),
    ],
)
def test_a_malformed_entry_is_refused_with_its_place(
    read_text: Reader, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(SourceError) as refused:
        read_text(json.dumps({"roas": [ENTRY, ENTRY | change, ENTRY]}))
    assert str(refused.value).startswith("malformed: roas[1]: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize("entry", [{}, {"asn": 1}, "192.30.120.0/23", None, 5, []])
def test_what_is_no_entry_is_refused_with_its_place(read_text: Reader, entry: object) -> None:
    with pytest.raises(SourceError, match=r"roas\[1\]: it has no prefix"):
        read_text(json.dumps({"roas": [ENTRY, entry]}))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("AS27218,192.30.120.0/23", "line 3: columns are missing"),
        ("AS27218,192.30.120.0/23,33,x", "line 3: maxLength 33"),
        ("AS,192.30.120.0/23,23,x", "line 3: the ASN is not a number"),
        ("# a remark", "line 3: columns are missing"),
        ("AS1,192.30.120.0/23,23,x" + "," * (1 << 16), "line 2: a row of more than 65536"),
        ('AS1,192.30.120.0/23,23,"' + "\n" * (1 << 16), "a row of more than 65536"),
    ],
)
def test_a_malformed_row_is_refused_with_its_line(read_text: Reader, row: str, reason: str) -> None:
    heading, first, *_ = CSV.splitlines()
    with pytest.raises(SourceError) as refused:
        read_text("\n".join([heading, first, row, first]))
    assert reason in str(refused.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.binary(max_size=200) | ANYTHING.map(json.dumps) | entries())
def test_whatever_lies_there_is_read_or_refused(content: bytes | str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vrps"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            listed = read(VrpFile(path), OURS, Path())
        except SourceError as refused:
            assert str(refused)
            assert len(str(refused)) < 1000
        else:
            assert listed.seen > 0


def test_nothing_is_read_after_a_few_malformed_entries(read_text: Reader) -> None:
    with pytest.raises(SourceError, match=r"roas\[4\].*, and possibly more$") as refused:
        read_text(json.dumps({"roas": [ENTRY | {"maxLength": 99}] * 1000}))
    assert "roas[5]" not in str(refused.value)
    assert len(str(refused.value)) < 1000


HEADING = "ASN,IP Prefix,Max Length,Trust Anchor\n"
AMID = f'"roas": [{json.dumps(ENTRY)}]'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param('{"roas": [' + "[]," * 200_000 + "[]]}", "no prefix: []", id="no entries"),
        pytest.param(HEADING + "x\n" * 500_000, "columns are missing", id="no rows"),
        pytest.param(HEADING + "ab," * 200_000, "a row of more than", id="one row"),
        pytest.param(HEADING + '"a\n",' * 200_000, "a row of more than", id="one quoted row"),
        pytest.param(HEADING + "\U0001f600\n" * 200_000, "columns are missing", id="wide text"),
        pytest.param(
            HEADING + "".join(f"{n},0.0.0.0/0,32,x\n" for n in range(150_000)),
            "more than 10000 of its VRPs concern these prefixes",
            id="all of them ours",
        ),
    ],
)
def test_a_list_takes_little_more_memory_than_it_is_long(
    read_text: Reader, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    content = text.encode()
    del text
    # Room for the largest file is asked for at once, and never touched.
    monkeypatch.setattr("mesh.rpki.sources.LARGEST", len(content))
    assert memory(read_text, content, reason) < len(content) + (10 << 20)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param('{"roas": [[' + "[]," * 25_000 + "[]]]}", "too long", id="one entry"),
        pytest.param('{"x": [' + "[]," * 25_000 + f"[]], {AMID}}}", "", id="elsewhere"),
        pytest.param('{"x": {"x": [[' + "[]," * 25_000 + f"[]]]}}, {AMID}}}", "", id="deeper"),
    ],
)
def test_a_nested_value_takes_little_more_memory_than_it_is_long(
    read_text: Reader, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    """All is an eighth of what it is above, the window as well: to follow the memory of so many
    small values takes long."""
    monkeypatch.setattr("mesh.rpki.json_stream.WINDOW", 1 << 15)
    content = text.encode()
    monkeypatch.setattr("mesh.rpki.sources.LARGEST", len(content))
    assert memory(read_text, content, reason) < len(content) + (10 << 17)


def memory(read_text: Reader, content: bytes, reason: str) -> int:
    """The most bytes that stand in memory while a list is read, or refused for that reason."""
    with measured() as most:
        try:
            read_text(content)
        except SourceError as refused:
            assert reason in str(refused)
        else:
            assert not reason
    return most()


def test_what_is_too_much_for_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(path: Path, mode: str) -> None:
        raise MemoryError

    monkeypatch.setattr(Path, "open", none_left)
    with pytest.raises(SourceError, match="there is not enough memory") as refused:
        read(VrpFile(Path("vrps")), OURS, Path())
    assert refused.value.cure


@pytest.mark.parametrize(
    "text",
    [
        '{"x": [' + "[]," * 5_000_000 + "[]]}",
        '{"roas": [' + ",".join([json.dumps(ENTRY)] * 200_000) + "]}",
        CSV + "\n" * 5_000_000,
    ],
    ids=["elsewhere", "entries", "rows"],
)
def test_the_time_for_a_list_ends_while_it_is_read(
    read_text: Reader, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr("mesh.rpki.sources.DEADLINE", 0.05)
    began = time.process_time()  # a busy machine takes none of it
    with pytest.raises(SourceError, match="there was no time to read all of it"):
        read_text(text)
    assert time.process_time() - began < 4


def test_only_what_stands_in_roas_is_a_vrp(read_text: Reader) -> None:
    other = {"asn": 1, "prefix": "192.30.120.0/24", "maxLength": 24}
    document = {"metadata": other, "aspas": [other], "roas": [ENTRY | {"source": [other]}]}
    listed = read_text(json.dumps(document | {"x": {"roas": [other]}}))
    assert listed == VrpList(frozenset(vrps("192.30.120.0/23 27218")), seen=1, expired=0)


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    for name, why in (("vrps.json", "No such file"), ("", "Is a directory")):
        with pytest.raises(SourceError) as refused:
            read(VrpFile(Path(name)), OURS, tmp_path)
        assert f"{tmp_path / name} cannot be read ({why}" in str(refused.value)


def test_a_file_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.rpki.sources.LARGEST", 1 << 20)
    with (tmp_path / "vrps").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(SourceError, match="larger than 1 MB"):
        read(VrpFile(Path("vrps")), OURS, tmp_path)


@pytest.mark.parametrize("blocks", [51, pytest.param(256, marks=pytest.mark.slow)])
def test_half_a_million_are_read_in_seconds(read_text: Reader, blocks: int) -> None:
    """A fifth of them with every run, in a fifth of the time."""
    every = ",".join(
        f'{{"asn":64496,"prefix":"{first}.%d.{third}.0/20","maxLength":24,"ta":"x"}}'
        for first in range(100, 223)
        for third in range(0, 256, 16)
    )
    rows = ",".join(every.replace("%d", str(second)) for second in range(blocks))
    began = time.process_time()  # a busy machine takes none of it
    listed = read_text(f'{{"roas":[{rows},{json.dumps(ENTRY)}]}}')
    assert time.process_time() - began < blocks / 12  # about a fifteenth of it
    assert listed.seen == 123 * 16 * blocks + 1 > 100_000
    covering = OURS[0].supernet(new_prefix=20)
    assert listed.vrps == {vrp("192.30.120.0/23 27218"), Vrp(covering, 24, 64496)}
