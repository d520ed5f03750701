"""Prometheus's text format 0.0.4: metrics as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Sample = tuple[tuple[str, ...], float]
"""The values of a metric's labels, and its own."""


@dataclass(frozen=True, slots=True)
class Metric(Generic[T]):
    """A metric, and how its ``samples`` are taken from what is known. ``labels`` are those beside
    the one that all metrics of a page have; a sample leaves out those whose value is empty."""

    name: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    text: str
    samples: Callable[[T], Iterable[Sample]]

    @property
    def unit(self) -> str:
        """What its values count, as its name says; empty for a number without a unit."""
        units = ("timestamp_seconds", "seconds", "bytes", "packets", "routes")
        name = self.name.removesuffix("_total")
        return next((unit for unit in units if name.endswith(f"_{unit}")), "")


def lines(metric: Metric[T], known: T, common: str) -> Iterator[str]:
    """A metric with its samples, nothing where there are none. ``common`` is the label that all
    have, as :func:`label` writes it."""
    # What is there twice would be two samples of one series, of which Prometheus takes any.
    samples = dict(metric.samples(known))
    if samples:
        yield f"# HELP {metric.name} {metric.text}\n# TYPE {metric.name} {metric.kind}\n"
    for values, value in samples.items():
        pairs = zip(metric.labels, values, strict=True)
        labels = ",".join([common, *(label(name, text) for name, text in pairs if text)])
        yield f"{metric.name}{{{labels}}} {int(value) if value == int(value) else float(value)}\n"


def label(name: str, value: str) -> str:
    """A label with its value, of which nothing can end it."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()  # JSON may bring half of a character
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'{name}="{escaped}"'
