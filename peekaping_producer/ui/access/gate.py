"""The role of a request: by its token, its cookie, or the user whom a proxy has authenticated."""

import base64
import binascii
import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus

import structlog
from aiohttp import web

from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.access.attempts import Attempts
from peekaping_producer.ui.access.clients import Client, Clients
from peekaping_producer.ui.access.line_limit import LineLimit
from peekaping_producer.ui.access.roles import Credential, Role, Visitor
from peekaping_producer.ui.access.sessions import ForgedCookieError, Sessions, cookie_name
from peekaping_producer.web.refusals import RequestError

log = structlog.stdlib.get_logger()

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="peekaping-producer"'}
"""Not Basic: browsers would open a dialog of their own."""
_EXPECTED = "expected Bearer and a token of this page (UI_TOKEN, UI_READ_TOKEN), or Basic with it as the password"


class Gate:
    """Finds out what each request may do."""

    def __init__(
        self,
        access: UiAccess,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now`: Unix time in seconds."""
        self._access = access
        self._clients = Clients(access)
        self._wrong_tokens = Attempts(clock)
        self._wrong_cookies = Attempts(clock)
        self._lines = LineLimit(clock)
        self.sessions = Sessions(access, now)

    def client(self, request: web.BaseRequest) -> Client:
        """Return the client of a request. Raises RequestError."""
        return self._clients.of(request)

    def cookie_name(self, request: web.BaseRequest, client: Client) -> str:
        """Return the name of the session's cookie for this browser."""
        return cookie_name(request.headers.get("Host", ""), is_https=client.is_https)

    def visitor(self, request: web.BaseRequest) -> Visitor:
        """Return who sends a request, and what it may do. Raises RequestError for a wrong token."""
        client = self.client(request)
        role, credential = self._by_header(request, client)
        in_cookie, has_bad_cookie = self._by_cookie(request, client)
        if in_cookie > role:
            role, credential = in_cookie, "cookie"
        if self._access.is_public and role < Role.SEE:
            role = Role.SEE
        ends_s = None
        if credential == "cookie":
            ends_s = self.sessions.ends_s(request.cookies[self.cookie_name(request, client)])
        return Visitor(
            role=role,
            credential=credential,
            address=client.address,
            user=client.user,
            has_session=in_cookie > Role.NONE,
            session_ends_s=ends_s,
            has_bad_cookie=has_bad_cookie,
        )

    def role_of_token(self, token: str, client: Client) -> Role:
        """Return the role that a token gives. Raises RequestError for a wrong one, or if there were too many."""
        if wait_s := self._wrong_tokens.wait_s(client.address):
            reason = "too many wrong tokens from this address; wait"
            raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, reason, retry_after_s=wait_s)
        acts, sees = _is_equal(token, self._access.token), _is_equal(token, self._access.read_token)
        if acts or sees:
            return Role.ACT if acts else Role.SEE
        self._wrong_tokens.count(client.address, token)
        self._log(client, "A request had a wrong token.")
        raise RequestError(
            HTTPStatus.UNAUTHORIZED, "token: expected a token of this page, got another", headers=CHALLENGE
        )

    def _by_header(self, request: web.BaseRequest, client: Client) -> tuple[Role, Credential]:
        """Return the role of the proxy's user or else of the token in the header."""
        if client.user is not None:  # Authorization is then between the browser and the proxy
            acts = not self._access.act_users.isdisjoint({client.user, "*"})
            return Role.ACT if acts else Role.SEE, "proxy"
        given = request.headers.getall("Authorization", [])
        if not given or not (self._access.token or self._access.read_token):
            return Role.NONE, "none"
        credential, token = _token_in(given)
        return self.role_of_token(token, client), credential

    def _by_cookie(self, request: web.BaseRequest, client: Client) -> tuple[Role, bool]:
        """Return the role that the cookie gives, and whether it is a bad one."""
        cookie = request.cookies.get(self.cookie_name(request, client))
        if cookie is None:
            return Role.NONE, False
        is_locked = self._wrong_cookies.wait_s(client.address) > 0
        try:
            role = self.sessions.role_of(cookie, accepts_new=not is_locked)
        except ForgedCookieError:
            self._wrong_cookies.count(client.address, cookie)
            self._log(client, "A request had a cookie that no current token has signed.")
            return Role.NONE, True
        return role, role is Role.NONE and not is_locked

    def _log(self, client: Client, message: str) -> None:
        if (omitted := self._lines.omitted()) is not None:
            log.warning("login.refused", message=message, address=client.address, user=client.user, omitted=omitted)


def _is_equal(given: str, token: str | None) -> bool:
    """Compare in a time that depends on neither text; False without a token."""
    digests = [sha256((text or "").encode(errors="surrogateescape")).digest() for text in (given, token)]
    return hmac.compare_digest(*digests) and token is not None


def _token_in(authorization: list[str]) -> tuple[Credential, str]:
    """Return the token in the header, and how it was sent. Raises RequestError for another form."""
    scheme, _, text = authorization[0].partition(" ")
    match scheme.lower() if len(authorization) == 1 else "":
        case "bearer":
            return "bearer", text.strip()
        case "basic":
            try:
                decoded = base64.b64decode(text.strip(), validate=True).decode(errors="surrogateescape")
            except (binascii.Error, ValueError):
                decoded = ""
            return "basic", decoded.partition(":")[2]
    got = f"{len(authorization)} values" if len(authorization) > 1 else "another scheme"
    raise RequestError(HTTPStatus.UNAUTHORIZED, f"Authorization: {_EXPECTED}, got {got}", headers=CHALLENGE)
