"""Every link of the documentation leads somewhere, in the repository and on the site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ID, dead, read
from tests.kit.stacks import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    assert not dead(page, ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_anchor_made_by_hand_is_there_once(page: Path) -> None:
    """What two branches have written is easily there twice after they were merged."""
    made = Counter(ID.findall(page.read_text()))
    assert [anchor for anchor, times in made.items() if times > 1] == []


def in_menu(entries: Any) -> Iterator[str]:
    """The pages of the site's menu."""
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from in_menu(entry)


def test_the_sites_menu_has_each_page_once() -> None:
    menu = list(in_menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(menu) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_the_map_of_the_pages_has_each_of_them() -> None:
    """A folder's README is a map of its own."""
    links = {link.partition("#")[0] for link in read((DOCS / "index.md").read_text()).links}
    pages = {page for page in DOCS.rglob("*.md") if page.name == "README.md"}
    mapped = {page.parent for page in pages}
    pages |= {page for page in DOCS.rglob("*.md") if page.parent not in mapped}
    assert {str(page.relative_to(DOCS)) for page in pages} - {"index.md"} <= links


def test_the_site_is_not_built_where_a_link_is_dead() -> None:
    """With --quiet properdocs counts no warnings, so that --strict finds none."""
    recipe = (ROOT / "Makefile").read_text().partition("\ndocs:")[2]
    assert " --strict " in recipe
    assert "quiet" not in recipe


TARGET = """# One page
## Two words, and `mesh:a_key`
## A / B
## Twice
## Twice
<a id="by-hand"></a>
```
# no heading
```
"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](target.md)", ""),
        ("[a](target.md#one-page)", ""),
        ("[a](target.md#two-words-and-mesha_key)", ""),
        ("[a](target.md#by-hand)", ""),
        ("[a](target.md#twice)", ""),
        ("# Here\n[a](#here)", ""),
        ("[a](https://example.net/x) <a href='mailto:a@example.net'>b</a>", ""),
        ("`[a](gone.md)` and\n```\n[a](gone.md)\n```\n", ""),
        ("[a](../README.md)", ""),
        ("[a](../examples)", ""),
        ("[a](gone.md)", "no such file"),
        ("![a](gone.png)", "no such file"),
        ("[a][b]\n\n[b]: gone.md\n", "no such file"),
        ('<a href="gone.md">a</a>', "no such file"),
        ("[a](../../outside.md)", "no such file"),
        ("[a](/docs/target.md)", "relative to the page"),
        ("[a](deeper)", "no page of the site"),
        ("[a](target.md#gone)", "no such anchor"),
        ("[a](target.md#no-heading)", "no such anchor"),
        ("[a](target.md#a--b)", "no such anchor"),  # on the site it is a-b
        ("[a](target.md#twice-1)", "no such anchor"),
        ("# Here\n[a](#there)", "no such anchor"),
        ("[a](../Makefile#docs)", "only pages have anchors"),
    ],
)
def test_a_link_is_dead_where_it_leads_nowhere(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "outside.md").touch()
    root = tmp_path / "checkout"
    for folder in ("docs/deeper", "examples"):
        (root / folder).mkdir(parents=True)
    for name in ("README.md", "Makefile"):
        (root / name).touch()
    (root / "docs/target.md").write_text(TARGET)
    page = root / "docs/page.md"
    page.write_text(text)
    found = dead(page, root)
    assert len(found) == bool(why)
    assert not why or why in found[0]
