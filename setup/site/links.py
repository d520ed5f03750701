"""A hook of properdocs for links to files of the repository that are not on the site.

On the site such a link would be dead, so only its text stays. A link to a missing file is left as
it is, and fails a strict build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Called by properdocs for each page, before it is made HTML."""
    pages, here = Path(config["docs_dir"]), Path(page.file.abs_src_path).parent

    def without_dead(link: re.Match[str]) -> str:
        target = (here / link[2]).resolve()
        return link[0] if target.is_relative_to(pages) or not target.exists() else link[1]

    return LINK.sub(without_dead, markdown)
