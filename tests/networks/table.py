"""The stack files of this folder, and what daemons make of their nodes' files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mesh.plan import Node, Plan, make
from mesh.render import (
    File,
    NodeFiles,
    node_files,
    node_secrets,
    placeholder_facts,
    placeholder_placements,
)
from mesh.spec import Problem, load_file
from tests.kit.machine import Debian

FOLDER = Path(__file__).parent
ANNOUNCES = re.compile(r"^# announces (\S+): (.+)$", re.MULTILINE)
Announced = Mapping[str, tuple[str, ...]]
"""The nodes that announce a prefix, by prefix."""


@dataclass(frozen=True)
class Network:
    """A stack file under this folder."""

    name: str

    @cached_property
    def text(self) -> str:
        """The file."""
        return (FOLDER / f"Pulumi.{self.name}.yaml").read_text()

    @property
    def wish(self) -> str:
        """What its operator wants: the comment at its beginning."""
        lines = self.text.partition("#\n")[0].splitlines()
        return " ".join(line.removeprefix("# ") for line in lines)

    @property
    def announces(self) -> Announced:
        """Who announces what, as the file's comment says it."""
        return {prefix: tuple(nodes.split(", ")) for prefix, nodes in ANNOUNCES.findall(self.text)}

    def problems(self) -> tuple[Problem, ...]:
        """What ``mesh check`` says of it, apart from secrets. Raises SpecError for an error."""
        return load_file(self.name, FOLDER).problems

    @cached_property
    def plan(self) -> Plan:
        """Its plan."""
        return make(load_file(self.name, FOLDER).spec)

    def files(self, bird: str = "2.17.5") -> Mapping[str, NodeFiles]:
        """The files of its nodes, which have that version of BIRD."""
        facts = placeholder_facts(self.plan)
        having = {node_id: replace(each, bird=bird) for node_id, each in facts.items()}
        return node_files(self.plan, having, placeholder_placements(self.plan))


NETWORKS = tuple(
    Network(path.name.removeprefix("Pulumi.").removesuffix(".yaml"))
    for path in sorted(FOLDER.glob("Pulumi.*.yaml"))
)


def announced(plan: Plan) -> Announced:
    """Who announces what by the plan."""
    return {str(each.prefix): each.nodes for each in plan.aggregates}


# One process reads the files of all nodes: to start a machine for each would take longer than they.
_BIRD = """
mkdir -p /run/anycast-mesh && rm -rf /etc/bird
for node in /nodes/*/*; do
    ln -sfn "$node/etc/bird" /etc/bird
    ln -sfn "$node/run" /run/anycast-mesh/bird
    bird -p >/tmp/said 2>&1 && ! grep -q rror /tmp/said || { echo "$node:"; cat /tmp/said; }
done
"""
_NFTABLES = """
for node in /nodes/*/*; do
    nft -c -f "$node/etc/nftables.conf" >/tmp/said 2>&1 || { echo "$node:"; cat /tmp/said; }
done
"""


def machine(folder: Path, networks: tuple[Network, ...], bird: str = "") -> Debian:
    """A Debian with the files of these networks' nodes, for that version of BIRD."""
    made = Debian(folder, bird)
    for network in networks:
        for node_id, files in network.files(bird or "2.17.5").items():
            node = network.plan.node(node_id)
            made.put(_below(f"/nodes/{network.name}/{node_id}", network.plan, node, files))
    return made


def refused_by_bird(at: Debian) -> str:
    """What its BIRD does not accept, by node."""
    return _output(at, _BIRD)


def refused_by_nftables(at: Debian) -> str:
    """What its nftables does not accept, by node."""
    return _output(at, _NFTABLES)


def _output(at: Debian, script: str) -> str:
    done = at.run("sh", "-c", script)
    return done.stdout + done.stderr


def _below(folder: str, plan: Plan, node: Node, made: NodeFiles) -> Iterator[File]:
    """What BIRD and nftables read of a node's files, below a folder; the node is out of service."""
    named = [*(each.password for each in node.upstreams), *(each.password for each in node.vpc)]
    secrets = node_secrets(plan, node.id, {name: "s3cret" for name in named if name})
    for file in (*made.files, *secrets):
        if file.path.startswith("/etc/bird/") or file.path == "/etc/nftables.conf":
            yield replace(file, path=f"{folder}{file.path}")
        if file.path.endswith("out-of-service.conf"):
            yield replace(file, path=f"{folder}/run/announce.conf")
