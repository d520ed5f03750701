"""Prints what a node lets in, by pf's rules and by nftables in the kernel, as a table (Markdown).

python -m tests.pf > pf.md
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from mesh.operating_systems import OperatingSystem
from tests.pf.cases import DESTINATIONS, SOURCES, arrivals
from tests.pf.differences import SERVICES, meant
from tests.pf.linux import linux
from tests.pf.packets import Packet
from tests.pf.world import HERE, LOST, MEMBER, PEER, UPLINK, End, World, openbsd, plan

ENDS = {HERE: "here", PEER: "to the peer", MEMBER: "to the member", UPLINK: "out"}
NAMES = {
    address: name
    for version in (4, 6)
    for group in (SOURCES, DESTINATIONS)
    for name, address in group[version].items()
}


def main() -> int:
    """The exit code: 0 where both let the same packets through, but for what is meant."""
    found: dict[tuple[str, str, str, str], dict[str, list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    counts: Counter[str] = Counter()
    for served in ((SERVICES[0],), (SERVICES[1],)):
        world = World(plan(OperatingSystem.DEBIAN), served)
        cases = list(arrivals())
        with tempfile.TemporaryDirectory() as folder, linux(world, Path(folder)) as kernel:
            ends = kernel.received(cases)
        pf = openbsd(world)
        for (packet, interface), nft in zip(cases, ends, strict=True):
            verdict = _verdict(packet, nft, pf.received(packet, interface))
            counts[verdict.partition(":")[0]] += 1
            if verdict:
                place = _where(packet, served)
                row = (interface, NAMES[packet.source], place, f"IPv{packet.family}")
                found[row][verdict].append(_content(packet))
    print("| comes in at | from | for | | what both let through | differs |")
    print("|---|---|---|---|---|---|")
    for (interface, source, place, family), verdicts in found.items():
        same = [f"{k}: {_list(v)}" for k, v in verdicts.items() if k in ENDS.values()]
        other = [f"{k}: {_list(v)}" for k, v in verdicts.items() if k not in ENDS.values()]
        cells = (ENDS_OF[interface], source, place, family, "; ".join(same), "; ".join(other))
        print("| " + " | ".join(cells) + " |")
    meant_ones = counts["nft lets in"]
    wrong = counts["DIFFERENT"]
    print(f"\n{counts.total()} packets: {counts.total() - meant_ones - wrong} judged alike,")
    print(f"{meant_ones} otherwise with a reason, {wrong} otherwise without one.")
    return min(wrong, 1)


ENDS_OF = {UPLINK: "the uplink", PEER: "the peer's tunnel", MEMBER: "the member's tunnel"}


def _verdict(packet: Packet, nft: End, pf: End) -> str:
    """What becomes of a packet; empty where both drop it."""
    if nft == pf:
        return "" if nft is LOST else ENDS[nft]
    reason = meant(packet, nft, pf)
    return f"DIFFERENT: nft {nft}, pf {pf}" if reason is None else f"nft lets in: {reason.reason}"


def _where(packet: Packet, served: tuple[str, ...]) -> str:
    name = NAMES[packet.destination]
    if packet.destination not in SERVICES:
        return name
    return f"{name}, served {'here' if packet.destination in served else 'by the peer'}"


def _content(packet: Packet) -> str:
    if packet.protocol == "tcp":
        return f"tcp {packet.port}{'' if packet.flags == 'S' else ' without SYN'}"
    if packet.protocol == "udp":
        return f"udp {packet.port}"
    return f"{packet.protocol} {packet.kind}".strip()


def _list(contents: list[str]) -> str:
    return ", ".join(dict.fromkeys(contents))


if __name__ == "__main__":
    sys.exit(main())
