"""What Prometheus and Grafana read: the rules of alerts, and the dashboards.

Both are the same for every network: what differs (which nodes there are, and who is told) is in the
configuration of Prometheus and of Alertmanager.
"""

from __future__ import annotations

from mesh.installed import TEMPLATES

FOLDER = TEMPLATES / "monitoring"
RULES = FOLDER / "rules.yml"
RUNBOOKS = "docs/monitoring.md"
"""The page whose anchors ``runbook_url`` names, as the rules have it."""


def rules(runbooks: str = RUNBOOKS) -> str:
    """The rules of all alerts; ``runbooks`` is the address of the page that explains them."""
    return RULES.read_text(encoding="utf-8").replace(f"{RUNBOOKS}#", f"{runbooks}#")


def dashboards() -> dict[str, str]:
    """Dashboards for Grafana (JSON), by the names of their files."""
    found = sorted((FOLDER / "dashboards").glob("*.json"))
    return {path.name: path.read_text(encoding="utf-8") for path in found}
