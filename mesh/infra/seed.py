"""User data of a node, as far as it is known when the program runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Output

from mesh.infra.dynamic.operator import Operator
from mesh.plan import Plan


@dataclass(frozen=True)
class SeedSource:
    """What every node is born with: whom it believes and where it asks."""

    plan: Plan
    operator: Operator
    registries: Sequence[Output[str]]
    bundle: str

    def user_data(self, node_id: str) -> Output[str]:
        """A node's user data. Secret, since they hold its join token."""
        inputs = Output.all(
            private=self.operator.private, public=self.operator.public, urls=list(self.registries)
        )
        return Output.secret(inputs.apply(lambda known: self._written(node_id, known)))

    def _written(self, node_id: str, known: dict[str, Any]) -> str:
        # Imported here: a preview of a new stack knows no key yet and never comes this far.
        from mesh.render import Seed, user_data
        from mesh.trust.keys import join_token

        seed = Seed(
            registries=tuple(known["urls"]),
            operator=known["public"],
            bundle=self.bundle,
            token=join_token(known["private"], node_id),
        )
        return user_data(self.plan, node_id, seed)
