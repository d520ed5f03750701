"""`mesh monitoring config`: files that Prometheus reads, without a network or a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mesh.cli.main import app
from mesh.render import monitors
from tests.kit.promtool import RELEASES, promtool
from tests.kit.stacks import ROOT, prod

MADE = {
    "prometheus.yml", "rules.yml", "alertmanager.yml",
    "dashboards/network.json", "dashboards/node.json", "dashboards/sessions.json",
}  # fmt: skip


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `mesh monitoring config …`."""
    done = CliRunner().invoke(app, ["monitoring", "config", *arguments])
    return done.exit_code, done.stdout, done.stderr


def of_prod(folder: Path, *more: str) -> str:
    code, out, err = run("--stack", "prod", "--root", str(ROOT), "--out", str(folder), *more)
    assert code == 0, err
    return out


def test_it_writes_all_and_says_so_on_one_line(tmp_path: Path) -> None:
    out = of_prod(tmp_path)
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == MADE
    assert out.startswith(f"{tmp_path}: 6 files, for 4 nodes at port 8080: prometheus.yml, ")
    assert out.count("\n") == 1


def test_the_same_stack_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        of_prod(tmp_path / name)
    for name in MADE:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


@pytest.mark.parametrize("release", RELEASES)
def test_prometheus_takes_the_configuration_with_its_rules(tmp_path: Path, release: str) -> None:
    of_prod(tmp_path)
    done = promtool(release, "check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout, "it names rules.yml beside it"


def test_each_node_is_asked_at_its_tunnel_address_and_named(tmp_path: Path) -> None:
    of_prod(tmp_path)
    jobs = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    (job,) = [each for each in jobs if each["job_name"] == "mesh"]
    found = {each["labels"]["node"]: each["targets"] for each in job["static_configs"]}
    assert set(found) == set(prod()["nodes"])
    assert all(one.startswith("[fd") and one.endswith("]:8080") for (one,) in found.values())


def test_the_alertmanager_can_be_named(tmp_path: Path) -> None:
    def told(*more: str) -> object:
        of_prod(tmp_path, *more)
        alerting = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["alerting"]
        return alerting["alertmanagers"][0]["static_configs"][0]["targets"]

    assert told() == ["localhost:9093"]
    two = ["a.example.net:9093", "b.example.net:9093"]
    assert told("--alertmanager", two[0], "--alertmanager", two[1]) == two


def test_the_runbooks_can_be_elsewhere(tmp_path: Path) -> None:
    of_prod(tmp_path, "--runbooks", "https://wiki.example.net/mesh")
    assert "https://wiki.example.net/mesh#meshbirddown" in (tmp_path / "rules.yml").read_text()


def test_without_receivers_alertmanager_has_them_for_example(tmp_path: Path) -> None:
    of_prod(tmp_path)
    made = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    assert {each["name"] for each in made["receivers"]} == {"(nobody)", "people", "watchdog"}
    assert f"{monitors.RECEIVERS}/people" in json.dumps(made), "the address is in a file"


def test_a_network_without_a_glass_has_nothing_to_ask(tmp_path: Path) -> None:
    config = {
        f"mesh:{key}": value for key, value in (prod() | {"glass": {"enabled": False}}).items()
    }
    (tmp_path / "Pulumi.off.yaml").write_text(yaml.safe_dump({"config": config}))
    out = tmp_path / "out"
    code, _, err = run("--stack", "off", "--root", str(tmp_path), "--out", str(out))
    assert code == 1
    assert "mesh:glass = off: no node has a looking glass" in err
    assert not out.exists()
