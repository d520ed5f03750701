"""The program under Pulumi's mocks: what it registers, as the engine would be told it.

Pulumi's own mocks leave out parent, protect, ignoreChanges, dependsOn and the secretness of
inputs; so the raw requests are kept.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import runpy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pulumi
from google.protobuf import json_format
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto import source_pb2
from pulumi.runtime.stack import Stack

from mesh.infra.configuration import ALREADY_SHOWN
from tests.kit.stacks import ROOT

SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"  # sdk/python/lib/pulumi/runtime/rpc.py
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
PASSWORD = "a-password-of-the-account"
OPERATOR = "c2VjcmV0LWhhbGYtb2YtdGhlLW9wZXJhdG9ycy1rZXk="
KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43} {letter}" for letter in "AB"]


@dataclass(frozen=True)
class Registered:
    """One resource as it was asked for. ``secrets`` are the paths of secret inputs; ``formerly``
    are the types of its aliases."""

    type: str
    name: str
    parent: str
    custom: bool
    protect: bool
    ignore_changes: list[str]
    depends_on: list[str]
    delete_before_replace: bool
    before_delete: list[str]
    secret_outputs: list[str]
    inputs: dict[str, Any]
    secrets: frozenset[str]
    formerly: list[str]


@dataclass
class Run:
    """All that one run of the program said to the engine."""

    resources: dict[str, Registered] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each component said of itself when it was done."""
    stack: dict[str, Any] = field(default_factory=dict)
    """The stack's outputs."""
    stack_is_secret: bool = True
    log: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    """Names of the hooks that were registered."""

    def of(self, kind: str) -> list[Registered]:
        """The resources of a type, by the last part of its token."""
        return [r for r in self.resources.values() if r.type.rpartition(":")[2] == kind]


def plain(value: Any) -> Any:
    """A property without its secret wrappings."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            return plain(value["value"])
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def secret_paths(value: Any, path: str = "") -> Iterator[str]:
    """Where in a property the secrets are."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            yield path
            return
        for key, inner in value.items():
            yield from secret_paths(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from secret_paths(inner, f"{path}[{index}]")


class Answers(mocks.Mocks):
    """What the providers would answer; with ``nothing_exists``, only what a preview knows."""

    def __init__(self, nothing_exists: bool) -> None:
        self.nothing_exists = nothing_exists

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        inputs = dict(args.inputs)
        if self.nothing_exists:
            return None, inputs
        kind = args.typ.rpartition(":")[2]
        if kind == "Operator":
            inputs |= {"private": OPERATOR, "public": "cHVibGlj"}
        if kind == "Address":
            slot = int(inputs["slot"])
            inputs |= {"ipv4": f"203.0.113.{slot}", "ipv6": f"2001:db8::{slot}"}
        if kind == "Instance":
            inputs |= {"instance_id": f"i-{inputs['node']}", "created": "2026-01-01T00:00:00Z"}
        return f"{args.name}-id", inputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(f"the program called {args.token}")


class Recorder(mocks.MockMonitor):
    """A monitor that keeps the requests."""

    def __init__(self, answers: Answers, run: Run) -> None:
        super().__init__(answers)
        self._run = run

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  (the protocol's name)
        if request.type != "pulumi:pulumi:Stack":
            given = json_format.MessageToDict(request.object)
            self._run.resources[request.name] = Registered(
                type=request.type,
                name=request.name,
                parent=_name(request.parent),
                custom=request.custom,
                protect=request.protect,
                ignore_changes=list(request.ignoreChanges),
                depends_on=[_name(urn) for urn in request.dependencies],
                delete_before_replace=request.deleteBeforeReplace,
                before_delete=list(request.hooks.before_delete),
                secret_outputs=list(request.additionalSecretOutputs),
                inputs=plain(given),
                secrets=frozenset(secret_paths(given)),
                formerly=[alias.spec.type for alias in request.aliases],
            )
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        self._run.outputs[_name(request.urn)] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)


class Callbacks:
    """Stands in for the server by which the engine calls hooks: mocks have none."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        self._run.hooks.append(hook.name)


class Kept(logging.Handler):
    """A log that is kept."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def run(
    config: Mapping[str, Any] | None = None,
    *,
    stack: str = "lab",
    nothing_exists: bool = False,
    secret_keys: Iterable[str] = ("bgpPassword-vultr",),
    answers: type[Answers] = Answers,
) -> Run:
    """Run the program in a context of its own: no mock, setting or resource outlives it.

    A key without a namespace is one of ``mesh``. ``answers`` are what the providers say.
    """
    given = {_full(k): v for k, v in (twin() if config is None else config).items()}
    secret = [_full(key) for key in secret_keys]
    asked = answers(nothing_exists)
    return contextvars.copy_context().run(_run, given, secret, stack, asked)


def _full(key: str) -> str:
    return key if ":" in key else f"mesh:{key}"


def twin(**changes: Any) -> dict[str, Any]:
    """The keys of a twin of the production stack, as the engine hands them over."""
    keys = {
        "twin": "prod",
        "admin": {"ssh": ["198.51.100.250/32"], "keys": KEYS},
        "bgpPassword-vultr": PASSWORD,
    }
    return {key: value for key, value in (keys | changes).items() if value is not None}


def _run(config: Mapping[str, Any], secret: list[str], stack: str, answers: Answers) -> Run:
    done = Run()
    # Whoever ran something asynchronous in this thread before has left it without a loop.
    asyncio.set_event_loop(asyncio.new_event_loop())
    logger = logging.Logger("engine")
    logger.addHandler(Kept(done.log))
    pulumi.runtime.set_all_config(
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()},
        secret,
    )
    mocks.set_mocks(
        answers,
        project="anycast-mesh",
        stack=stack,
        preview=answers.nothing_exists,
        logger=logger,
        monitor=Recorder(answers, done),
    )
    settings.SETTINGS.callbacks = Callbacks(done)

    def deploy() -> pulumi.Output[None]:
        try:
            runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
        except SystemExit as ended:
            assert ended.code == ALREADY_SHOWN and ended.__cause__ is not None
            raise ended.__cause__ from None
        root = pulumi.runtime.get_root_resource()
        assert isinstance(root, Stack)
        outputs = pulumi.Output.from_input(root.outputs)

        async def keep() -> None:
            done.stack = await outputs.future(with_unknowns=True) or {}
            done.stack_is_secret = await outputs.is_secret()

        return pulumi.Output.from_input(keep())

    # The SDK tells the engine of every frame that a resource is made in: pytest has fifty of them,
    # and nothing here looks at them.
    with patch("pulumi.runtime.resource._get_stack_trace", source_pb2.StackTrace):
        mocks.test(deploy)()
    return done


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
