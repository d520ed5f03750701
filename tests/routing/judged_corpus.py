"""The whole corpus said to the edges of one BIRD, and what each has made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from mesh.operating_systems import OperatingSystem
from tests.kit.systems import DEBIAN
from tests.routing.corpus import CASES, Case
from tests.routing.trial import (
    DEFAULT,
    FULL,
    NONE,
    PEERED,
    PROVIDED,
    SERVED,
    Trial,
    Verdict,
    trial,
)

NODES = (FULL, PROVIDED, PEERED, SERVED)
FAMILIES = (4, 6)
TAKEN, NOTHING = "taken", "nothing is held or said of it"


@dataclass(frozen=True)
class JudgedCorpus:
    """The edges of one version of BIRD, and their verdicts by edge, family and prefix."""

    version: str
    trials: dict[str, Trial]
    verdicts: dict[tuple[str, int], dict[str, Verdict]]

    def verdict(self, at: str, case: Case) -> str:
        """What the edge ``at`` made of a case, in words: ``taken``, or the reason."""
        each = self.trials[at]
        found = self.verdicts[at, case.family].get(case.route.prefix)
        if found is None:
            told = case.refused is not None and re.search(case.words, each.log())
            return str(case.refused) if told else NOTHING
        names = each.reasons()
        return ", ".join(names[number] for number in found.reasons) or TAKEN


@contextmanager
def judged(version: str, system: OperatingSystem = DEBIAN) -> Iterator[JudgedCorpus]:
    """Say every case in one session for each edge and family, and read what is made of it."""
    with ExitStack() as stack:
        names = (*NODES, DEFAULT, NONE)
        trials = {name: stack.enter_context(trial(version, name, system=system)) for name in names}
        verdicts: dict[tuple[str, int], dict[str, Verdict]] = {}
        for name, each in trials.items():
            at = FULL if name in (DEFAULT, NONE) else name
            for family in FAMILIES:
                each.say(family, [c.route for c in CASES if (c.at, c.family) == (at, family)])
                verdicts[name, family] = each.verdicts(family)
        yield JudgedCorpus(version, trials, verdicts)
