"""The configuration as the Pulumi engine passes it to the program, from the project file and the
stack file.

The engine reads both with its own YAML, adds the project's values to the stack's, and passes text.
:func:`read` does the same without the engine. :func:`from_engine` turns the texts of either into
the values of ``mesh:``, so that offline commands and the program see one configuration. What only
the engine can read (secrets, an ESC environment) is marked as such.
"""

from mesh.spec.engine import paths
from mesh.spec.engine.configuration import (
    EngineConfig,
    Environment,
    defaults,
    from_engine,
    read,
)
from mesh.spec.engine.project import Project, nearest
from mesh.spec.engine.sealed import Sealed, sealed_paths
from mesh.spec.engine.stack import StackName, meant_by_file, stack_name, stack_of
from mesh.spec.engine.unread import NAMESPACE

__all__ = [
    "NAMESPACE",
    "EngineConfig",
    "Environment",
    "Project",
    "Sealed",
    "StackName",
    "defaults",
    "from_engine",
    "meant_by_file",
    "nearest",
    "paths",
    "read",
    "sealed_paths",
    "stack_name",
    "stack_of",
]
