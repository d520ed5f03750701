"""A summary for people: on a terminal, and as Markdown below a pull request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mesh.foreign import printable
from mesh.hanging import Hanging
from mesh.preview.forecast import Forecast
from mesh.preview.reach import Change, PrefixChange
from mesh.preview.sessions import SessionChange
from mesh.preview.summary import Summary, Touched
from mesh.spec.problems import Problem

MOST = 12
"""Names on one line; a first deployment of many nodes has a thousand sessions."""
LONGEST = 60_000
"""Characters of a comment: GitHub takes 65 536."""
COLOURS = {
    "removed": "red",
    "deleted": "red",
    "replaced": "red",
    "withdrawn": "red",
    "unprotected": "red",
    "not protected": "red",
    "unknown": "red",
    "restarted": "yellow",
    "moved": "yellow",
    "changed": "yellow",
    "updated": "yellow",
    "added": "green",
    "protected": "green",
    "created": "green",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a section: what becomes of what, and why."""

    fate: str
    what: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its lines; one without lines is not shown."""

    title: str
    rows: tuple[Row, ...]


def headline(summary: Summary) -> str:
    """The change in one line."""
    if summary.errors:
        return f"preview of {summary.stack or 'the stack'} failed"
    if not summary.counts:
        return f"preview of {summary.stack}: nothing changes"
    counts = ", ".join(f"{number} {fate}" for fate, number in summary.counts.items())
    return f"preview of {summary.stack}: {counts}"


def sections(summary: Summary) -> tuple[Section, ...]:
    """All sections that have lines, the most serious changes first."""
    every = (
        Section("Protection from deletion", tuple(_plain(summary.protection))),
        Section("Servers", tuple(map(_resource, summary.servers))),
        Section("Addresses of servers", tuple(map(_resource, summary.addresses))),
        Section("Nodes", tuple(_plain(summary.nodes))),
        Section("Prefixes", tuple(_prefixes(summary.prefixes))),
        Section("Sessions", tuple(_sessions(summary.sessions))),
        Section("Announced addresses", tuple(_plain(summary.announced))),
        Section("Services", tuple(_plain(summary.services))),
        Section("Ports", tuple(_plain(summary.ports))),
        Section("Provider firewalls", tuple(_grouped(summary.firewalls))),
        Section("Other resources", tuple(_grouped(summary.others))),
        Section("Generation", tuple(_generation(summary))),
    )
    return tuple(section for section in every if section.rows)


def terminal(summary: Summary, refused: Iterable[Problem] = ()) -> RenderableType:
    """The summary for a terminal."""
    parts: list[RenderableType] = [Text(printable(headline(summary)), style="bold")]
    for section in sections(summary):
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
        for _ in range(3):
            table.add_column(overflow="fold")
        for row in section.rows:
            colour = COLOURS.get(row.fate, "default")
            what, why = escape(printable(row.what)), escape(printable(row.why))
            table.add_row(f"  [{colour}]{row.fate}[/]", what, why)
        parts += [Text(section.title.lower()), table]
    parts += [Hanging(f"note: {printable(note)}", "dim") for note in summary.notes]
    parts += [Hanging(f"warning: {line}", "yellow") for line in summary.warnings]
    parts += [Hanging(f"error: {line}", "red") for line in summary.errors]
    parts += [Hanging(f"refused: {printable(str(problem))}", "red") for problem in refused]
    return Group(*parts)


def markdown(summary: Summary, refused: Iterable[Problem] = ()) -> str:
    """The summary for a comment. Whatever comes from the stack file is escaped."""
    lines = [f"### {_cell(headline(summary))}", ""]
    refusals = [f"- {_cell(str(problem))}" for problem in refused]
    if refusals:
        lines += ["**The gate refuses this update:**", "", *refusals, ""]
    if summary.errors:
        lines += ["**The engine's errors:**", "", "<pre>"]
        lines += [*(html.escape(line) for line in summary.errors), "</pre>", ""]
    for section in sections(summary):
        lines += [f"**{section.title}**", "", "| | | |", "|---|---|---|"]
        lines += [f"| {r.fate} | {_cell(r.what)} | {_cell(r.why)} |" for r in section.rows]
        lines.append("")
    lines += [f"> {_cell(note)}" for note in summary.notes]
    lines += [f"> warning: {_cell(line)}" for line in summary.warnings]
    text = "\n".join(lines).rstrip() + "\n"
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition("\n")[0] + "\n\n(cut)\n"


def _resource(touched: Touched) -> Row:
    why = ", ".join(map(_reason, touched.reasons))
    what = touched.node or touched.name
    restarts = "; the provider may restart it" if touched.restarts else ""
    return Row(touched.fate, what, f"{_short(touched.type)}{f': {why}' if why else ''}{restarts}")


def _reason(reason: str) -> str:
    # The engine names the id where `--replace` is the only reason.
    return "asked for" if reason == "id" else reason


def _grouped(touched: Iterable[Touched]) -> Iterator[Row]:
    """Resources that several nodes share, one line for each fate and type."""
    ordered = sorted(touched, key=lambda each: (each.fate, each.type, each.name))
    for (fate, kind), group in groupby(ordered, key=lambda each: (each.fate, each.type)):
        yield Row(fate, _list(each.name for each in group), _short(kind))


def _plain(changes: Iterable[Change]) -> Iterator[Row]:
    ordered = sorted(changes, key=lambda each: (each.fate, each.why))
    for (fate, why), group in groupby(ordered, key=lambda each: (each.fate, each.why)):
        yield Row(fate, _list(each.what for each in group), why)


def _sessions(changes: Iterable[SessionChange]) -> Iterator[Row]:
    def key(change: SessionChange) -> tuple[str, str, str]:
        return (change.fate, change.session.kind, change.why)

    for (fate, kind, why), group in groupby(sorted(changes, key=key), key=key):
        names = [str(change.session) for change in group]
        yield Row(fate, f"{len(names)} {kind}: {_list(names)}", why)


def _prefixes(changes: Iterable[PrefixChange]) -> Iterator[Row]:
    for change in changes:
        stays = [node for node in change.before if node in change.after]
        if not change.before:
            yield Row("added", change.prefix, f"announced by {_list(change.after)}")
        elif not change.after:
            yield Row("removed", change.prefix, f"was announced by {_list(change.before)}")
        else:
            gone = [node for node in change.before if node not in change.after]
            new = [node for node in change.after if node not in change.before]
            away = [node for node in change.away if node in stays]
            anew = [node for node in change.anew if node in stays]
            turns = ", one after the other" if change.in_turn and len(anew) > 1 else ""
            parts = [
                f"no longer by {_list(gone)}" if gone else "",
                f"also by {_list(new)}" if new else "",
                f"withdrawn at {_list(away)} meanwhile" if away else "",
                f"sessions start anew at {_list(anew)}{turns}" if anew else "",
                f"by the plan {_staying(change, stays)} of {len(change.before)} announce it "
                "meanwhile",
            ]
            yield Row("changed", change.prefix, "; ".join(filter(None, parts)))


def _staying(change: PrefixChange, stays: Iterable[str]) -> int:
    """How many of these nodes announce the prefix at each moment, by the plan."""
    left, anew = set(stays) - set(change.away), set(change.anew)
    return len(left) - min(1, len(left & anew)) if change.in_turn else len(left - anew)


def _generation(summary: Summary) -> Iterator[Row]:
    if summary.generation is not None:
        why = f"because of {', '.join(summary.because)}" if summary.because else ""
        yield Row(summary.generation, _way_out(summary.forecast), why)


def _way_out(forecast: Forecast | None) -> str:
    """How a generation goes out."""
    if forecast is None:
        return "to every node"
    if not forecast.waves:
        return "to every node at once"
    count = f"{forecast.waves} waves" if forecast.waves > 1 else "one wave"
    stages = "in two stages, each " if forecast.twice else ""
    waves = f"to every node {stages}in {count}, "
    waves += "one node at a time" if forecast.most == 1 else f"at most {forecast.most} at a time"
    drained = f"; {_list(forecast.drained)} drain first" if forecast.drained else ""
    return f"{waves}{drained} (forecast)"


def _list(names: Iterable[str]) -> str:
    found = list(names)
    rest = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return ", ".join(found[:MOST]) + rest


def _short(kind: str) -> str:
    """``vultr Instance`` for ``vultr:index/instance:Instance``."""
    package, _, rest = kind.partition(":")
    module, _, name = rest.rpartition(":")
    return f"{module.removeprefix('dynamic/') if package == 'pulumi-python' else package} {name}"


MARKUP = re.compile(r"[&<>\\`*_|\[\]~$]|[@#]|:(?=//)|www(?=\.)|GH-(?=\d)", re.I)
"""What means something to GitHub's Markdown: signs, and what begins a mention, a reference or a
link. Those are looked for after the entities are read, so an entity does not stop them."""
SEPARATOR = "\u200b"
"""A zero-width space: it is invisible, and ends a mention, reference or link."""


def _cell(text: str) -> str:
    """Text without effect in Markdown: no table, no HTML, no link, no mention."""
    return MARKUP.sub(_escaped, printable(text))


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    opens = len(sign) > 1 or sign in "@#:"
    return sign + SEPARATOR if opens else f"&#{ord(sign)};"
