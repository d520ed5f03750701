"""What is rolled out: changes that nobody notices, and ones that stop at their first node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.lab.rotation import NEW, OLD
from mesh.lab.world import TAKES
from tests.waves.network import Change, Edit

PASSWORD = {"bgpPassword-vultr": "another-session-password"}


def opening(port: int) -> Change:
    """Another firewall at each node, and nothing else. A key would not do: what narrows who may log
    in, as taking it back would, waits for a log-in."""
    rule = "\t\tudp sport 67 udp dport 68 accept\n"
    file = "templates/debian/network/nftables.conf.j2"
    return Change(edits=(Edit(file, rule, f"{rule}\t\tudp dport {port} accept\n"),))


@dataclass(frozen=True, slots=True)
class Good:
    """A change that goes out, and of which no client is to notice anything. ``first`` is how the
    network is before it, where that is not as it was deployed. ``dark`` is whether it cannot but
    cost answers."""

    name: str
    change: Change
    first: Mapping[str, Any] = field(default_factory=dict)
    dark: bool = False


@dataclass(frozen=True, slots=True)
class Bad:
    """A change that stops at its first node, which comes back by itself."""

    name: str
    change: Change


MORE = {"nodes": {"ord-vultr-2": {"number": 8}}}

GOOD = (
    Good("password", Change(PASSWORD)),
    # All sessions end in the moment in which the provider takes the new password alone.
    Good("password-not-kept", Change(PASSWORD, variables={TAKES: NEW}), dark=True),
    Good("import-mode", Change({"routing": {"import": "full"}})),
    Good(
        "hold-time",
        Change(
            edits=tuple(
                Edit(file, "hold_time: int = 9", "hold_time: int = 12")
                for file in ("mesh/spec/providers/provider.py", "mesh/plan/model.py")
            )
        ),
    ),
    Good(
        "bundle",
        Change(edits=(Edit("mesh/agent/entry.py", '"""The bundle\'s commands.', '"""Commands.'),)),
    ),
    Good("firewall", opening(8088)),
    Good("tunnel-port", Change({"tunnels": {"port": 52001}})),
    Good("node-more", Change(MORE)),
    Good("node-less", Change(), first=MORE),
    Good("reflector", Change({"reflectors": ["ord-vultr-1"]})),
)

BAD = (
    Bad("wrong-password", Change(PASSWORD, variables={TAKES: OLD})),
    Bad(
        "bad-bundle",
        Change(
            edits=(
                Edit(
                    "mesh/agent/entry.py",
                    '    """The node\'s agent."""\n',
                    '    """The node\'s agent."""\n    raise RuntimeError("it does not start")\n',
                ),
            )
        ),
    ),
    Bad(
        "withdraws-everything",
        Change(
            edits=(
                Edit(
                    "templates/bird/export.conf.j2",
                    "&& is_aggregate{{ version }}();",
                    "&& is_aggregate{{ version }}() && false;",
                ),
            )
        ),
    ),
    Bad(
        "registry-port",
        Change(
            edits=(
                Edit(
                    "templates/debian/network/registry-port.j2",
                    "	chain registry {\n",
                    "	chain registry {\n		ct state new drop\n",
                ),
            )
        ),
    ),
    Bad(
        "transit",
        Change(
            edits=(
                Edit(
                    "templates/debian/network/nftables.conf.j2",
                    "hook forward priority filter; policy drop;\n",
                    "hook forward priority filter; policy drop;\n"
                    '		iifname "wg-*" oifname "wg-*" drop\n',
                ),
            )
        ),
    ),
)
