"""The kernel's notifications are not read on OpenBSD: the agent looks every few seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self


class NoHints:
    """No notifications."""

    firewall = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def wait(self, seconds: float) -> bool:
        """Waits so long; nothing has been heard."""
        time.sleep(seconds)
        return False

    def forget(self) -> None:
        """Discards nothing."""
