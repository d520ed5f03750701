"""User data of a node, as far as it is known when the program runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from pulumi import Output
from pulumi.output import UNKNOWN
from pulumi.runtime import is_dry_run

from mesh.infra.dynamic.operator import Operator
from mesh.plan import Plan


@dataclass(frozen=True)
class SeedSource:
    """What every node's user data has: the operator's key, and the registries' URLs."""

    plan: Plan
    operator: Operator
    registries: Sequence[Output[str]]
    bundle: str

    def user_data(self, node_id: str) -> Output[str]:
        """A node's user data. Secret, since they hold its join token. In a preview they are
        unknown: a running server keeps its own, and rendering them takes longer than the plan."""
        inputs = Output.all(
            private=self.operator.private, public=self.operator.public, urls=list(self.registries)
        )
        write = _unknown if is_dry_run() else partial(self._written, node_id)
        return Output.secret(inputs.apply(write))

    def _written(self, node_id: str, known: dict[str, Any]) -> str:
        # Imported here: a preview never comes this far.
        from mesh.render import Seed, user_data
        from mesh.trust.keys import join_token
        from mesh.trust.signify import embedded

        seed = Seed(
            registries=tuple(known["urls"]),
            operator=known["public"],
            bundle=self.bundle,
            token=join_token(known["private"], node_id),
        )
        return user_data(self.plan, node_id, seed, partial(embedded, known["private"]))


def _unknown(_known: dict[str, Any]) -> Output[str]:
    return cast(Output[str], Output.from_input(UNKNOWN))
