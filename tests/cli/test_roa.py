"""`mesh check --roa`: what a person and a script are told of the aggregates."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mesh.cli.main import app
from tests.kit.proxy import answering
from tests.kit.stacks import ROOT, prod

OURS4 = {"asn": "AS27218", "prefix": "192.30.120.0/23", "maxLength": 23}
OURS6 = {"asn": "AS27218", "prefix": "2620:71:4000::/48", "maxLength": 48}


def listed(folder: Path, *roas: dict[str, Any]) -> str:
    path = folder / "vrps.json"
    path.write_text(json.dumps({"roas": [*roas, OURS4 | {"prefix": "203.0.112.0/23"}]}))
    return str(path)


def check(source: str, *options: str, root: Path = ROOT) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["check", "--root", str(root), "--roa", source, *options])
    return done.exit_code, done.stdout, done.stderr


def words(text: str) -> str:
    return " ".join(text.split())


def test_valid_aggregates_pass_with_the_objects_to_make(tmp_path: Path) -> None:
    code, out, err = check(listed(tmp_path, OURS4, OURS6))
    assert code == 0
    assert "192.30.120.0/23 AS27218 Valid authorised by the ROA" in words(out)
    assert "2620:71:4000::/48 AS27218 Valid authorised by the ROA" in words(out)
    assert "route: 192.30.120.0/23 origin: AS27218" in words(out)
    assert "route6: 2620:71:4000::/48 origin: AS27218" in words(out)
    assert "by 3 VRPs" in out
    assert "ROA" not in err


def test_an_invalid_aggregate_is_an_error(tmp_path: Path) -> None:
    code, out, err = check(listed(tmp_path, OURS4 | {"asn": 64496}, OURS6))
    assert code == 1
    assert "192.30.120.0/23 AS27218 Invalid the ROAs that cover it have other origins" in words(out)
    assert "error: mesh:prefixes.ipv4 = 192.30.120.0/23 from AS27218: Invalid" in err
    assert "make a ROA at the RIR that holds the prefix: AS27218, 192.30.120.0/23" in err
    assert "Pulumi.prod.yaml: valid" in out  # which is not at fault


def test_not_found_is_a_warning_where_nothing_is_demanded(tmp_path: Path) -> None:
    code, out, err = check(listed(tmp_path, OURS4))
    assert code == 0
    assert "2620:71:4000::/48 AS27218 NotFound no ROA covers it" in words(out)
    assert "warning: mesh:prefixes.ipv6" in err


def test_not_found_is_an_error_where_the_preview_would_stop(tmp_path: Path) -> None:
    config = {f"mesh:{key}": value for key, value in prod().items()}
    config["mesh:rpki"] = {"demand": "https://rpki.example.net/never-asked-here.json"}
    (tmp_path / "Pulumi.prod.yaml").write_text(yaml.safe_dump({"config": config}))
    code, _, err = check(listed(tmp_path, OURS4), root=tmp_path)
    assert code == 1
    assert "error: mesh:prefixes.ipv6" in err


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        (OURS4 | {"maxLength": 24}, "also authorises /24 in 192.30.120.0/23"),
        (OURS4 | {"asn": 1, "prefix": "192.30.121.0/24", "maxLength": 24}, "AS1 may announce"),
        (OURS4 | {"expires": 1}, "1 of its VRPs for these prefixes have expired"),
    ],
)
def test_dangers_are_warnings(tmp_path: Path, more: dict[str, Any], warning: str) -> None:
    code, _, err = check(listed(tmp_path, OURS4, OURS6, more))
    assert code == 0
    assert warning in err


def test_a_list_that_comes_without_tls_is_warned_of(tmp_path: Path) -> None:
    content = Path(listed(tmp_path, OURS4, OURS6)).read_bytes()
    with answering(content):
        code, out, err = check("http://rpki.example.net/vrps.json")
    assert code == 0
    assert "192.30.120.0/23 AS27218 Valid" in words(out)
    assert "warning: --roa = http://rpki.example.net/vrps.json: it comes over plain HTTP" in err


def test_a_machine_reads_the_same(tmp_path: Path) -> None:
    source = listed(tmp_path, OURS4 | {"maxLength": 24})
    code, out, _ = check(source, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["valid"] is True
    roa = document["roa"]
    assert (roa["source"], roa["valid"], roa["vrps"]) == (source, True, 2)
    one, two = roa["aggregates"]
    assert (one["prefix"], one["origin"]) == ("192.30.120.0/23", 27218)
    assert (one["state"], one["reason"], one["cure"]) == ("Valid", "authorised", "")
    assert one["covering"] == [{"prefix": "192.30.120.0/23", "maxLength": 24, "asn": 27218}]
    assert (two["state"], two["reason"], two["covering"]) == ("NotFound", "no ROA", [])
    assert roa["objects"]["roas"][0] == "AS27218, 192.30.120.0/23, maxLength 23"
    assert any("RFC 9319" in problem["reason"] for problem in document["problems"])


def test_a_machine_is_told_what_is_invalid(tmp_path: Path) -> None:
    code, out, _ = check(listed(tmp_path, OURS4 | {"asn": 0}, OURS6), "--json")
    document = json.loads(out)
    assert (code, document["valid"], document["roa"]["valid"]) == (1, True, False)
    assert document["roa"]["aggregates"][0]["reason"] == "AS0"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nowhere.json", "nowhere.json cannot be read (No such file or directory)"),
        ("ftp://rpki.example.net/vrps.json", "not read from ftp://"),
        ("rtr://192.0.2.1", "an RTR server's port is missing"),
        ("", "names no list of VRPs"),
        ("http://127.0.0.1:1/vrps.json", "it cannot be fetched"),
        ("rtr://127.0.0.1:1", "it cannot be reached"),
    ],
)
def test_a_source_that_cannot_be_read_is_an_error(source: str, reason: str, as_json: bool) -> None:
    code, out, err = check(source, *(["--json"] if as_json else []))
    assert code == 1
    if as_json:
        document = json.loads(out)
        (problem,) = [each for each in document["problems"] if each["key"] == "--roa"]
        assert reason in problem["reason"]
        assert problem["cure"]
        assert document["roa"]["aggregates"] == []
        assert document["roa"]["valid"] is False
    else:
        assert f"error: --roa = {source}" in err
        assert reason in err
        assert "Traceback" not in err


def test_an_rtr_server_that_does_not_answer_is_told_by_its_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.rpki.rtr.SILENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, _, err = check(f"rtr://127.0.0.1:{port}")
    assert code == 1
    assert f"rtr://127.0.0.1:{port}: it was silent for 0.3 s" in err


def test_a_file_lies_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(tmp_path, OURS4, OURS6)
    monkeypatch.chdir(tmp_path)
    assert check("vrps.json")[0] == 0


def test_a_stack_file_that_is_wrong_is_told_without_asking_anybody(tmp_path: Path) -> None:
    config = {f"mesh:{key}": value for key, value in (prod() | {"asn": 64512}).items()}
    (tmp_path / "Pulumi.prod.yaml").write_text(yaml.safe_dump({"config": config}))
    code, out, err = check("nowhere.json", "--json", root=tmp_path)
    assert code == 1
    assert "roa" not in json.loads(out)
    assert "nowhere" not in out + err
