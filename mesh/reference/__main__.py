"""Write the reference pages anew: ``python -m mesh.reference``."""

from __future__ import annotations

from mesh.reference.pages import FOLDER, PAGES


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8", newline="\n")
        print(f"{FOLDER / name}: written")


if __name__ == "__main__":
    main()
