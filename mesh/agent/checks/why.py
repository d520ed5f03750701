"""A failed connection in an operator's words."""

from __future__ import annotations


def why(error: OSError, timeout: float) -> str:
    """The reason of a connection that failed within ``timeout`` seconds."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return (error.strerror or str(error) or type(error).__name__).lower()
