"""The application: middlewares and routes of the page, composed of its parts."""

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from peekaping_producer.ui.middleware import MAX_BODY_BYTES, MIDDLEWARES, add_headers
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
    app = web.Application(middlewares=[*MIDDLEWARES, *access.middlewares], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(add_headers)

    async def shell(request: web.Request) -> web.Response:
        return files.shell(request)

    app.add_routes([web.get("/", shell), web.get("/monitors/{id}", shell), web.get("/static/{name}", files.serve)])
    for part in (access, *endpoints):
        app.add_routes(part.routes())
    return app
