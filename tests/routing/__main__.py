"""Prints the corpus as a table (Markdown): what each BIRD makes of every case, live.

python -m tests.routing > corpus.md
"""

from __future__ import annotations

import sys

from tests.kit.bgp.attributes import Path, Segment
from tests.kit.machine import BIRDS
from tests.routing.corpus import CASES, Case, valid
from tests.routing.judged_corpus import judged
from tests.routing.trial import FULL, PEERED, PROVIDED, SERVED

KINDS = {
    FULL: "provider, multihop",
    PROVIDED: "provider on the link",
    PEERED: "peer",
    SERVED: "route server",
}


def main() -> int:
    """The exit code: 0 where every BIRD's verdict on every case is the expected one."""
    found: list[list[str]] = []
    for version in BIRDS:
        with judged(version) as corpus:
            found.append([corpus.verdict(case.at, case) for case in CASES])
    print(f"| row | case | announcement | from | verdict | {' | '.join(BIRDS)} |")
    print("|" + "---|" * (5 + len(BIRDS)))
    wrong = 0
    for case, *made in zip(CASES, *found, strict=True):
        wrong += sum(verdict != case.expected for verdict in made)
        told = ["yes" if verdict == case.expected else f"**{verdict}**" for verdict in made]
        words = case.expected.format(net=case.route.prefix, hop=case.route.next_hop)
        row = (str(case.row), case.what, announcement(case), KINDS[case.at], words, *told)
        print("| " + " | ".join(row) + " |")
    count = len(CASES) * len(BIRDS)
    print(f"\n{len(CASES)} cases, {count} verdicts, {wrong} that the tests do not expect.")
    return min(wrong, 1)


def announcement(case: Case) -> str:
    """The prefix, and in what else the route differs from one that is in order."""
    route, sound = case.route, valid(case.family, 0, case.at)
    parts = [f"`{route.prefix}`"]
    if route.path != sound.path:
        parts.append(f"path `{shown(route.path or ())}`")
    if route.next_hop != sound.next_hop:
        parts.append(f"next hop `{route.next_hop}`")
    if route.otc is not None:
        parts.append(f"OTC `{route.otc}`")
    communities = [f"{a}:{b}" for a, b in route.communities]
    communities += [":".join(map(str, each)) for each in route.large]
    communities += [each.hex() for each in route.extended]
    if communities:
        rest = len(communities) - 3
        few = ", ".join(communities[:3]) + (f" and {rest} more" if rest > 0 else "")
        parts.append(f"communities `{few}`")
    return ", ".join(parts)


def shown(path: Path) -> str:
    """A path, a long one by its ends."""
    words: list[str] = []
    for part in path:
        if isinstance(part, Segment):
            words.append("(" + " ".join(map(str, part.asns)) + ")")
        elif isinstance(part, frozenset):
            words.append("{" + " ".join(map(str, sorted(part))) + "}")
        else:
            words.append(str(part))
    if len(words) > 8:
        words[3:-1] = [f"... {len(words) - 4} more ..."]
    return " ".join(words) or "(empty)"


if __name__ == "__main__":
    sys.exit(main())
