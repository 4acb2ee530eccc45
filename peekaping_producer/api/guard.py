"""Which requests may produce messages: those with the token, of clients that do not send too many, with a JSON body."""

import hmac
import math
import time
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from peekaping_producer.web.addresses import network_of
from peekaping_producer.web.bodies import check_headers
from peekaping_producer.web.refusals import RequestError

MAX_BYTES_SETTING = "MAX_REQUEST_BYTES"
_BURST_S = 1.0
"""A client that was quiet may send what the limit permits in this time at once."""


class RateLimiter:
    """Limits the requests of each client to a number per second."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 1 / per_second
        self._clock = clock
        self._due: dict[str, float] = {}
        """By client, when its next request is due at a steady rate."""
        self._forget_at = 0.0

    def wait_s(self, client: str) -> float:
        """Count a request; 0 if it is permitted, otherwise the seconds until the next is."""
        now = self._clock()
        self._forget(now)
        due = max(self._due.get(client, now), now)
        early_s = due + self._interval_s - now - max(_BURST_S, self._interval_s)
        if early_s > 1e-9:
            return early_s
        self._due[client] = due + self._interval_s
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop clients that were quiet: memory is bounded by those of the last seconds."""
        if now >= self._forget_at:
            self._forget_at = now + _BURST_S
            self._due = {client: due for client, due in self._due.items() if due > now}


class Guard:
    """Checks requests before their bodies are read."""

    def __init__(self, *, token: str | None, rate_limit: int, max_bytes: int) -> None:
        """`rate_limit`: requests per second of one client (IPv6: of its /64); 0: no limit. `max_bytes`: of a body."""
        self.max_bytes = max_bytes
        self._authorization = f"Bearer {token}".encode() if token else None
        self._limiter = RateLimiter(rate_limit) if rate_limit else None

    def check(self, request: web.BaseRequest) -> None:
        """Raise RequestError for a request that may not produce messages."""
        self._check_token(request)
        self._check_rate(request)
        check_headers(request, self.max_bytes, MAX_BYTES_SETTING)

    def _check_token(self, request: web.BaseRequest) -> None:
        if self._authorization is None:
            return
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, self._authorization):
            reason = "Authorization: expected Bearer and the token (API_TOKEN), got " + ("another" if given else "none")
            raise RequestError(HTTPStatus.UNAUTHORIZED, reason, headers={"WWW-Authenticate": "Bearer"})

    def _check_rate(self, request: web.BaseRequest) -> None:
        wait_s = self._limiter.wait_s(network_of(request.remote or "")) if self._limiter else 0.0
        if wait_s:
            reason = "expected fewer requests per second from this address (RATE_LIMIT), got more"
            raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, reason, retry_after_s=math.ceil(wait_s))
