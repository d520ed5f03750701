"""A cloud as the tests know it: what exists in it, and how it may misbehave.

It lives in the memory of the test session, so that it outlives every run of the engine, and can
be changed between two runs behind the engine's back.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.kit.clouds.schema import Misfit, Values, inputs_of, misfits, outputs_of

Rule = Literal["replaces", "updates"]
REPLACES: Rule = "replaces"
UPDATES: Rule = "updates"
Operation = Literal["create", "update", "delete", "read", "invoke"]


class Refused(Exception):
    """The cloud says no, in its own words."""


@dataclass
class Made:
    """One thing that exists in the cloud. ``name`` is the name of its resource in the program."""

    id: str
    kind: str
    name: str
    inputs: Values
    outputs: Values


@dataclass(frozen=True)
class Event:
    """One operation that really happened; a preview only leaves ``invoke`` behind."""

    operation: Operation
    kind: str
    name: str


@dataclass(frozen=True)
class Failure:
    """The next creation of a kind goes wrong. ``after`` says how far it came: ``nothing`` exists;
    it was ``made`` and the engine is told its id (a provider that gives up waiting for what it
    made); it is ``lost``: it exists, and the engine never hears of it; or it is ``repeated``: the
    answer was lost, and the provider, which does not know that it exists, asks for another."""

    text: str
    after: Literal["nothing", "made", "lost", "repeated"] = "nothing"


def nothing(_cloud: Cloud, _id: str, _inputs: Values) -> Values:
    """No outputs beside the inputs."""
    return {}


def readable(_cloud: Cloud) -> None:
    """Whatever is read can be read."""


def new_uuid(cloud: Cloud, _inputs: Values) -> str:
    """Ids as most clouds give them, the same in every session."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{cloud.package}-{cloud.count()}"))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A resource type.

    ``rules`` must hold every input that the SDK knows: whether a change of it replaces the
    resource. ``defaults`` are inputs that the provider fills in where the program says nothing
    (Terraform's Default), so that what drifts from them is a difference; ``implied`` are those of
    inputs that nobody may give beside others, and that it compares all the same. ``compute`` gives
    the outputs beside the inputs, ``look`` those that change with what happens to others, ``check``
    the misfits that the types do not show, ``refuse`` raises :class:`Refused` where the cloud's
    API would refuse to create, ``forget`` where it would refuse to delete, ``missing`` where the
    provider takes "it is gone" for an error, and ``unreadable`` where it fails to read what is
    there. It reads after it has created and updated, too. ``secrets`` are outputs that the provider
    marks as secret.
    """

    args: type
    resource: type
    rules: Mapping[str, Rule]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    implied: Mapping[str, Any] = field(default_factory=dict)
    identify: Callable[[Cloud, Values], str] = new_uuid
    compute: Callable[[Cloud, str, Values], Values] = nothing
    look: Callable[[Cloud, Made], Values] = lambda _cloud, _made: {}
    check: Callable[[Values], Iterable[Misfit]] = lambda _inputs: ()
    refuse: Callable[[Cloud, Values], None] = lambda _cloud, _inputs: None
    forget: Callable[[Cloud, Made], None] = lambda _cloud, _made: None
    missing: Callable[[Cloud, str], None] = lambda _cloud, _id: None
    unreadable: Callable[[Cloud], None] = readable
    secrets: frozenset[str] = frozenset()
    delete_before_replace: bool = False

    @property
    def token(self) -> str:
        """``vultr:index/instance:Instance``."""
        token: str = self.resource.pulumi_type  # type: ignore[attr-defined]  # set by the SDK
        return token

    @property
    def name(self) -> str:
        """``Instance``."""
        return self.token.rpartition(":")[2]

    def unjudged(self) -> set[str]:
        """Inputs of the SDK without a rule, and rules without an input: both must be none."""
        return set(inputs_of(self.args)) ^ set(self.rules)

    def misfits(self, inputs: Values) -> Iterator[Misfit]:
        """What is wrong with these inputs."""
        found = list(misfits(self.args, inputs))
        yield from found
        if not found:
            yield from self.check(inputs)


Function = Callable[["Cloud", Values], Values]


class Cloud:
    """One cloud. ``functions`` are its data sources by token (``vultr:index/getOs:getOs``);
    ``authorize`` raises :class:`Refused` where the provider's configuration lets nobody in."""

    def __init__(
        self,
        package: str,
        kinds: Iterable[Kind],
        functions: Mapping[str, Function],
        authorize: Callable[[Mapping[str, str]], None] = lambda _config: None,
        version: str = "1.0.0",
    ) -> None:
        self.package = package
        self.version = version
        self.kinds = {kind.token: kind for kind in kinds}
        self.functions = dict(functions)
        self.authorize = authorize
        self.latency = 0.0
        """Seconds that every change takes."""
        self.made: dict[str, Made] = {}
        self.events: list[Event] = []
        self.quotas: dict[str, tuple[int, str]] = {}
        """How many of a kind (``ReservedIp``) there may be, and what is said to one more."""
        self.facts: dict[str, Any] = {}
        """What the cloud has on offer (its images, plans); each cloud's own."""
        self._failures: dict[str, list[Failure | None]] = {}
        self._number = 0
        self._lock = threading.RLock()
        self._caller = threading.local()

    @property
    def config(self) -> Mapping[str, str]:
        """The configuration of the provider instance that asks now."""
        return getattr(self._caller, "config", {})

    def called_by(self, config: Mapping[str, str]) -> None:
        """What follows in this thread is asked with this configuration."""
        self._caller.config = config

    def count(self) -> int:
        """A number that never comes again."""
        with self._lock:
            self._number += 1
            return self._number

    def of(self, kind: str) -> list[Made]:
        """All that exists of a kind, by its short name."""
        return [made for made in self.made.values() if made.kind == kind]

    def named(self, name: str) -> Made:
        """What the program calls so."""
        (found,) = (made for made in self.made.values() if made.name == name)
        return found

    def drift(self, name: str, **outputs: Any) -> None:
        """Change properties behind the engine's back."""
        self.named(name).outputs.update(outputs)

    def lose(self, name: str) -> None:
        """Delete something behind the engine's back."""
        del self.made[self.named(name).id]

    def fail(self, kind: str, failure: Failure, nth: int = 1) -> None:
        """Let the nth creation of a kind from now on go wrong, once."""
        self._failures[kind] = [*[None] * (nth - 1), failure]

    def happened(self, *operations: Operation) -> set[tuple[Operation, str, str]]:
        """What was done since the last ``forget_events``: operation, kind, name."""
        wanted = operations or ("create", "update", "delete")
        return {(e.operation, e.kind, e.name) for e in self.events if e.operation in wanted}

    def forget_events(self) -> None:
        """Start a new page."""
        self.events.clear()

    def create(self, kind: Kind, name: str, inputs: Values) -> tuple[Made, str | None]:
        """Make one; with the reason where the engine must be told that it is only half made."""
        self._work()
        with self._lock:
            failure = self._next_failure(kind.name)
            if failure is not None and failure.after == "nothing":
                raise Refused(failure.text)
            limit, text = self.quotas.get(kind.name, (None, ""))
            if limit is not None and len(self.of(kind.name)) >= limit:
                raise Refused(text)
            made = self._make(kind, name, inputs)
            if failure is not None and failure.after == "lost":
                raise Refused(failure.text)
            if failure is not None and failure.after == "repeated":
                return self._make(kind, name, inputs), None
            try:
                kind.unreadable(self)
            except Refused as error:
                return made, str(error)
            return made, None if failure is None else failure.text

    def _make(self, kind: Kind, name: str, inputs: Values) -> Made:
        kind.refuse(self, inputs)
        identity = kind.identify(self, inputs)
        made = Made(identity, kind.name, name, inputs, dict(inputs))
        self.made[identity] = made
        made.outputs |= kind.compute(self, identity, inputs)
        self._log("create", kind, name)
        strangers = set(made.outputs) - outputs_of(kind.resource)
        assert not strangers, f"{kind.name} has no output {strangers}"
        return made

    def update(self, kind: Kind, identity: str, inputs: Values) -> Made:
        """Change one in place."""
        self._work()
        with self._lock:
            made = self._existing(kind, identity)
            made.outputs = {
                **{key: value for key, value in made.outputs.items() if key not in made.inputs},
                **inputs,
            }
            made.inputs = inputs
            self._log("update", kind, made.name)
            kind.unreadable(self)
            made.outputs |= kind.look(self, made)
            return made

    def read(self, kind: Kind, identity: str) -> Made | None:
        """Look at one as it is now; None where it is gone."""
        with self._lock:
            made = self.made.get(identity)
            if made is None or made.kind != kind.name:
                kind.missing(self, identity)
                return None
            kind.unreadable(self)
            made.outputs |= kind.look(self, made)
            self._log("read", kind, made.name)
            return made

    def delete(self, kind: Kind, identity: str, name: str) -> None:
        """Delete one; it may be gone already."""
        self._work()
        with self._lock:
            made = self.made.get(identity)
            if made is not None:
                kind.forget(self, made)
                del self.made[identity]
            self._log("delete", kind, name)

    def invoke(self, token: str, arguments: Values) -> Values:
        """Answer a data source."""
        self.events.append(Event("invoke", token.rpartition(":")[2], str(arguments)))
        if token not in self.functions:
            raise Refused(f"the stand-in for {self.package} has no function {token}")
        return self.functions[token](self, arguments)

    def _existing(self, kind: Kind, identity: str) -> Made:
        if identity not in self.made:
            raise Refused(f"{kind.name} {identity} not found")
        return self.made[identity]

    def _next_failure(self, kind: str) -> Failure | None:
        waiting = self._failures.get(kind)
        return waiting.pop(0) if waiting else None

    def _log(self, operation: Operation, kind: Kind, name: str) -> None:
        self.events.append(Event(operation, kind.name, name))

    def _work(self) -> None:
        self.authorize(self.config)
        if self.latency:
            time.sleep(self.latency)
