"""Dashboards: each is whole, readable, and asks for metrics that there are."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from mesh.glass.metrics import METRICS
from mesh.render import monitors
from tests.kit.promtool import RELEASES, promtool

NAMES = ("network.json", "node.json", "sessions.json")
VARIABLES = {"$__rate_interval": "1m", "$node": "lax-vultr-1", "$kind": "upstream"}
OURS = {"up": {"job", "instance", "node"}, "ALERTS": {"alertname", "severity", "node", "peer"}}


@cache
def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(monitors.dashboards()[name])
    return found


def panels(name: str) -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


def expressions(name: str) -> list[tuple[str, str]]:
    """Each expression with its panel's title."""
    return [(each["expr"], panel["title"]) for panel in panels(name) for each in panel["targets"]]


def test_there_are_three() -> None:
    assert tuple(monitors.dashboards()) == NAMES
    assert len({board(name)["uid"] for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_one_chooses_the_prometheus_and_the_node(name: str) -> None:
    variables = {each["name"]: each for each in board(name)["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["node"]["definition"] == "label_values(mesh_time_seconds, node)"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board(name)["panels"])))
    assert used - {"__rate_interval"} == set(variables)


@pytest.mark.parametrize("name", NAMES)
def test_each_panel_says_what_it_shows(name: str) -> None:
    for panel in panels(name):
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert all(each["datasource"]["uid"] == "${datasource}" for each in panel["targets"])
        assert panel["type"] in {"stat", "table", "timeseries", "state-timeline"}


@pytest.mark.parametrize("name", NAMES)
def test_panels_lie_side_by_side(name: str) -> None:
    found = board(name)["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    places = [panel["gridPos"] for panel in found]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_each_expression_names_metrics_that_there_are(name: str) -> None:
    there = {metric.name for metric in METRICS} | {*OURS}
    for expression, title in expressions(name):
        named = set(re.findall(r"\bmesh_\w+|\bup\b|\bALERTS\b", expression))
        assert named, title
        assert named <= there, title


@pytest.mark.parametrize("release", RELEASES)
def test_prometheus_reads_each_expression(tmp_path: Path, release: str) -> None:
    found = [each for name in NAMES for each, _ in expressions(name)]
    for variable, value in VARIABLES.items():
        found = [each.replace(variable, value) for each in found]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(found)]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool(release, "check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(found)} rules found" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_legend_names_labels_that_its_metric_has(name: str) -> None:
    labels = {metric.name: {"node", *metric.labels} for metric in METRICS} | OURS
    for panel in panels(name):
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            metrics = re.findall(r"\bmesh_\w+|\bup\b|\bALERTS\b", target["expr"])
            by = re.search(r"\b(?:sum|max|min|count) by \(([\w, ]+)\)", target["expr"])
            has = set(by[1].split(", ")) if by else set.union(*(labels[each] for each in metrics))
            assert named <= has, panel["title"]


def test_each_metric_is_in_a_rule_or_on_a_dashboard() -> None:
    text = monitors.rules() + "".join(monitors.dashboards().values())
    assert {metric.name for metric in METRICS} <= set(re.findall(r"\bmesh_\w+", text))
