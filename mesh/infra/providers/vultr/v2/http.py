"""httpx without its command line.

``import httpx`` imports its command where rich and click are installed, as they are here: four
fifths of the import's time, in every preview. httpx works without it.
"""

from __future__ import annotations

import sys

COMMAND = "httpx._main"

if "httpx" not in sys.modules:
    sys.modules[COMMAND] = None  # type: ignore[assignment]  # Python's own sign for "not there"
    try:
        import httpx
    finally:
        del sys.modules[COMMAND]
else:
    import httpx

__all__ = ["httpx"]
