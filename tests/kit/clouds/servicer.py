"""The engine's protocol over a :class:`Cloud`.

It answers as pulumi-terraform-bridge does, on which all three real providers stand: inputs come
without their secret wrappings (the engine puts them back), unset optional inputs keep what the
cloud has, and a difference is one between what the state holds and what is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import (
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from tests.kit.clouds.cloud import Cloud, Kind, Made, Refused
from tests.kit.clouds.schema import UNKNOWN, Values, outputs_of

# The sentinels of sdk/go/common/resource/plugin/rpc.go, by the type of what is not known yet.
UNKNOWNS = {
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
}
UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
Answer = TypeVar("Answer")
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"


def decoded(struct: struct_pb2.Struct) -> Values:
    """Properties as Python values: no nulls, no secret wrappings, UNKNOWN for what is unknown."""
    plain: Values = _decoded(json_format.MessageToDict(struct))
    return plain


def _decoded(value: Any) -> Any:
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWNS else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return _decoded(value["value"])
        return {k: _decoded(v) for k, v in value.items() if v is not None and k != "__defaults"}
    return value


def encoded(values: Mapping[str, Any], secrets: frozenset[str] = frozenset()) -> struct_pb2.Struct:
    """Properties as they go over the wire, these outputs as secrets."""
    plain = {
        key: {SIGNATURE: SECRET, "value": _encoded(value)} if key in secrets else _encoded(value)
        for key, value in values.items()
    }
    struct = struct_pb2.Struct()
    json_format.ParseDict(plain, struct)
    return struct


def _encoded(value: Any) -> Any:
    if value is UNKNOWN:
        return UNKNOWN_STRING
    if isinstance(value, dict):
        return {key: _encoded(each) for key, each in value.items()}
    return [_encoded(each) for each in value] if isinstance(value, list) else value


class HalfMade(Exception):
    """It exists, but it is not what was asked for."""

    def __init__(self, made: Made, reason: str, secrets: frozenset[str]) -> None:
        super().__init__(reason)
        self.made, self.secrets = made, secrets


class StandIn(provider_pb2_grpc.ResourceProviderServicer):
    """A provider plugin for one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._configs: dict[str, dict[str, str]] = {}

    def Handshake(self, _request: Any, context: Any) -> NoReturn:  # noqa: N802
        # As the bridge: the engine goes on with what Configure says.
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no handshake")
        raise AssertionError("abort raises")

    def Attach(self, _request: Any, _context: Any) -> empty_pb2.Empty:  # noqa: N802
        return empty_pb2.Empty()

    def GetPluginInfo(self, _request: Any, _context: Any) -> plugin_pb2.PluginInfo:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self._cloud.version)

    def Cancel(self, _request: Any, _context: Any) -> empty_pb2.Empty:  # noqa: N802
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, _context: Any) -> provider_pb2.CheckResponse:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, _context: Any) -> provider_pb2.DiffResponse:  # noqa: N802
        same = decoded(request.olds) == decoded(request.news)
        changes = provider_pb2.DiffResponse
        return changes(changes=changes.DIFF_NONE if same else changes.DIFF_SOME)

    def Configure(self, request: Any, context: Any) -> provider_pb2.ConfigureResponse:  # noqa: N802
        config = {k: v for k, v in decoded(request.args).items() if k != "version"}
        # Each provider instance of a program has a connection of its own.
        self._configs[context.peer()] = config
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> provider_pb2.CheckResponse:  # noqa: N802
        kind = self._kind(request, context)
        inputs = decoded(request.news)
        inputs = {**kind.defaults, **inputs}
        return provider_pb2.CheckResponse(
            inputs=encoded(inputs),
            failures=[
                provider_pb2.CheckFailure(property=path, reason=reason)
                for path, reason in kind.misfits(inputs)
            ],
        )

    def Diff(self, request: Any, context: Any) -> provider_pb2.DiffResponse:  # noqa: N802
        kind = self._kind(request, context)
        olds, news = decoded(request.olds), {**kind.implied, **decoded(request.news)}
        before = decoded(request.old_inputs)
        response = provider_pb2.DiffResponse(
            hasDetailedDiff=True, deleteBeforeReplace=kind.delete_before_replace
        )
        for name in sorted({*before, *news} - set(request.ignoreChanges)):
            if name not in kind.rules:
                context.abort(grpc.StatusCode.INTERNAL, f"{kind.name}.{name} has no replace rule")
            old, new = olds.get(name, before.get(name)), news.get(name)
            if _same(old, new):
                continue
            replaces = kind.rules[name] == "replaces"
            word = "ADD" if old is None else "DELETE" if new is None else "UPDATE"
            how = provider_pb2.PropertyDiff.Kind.Value(word + ("_REPLACE" if replaces else ""))
            response.detailedDiff[name].CopyFrom(provider_pb2.PropertyDiff(kind=how))
            response.diffs.append(name)
            if replaces:
                response.replaces.append(name)
        response.changes = (
            provider_pb2.DiffResponse.DIFF_SOME
            if response.diffs
            else provider_pb2.DiffResponse.DIFF_NONE
        )
        return response

    def Create(self, request: Any, context: Any) -> provider_pb2.CreateResponse:  # noqa: N802
        kind, inputs = self._kind(request, context), decoded(request.properties)
        if request.preview:
            unknown = dict.fromkeys(outputs_of(kind.resource), UNKNOWN)
            return provider_pb2.CreateResponse(properties=encoded({**unknown, **inputs}))

        def create() -> provider_pb2.CreateResponse:
            made, reason = self._cloud.create(kind, _name(request), inputs)
            if reason is not None:
                raise HalfMade(made, reason, kind.secrets)
            outputs = encoded(made.outputs, kind.secrets)
            return provider_pb2.CreateResponse(id=made.id, properties=outputs)

        return self._answer(context, create)

    def Read(self, request: Any, context: Any) -> provider_pb2.ReadResponse:  # noqa: N802
        kind = self._kind(request, context)

        def read() -> provider_pb2.ReadResponse:
            self._cloud.authorize(self._cloud.config)
            made = self._cloud.read(kind, request.id)
            if made is None:
                return provider_pb2.ReadResponse()
            inputs = {k: made.outputs[k] for k in decoded(request.inputs) if k in made.outputs}
            return provider_pb2.ReadResponse(
                id=made.id,
                properties=encoded(made.outputs, kind.secrets),
                inputs=encoded(inputs),
            )

        return self._answer(context, read)

    def Update(self, request: Any, context: Any) -> provider_pb2.UpdateResponse:  # noqa: N802
        kind, news = self._kind(request, context), decoded(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(
                properties=encoded({**decoded(request.olds), **news}, kind.secrets)
            )

        def update() -> provider_pb2.UpdateResponse:
            made = self._cloud.update(kind, request.id, news)
            return provider_pb2.UpdateResponse(properties=encoded(made.outputs, kind.secrets))

        return self._answer(context, update)

    def Delete(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802
        kind = self._kind(request, context)

        def delete() -> empty_pb2.Empty:
            self._cloud.delete(kind, request.id, _name(request))
            return empty_pb2.Empty()

        return self._answer(context, delete)

    def Invoke(self, request: Any, context: Any) -> provider_pb2.InvokeResponse:  # noqa: N802
        def invoke() -> provider_pb2.InvokeResponse:
            self._cloud.authorize(self._cloud.config)
            answer = self._cloud.invoke(request.tok, decoded(request.args))
            response = provider_pb2.InvokeResponse()
            getattr(response, "return").CopyFrom(encoded(answer))
            return response

        return self._answer(context, invoke)

    def _kind(self, request: Any, context: Any) -> Kind:
        self._cloud.called_by(self._configs.get(context.peer(), {}))
        token = request.urn.split("::")[2].rpartition("$")[2]
        if token not in self._cloud.kinds:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the stand-in for {self._cloud.package} has no table for {token}",
            )
        return self._cloud.kinds[token]

    def _answer(self, context: Any, act: Callable[[], Answer]) -> Answer:
        self._cloud.called_by(self._configs.get(context.peer(), {}))
        try:
            return act()
        except HalfMade as error:
            self._abort_half_made(context, error)
        except Refused as error:
            # Terraform's way to list what went wrong (hashicorp/go-multierror).
            text = f"1 error occurred:\n\t* {error}\n\n"
            context.abort(grpc.StatusCode.UNKNOWN, text)
            raise AssertionError("abort raises") from None

    def _abort_half_made(self, context: Any, error: HalfMade) -> NoReturn:
        detail = provider_pb2.ErrorResourceInitFailed(
            id=error.made.id,
            properties=encoded(error.made.outputs, error.secrets),
            inputs=encoded(error.made.inputs),
            reasons=[str(error)],
        )
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
        status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
        raise AssertionError("abort raises")


def _same(old: Any, new: Any) -> bool:
    return new is not UNKNOWN and old == new


def _name(request: Any) -> str:
    name: str = request.urn.rpartition("::")[2]
    return name


@contextmanager
def serving(cloud: Cloud) -> Iterator[int]:
    """Serve a cloud on a port of this machine for the length of the block."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=16),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(StandIn(cloud), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
