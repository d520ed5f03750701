"""The contents of a stack: found beside its file, and refused by the key of the stack file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.content import described, folders, survey
from mesh.services.content import Zone
from mesh.spec import SpecError
from tests.content.test_zones import ZONE
from tests.kit.contents import stack


def made(root: Path) -> Path:
    (root / "site").mkdir()
    (root / "site" / "index.html").write_text("<h1>Hello</h1>")
    (root / "zones").mkdir()
    (root / "zones" / "example.com.zone").write_text(ZONE)
    return root


BOTH: dict[str, dict[str, Any]] = {
    "blog": {"kind": "web", "content": "site"},
    "dns": {"kind": "dns", "content": "zones"},
    "name": {"kind": "whoami"},
}


def errors(root: Path, services: dict[str, dict[str, Any]]) -> list[str]:
    spec = stack(root, services)
    with pytest.raises(SpecError) as found:
        described(root, spec)
    return [str(problem) for problem in found.value.problems]


def test_each_service_with_its_artefact_and_its_zones(tmp_path: Path) -> None:
    root = made(tmp_path)
    spec = stack(root, BOTH)
    contents = described(root, spec)
    assert set(contents) == {"blog", "dns"}
    assert contents["blog"].files == 1 and contents["blog"].zones == ()
    (zone,) = contents["dns"].zones
    assert zone == Zone("example.com", 2026112901, zone.sha256)
    assert folders(root, spec) == {"blog": root / "site", "dns": root / "zones"}


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert errors(tmp_path, {"blog": {"kind": "web", "content": "site"}}) == [
        f"mesh:services.blog.content = {tmp_path}/site: there is no such directory; make it, or "
        "name another one"
    ]


def test_a_file_and_a_link_are_no_directory(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("")
    (tmp_path / "etc").symlink_to("/etc")
    (said,) = errors(tmp_path, {"blog": {"kind": "web", "content": "page.html"}})
    assert "it is no directory" in said
    (said,) = errors(tmp_path, {"blog": {"kind": "web", "content": "etc/ssh"}})
    assert f"{tmp_path}/etc: it is a link" in said


def test_every_problem_of_every_service_at_once(tmp_path: Path) -> None:
    root = made(tmp_path)
    (root / "site" / "passwd").symlink_to("/etc/passwd")
    (root / "zones" / "example.com.zone").write_text(ZONE + "www A 192.0.2.3\n")
    (root / "zones" / "example.net.zone").write_text("")
    said = errors(root, BOTH)
    assert len(said) == 3
    assert said[1] == (
        f"mesh:services.dns.content = {root}/zones/example.com.zone: line 9: www.example.com. has "
        "a CNAME and other records; correct the file"
    )


def test_what_is_left_out_and_what_is_no_zone_are_warnings(tmp_path: Path) -> None:
    root = made(tmp_path)
    (root / "site" / ".htaccess").write_text("")
    (root / "zones" / "README").write_text("")
    found = survey(root, stack(root, BOTH))
    assert [problem.severity for problem in found.problems] == ["warning", "warning"]
    assert ".htaccess: not published" in str(found.problems[0])
    assert "it is no zone, and is not served" in str(found.problems[1])
    assert set(found.contents) == {"blog", "dns"}


def test_a_site_without_a_first_page_is_warned_of(tmp_path: Path) -> None:
    root = made(tmp_path)
    (root / "site" / "index.html").rename(root / "site" / "start.html")
    (problem,) = survey(root, stack(root, BOTH)).problems
    assert problem.severity == "warning"
    assert "it has no index.html, so that / is answered with 404" in str(problem)


def test_a_dns_service_without_a_zone(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "README").write_text("")
    said = errors(tmp_path, {"dns": {"kind": "dns", "content": "zones"}})
    assert "there is no zone in it; put <zone>.zone at its top" in said[-1]


def test_a_twin_has_the_directories_of_its_original(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    examples.mkdir()
    root = made(examples)
    (examples / "Pulumi.blog.yaml").write_text("config: {}\n")
    spec = stack(tmp_path, BOTH)
    twin = replace(spec, stack="lab", twin="blog")
    assert folders(tmp_path, twin)["blog"] == root / "site"


def test_a_check_asks_for_a_name_of_the_zones(tmp_path: Path) -> None:
    asked = ("www.example.com", "EXAMPLE.com.", "example.org", "notexample.com")
    checks = [{"kind": "dns", "name": name} for name in asked]
    assert errors(
        made(tmp_path), {"dns": {"kind": "dns", "content": "zones", "checks": checks}}
    ) == [
        f"mesh:services.dns.checks.{number}.name = {asked[number]}: it is in no zone of the "
        "service, so that the check can never pass; write a name of its zones, for example name: "
        "example.com"
        for number in (2, 3)
    ]


def test_a_name_server_without_its_dot_is_warned_of(tmp_path: Path) -> None:
    root = made(tmp_path)
    zone = root / "zones" / "example.com.zone"
    zone.write_text(f"{ZONE}@ NS ns.example.net\n@ NS ns.example.net.\n")
    found = survey(root, stack(root, {"dns": {"kind": "dns", "content": "zones"}}))
    assert set(found.contents) == {"dns"}
    (problem,) = found.problems
    assert problem.severity == "warning"
    assert "ns.example.net.example.com. is in the zone and has no address there" in str(problem)
