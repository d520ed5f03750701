"""`mesh:rpki.demand`: where VRPs come from, and what is refused as no such place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mesh.spec import Problem, SpecError, load, load_file
from mesh.spec.vrps import VrpFile, VrpServer, VrpSource, VrpUrl
from tests.kit.stacks import ROOT, prod


def demanding(demand: object) -> VrpSource | None:
    return load("prod", prod() | {"rpki": {"demand": demand}}, ROOT).spec.rpki.demand


def refusal(demand: object) -> Problem:
    with pytest.raises(SpecError) as refused:
        demanding(demand)
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("vrps.json", VrpFile(Path("vrps.json"))),
        ("/var/lib/rpki-client/json", VrpFile(Path("/var/lib/rpki-client/json"))),
        ("a folder/vrps.csv", VrpFile(Path("a folder/vrps.csv"))),
        ("https://rpki.example.net/vrps.json", VrpUrl("https://rpki.example.net/vrps.json")),
        ("http://[2001:db8::1]:8323/json", VrpUrl("http://[2001:db8::1]:8323/json")),
        ("rtr://192.0.2.1:3323", VrpServer("192.0.2.1", 3323)),
        ("rtr://[2001:db8::1]:323", VrpServer("2001:db8::1", 323)),
        ("rtr://rtr.example.net:8282/", VrpServer("rtr.example.net", 8282)),
    ],
)
def test_a_source_is_what_its_form_says(written: str, meant: VrpSource) -> None:
    assert demanding(written) == meant
    assert str(meant) == written.rstrip("/")


@pytest.mark.parametrize(
    ("url", "forgeable"),
    [
        ("http://rpki.example.net/vrps.json", True),
        ("http://192.0.2.1:8323/json", True),
        ("HTTP://[2001:db8::1]/json", True),
        ("https://rpki.example.net/vrps.json", False),
        ("http://localhost:8323/json", False),
        ("http://127.0.0.1:8323/json", False),
        ("http://[::1]:8323/json", False),
        ("http://localhost.example.net/json", True),
    ],
)
def test_what_comes_without_tls_from_another_machine_may_be_forged(
    url: str, forgeable: bool
) -> None:
    assert VrpUrl(url).forgeable is forgeable


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "names no list"),
        (5, "names no list"),
        (["vrps.json"], "names no list"),
        ("vrps\n.json", "names no list"),
        ("ftp://rpki.example.net/vrps.json", "not read from ftp://"),
        ("file:///vrps.json", "not read from file://"),
        ("rtrs://rtr.example.net:323", "not read from rtrs://"),
        ("https:///vrps.json", "names no host"),
        ("rtr://:323", "names no host"),
        ("rtr://a b:323", "names no host"),
        ("rtr://rtr.example.net", "port is missing"),
        ("rtr://rtr.example.net:0", "port is missing"),
        ("rtr://rtr.example.net:99999", "Port out of range"),
        ("rtr://[2001:db8::1:323", "Invalid IPv6 URL"),
        ("rtr://192.0.2.1:323/vrps", "nothing behind"),
        (
            "https://me:hunter2@rpki.example.net/",
            "a password would be stored and shown here in clear text",
        ),
    ],
)
def test_what_is_no_source_is_refused_with_the_forms(written: object, reason: str) -> None:
    problem = refusal(written)
    assert problem.key == "mesh:rpki.demand"
    assert reason in problem.reason
    assert problem.cure
    assert "hunter2" not in str(problem)


def test_an_unknown_key_beside_it_is_refused() -> None:
    with pytest.raises(SpecError, match=r"mesh:rpki\.demands = .*unknown"):
        load("prod", prod() | {"rpki": {"demands": "vrps.json"}}, ROOT)


def test_a_twin_demands_only_what_it_names_itself(tmp_path: Path) -> None:
    original = {f"mesh:{key}": value for key, value in prod().items()}
    original["mesh:rpki"] = {"demand": "https://rpki.example.net/vrps.json"}
    (tmp_path / "Pulumi.prod.yaml").write_text(yaml.safe_dump({"config": original}))
    assert load_file("prod", tmp_path).spec.rpki.demand is not None
    assert load("lab", {"twin": "prod"}, tmp_path).spec.rpki.demand is None
    own = load("lab", {"twin": "prod", "rpki": {"demand": "vrps.json"}}, tmp_path)
    assert own.spec.rpki.demand == VrpFile(Path("vrps.json"))
