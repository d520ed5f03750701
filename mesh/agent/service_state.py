"""The states of the services that this node may serve, by their checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mesh.agent.check_runner import asked
from mesh.agent.config import NodeService
from mesh.services.checks import Check
from mesh.services.checks.check import Target


@dataclass(slots=True)
class CheckState:
    """Rise and fall of one check."""

    check: Check
    up: bool = False
    streak: int = 0
    reason: str = "was not asked yet"
    """Why the last bad answer was bad."""
    asked: bool = False

    @property
    def judged(self) -> bool:
        """Whether its state follows from its own answers. A check that was adopted as up, and fails
        now, is judged once it is down."""
        return self.asked and not (self.up and self.streak)

    def record(self, healthy: bool) -> bool:
        """Counts one answer; whether the check is up after it."""
        self.asked = True
        self.streak = self.streak + 1 if healthy != self.up else 0
        if self.streak >= (self.check.rise if healthy else self.check.fall):
            self.up, self.streak = healthy, 0
        return self.up


@dataclass(slots=True)
class LocalService:
    """A service that this node may serve, with its checks' states."""

    service: NodeService
    watches: list[CheckState] = field(default_factory=list)

    @property
    def up(self) -> bool:
        """Whether all checks pass; a service without checks is up."""
        return all(watch.up for watch in self.watches)

    @property
    def addresses(self) -> frozenset[str]:
        """Its addresses."""
        return frozenset(str(address) for address in self.service.addresses)

    @property
    def failure(self) -> str:
        """Why it is down: the checks that do not pass, with reasons. Empty if it is up."""
        return "; ".join(
            f"{watch.check.subject}: {watch.reason}" for watch in self.watches if not watch.up
        )

    @staticmethod
    def adopted(service: NodeService, bound: frozenset[str]) -> LocalService:
        """A service whose checks count as up if all its addresses are bound."""
        up = bool(service.addresses) and all(str(a) in bound for a in service.addresses)
        return LocalService(service, [CheckState(check, up) for check in service.checks])


def problem(check: Check) -> str:
    """A check's problem; an error in the check itself is one too."""
    return asked(check, Target(IPv4Address("127.0.0.1"), ""))
