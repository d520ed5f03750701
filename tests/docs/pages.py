"""The documentation as Markdown: where its links lead, and which anchors its pages have."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)
INLINE = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINED = re.compile(r"^ {0,3}\[[^\]]+\]: *<?(\S+?)>?(?: .*)?$", re.MULTILINE)
HREF = re.compile(r"<(?:a|img)\s[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']", re.IGNORECASE)
ID = re.compile(r"<[a-z0-9]+\s[^>]*?\b(?:id|name)=[\"']([^\"']+)[\"']", re.IGNORECASE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True)
class Page:
    """One file: ``links`` as they are written, ``anchors`` as a link has them behind its ``#``."""

    links: tuple[str, ...]
    anchors: frozenset[str]


def read(text: str) -> Page:
    """What a page links to, and what can be linked to on it. Code holds no links."""
    text = FENCE.sub("", COMMENT.sub("", text))
    headings = [spoken(heading) for heading in HEADING.findall(text)]
    text = CODE.sub("", text)
    found = [link for pattern in (INLINE, DEFINED, HREF) for link in pattern.findall(text)]
    anchors = common(headings) | set(ID.findall(text))
    return Page(tuple(link for link in found if not ELSEWHERE.match(link)), frozenset(anchors))


def spoken(heading: str) -> str:
    """A heading without its marks: links, code, emphasis, HTML."""
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    heading = re.sub(r"<[^>]+>", "", heading)
    return re.sub(r"`|\*\*?", "", heading).strip()


def common(headings: list[str]) -> set[str]:
    """The anchors that headings have both in the repository and on the site, which make them in
    ways of their own. The second of two that are called the same has none that both know."""
    seen = Counter(map(on_the_site, headings))
    return {
        anchor
        for heading in headings
        if seen[anchor := on_the_site(heading)] == 1 and anchor == in_the_repository(heading)
    } | {anchor for anchor, times in seen.items() if times > 1}


def on_the_site(heading: str) -> str:
    """As Python-Markdown makes anchors."""
    ascii_only = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())


def in_the_repository(heading: str) -> str:
    """As GitHub makes anchors."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def dead(page: Path, root: Path) -> list[str]:
    """The links of a page that lead nowhere, each with the reason."""
    docs, found = root / "docs", []
    for link in read(page.read_text()).links:
        where, _, anchor = link.partition("#")
        target = (page.parent / where).resolve() if where else page
        if where.startswith("/"):
            found.append(f"{link}: write it relative to the page")
        elif not target.exists() or not target.is_relative_to(root):
            found.append(f"{link}: there is no such file")
        elif target.is_dir() and target.is_relative_to(docs):
            found.append(f"{link}: a folder is no page of the site")
        elif anchor and target.suffix != ".md":
            found.append(f"{link}: only pages have anchors")
        elif anchor and anchor not in read(target.read_text()).anchors:
            found.append(f"{link}: the page has no such anchor")
    return found
