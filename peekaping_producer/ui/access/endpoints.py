"""The middleware that admits requests, and the routes of the session: who one is, log in, log out."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.access.gate import CHALLENGE, Gate
from peekaping_producer.ui.access.line_limit import LineLimit
from peekaping_producer.ui.access.origins import READS, check_host, check_origin
from peekaping_producer.ui.access.roles import Role, Visitor
from peekaping_producer.ui.access.sessions import delete_cookie, set_cookie
from peekaping_producer.ui.answers import VERSION, answer, error_answer
from peekaping_producer.ui.middleware import MAX_BODY_BYTES, Handler
from peekaping_producer.web.bodies import check_headers, decoded
from peekaping_producer.web.refusals import RequestError

log = structlog.stdlib.get_logger()

_WITHOUT_DATA = frozenset({"/", "/monitors/{id}", "/static/{name}"})
"""Routes that anyone may request: the page itself, which contains no data."""
_SESSION, _LOGIN, _LOGOUT = "/api/session", "/api/login", "/api/logout"
_OF_SESSION = frozenset({_SESSION, _LOGIN, _LOGOUT})
"""Routes that require no right."""
_VISITOR = web.RequestKey("visitor", Visitor)


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a login."""

    token: str


class SessionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser may do."""

    version: int = VERSION
    user: str | None
    can_see: bool
    can_act: bool
    why_not: str | None
    """Why it cannot act, or see."""
    can_log_in: bool
    """Whether there is a token that gives more rights."""
    can_log_out: bool
    """Whether it has a session."""


_decode_login = msgspec.json.Decoder(Login).decode


def visitor_of(request: web.Request) -> Visitor:
    """Return who sends a request that the middleware has admitted."""
    return request[_VISITOR]


class AccessEndpoints:
    """Admits requests: every route requires the right to see, and a POST that to act, unless it is listed here."""

    def __init__(self, access: UiAccess, gate: Gate | None = None) -> None:
        self._access = access
        self._gate = gate or Gate(access)
        self._lines = LineLimit()
        self.middlewares: Sequence[Middleware] = (self._admit,)

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of the session."""
        return [
            web.get(_SESSION, self._serve_session),
            web.post(_LOGIN, self._log_in),
            web.post(_LOGOUT, self._log_out),
        ]

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is None or resource.canonical in _WITHOUT_DATA:
            return await handler(request)
        visitor: Visitor | None = None
        try:
            check_host(request, self._access.hosts)
            request[_VISITOR] = visitor = self._gate.visitor(request)
            check_origin(request, visitor.credential)
            if resource.canonical not in _OF_SESSION:
                self._check_role(visitor, Role.SEE if request.method in READS else Role.ACT)
            response = await handler(request)
        except RequestError as error:
            is_act = request.method not in READS and resource.canonical not in _OF_SESSION
            if is_act and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                self._log_refused_act(request, visitor, error)
            response = error_answer(error)
        if visitor and visitor.has_bad_cookie and not (response.prepared or response.cookies):
            delete_cookie(response, self._cookie_name(request))
        return response

    def _log_refused_act(self, request: web.Request, visitor: Visitor | None, error: RequestError) -> None:
        if (omitted := self._lines.omitted()) is not None:
            log.warning(
                "act.refused",
                message="A request to act was refused.",
                path=request.path,
                who=visitor.who if visitor else None,
                address=visitor.address if visitor else request.remote,
                status=int(error.status),
                error=error.reason,
                omitted=omitted,
            )

    def _check_role(self, visitor: Visitor, required: Role) -> None:
        if visitor.role >= required:
            return
        reason = self._why_not(visitor)
        if visitor.role is Role.NONE:
            raise RequestError(HTTPStatus.UNAUTHORIZED, reason, headers=CHALLENGE)
        raise RequestError(HTTPStatus.FORBIDDEN, reason)

    async def _serve_session(self, request: web.Request) -> web.Response:
        return answer(self._session(visitor_of(request)))

    async def _log_in(self, request: web.Request) -> web.Response:
        visitor = visitor_of(request)
        if not (self._access.token or self._access.read_token):
            raise RequestError(HTTPStatus.CONFLICT, "This page has no token to log in with. Set UI_TOKEN.")
        check_headers(request, MAX_BODY_BYTES)
        token = decoded(await request.read(), _decode_login).token
        client = self._gate.client(request)
        role = self._gate.role_of_token(token, client)
        cookie = self._gate.sessions.issue(role)
        log.info("login.accepted", message="A browser has logged in.", address=client.address, role=role.name.lower())
        visitor = msgspec.structs.replace(visitor, role=max(role, visitor.role), has_session=True)
        response = answer(self._session(visitor))
        set_cookie(response, self._cookie_name(request), cookie)
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        response = answer({"version": VERSION})
        delete_cookie(response, self._cookie_name(request))
        return response

    def _cookie_name(self, request: web.Request) -> str:
        return self._gate.cookie_name(request, self._gate.client(request))

    def _session(self, visitor: Visitor) -> SessionDocument:
        acts = visitor.role is Role.ACT
        return SessionDocument(
            user=visitor.user,
            can_see=visitor.role >= Role.SEE,
            can_act=acts,
            why_not=None if acts else self._why_not(visitor),
            can_log_in=bool(self._access.token if visitor.role else self._access.token or self._access.read_token)
            and not acts,
            can_log_out=visitor.has_session,
        )

    def _why_not(self, visitor: Visitor) -> str:
        """Return why the visitor cannot act, or cannot see."""
        if visitor.role is Role.NONE:
            if not (self._access.token or self._access.read_token):
                return f"A proxy of UI_PROXY_FROM must send the user in {self._access.user_header}."
            return "Log in to see the monitors."
        if self._access.token:
            return "Log in with the token of UI_TOKEN to act."
        if visitor.user is not None:
            return f"{visitor.user} is not one of the users of UI_ACT_USERS."
        return "Set UI_TOKEN to allow actions."
