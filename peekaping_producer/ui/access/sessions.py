"""The cookie of a browser that has logged in.

It contains its expiry, the role, a random number and an HMAC of these with the token as the key: every replica with the
same token accepts it, without storing anything, and a changed token ends all sessions.
"""

import base64
import hmac
import re
import time
from collections.abc import Callable
from secrets import token_urlsafe

from aiohttp import web

from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.access.roles import Role

LIFETIME_S = 7 * 24 * 3600
NAME = "peekaping-producer"
SECURE_PREFIX = "__Host-"
"""Under https: a browser accepts such a name only from the host itself, with Secure, over https."""
_PORT = re.compile(r":([0-9]{1,5})$", re.ASCII)
_MAX_ACCEPTED = 1000
"""Cookies that are remembered."""
_PURPOSE = b"peekaping-producer page session 1:"
_COOKIE = re.compile(r"((?P<expiry>[0-9]{1,12})\.(?P<role>see|act)\.[A-Za-z0-9_-]{16})\.(?P<mac>[A-Za-z0-9_-]{43})")
_ROLES = {"see": Role.SEE, "act": Role.ACT}


class ForgedCookieError(Exception):
    """A cookie with a wrong HMAC: a guess of the token, or a session that a changed token has ended."""


class Sessions:
    """Issues and checks cookies."""

    def __init__(self, access: UiAccess, now: Callable[[], float] = time.time) -> None:
        """`now`: Unix time in seconds."""
        tokens = {"act": access.token, "see": access.read_token}
        self._keys = {role: token.encode(errors="surrogateescape") for role, token in tokens.items() if token}
        self._now = now
        self._accepted: dict[str, None] = {}

    def issue(self, role: Role) -> str:
        """Return the value of a new cookie."""
        text = f"{int(self._now()) + LIFETIME_S}.{role.name.lower()}.{token_urlsafe(12)}"
        cookie = f"{text}.{self._mac(role.name.lower(), text)}"
        self._remember(cookie)
        return cookie

    def role_of(self, cookie: str, *, accepts_new: bool = True) -> Role:
        """Return the role that a cookie gives; NONE if it is malformed or has expired. Raises ForgedCookieError.

        `accepts_new`: otherwise only cookies of this replica, or that it has accepted before: they are random, so they
        cannot be guessed.
        """
        match = _COOKIE.fullmatch(cookie)
        if match is None or match["role"] not in self._keys:
            return Role.NONE
        if not accepts_new and cookie not in self._accepted:
            return Role.NONE
        if not hmac.compare_digest(match["mac"], self._mac(match["role"], match[1])):
            raise ForgedCookieError
        if int(match["expiry"]) <= self._now():
            return Role.NONE
        self._remember(cookie)
        return _ROLES[match["role"]]

    def ends_s(self, cookie: str) -> float | None:
        """Return the Unix time in s at which a cookie expires; None if it is malformed."""
        match = _COOKIE.fullmatch(cookie)
        return float(match["expiry"]) if match else None

    def _remember(self, cookie: str) -> None:
        if cookie not in self._accepted and len(self._accepted) >= _MAX_ACCEPTED:
            del self._accepted[next(iter(self._accepted))]
        self._accepted[cookie] = None

    def _mac(self, role: str, text: str) -> str:
        digest = hmac.digest(self._keys[role], _PURPOSE + text.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def cookie_name(host: str, *, is_https: bool) -> str:
    """Return the name of the cookie. `host`: the header; its port is part of the name.

    Browsers send cookies to every port of a host: two fleets behind forwarded ports would end each other's sessions.
    """
    port = _PORT.search(host)
    return f"{SECURE_PREFIX if is_https else ''}{NAME}" + (f"-{port[1]}" if port else "")


def set_cookie(response: web.StreamResponse, name: str, value: str) -> None:
    """Let the browser store the cookie; no script can read it, and no other web site can send it."""
    secure = name.startswith(SECURE_PREFIX)
    response.set_cookie(name, value, max_age=LIFETIME_S, path="/", secure=secure, httponly=True, samesite="Strict")


def delete_cookie(response: web.StreamResponse, name: str) -> None:
    """Let the browser delete the cookie."""
    secure = name.startswith(SECURE_PREFIX)
    response.del_cookie(name, path="/", secure=secure, httponly=True, samesite="Strict")
