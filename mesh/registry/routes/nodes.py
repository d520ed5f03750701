"""What the generation has of each node, readable for members: files, peers, firewall, addresses."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mesh.registry import paths
from mesh.registry.registry import Address, Refused
from mesh.registry.routes.context import Context, caller_of
from mesh.trust.documents import NodeView, Part
from mesh.trust.encoding import Malformed, parse


@dataclass(frozen=True, slots=True)
class AskedAddress:
    """Body of ``discover``: the external address that is asked for."""

    address: Address


def routes(context: Context) -> list[Route]:
    """Views of nodes, and the node of an address."""
    registry = context.registry

    async def config(request: Request) -> Response:
        node, view = registry.node(request.path_params["name"])
        current = registry.current()
        return await context.cached(current, "config", node, lambda: _config(context, node, view))

    async def wireguard(request: Request) -> Response:
        node, view = registry.node(request.path_params["name"])
        return JSONResponse({"node": node, "generation": context.number, **view.wireguard})

    async def cloud_init(request: Request) -> Response:
        view = registry.node(request.path_params["name"])[1]
        return PlainTextResponse(view.cloud_init, media_type="text/cloud-config")

    async def firewall(_: Request) -> Response:
        views = registry.views()
        return JSONResponse({"generation": context.number, **views.firewall})

    async def discover(request: Request) -> Response:
        caller = caller_of(request)
        node, region, addresses = registry.discover(caller, _asked(await request.body()))
        return JSONResponse({"node": node, "region": region, "addresses": addresses})

    nodes = paths.API + "/nodes"
    return [
        Route(nodes + "/{name}/config", config),
        Route(nodes + "/{name}/wireguard", wireguard),
        Route(nodes + "/{name}/cloud-init", cloud_init),
        Route(nodes + "/discover", discover, methods=["POST"]),
        Route(paths.API + "/firewall/rules", firewall),
    ]


def _own(text: str) -> Part:
    try:
        return parse(Part, text)
    except Malformed:
        # Of a later version: this registry's own node is about to renew it.
        raise Refused(503, "the part is of a later version than this registry") from None


def _config(context: Context, node: str, view: NodeView) -> bytes:
    own = _own(context.registry.part(node))
    content = {
        "node": node,
        "region": view.region,
        "generation": context.number,
        **view.description,
        "files": [
            {"path": f.path, "mode": f"{f.mode:04o}", "group": f.group, "content": f.content}
            for f in own.files
        ],
        "sealed": [file.path for file in own.sealed],
        "units": list(own.units),
    }
    return bytes(JSONResponse(content).body)


def _asked(body: bytes) -> Address | None:
    """The address in a ``discover`` request; an empty body asks for the caller's own."""
    if not body:
        return None
    try:
        return parse(AskedAddress, body).address
    except Malformed as error:
        raise Refused(400, str(error)) from None
