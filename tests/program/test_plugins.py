"""Versions of plugins that are known to be broken, and when a preview refuses them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from mesh.infra.providers import DESCRIPTIONS, plugins
from mesh.spec import Problem, Spec, load
from tests.kit.stacks import ROOT, prod


def spec(through: str) -> Spec:
    keys: dict[str, Any] = prod() | {"providers": {"vultr": {"through": through}}}
    return load("prod", keys, ROOT).spec


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The problems of a driver whose plugin has this version; ``try_`` is what the operator set."""

    def problems(
        version: str | None, driver: str = "vultr", through: str = "plugin", try_: str = ""
    ) -> list[Problem]:
        def installed(package: str) -> str:
            plugin = DESCRIPTIONS[driver].plugin
            assert plugin is not None and package == plugin.package
            if version is None:
                raise PackageNotFoundError(package)
            return version

        monkeypatch.setattr(plugins, "version", installed)
        monkeypatch.setenv(plugins.TRY, try_)
        return list(plugins.problems(driver, DESCRIPTIONS[driver].plugin, spec(through)))

    return problems


@pytest.mark.parametrize(
    ("version", "broken"),
    [
        ("2.15.1", False),
        ("2.16.0", True),
        ("2.27.1", True),
        ("2.27.1rc2", True),
        ("2.32.0", True),
        ("2.32.1", False),
        ("2.33.0", False),
        ("3.0", False),
    ],
)
def test_vultrs_plugin_is_broken_from_vpc2_until_it_asks_it_no_more(
    found: Any, version: str, broken: bool
) -> None:
    problems = found(version)
    assert [each.severity for each in problems] == ["error"] * broken
    if broken:
        assert problems[0].key == "mesh:providers.vultr.through"
        assert f"ediri-vultr {version} does not work" in problems[0].reason
        assert "mesh adopt" in problems[0].cure


def test_nothing_is_asked_of_a_plugin_that_is_not_used(found: Any) -> None:
    assert found("2.27.1", through="api") == []
    assert found(None, through="api") == []


@pytest.mark.parametrize(
    ("tried", "severity"),
    [("vultr-2.27.1", "warning"), ("vultr-2.27.0", "error"), ("vultr", "error")],
)
def test_a_broken_version_is_tried_where_exactly_it_is_named(
    found: Any, tried: str, severity: str
) -> None:
    (problem,) = found("2.27.1", try_=tried)
    assert problem.severity == severity


def test_a_package_that_is_not_installed_is_named(found: Any) -> None:
    (problem,) = found(None)
    assert "ediri-vultr" in problem.value
    assert "pip install ediri-vultr" in problem.cure


@pytest.mark.parametrize("driver", ["aws", "gcp"])
def test_the_versions_that_are_installed_of_the_others_work(driver: str) -> None:
    assert list(plugins.problems(driver, DESCRIPTIONS[driver].plugin, spec("api"))) == []


def test_every_broken_version_has_a_reason_and_a_cure() -> None:
    plugin = [each.plugin for each in DESCRIPTIONS.values() if each.plugin is not None]
    known = [broken for each in plugin for broken in each.broken]
    assert known
    for broken in known:
        assert broken.reason and broken.cure
        assert plugins.covers(broken, broken.first)
        assert broken.last is None or plugins.covers(broken, broken.last)
