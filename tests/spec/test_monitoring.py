"""`mesh:monitoring`: what a stack file may say, its receivers' secrets, and what a twin takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.spec import Loaded, Problem, SpecError, load, load_file
from tests.kit.stacks import ROOT, prod

KEY = "a" * 32
MAIL = {
    "kind": "email", "to": "noc@example.net", "from": "mesh@example.net",
    "server": "smtp.example.net:587",
}  # fmt: skip


def monitoring(**keys: Any) -> dict[str, Any]:
    return {"nodes": ["lax-vultr-1"], "receivers": {"pager": {"kind": "pagerduty"}}} | keys


def loaded(section: dict[str, Any], **secrets: str) -> Loaded:
    return load("prod", prod() | {"monitoring": section} | secrets, ROOT)


def named(problems: list[Problem] | tuple[Problem, ...]) -> list[Problem]:
    """Those of monitoring and of its secrets."""
    return [p for p in problems if p.key.startswith(("mesh:monitoring", "mesh:alertReceiver"))]


def refusals(section: dict[str, Any], **secrets: str) -> list[Problem]:
    with pytest.raises(SpecError) as refused:
        loaded(section, **secrets)
    return named([p for p in refused.value.problems if p.severity == "error"])


def test_without_the_key_nothing_monitors() -> None:
    assert load("prod", prod(), ROOT).spec.monitoring is None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no node": ({"nodes": []}, "mesh:monitoring.nodes = []: at least 1 is needed"),
    "another node": ({"nodes": ["fra-vultr-1"]}, "mesh:monitoring.nodes = fra-vultr-1: there is"),
    "a node twice": (
        {"nodes": ["lax-vultr-1", "lax-vultr-1"]},
        "mesh:monitoring.nodes = lax-vultr-1: it is listed twice",
    ),
    "no kind": (
        {"receivers": {"a": {}}},
        "mesh:monitoring.receivers.a.kind = unset: the key is missing",
    ),
    "another kind": (
        {"receivers": {"a": {"kind": "pigeon"}}},
        "mesh:monitoring.receivers.a.kind = pigeon: it is none of",
    ),
    "a receiver's name": (
        {"receivers": {"A b": {"kind": "webhook"}}},
        "mesh:monitoring.receivers.A b = A b: a receiver's name has small letters",
    ),
    "mail without a server": (
        {"receivers": {"a": {k: v for k, v in MAIL.items() if k != "server"}}},
        "mesh:monitoring.receivers.a.server = unset: a receiver of kind email needs it",
    ),
    "mail from nobody": (
        {"receivers": {"a": {k: v for k, v in MAIL.items() if k != "from"}}},
        "mesh:monitoring.receivers.a.from = unset: a receiver of kind email needs it",
    ),
    "a template in an address": (
        {"receivers": {"a": MAIL | {"to": "{{ .Alerts }}@example.net"}}},
        "mesh:monitoring.receivers.a.to = {{ .Alerts }}@example.net: this is no address for mail",
    ),
    "a mail server without port": (
        {"receivers": {"a": MAIL | {"server": "smtp.example.net"}}},
        "mesh:monitoring.receivers.a.server = smtp.example.net: this is no mail server",
    ),
    "a channel of another kind": (
        {"receivers": {"a": {"kind": "webhook", "channel": "#noc"}}},
        "mesh:monitoring.receivers.a.channel = #noc: it is for receivers of kind slack",
    ),
    "another watchdog": (
        {"watchdog": "deadman"},
        "mesh:monitoring.watchdog = deadman: there is no such receiver",
    ),
    "a watchdog that gets more": (
        {
            "receivers": {"deadman": {"kind": "webhook", "severities": ["critical"]}},
            "watchdog": "deadman",
        },
        "mesh:monitoring.receivers.deadman.severities = critical: it is the dead man's switch",
    ),
    "an unknown key": ({"node": []}, "mesh:monitoring.node = []: the key is unknown here"),
    "a secret in the clear": (
        {"receivers": {"a": {"kind": "webhook", "url": "https://hooks.example.net/T0P"}}},
        "mesh:monitoring.receivers.a.url = [secret]: what a receiver keeps to itself is a secret",
    ),
    "days": ({"retention": 0}, "mesh:monitoring.retention = 0: it is less than 1"),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "begin"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused(keys: dict[str, Any], begin: str) -> None:
    (problem,) = refusals(monitoring(**keys))
    assert str(problem).startswith(begin)


GLASSES: dict[str, tuple[dict[str, Any], str, str]] = {
    "off": (
        {"glass": {"enabled": False}}, "mesh:glass.enabled is false", "remove mesh:glass.enabled",
    ),
    "a service has its port": (
        {"services": {"shop": {
            "kind": "external", "addresses": {"ipv4": "192.30.120.103"}, "ports": {"tcp": [8080]},
            "checks": [{"kind": "tcp", "port": 8080}],
        }}},
        "the service shop has its port", "mesh:glass: {port: 8081}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "why", "cure"), GLASSES.values(), ids=GLASSES)
def test_without_the_glass_there_is_nothing_to_ask(
    keys: dict[str, Any], why: str, cure: str
) -> None:
    with pytest.raises(SpecError) as refused:
        load("prod", prod() | {"monitoring": monitoring()} | keys, ROOT)
    (problem,) = (each for each in refused.value.problems if each.key == "mesh:monitoring")
    assert why in problem.reason
    assert cure in problem.cure


def test_alerts_that_reach_nobody_are_a_warning() -> None:
    (problem,) = named(loaded({"nodes": ["lax-vultr-1"]}).problems)
    assert (problem.key, problem.severity) == ("mesh:monitoring.receivers", "warning")


SECRETS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no URL": ({"kind": "webhook"}, "noc.example.net/alert", "it is not a URL"),
    "a file": ({"kind": "webhook"}, "file:///etc/passwd", "it is not a URL"),
    "no port": ({"kind": "slack"}, "https://hooks.example.net:x/", "it is not a URL"),
    "a blank": ({"kind": "webhook"}, "https://a.example.net/ b", "a blank or not ASCII"),
    "two lines": ({"kind": "webhook"}, "https://a.example.net/\nb", "a blank or not ASCII"),
    "too long": ({"kind": "webhook"}, "https://a.example.net/" + "x" * 2048, "more than 2048"),
    "a short key": ({"kind": "pagerduty"}, "abc", "has 32 letters and digits"),
    "nothing": (MAIL | {"user": "mesh"}, " ", "the secret is empty"),
    "a placeholder": (MAIL | {"user": "mesh"}, "changeme", "the secret is a placeholder"),
}


@pytest.mark.parametrize(("receiver", "value", "reason"), SECRETS.values(), ids=SECRETS)
def test_a_secret_that_cannot_be_used_is_refused_and_not_shown(
    receiver: dict[str, Any], value: str, reason: str
) -> None:
    section = monitoring(receivers={"noc": receiver})
    (problem,) = refusals(section, **{"alertReceiver-noc": value})
    assert reason in problem.reason
    assert problem.value == "[secret]"
    assert value.strip() == "" or value not in str(problem)


@pytest.mark.parametrize(
    ("receiver", "value"),
    [
        ({"kind": "webhook"}, "http://198.51.100.250:9099/noc"),
        ({"kind": "slack", "channel": "#noc"}, "https://hooks.example.net/services/T0/B0/x"),
        ({"kind": "pagerduty"}, KEY),
        (MAIL | {"user": "mesh@example.net"}, "s3cret{{}}'\""),
    ],
)
def test_a_usable_secret_is_taken(receiver: dict[str, Any], value: str) -> None:
    found = loaded(monitoring(receivers={"noc": receiver}), **{"alertReceiver-noc": value})
    assert not named(found.problems)


def test_a_missing_secret_stops_a_preview_and_says_where_it_comes_from() -> None:
    (problem,) = named(loaded(monitoring()).problems)
    assert (problem.key, problem.severity) == ("mesh:alertReceiver-pager", "preview")
    assert "pulumi config set --secret mesh:alertReceiver-pager" in problem.cure
    assert "integration key" in problem.cure


def test_mail_without_an_account_has_no_secret() -> None:
    section = monitoring(receivers={"noc": MAIL})
    assert not named(loaded(section).problems)
    (problem,) = refusals(section, **{"alertReceiver-noc": "s3cret"})
    assert problem.reason == "no receiver of this stack needs it"


def test_a_receivers_secret_is_its_own_whatever_its_name() -> None:
    """Names of passwords fall back to the provider's; ``on-call`` is no session of ``call``."""
    both = {"on-call": {"kind": "pagerduty"}, "call": {"kind": "pagerduty"}}
    found = loaded(monitoring(receivers=both), **{"alertReceiver-call": KEY})
    (problem,) = named(found.problems)
    assert problem.key == "mesh:alertReceiver-on-call"


def test_a_twin_does_not_take_over_who_is_called(tmp_path: Path) -> None:
    original = prod() | {"monitoring": monitoring()}
    for stack, keys in {"prod": original, "lab": {"twin": "prod"}}.items():
        config = {f"mesh:{key}": value for key, value in keys.items()}
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))
    assert load_file("prod", tmp_path).spec.monitoring is not None
    found = load_file("lab", tmp_path)
    assert found.spec.monitoring is None
    assert not named(found.problems)


def test_a_twin_may_have_a_monitoring_of_its_own(tmp_path: Path) -> None:
    own = {"twin": "prod", "monitoring": monitoring(receivers={"box": {"kind": "webhook"}})}
    for stack, keys in {"prod": prod() | {"monitoring": monitoring()}, "lab": own}.items():
        config = {f"mesh:{key}": value for key, value in keys.items()}
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))
    section = load_file("lab", tmp_path).spec.monitoring
    assert section is not None
    assert list(section.receivers) == ["box"]
