"""Access without authentication: every client may see the page, and none may act."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from peekaping_producer.ui.answers import VERSION, answer


class OpenAccess:
    """See app.Access."""

    middlewares: Sequence[Middleware] = ()

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the route of the session."""
        return [web.get("/api/session", self._session)]

    async def _session(self, _request: web.Request) -> web.Response:
        why_not = "This page is read-only."
        return answer({"version": VERSION, "user": None, "can_see": True, "can_act": False, "why_not": why_not})
