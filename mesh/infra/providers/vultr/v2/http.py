"""httpx without its command line.

``import httpx`` brings the command along where rich and click are installed, as they are for ours:
four fifths of what the import takes, in every preview. It does without where there is none.
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
