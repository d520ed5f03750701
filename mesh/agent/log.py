"""Structured lines for the journal: an event, then keys and values. Never a secret."""

from __future__ import annotations

import json
import logging
import sys

_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_logger = logging.getLogger("anycast-mesh")


def start() -> None:
    """Sends everything to standard error with the journal's priorities (sd-daemon(3))."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Journal())
    _logger.addHandler(handler)
    _logger.setLevel(logging.INFO)
    _logger.propagate = False


def info(event: str, **keys: object) -> None:
    """Logs a normal event."""
    _logger.info("%s", _line(event, keys))


def warning(event: str, **keys: object) -> None:
    """Logs an event that may need attention."""
    _logger.warning("%s", _line(event, keys))


def _line(event: str, keys: dict[str, object]) -> str:
    return " ".join([event, *(f"{key}={json.dumps(str(keys[key]))}" for key in keys)])


class _Journal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"<{_LEVELS.get(record.levelno, 6)}>{record.getMessage()}"
