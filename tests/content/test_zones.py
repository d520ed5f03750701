"""Zone files: read before anything is published, and refused with the line and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.content.serials import is_above
from mesh.content.zones import BadZone, read

ZONE = """\
$TTL 300
@    IN SOA ns1 host ( 2026112901
        3600 600 86400 300 )
     NS ns1
     NS ns2
ns1  A 192.0.2.1
ns2  AAAA 2001:db8::1
www  CNAME ns1
"""


def refused(folder: Path, text: str, name: str = "example.com.zone") -> str:
    path = folder / name
    path.write_text(text)
    with pytest.raises(BadZone) as found:
        read(path)
    return str(found.value)


def test_a_zone_its_serial_and_the_hash_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "example.com.zone"
    path.write_text(ZONE)
    zone = read(path)
    assert (zone.name, zone.serial) == ("example.com", 2026112901)
    path.write_text(ZONE + "x A 192.0.2.2\n")
    assert read(path).sha256 != zone.sha256


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ("x A 192.0.2.400\n", "line 9: Text input is malformed; correct the file"),
        ("\nx A\n", "line 10: "),
        ("x FOO bar\n", "line 9: unknown rdatatype 'FOO'"),
        ("x TXT (\n", "line 9: "),
        ("www A 192.0.2.3\n", "line 9: www.example.com. has a CNAME and other records"),
        ("ns1 CNAME ns2\n", "line 9: ns1.example.com. has a CNAME and other records"),
        ("a.example.org. A 192.0.2.3\n", "line 9: a.example.org. is not in the zone example.com."),
        ("\n\n$INCLUDE /etc/passwd\n", "line 11: zone file directive '$INCLUDE' is not allowed"),
        ("$GENERATE 1-9 h$ A 192.0.2.$\n", "line 9: zone file directive '$GENERATE'"),
        ("@ SOA ns1 host 8 1 1 1 1\n", "line 9: a second SOA record; correct"),
    ],
)
def test_an_error_has_its_line_and_its_reason(tmp_path: Path, added: str, reason: str) -> None:
    assert refused(tmp_path, ZONE + added).startswith(reason)


def test_what_the_top_of_a_zone_needs(tmp_path: Path) -> None:
    soa = "@ 300 IN SOA ns1 host 1 2 3 4 5\n"
    assert refused(tmp_path, "@ 300 IN NS ns1\n").startswith("it has no SOA record for example.com")
    assert refused(tmp_path, soa).startswith("it has no NS record for example.com")
    assert refused(tmp_path, "").startswith("it has no SOA record")


def test_the_file_is_named_for_its_zone(tmp_path: Path) -> None:
    assert "is not in the zone example.org." in refused(
        tmp_path, ZONE.replace("@ ", "example.com. "), "example.org.zone"
    )
    for name in ("Example.com.zone", "example.com..zone", "a..b.zone", "größe.de.zone"):
        assert "name it <zone>.zone, in lower case" in refused(tmp_path, ZONE, name)
    for name in ("-p.zone", 'a\\".org.zone', "*.org.zone", "a{b.org.zone"):
        assert "its name is not as zones are written" in refused(tmp_path, ZONE, name)


def test_serials_are_compared_as_name_servers_compare_them() -> None:
    assert is_above(2, 1) and not is_above(1, 2) and not is_above(7, 7)
    assert is_above(0, 2**32 - 1) and not is_above(2**32 - 1, 0)
