"""What becomes of a stack at Toy, in a checkout that has the provider: printed as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from pulumi.runtime import mocks

from mesh.lab.underlay import underlay
from mesh.plan import Plan
from mesh.plan.document import write_plan
from mesh.policy.resource import Resource
from mesh.policy.rules import RULES
from mesh.preview.gate import Asked, Limit, LiveAnnouncers, gate
from mesh.preview.kinds import kind_of
from mesh.reference import configuration
from mesh.render import node_files, placeholder_facts, placeholder_placements
from tests.kit.previews import by_plan, generation, preview, step
from tests.kit.program import KEYS, PASSWORD, Answers, Run, run
from tests.kit.stacks import plan_of, prod

SERVER, RULE = "toy:index:Server", "toy:index:Rule"


def stack() -> dict[str, Any]:
    """The seed's network, with its nodes at Toy."""
    values = prod()
    regions = {name: values["regions"][name] for name in ("lax", "ewr")}
    for region in regions.values():
        region["slots"] = {"toy-1": next(iter(region["slots"].values()))}
    nodes = {"lax-toy-1": {"number": 1}, "ewr-toy-1": {"number": 2}}
    roles = {"reflectors": ["lax-toy-1"], "registries": ["lax-toy-1"]}
    admin = {"ssh": ["207.231.1.46/32"], "keys": KEYS}
    return values | {"regions": regions, "nodes": nodes, "admin": admin, **roles}


class ToyAnswers(Answers):
    """What Toy answers."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        if args.typ == "toy:index:Address":
            return f"{args.name}-id", args.inputs | {"ipv4": "203.0.113.1"}
        if args.typ == SERVER:
            return f"{args.name}-id", args.inputs | {"created": "2026-01-01T00:00:00Z"}
        return super().new_resource(args)


def files(plan: Plan) -> dict[str, str]:
    """The rendered files of the first node."""
    made = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    return {file.path: file.content for file in made["lax-toy-1"].files}


def refused(plan: Plan, asked: Asked) -> list[str]:
    """What the gate has against another server for the first node."""
    change = preview(step("replace", "lax-toy-1", SERVER), generation(plan, plan, bundle="1"))
    found = gate(change, asked, Limit.of("1"), LiveAnnouncers(by_plan(plan)))
    return [f"{problem.key} {problem.value}" for problem in found]


def violations(deployed: Run, **rule: Any) -> list[str]:
    """What the policy pack says of the resources that were made, and of one more rule."""
    made = [
        Resource(each.type, name, each.inputs, protect=each.protect)
        for name, each in deployed.resources.items()
        if each.type.startswith("toy:")
    ]
    more = [Resource(RULE, "another", rule)] if rule else []
    return [words for one in (*made, *more) for each in RULES if each.name != "no-plain-secret"
            for words in each.check(one, {})]  # fmt: skip


def main() -> None:
    """Plan, render, preview, judge, and the lab's world."""
    values = stack()
    plan = plan_of(values)
    loaded = [name for name in ("pulumi_toy",) if name in sys.modules]
    secret = ("bgpPassword-toy",)
    deployed = run(
        values | {"bgpPassword-toy": PASSWORD}, stack="prod", secret_keys=secret, answers=ToyAnswers
    )
    everybody = {"protocol": "tcp", "ports": "22-22", "networks": ["0.0.0.0/0"]}
    found = {
        "nodes": {node.id: [node.place, node.size] for node in plan.nodes},
        "sessions": [session.name for session in plan.nodes[0].upstreams],
        "plan": write_plan(plan),
        "bird.conf": files(plan)["/etc/bird/bird.conf"],
        "loaded": loaded,
        "kinds": {each.name: kind_of(each.type) for each in deployed.resources.values()
                  if each.custom},
        "protected": sorted(e.name for e in deployed.resources.values() if e.protect),
        "unasked": refused(plan, Asked()),
        "asked": refused(plan, Asked(replace=frozenset({"lax-toy-1"}))),
        "violations": violations(deployed),
        "open": violations(deployed, **everybody),
        "upstreams": {each.box: each.asn for each in underlay(plan).upstreams},
        "reference": configuration.text(),
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
