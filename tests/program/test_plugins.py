"""Versions of plugins that are known to be broken, and when a preview refuses them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from mesh.infra.providers import DRIVERS, plugins
from mesh.spec import Problem, Spec, load
from tests.stacks import ROOT, prod


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
            assert package == plugins.PACKAGES[driver]
            if version is None:
                raise PackageNotFoundError(package)
            return version

        monkeypatch.setattr(plugins, "version", installed)
        monkeypatch.setenv(plugins.TRY, try_)
        return list(plugins.problems(driver, spec(through)))

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
    assert list(plugins.problems(driver, spec("api"))) == []


def test_the_table_names_drivers_with_reason_and_cure() -> None:
    for broken in plugins.BROKEN:
        assert broken.driver in DRIVERS
        assert broken.reason and broken.cure
        assert broken.covers(broken.first)
        assert broken.last is None or broken.covers(broken.last)
