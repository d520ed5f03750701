"""What the Pulumi engine hands to the program, read from the project file and the stack file.

The engine reads both with a YAML of its own kind, adds the project's values to the stack's, and
hands over texts. :func:`read` does the same without the engine. :func:`from_engine` turns the
texts of either into the values of ``mesh:``, so that the offline commands and the program see one
configuration. What only the engine can know (secrets, an ESC environment) is marked as such.
"""

from mesh.spec.engine import paths
from mesh.spec.engine.configuration import (
    NAMESPACE,
    Environment,
    Handed,
    defaults,
    from_engine,
    read,
)
from mesh.spec.engine.project import Project, nearest
from mesh.spec.engine.sealed import Sealed, sealed_paths
from mesh.spec.engine.stack import StackName, stack_name

__all__ = [
    "NAMESPACE",
    "Environment",
    "Handed",
    "Project",
    "Sealed",
    "StackName",
    "defaults",
    "from_engine",
    "nearest",
    "paths",
    "read",
    "sealed_paths",
    "stack_name",
]
