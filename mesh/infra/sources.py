"""What a node's files are made of beside the plan: templates, and the code that fills them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("templates/debian", "mesh/render")


def digest() -> str:
    """SHA-256 (hex) over names and contents: a changed template is a change of what is published,
    although the plan is the same."""
    seen = sha256()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".j2", ".py"):
                content = path.read_bytes()
                seen.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode())
                seen.update(content)
    return seen.hexdigest()
