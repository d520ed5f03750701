"""Health checks in a stack file: which are refused or warned of, and why."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.spec import SpecError, load
from tests.kit.daemons import authority
from tests.kit.stacks import ROOT, bent, plan_of, prod

SERVICE = {
    "addresses": {"ipv4": "192.30.120.100"},
    "kind": "external",
    "ports": {"tcp": [80, 443], "udp": [53]},
}
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
HEALTH = "mesh:services.web.checks.0"

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "exec with one miss": (
        {"kind": "exec", "command": "queue", "fall": 1},
        f"{HEALTH}.fall = 1: one run of a program",
    ),
    "exec of another folder": (
        {"kind": "exec", "command": "../queue"},
        f"{HEALTH}.command = ../queue: this is not the name of a file in",
    ),
    "exec as a line of a shell": (
        {"kind": "exec", "command": "queue --most 3"},
        f"{HEALTH}.command = queue --most 3: this is not the name of a file in",
    ),
    "https without a host": (
        {"kind": "https"},
        f"{HEALTH}.host = unset: the key is missing; add it, for example host: www.example.net",
    ),
    "an authority that is none": (
        {"kind": "https", "host": "example.net", "ca": "/etc/ca.pem"},
        f"{HEALTH}.ca = /etc/ca.pem: this is no certificate as PEM",
    ),
    "an authority that cannot be read": (
        {"kind": "https", "host": "example.net", "ca": PEM},
        f"{HEALTH}.ca = -----BEGIN CERTIFICATE----- MIIB -----END CERTIFICATE-----: these are no",
    ),
    "a host with a path": (
        {"kind": "http", "port": 80, "host": "example.net/x"},
        f"{HEALTH}.host = example.net/x: this is no host name",
    ),
    "a status that is none": (
        {"kind": "http", "port": 80, "status": [99]},
        f"{HEALTH}.status.0 = 99: it is less than 100",
    ),
    "dns without a name": (
        {"kind": "dns"},
        f"{HEALTH}.name = unset: the key is missing; add it, for example name: example.net",
    ),
    "a type that is none": (
        {"kind": "dns", "name": "example.net", "type": "ANY"},
        f"{HEALTH}.type = ANY: it is none of 'A', 'NS'",
    ),
    "a serial of no SOA": (
        {"kind": "dns", "name": "example.net", "type": "A", "serial": 7},
        f"{HEALTH}.serial = 7: only a SOA record has a serial",
    ),
    "half a byte": (
        {"kind": "udp", "port": 53, "send": "0x0d0"},
        f"{HEALTH}.send = 0x0d0: after 0x there are pairs of hexadecimal digits",
    ),
    "a timeout of many intervals": (
        {"kind": "udp", "port": 53, "send": "x", "timeout": 1},
        f"{HEALTH}.timeout = 1: it is longer than interval times fall (0.4 s)",
    ),
    "a text that is empty": (
        {"kind": "http", "port": 80, "contains": ""},
        f'{HEALTH}.contains = "": it is empty; write a text',
    ),
    "an interval that is too short": (
        {"kind": "tcp", "port": 80, "interval": 0.05},
        f"{HEALTH}.interval = 0.05: it is less than 0.1",
    ),
}


def problems(check: dict[str, Any], **keys: Any) -> list[Any]:
    """What is said of a check: the errors that stop the stack file, or its warnings."""
    values = bent("services/web", SERVICE | {"checks": [check]} | keys)
    try:
        found = load("prod", values, ROOT).problems
    except SpecError as refused:
        return [each for each in refused.problems if each.severity == "error"]
    return [each for each in found if each.key.startswith(HEALTH)]


@pytest.mark.parametrize(("check", "begin"), REFUSED.values(), ids=REFUSED)
def test_a_check_that_is_no_good_is_refused_with_the_key(check: dict[str, Any], begin: str) -> None:
    (problem,) = problems(check)
    assert str(problem).startswith(begin), problem
    assert problem.severity == "error"


@pytest.mark.parametrize(
    ("kind", "check", "says"),
    [
        ("whoami", {"kind": "tcp", "port": 81}, "nobody listens at TCP 81"),
        ("whoami", {"kind": "https", "host": "example.net"}, "nobody listens at TCP 443"),
        ("whoami", {"kind": "dns", "name": "example.net"}, "nobody listens at UDP 53"),
    ],
)
def test_a_port_at_which_no_daemon_of_ours_listens_can_never_pass(
    kind: str, check: dict[str, Any], says: str
) -> None:
    found = problems(check, kind=kind, ports={"tcp": [80]})
    assert found
    assert all(problem.severity == "error" for problem in found)
    assert says in str(found[0])
    assert "can never pass" in found[0].reason


@pytest.mark.parametrize(
    ("check", "refused"),
    [
        ({"path": "/"}, True),
        ({"path": "/", "host": "example.org"}, True),
        ({"path": "/", "host": "example.net"}, False),
        ({"path": "/whoami"}, False),
        ({"path": "/", "host": "example.org", "status": [404]}, False),
    ],
)
def test_a_page_of_a_web_service_is_asked_for_by_one_of_its_names(
    check: dict[str, Any], refused: bool
) -> None:
    web = {"kind": "web", "content": "site", "names": ["example.net"], "ports": {"tcp": [80]}}
    found = problems({"kind": "http", "port": 80, **check}, **web)
    assert [problem.key for problem in found] == [f"{HEALTH}.host"] * refused


def test_a_port_for_checks_that_clients_do_not_reach_is_warned_of() -> None:
    (warning,) = problems({"kind": "tcp", "port": 8080})
    assert warning.severity == "warning"
    assert "TCP 8080 is not open, so that the check does not see what clients get" in str(warning)


@pytest.mark.parametrize(
    "check",
    [
        {"kind": "http", "port": 8080, "interval": 0.5, "timeout": 1.0},
        {"kind": "tcp", "port": 25, "path": "/", "fall": 1},
    ],
)
def test_a_service_without_a_kind_has_the_checks_that_it_could_always_have(
    check: dict[str, Any],
) -> None:
    values = bent("services/web/checks", [check])
    assert [p for p in load("prod", values, ROOT).problems if p.key.startswith(HEALTH)] == []


def test_an_older_timeout_is_warned_of_and_goes_on() -> None:
    (warning,) = problems({"kind": "http", "port": 80, "timeout": 2})
    assert warning.severity == "warning"
    assert "a daemon that hangs is seen after 4 s only" in warning.reason


GOOD: list[dict[str, Any]] = [
    {"kind": "tcp", "port": 80},
    {"kind": "http", "port": 80, "host": "www.example.net", "status": [200, 401]},
    {"kind": "https", "host": "www.example.net", "ca": authority(), "daysLeft": 7},
    {"kind": "udp", "port": 53, "send": "0x00ff", "expect": "pong"},
    {"kind": "exec", "command": "queue", "arguments": ["--most", "200"]},
]


def test_checks_of_all_kinds_are_planned_and_nothing_is_written_that_is_not_set() -> None:
    values = prod()
    values["services"]["web"] = SERVICE | {"checks": GOOD}
    checks = plan_of(values).services[0].checks
    common = {"interval": 0.2, "rise": 2, "fall": 2}
    assert checks[1].written() == common | GOOD[1] | {"path": "/", "status": (200, 401)}
    assert [check.kind for check in checks] == [check["kind"] for check in GOOD]
    assert [check.within for check in checks] == [0.2, 0.2, 0.2, 0.2, 2.0]
