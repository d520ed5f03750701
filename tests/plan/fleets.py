"""Networks drawn at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.kit.stacks import ipv6_alone, prod

PROVIDERS = ("vultr", "vultr", "aws", "gcp")
SOMEWHERE = {"vultr": "lax", "aws": "us-west-1", "gcp": "us-west2"}


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    """Stack files of edges and members over up to eight regions, in any order, with both families
    or with IPv6 alone."""
    count = draw(st.integers(1, 8))
    blocks = draw(st.permutations([f"192.30.121.{8 * i}/29" for i in range(count)]))
    numbers = draw(st.permutations(range(1, 6 * count + 1)))
    regions: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    for index, block in enumerate(blocks):
        region = f"r{chr(97 + index)}"
        first = int(block.split(".")[3].split("/")[0])
        hosts = draw(st.permutations(range(first + 1, first + 7)))
        here = draw(st.integers(1, 3))
        regions[region] = {
            "name": region.upper(),
            "block": block,
            "location": [draw(st.integers(-80, 80)), draw(st.integers(-179, 179))],
            "at": SOMEWHERE,
            "slots": {},
        }
        for n in range(here):
            provider = draw(st.sampled_from(PROVIDERS)) if nodes else "vultr"
            regions[region]["slots"][f"{provider}-{n + 1}"] = f"192.30.121.{hosts[n]}"
            if not nodes or draw(st.booleans()):
                ipv6 = draw(st.booleans())
                nodes[f"{region}-{provider}-{n + 1}"] = {
                    "number": numbers[len(nodes)],
                    "ipv6": ipv6,
                }
    names = draw(st.permutations(sorted(nodes)))
    values = prod()
    values["regions"] = regions
    values["nodes"] = nodes
    values["reflectors"] = list(names[: draw(st.integers(1, 2))])
    values["registries"] = [names[0]]
    values["tunnels"]["fullMesh"] = draw(st.sampled_from([2, 4, 32]))
    if draw(st.booleans()):
        return values
    for node in nodes.values():
        node["ipv6"] = True
    return ipv6_alone(values)
