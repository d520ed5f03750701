"""The states of the services that this node may serve, by their checks and address families."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from mesh.agent.config import NodeService
from mesh.services.checks import Check
from mesh.services.checks.check import Target

LOOPBACK: dict[int, IPv4Address | IPv6Address] = {
    4: IPv4Address("127.0.0.1"),
    6: IPv6Address("::1"),
}


@dataclass(slots=True)
class CheckState:
    """Rise and fall of one check at one target. ``versions`` are the address families whose state
    it decides: that of the target, or all of the service."""

    check: Check
    target: Target
    versions: tuple[int, ...]
    up: bool = False
    streak: int = 0
    reason: str = "was not asked yet"
    """Why the last bad answer was bad."""
    warning: str = ""
    """What an operator should see to although the answers are good."""
    asked: bool = False
    problem: str = ""
    """The last answer: why it was bad, empty for a good one."""
    seconds: float = 0.0
    """How long it took."""

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
    """A service that this node may serve, with its checks' states. It is up or down in each address
    family by itself."""

    service: NodeService
    watches: list[CheckState] = field(default_factory=list)

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions of its addresses."""
        return tuple(sorted({address.version for address in self.service.addresses}))

    def serves(self, version: int) -> bool:
        """Whether all checks of an address family pass; without checks it is up."""
        return all(watch.up for watch in self.watches if version in watch.versions)

    @property
    def families(self) -> dict[int, bool]:
        """Whether it is up, by IP version."""
        return {version: self.serves(version) for version in self.versions}

    @property
    def up(self) -> bool:
        """Whether it is up in all its families."""
        return all(self.families.values())

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses of the families in which it is up."""
        up = self.families
        return frozenset(str(a) for a in self.service.addresses if up[a.version])

    @property
    def failure(self) -> str:
        """Why it is down, by family where that differs. Empty if it is up."""
        reasons = {version: self.why_down(version) for version in self.versions}
        if len(set(reasons.values())) == 1:
            return next(iter(reasons.values()))
        return "; ".join(f"IPv{version}: {why}" for version, why in reasons.items() if why)

    def why_down(self, version: int) -> str:
        """The checks of one family that do not pass, with reasons."""
        return "; ".join(
            dict.fromkeys(
                f"{watch.check.subject}: {watch.reason}"
                for watch in self.watches
                if version in watch.versions and not watch.up
            )
        )

    @property
    def warning(self) -> str:
        """What its checks warn of."""
        return "; ".join(dict.fromkeys(each.warning for each in self.watches if each.warning))

    @staticmethod
    def adopted(
        service: NodeService, node: str, bound: frozenset[str], askable: frozenset[str]
    ) -> LocalService:
        """A service whose checks count as up in each family whose addresses are all bound. They ask
        at the addresses that are ``askable``, and at loopback in place of others."""
        missing = {a.version for a in service.addresses if str(a) not in bound}
        here = {int(a.version) for a in service.addresses} - missing
        return LocalService(service, list(_watches(service, node, here, askable)))


def _watches(
    service: NodeService, node: str, up: set[int], askable: frozenset[str]
) -> Iterator[CheckState]:
    """A check's state for each address, and one for all where it asks at none."""
    versions = tuple(sorted({address.version for address in service.addresses}))
    for check in service.checks:
        targets = service.addresses if check.per_family else service.addresses[:1]
        for address in targets:
            decides = (address.version,) if check.per_family else versions
            asked = address if str(address) in askable else LOOPBACK[address.version]
            yield CheckState(check, Target(asked, node), decides, any(v in up for v in decides))
