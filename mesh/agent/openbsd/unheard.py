"""The kernel's notifications are not read on OpenBSD: the agent looks every few seconds."""

from __future__ import annotations

import time


class NoHints:
    """No notifications."""

    firewall = ""

    def wait(self, seconds: float) -> bool:
        """Waits so long; nothing has been heard."""
        time.sleep(seconds)
        return False

    def forget(self) -> None:
        """Discards nothing."""
