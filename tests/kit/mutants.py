"""Edits of the code that renders, each in a copy of the checkout: what changes by them.

``bytes_`` says whether some node gets other bytes; ``code`` whether the code itself counts as
another (:mod:`mesh.infra.sources`), which alone publishes nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.stacks import ROOT, example, prod


def _mixed() -> dict[str, Any]:
    """Members, an existing host, validators of one's own, a wish for every provider, a prefix that
    some edges announce, a service of each kind that nodes set up, and two nodes that monitor."""
    keys = example("mixed")
    unicast = {"prefix": "2620:71:4001::/48", "announcedBy": ["lax"]}
    keys["prefixes"]["ipv6"] = [keys["prefixes"]["ipv6"], unicast]
    keys["nodes"]["ewr-buyvm-1"]["host"] |= {"ipv4": "203.0.113.77", "ipv6": "2001:db8::77"}
    wish = {"name": "light", "prepend": 2, "med": 50, "nodes": ["ewr-buyvm-1"]}
    towards = [{"asn": 174, "prepend": 2}]
    scope = {"name": "quiet", "scope": "noIxp", "toAs": towards, "nodes": ["mia-vultr-1"]}
    routing = {"import": "full"}
    keys["services"] |= {
        "page": {"kind": "web", "content": "site", "addresses": {"ipv4": "192.30.120.110"}},
        "zone": {"kind": "dns", "content": "zones", "addresses": {"ipv4": "192.30.120.111"}},
    }
    monitoring = {
        "nodes": ["lax-vultr-1", "mia-vultr-1"],
        "receivers": {"mail": {"kind": "email", "to": "noc@example.net", "user": "mesh",
                               "from": "mesh@example.net", "server": "smtp.example.net:587"}},
    }  # fmt: skip
    keys |= {"traffic": [wish, scope], "routing": routing, "rpki": {"local": True}}
    return keys | {"monitoring": monitoring}


STACKS = {
    "prod": prod() | {"routing": {"import": "full"}, "glass": {"public": True}},
    "mixed": _mixed(),
    "openbsd": example("openbsd"),
}
"""Stacks that take every path of the templates; a short case has the first one only."""


@dataclass(frozen=True)
class Mutant:
    """An edit: ``old`` becomes ``new`` in ``path``; without ``old``, ``new`` is a line more."""

    path: str
    old: str
    new: str
    bytes_: bool = True
    code: bool = True
    short: bool = False

    @property
    def name(self) -> str:
        """How a test calls it."""
        return f"{self.path}: {' '.join((self.old or 'a line more').split())[:40]}"

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """The edit is made in the copy at ``root`` meanwhile."""
        path = root / self.path
        text = path.read_text(encoding="utf-8")
        assert not self.old or self.old in text, f"{self.path} has no {self.old!r} any more"
        changed = text.replace(self.old, self.new, 1) if self.old else text + self.new
        path.write_text(changed, encoding="utf-8")
        try:
            yield
        finally:
            # With the file's own time, by which Python knows what is compiled of it.
            shutil.copy2(ROOT / self.path, path)


def _said(path: str, old: str, new: str) -> Mutant:
    """An edit of what is checked or said only."""
    return Mutant(path, old, new, bytes_=False)


STARTUP = ("startup.sh.j2", "fetch.sh.j2")
"""What the provider's account holds for nodes with OpenBSD, and no node's own files."""

MUTANTS = (
    # One of each kind runs with `make test`.
    Mutant("mesh/plan/firewall.py", '"10.0.0.0/8"', '"10.0.0.0/9"', short=True),
    Mutant("mesh/spec/providers/vultr.py", '"transit"', '"an upstream"', short=True),
    Mutant("templates/debian/systemd/dummy.service.j2", "", "# more\n", short=True),
    Mutant(
        "mesh/render/systems/debian.py", "# Timers run", "# They run", False, code=False, short=True
    ),
    Mutant("mesh/render/replies.py", "REPLIES_TABLE = 27218", "REPLIES_TABLE = 27219"),
    Mutant("mesh/render/kinds.py", "HTTP = 80", "HTTP = 81"),
    Mutant("mesh/render/services.py", "SERVICES_TABLE = 4242", "SERVICES_TABLE = 4241"),
    Mutant("mesh/render/node.py", 'secrets.conf", content, 0o640', 'secrets.conf", content, 0o600'),
    Mutant("mesh/bird/constants.py", 'f"IN_SERVICE_', 'f"SERVES_', code=False),
    Mutant("mesh/spec/aggregates.py", "return self.by is None or", "return True or"),
    Mutant("mesh/cli/answers.py", "", "\nNEW = 1\n", bytes_=False, code=False, short=True),
    # Every module that rendering loads.
    Mutant("mesh/limits.py", "MAX_BLACKHOLES = 20", "MAX_BLACKHOLES = 21", code=False),
    Mutant("mesh/services/checks/check.py", "] = 0.2", "] = 0.3", code=False),
    Mutant("mesh/plan/distance.py", "KM_PER_COST = 100", "KM_PER_COST = 90"),
    Mutant("mesh/plan/links.py", "WIREGUARD_OVERHEAD = 80", "WIREGUARD_OVERHEAD = 81"),
    Mutant("mesh/plan/aggregates.py", "EXIT = -2", "EXIT = -3"),
    Mutant("mesh/plan/make.py", "path_limit=3 if", "path_limit=5 if"),
    Mutant("mesh/plan/model.py", "(self.ipv4, self.ipv6)", "(self.ipv6, self.ipv4)"),
    Mutant("mesh/plan/sessions.py", '{provider_of(node_id)}{family[-1]}"', 'up{family[-1]}"'),
    Mutant("mesh/plan/traffic.py", "return next((rule.prepend", "return 1 + next((rule.prepend"),
    Mutant(
        "mesh/publish/generation.py", '"peer_asn": session.peer_asn', '"peer": session.peer_asn'
    ),
    Mutant(
        "mesh/bird/features.py",
        'Feature("return_types", (2, 14), (3, 0))',
        'Feature("return_types", (9, 14), (9, 0))',
        code=False,
    ),
    Mutant("mesh/render/systems/debian.py", '0o640, "bird"', '0o600, "bird"'),
    Mutant("mesh/render/systems/openbsd.py", "0o600)", "0o640)"),
    Mutant("mesh/render/systems/system.py", 'group: str = "root"', 'group: str = "adm"'),
    Mutant("mesh/render/policy.py", '"our client"', '"a client"'),
    Mutant("mesh/render/files.py", "mode: int = 0o644", "mode: int = 0o600"),
    Mutant(
        "mesh/render/firewall.py",
        "return int(each.network_address",
        "return -int(each.network_address",
    ),
    Mutant("mesh/render/text.py", "return str(address)", "return str(address).upper()"),
    Mutant("mesh/render/pf.py", 'TUNNELS = "wg"', 'TUNNELS = "tun"'),
    Mutant("mesh/render/mtu.py", "uplink - WIREGUARD_OVERHEAD", "uplink - 88"),
    Mutant("mesh/render/templates.py", 'f"password_{', 'f"word_{'),
    Mutant("mesh/render/seed.py", "json.dumps(values, indent=1)", "json.dumps(values, indent=2)"),
    Mutant("mesh/render/debian_boot.py", '    "openssl",', '    "libssl",'),
    _said("mesh/render/user_data.py", "", "\nMORE = 1\n"),
    Mutant("mesh/spec/capabilities.py", "host.ipv6, host.multihop,", "host.ipv6, 7,"),
    Mutant("mesh/spec/distance.py", "EARTH_KM = 6371.0", "EARTH_KM = 5000.0"),
    Mutant("mesh/spec/mirrored.py", "int(str(host), 16)", "host"),
    Mutant(
        "mesh/spec/slots.py",
        "int(prefixes.ipv4.network_address)",
        "int(prefixes.ipv4.network_address) + 1",
    ),
    Mutant("mesh/spec/ports.py", "RTR = 3323", "RTR = 3324"),
    Mutant("mesh/spec/model.py", "le=5000)] = 150", "le=5000)] = 151"),
    Mutant("mesh/spec/providers/aws.py", "] = 65010", "] = 65011"),
    Mutant("mesh/spec/providers/gcp.py", "Vpc(routers=2, multihop=2", "Vpc(routers=2, multihop=3"),
    Mutant("mesh/spec/providers/existing.py", "mtu=1500", "mtu=1400"),
    Mutant(
        "mesh/spec/providers/communities.py",
        "return (self.standard, asn)",
        "return (self.standard, asn + 1)",
    ),
    Mutant(
        "mesh/spec/steering.py",
        "def holds(rule: TrafficRule, edge: Edge) -> bool:",
        "def holds(rule: TrafficRule, edge: Edge) -> bool:\n    return False\n\n\n"
        "def _held(rule: TrafficRule, edge: Edge) -> bool:",
    ),
    Mutant("mesh/plan/alerting.py", '("critical", "warning")', '("critical",)'),
    Mutant("mesh/render/glass.py", '"public": glass.public', '"public": not glass.public'),
    Mutant("mesh/render/monitors.py", '_LOOPBACK = "127.0.0.1"', '_LOOPBACK = "127.0.0.2"'),
    Mutant("mesh/render/watched.py", '"interface": system', '"interface": "x" + system'),
    # What is checked or said only: other code, and no other byte.
    *(
        Mutant(path.relative_to(ROOT).as_posix(), "", "\nMORE = 1\n", bytes_=False, code=False)
        for path in sorted((ROOT / "mesh/services").rglob("*.py"))
        if path.name not in ("__init__.py", "check.py")
    ),
    Mutant("mesh/foreign.py", "", "\nMORE = 1\n", bytes_=False, code=False),
    Mutant("mesh/operating_systems.py", "", "\nMORE = 1\n", bytes_=False, code=False),
    _said("mesh/render/openbsd_boot.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/glass.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/alerting.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/advice.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/known.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/parser.py", "", "\nMORE = 1\n"),
    _said("mesh/installed.py", "_PACKAGED.is_dir()", "_PACKAGED.exists()"),
    _said("mesh/spec/asns.py", "AS0 is reserved", "AS0 is nobody's"),
    _said("mesh/spec/ids.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/providers/__init__.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/files.py", 'EXAMPLES = "examples"', 'EXAMPLES = "more"'),
    _said("mesh/spec/load.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/twin.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/engine_only.py", "", "\nMORE = 1\n"),
    *(
        _said(path.relative_to(ROOT).as_posix(), "", "\nMORE = 1\n")
        for path in sorted((ROOT / "mesh/spec/engine").rglob("*.py"))
    ),
    _said("mesh/spec/checks/admin.py", "WORLD = {4: 8,", "WORLD = {4: 9,"),
    *(
        _said(path.relative_to(ROOT).as_posix(), "", "\nMORE = 1\n")
        for path in sorted((ROOT / "mesh/spec/checks").glob("*.py"))
        if path.name != "admin.py"
    ),
    _said("mesh/spec/problems.py", "[secret]", "[hidden]"),
    _said("mesh/render/compiled.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/secrets.py", "BGP page", "page"),
    _said("mesh/spec/section.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/traffic.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/types.py", "", "\nMORE = 1\n"),
    _said("mesh/spec/vrps.py", "RTR_PORT = 323", "RTR_PORT = 324"),
    _said("mesh/spec/messages.py", "", "\nMORE = 1\n"),
    _said("mesh/publish/order.py", "settle: float = 15.0", "settle: float = 16.0"),
    _said("mesh/publish/rendered.py", "MOST = 12", "MOST = 13"),
    *(
        Mutant(path.relative_to(ROOT).as_posix(), "", "# more\n", path.name not in STARTUP)
        for system in ("bird", "debian", "openbsd")
        for path in sorted((ROOT / "templates" / system).rglob("*.j2"))
        if path.name != "dummy.service.j2"
    ),
    *(
        Mutant(path.relative_to(ROOT).as_posix(), "", "# more\n")
        for path in sorted((ROOT / "templates/monitoring").glob("*.*"))
    ),
)

UNUSED = frozenset({
    "mesh/__init__.py", "mesh/bird/__init__.py", "mesh/plan/__init__.py", "mesh/render/__init__.py",
    "mesh/spec/__init__.py",
    "mesh/facts.py", "mesh/render/placeholders.py", "mesh/spec/providers/provider.py",
    "mesh/render/systems/__init__.py",
    "mesh/services/__init__.py", "mesh/services/checks/__init__.py", "mesh/spec/examples.py",
    "mesh/spec/free.py",
})  # fmt: skip
"""Imports, types, what only tests render with, and what a refusal proposes: nothing there makes a
byte of a node's."""


def copied(root: Path) -> Path:
    """A copy of what renders and publishes, at ``root``, with what is compiled of it: a module that
    is edited is compiled anew."""
    half = shutil.ignore_patterns("*.pyc.*")  # of a Python that compiles at this moment
    for folder in ("mesh", "templates"):
        shutil.copytree(ROOT / folder, root / folder, ignore=half)
    return root


def loaded_by_rendering() -> frozenset[str]:
    """The modules that a Python loads which renders and nothing else."""
    script = (
        "import sys, mesh.spec, mesh.plan, mesh.render, mesh.facts\n"
        "print(*[m.__file__ for n, m in list(sys.modules.items())"
        " if n.split('.')[0] == 'mesh' and getattr(m, '__file__', None)], sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    paths = (Path(line).relative_to(ROOT).as_posix() for line in done.stdout.split())
    return frozenset({*paths, "mesh/publish/generation.py", "mesh/publish/rendered.py"})
