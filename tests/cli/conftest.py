"""What commands find changed here."""

from tests.publish.conftest import registries_are_looked_at_often

__all__ = ["registries_are_looked_at_often"]
