"""A twin: the configuration of another stack, with the twin's own keys merged into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mesh.operating_systems import OperatingSystem
from mesh.spec.engine import NAMESPACE, Project, defaults, from_engine, paths
from mesh.spec.engine.stack import is_name
from mesh.spec.engine_only import not_taken_over
from mesh.spec.files import EXAMPLES, engine_config, stack_file
from mesh.spec.problems import Problem, SpecError, shown
from mesh.spec.secrets import PREFIXES

NOT_TAKEN_OVER = ("demand", "local")
"""Keys of ``mesh:rpki`` that need the Internet: a twin has them only from its own file."""
CA = "ca"
"""Key of a check: a twin does not take it over either."""
OF_THE_ORIGINAL = ("protect", "monitoring", "drain")
"""A twin has these from its own file: that the original ends is nothing to it, the original's
receivers would call people, and a lab's routers follow within seconds."""
DEFAULTS: Mapping[str, Any] = {"drain": {"linger": 5}}
"""What a twin has where its own file says nothing, in place of every network's default."""


def twin_of(
    original: Any, overrides: Mapping[str, Any], root: Path
) -> tuple[dict[str, Any], list[Problem]]:
    """The original's keys with the twin's own merged into them, and warnings; without the
    original's secrets."""
    if not is_name(original):
        raise SpecError([
            Problem("mesh:twin", shown(original), "a twin names the stack that it copies, and this "
                    "is no valid stack name", "write its name without organization and project, "
                    "for example prod")
        ])  # fmt: skip
    project, path = original_file(original, root)
    found = engine_config(project, path, original_in=root)
    taken = from_engine(found.config)
    if "twin" in taken:
        raise SpecError(
            [Problem("mesh:twin", original, "that stack is a twin itself", "name its original")]
        )
    own = {
        k: v for k, v in taken.items() if k not in OF_THE_ORIGINAL and not k.startswith(PREFIXES)
    }
    if isinstance(own.get("rpki"), Mapping):
        own["rpki"] = {k: v for k, v in own["rpki"].items() if k not in NOT_TAKEN_OVER}
    if isinstance(own.get("services"), Mapping):
        own["services"] = {name: _played(service) for name, service in own["services"].items()}
    above, warnings = _without_project_values(project, own, overrides)
    warnings = [*found.warnings, *warnings]
    if found.environment is not None:
        warnings.append(not_taken_over(found.environment, original))
    merged: dict[str, Any] = _merged({**DEFAULTS, **own}, above)
    if isinstance(merged.get("nodes"), Mapping):
        warnings += _others(merged["nodes"])
        merged["nodes"] = {node_id: _contained(node) for node_id, node in merged["nodes"].items()}
    return merged, warnings


def original_file(original: str, root: Path) -> tuple[Project | None, Path]:
    """The project of a folder, and the path of the file that a twin copies: beside the stack files,
    else among the examples."""
    project, beside = stack_file(original, root)
    among = root / EXAMPLES / beside.name
    return project, among if among.exists() and not beside.exists() else beside


def _played(service: Any) -> Any:
    """A service whose checks by HTTPS trust what the node trusts: its stand-in has a certificate of
    the lab's authority, which no other authority has signed."""
    if not isinstance(service, Mapping) or not isinstance(service.get("checks"), Sequence):
        return service
    checks = [
        {key: value for key, value in check.items() if key != CA}
        if isinstance(check, Mapping) else check
        for check in service["checks"]
    ]  # fmt: skip
    return {**service, "checks": checks}


def _others(nodes: Mapping[str, Any]) -> Iterator[Problem]:
    """A warning for each node that runs another system than the containers of a lab."""
    for node_id, node in nodes.items():
        if isinstance(node, Mapping) and node.get("os") == OperatingSystem.OPENBSD:
            yield Problem(
                f"mesh:nodes.{node_id}.os", "openbsd",
                "in the lab the node is a container with Debian, as all others: what is different "
                "on OpenBSD does not show there",
                "try that on a server (examples/openbsd-proof.sh)", "warning",
            )  # fmt: skip


def _contained(node: Any) -> Any:
    """A node of the lab: one of OpenBSD without its ``os``. A wrong value stays, and is reported
    as in any stack file."""
    if not isinstance(node, Mapping) or node.get("os") != OperatingSystem.OPENBSD:
        return node
    return {key: value for key, value in node.items() if key != "os"}


def _without_project_values(
    project: Project | None, original: Mapping[str, Any], twin: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """The twin's keys, with the original's value where the twin has the project file's.

    The engine adds the project's values to both, so a twin that sets such a value itself looks
    like one that sets nothing: a warning names the value that was taken.
    """
    above, warnings = dict(twin), list[Problem]()
    for path, default in () if project is None else defaults(project):
        (mine, value), (theirs, other) = paths.find(above, path), paths.find(original, path)
        if mine and theirs and value == default and value != other:
            above = paths.put(above, path, other, top=False)
            warnings.append(
                Problem(f"{NAMESPACE}{'.'.join(map(str, path))}", shown(other),
                        "the original has this value, and the project file another one",
                        "to have another value in the twin, remove the key from the project file",
                        "warning")
            )  # fmt: skip
    return above, warnings


def _merged(below: Any, above: Any) -> Any:
    """``above`` merged into ``below``: maps key by key, all else is replaced."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {
        key: _merged(below[key], above[key]) if key in below and key in above
        else above.get(key, below.get(key))
        for key in [*below, *(key for key in above if key not in below)]
    }  # fmt: skip
