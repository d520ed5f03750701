"""The API over HTTP: a route per document, and nothing that decides (see :mod:`gate`)."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from mesh.registry.connections import Connections
from mesh.registry.gate import Gate
from mesh.registry.registry import Refused, Registry
from mesh.registry.routes import contents, generations, joining, nodes, orders, reports, status
from mesh.registry.routes.context import Context
from mesh.registry.routes.responses import not_found, not_stored, refused
from mesh.registry.store import NotStored
from mesh.trust.requests import Nonces

ROUTES = (
    status.routes,
    generations.routes,
    generations.bundle_routes,
    contents.routes,
    orders.routes,
    joining.routes,
    reports.routes,
    nodes.routes,
)


def application(registry: Registry, connections: Connections) -> Starlette:
    """The registry's ASGI application, gate included."""
    context = Context(registry, connections)
    app = Starlette(
        routes=[route for routes in ROUTES for route in routes(context)],
        middleware=[Middleware(Gate, registry=registry, nonces=Nonces(), connections=connections)],
        exception_handlers={
            Refused: refused,
            NotStored: not_stored,
            HTTPException: not_found,
        },
    )
    app.router.redirect_slashes = False
    return app
