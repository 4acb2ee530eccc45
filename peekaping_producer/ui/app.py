"""The application: middlewares and routes of the page, composed of its parts."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from peekaping_producer.ui.middleware import MAX_BODY_BYTES, MIDDLEWARES, Handler, add_headers
from peekaping_producer.ui.static_files import StaticFiles


class Access(Protocol):
    """Who may see the page, and who may act."""

    middlewares: Sequence[Middleware]
    """Run before every route, within middleware.MIDDLEWARES: they may raise RequestError."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Return `/api/session` and the routes of login and acts."""


class Endpoints(Protocol):
    """A group of routes."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Return them."""


def application(access: Access, *endpoints: Endpoints, files: StaticFiles) -> web.Application:
    """Return the application."""

    @web.middleware
    async def show_unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a browser that opens an address without a route with the page, which reports that."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            if request.method != "GET" or "text/html" not in request.headers.get("Accept", ""):
                raise
        response = files.shell(request)
        if response.status == HTTPStatus.OK:  # not 304: the browser has the page already
            response.set_status(HTTPStatus.NOT_FOUND)
        return response

    middlewares = [*MIDDLEWARES, show_unknown, *access.middlewares]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(add_headers)

    async def shell(request: web.Request) -> web.Response:
        return files.shell(request)

    app.add_routes([web.get("/", shell), web.get("/monitors/{id}", shell), web.get("/static/{name}", files.serve)])
    for part in (access, *endpoints):
        app.add_routes(part.routes())
    return app
