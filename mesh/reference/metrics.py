"""``metrics.md``: the metrics of a node, from the table by which its glass writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mesh.glass.metrics import OF_NODE, OF_SNAPSHOT, STALE
from mesh.glass.prometheus import Metric
from mesh.reference.markdown import begun, page

INTRODUCTION = """\
What the looking glass of each node gives at `/metrics`, in Prometheus's text format. All have the \
label `node`. A label whose value is empty is left out. Times are seconds since the epoch by the \
node's clock. The page Monitoring has the alerts that are made of them."""

ALWAYS = "These come with each scrape, also while the agent is away:"
SEEN = f"""\
These come from the agent's snapshot, while it is not older than {STALE:g} s. What is not known is \
left out. Counters begin anew with the agent, except where their text says another thing."""


def text() -> str:
    """The page."""
    return page(_blocks())


def _blocks() -> Iterator[str]:
    yield from begun("Metrics", "the table in `mesh/glass/metrics.py`")
    yield INTRODUCTION
    yield "## Of the plan and the glass"
    yield ALWAYS
    yield _table(OF_NODE)
    yield "## Of the node"
    yield SEEN
    yield _table(OF_SNAPSHOT)


def _table(metrics: Iterable[Metric[Any]]) -> str:
    rows = ["| metric | labels | type | unit | what it is |", "|---|---|---|---|---|"]
    for metric in metrics:
        labels = " ".join(f"`{name}`" for name in metric.labels)
        unit = metric.unit.replace("_", " ")
        rows.append(f"| `{metric.name}` | {labels} | {metric.kind} | {unit} | {metric.text} |")
    return "\n".join(rows)
