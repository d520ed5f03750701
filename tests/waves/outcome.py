"""What came of a rollout, as a row of the table."""

from __future__ import annotations

from dataclasses import dataclass

from tests.waves.network import TOGETHER, Rollout

COLUMNS = (
    "change", "waves: seconds after signing", "`up` s", "lost per city (longest s)", "good"
)  # fmt: skip
HEADER = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
DEEP = " " * 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was rolled out, and what is wrong with it; nothing, where all was as it should be."""

    name: str
    rollouts: tuple[Rollout, ...]
    wrong: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all was as it should be."""
        return not self.wrong

    @property
    def output(self) -> str:
        """What the updates said, without the engine's account of each property."""
        lines = [line for each in self.rollouts for _, line in each.said]
        return "\n".join(line for line in lines if not line.startswith(DEEP))

    def row(self) -> str:
        """A line of the table."""
        cells = (
            self.name,
            "; ".join(map(_waves, self.rollouts)),
            " + ".join(f"{each.ended - each.began:.1f}" for each in self.rollouts),
            " + ".join(map(_lost, self.rollouts)),
            "yes" if self.good else f"**no**: {'; '.join(self.wrong)}",
        )
        return f"| {' | '.join(cells)} |"


def _waves(rollout: Rollout) -> str:
    """Cities by the moment at which they had each generation in force."""
    shown: list[str] = []
    last: tuple[float, int] | None = None
    for taken in rollout.taken:
        city = taken.node.removesuffix("-vultr-1")
        same = last is not None and taken.generation == last[1]
        if same and last is not None and taken.at - last[0] < TOGETHER:
            shown[-1] += f"+{city}"
        else:
            number = "" if same else f"#{taken.generation} "
            shown.append(f"{number}{taken.at - rollout.signed:.1f} {city}")
        last = (taken.at, taken.generation)
    return ", ".join(shown) or "none"


def _lost(rollout: Rollout) -> str:
    lost = rollout.lost()
    if not any(lost.values()):
        return f"0 of {sum(one.sent for one in rollout.heard)}"
    return ", ".join(
        f"{city} {n} ({rollout.gap(city):.1f})" if n else f"{city} 0" for city, n in lost.items()
    )
