"""A bare BIRD in the place of a lab's node."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mesh.lab import bird, namespaces, wiring
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import World
from tests.kit.wait import PATIENCE

PASSWORDS = {"vultr": "a-session-key", "gcp": "a-cloud-routers-key", "buyvm": "a-hosts-key"}

SPEAKER = """
log stderr all;
router id {router_id};
protocol device {{ }}
protocol bfd {{ accept direct; interface "enp1s0" {{ interval 300 ms; }}; }}
protocol static offers4 {{ ipv4; {routes4} }}
protocol static offers6 {{ ipv6; {routes6} }}
{sessions}
"""

SESSION = """
protocol bgp to_{name} {{
  local {local} as {asn};
  neighbor {neighbor} as {peer_asn};
  {hops};
  {password}
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  {family} {{ import all; export filter {{ if source != RTS_STATIC then reject;
    {paths}
    accept; }}; }};
}}
"""


@contextmanager
def speaker(
    place: LabFiles,
    world: World,
    node: str,
    announces: Sequence[str],
    *,
    password: str | None = PASSWORDS["vultr"],
    via: dict[str, int] | None = None,
    serves: Sequence[str] = (),
) -> Iterator[None]:
    """A bare BIRD in a node's place that announces what it is told, and serves ``/whoami``.

    ``via`` puts an AS behind our own into the path of a prefix; ``serves`` are addresses to bind.
    Sessions come up in their own time.
    """
    uplink = world.node(node)
    place.box(node).mkdir(parents=True, exist_ok=True)
    wiring.attach(place, world, uplink)
    namespace = place.namespace(node)
    namespaces.sysctl(namespace, {"ipv6/conf/enp1s0/accept_dad": "0"})
    namespaces.ip(
        [
            "link set enp1s0 up",
            f"address add {uplink.main}/{uplink.length} dev enp1s0",
            f"route add default via {uplink.gateway4} dev enp1s0 onlink",
            *(f"address add {address} dev lo" for address in serves),
        ],
        namespace,
    )
    bird.ensure(place, node, _config(world, node, announces, password, via or {}))
    namespaces.spawn(
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("whoami.py")), node],
        place.box(node) / "whoami.log",
        namespace,
    )
    try:
        namespaces.wait_until(lambda: bird.is_ready(place, node), PATIENCE, "the speaker's BIRD")
        yield
    finally:
        namespaces.kill_inside([namespace])
        wiring.detach(place, node)


def _config(
    world: World, node: str, announces: Sequence[str], password: str | None, via: dict[str, int]
) -> str:
    uplink = world.node(node)
    paths = "".join(f"if net = {net} then bgp_path.prepend({asn});\n" for net, asn in via.items())
    sessions = [
        SESSION.format(
            name=session.family,
            hops="multihop 2",
            family=session.family,
            local=uplink.ipv4 if session.family == "ipv4" else uplink.ipv6,
            asn=world.asn,
            neighbor=session.neighbor,
            peer_asn=session.peer_asn,
            password=f'authentication md5; password "{password}";' if password else "",
            paths="".join(
                line + "\n"
                for line in paths.splitlines()
                if (":" in line.split(" then")[0]) == (session.family == "ipv6")
            ),
        )
        for session in uplink.sessions
    ] + [
        SESSION.format(
            name=session.name,
            hops=f"multihop {session.multihop}" if session.multihop else "direct; bfd on",
            family="ipv4",
            local=uplink.main,
            asn=world.asn,
            neighbor=router,
            peer_asn=session.peer_asn,
            password=f'authentication md5; password "{PASSWORDS[session.password]}";'
            if session.password
            else "",
            paths="\n".join(line for line in paths.splitlines() if ":" not in line),
        )
        for session, router in zip(uplink.vpc, uplink.routers, strict=True)
    ]
    return SPEAKER.format(
        router_id=uplink.ipv4,
        routes4="".join(f"route {net} unreachable;" for net in announces if ":" not in net),
        routes6="".join(f"route {net} unreachable;" for net in announces if ":" in net),
        sessions="".join(sessions),
    )
