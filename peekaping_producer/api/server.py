"""Finds the endpoint of each request by its path, measures it, and answers each error in JSON.

It uses aiohttp's low-level server: an application, with its patterns of paths, needs a tenth more CPU for a request.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from peekaping_producer.api.answers import Failure, answer, refusal
from peekaping_producer.api.metrics import ApiMetrics
from peekaping_producer.web.malformed import silence_malformed_requests
from peekaping_producer.web.refusals import RequestError

log = structlog.stdlib.get_logger()

IDLE_TIMEOUT_S = 75.0
"""A connection is closed if no request is complete, up to its body, so long after it was opened or last answered."""
_UNMATCHED = "unmatched"
"""The route, in metrics, of requests for other paths: clients choose those."""

silence_malformed_requests()

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


class ApiServer:
    """Serves endpoints with fixed paths."""

    def __init__(self, endpoints: Mapping[str, tuple[str, Handler]], metrics: ApiMetrics, *, max_bytes: int) -> None:
        """`endpoints`: by path, the method and the handler. `max_bytes`: of a body."""
        self._endpoints = endpoints
        self._metrics = metrics
        self._max_bytes = max_bytes

    def runner(self, shutdown_timeout_s: float) -> web.ServerRunner:
        """Return the aiohttp runner; the caller sets it up and adds a site."""
        server = web.Server(
            self._answered,
            request_factory=self._request,
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT_S,
            auto_decompress=False,  # the guard refuses compressed bodies
        )
        return web.ServerRunner(server, handle_signals=False, shutdown_timeout=shutdown_timeout_s)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._max_bytes + 1)

    async def _answered(self, request: web.BaseRequest) -> web.Response:
        """Measure a request, and answer each error in JSON."""
        began_at = time.perf_counter()
        path = request.path
        try:
            response = await self._handler(path, request.method)(request)
        except RequestError as error:
            response = refusal(error)
        except Exception as error:  # a bug: this request fails, the others do not
            log.error("request.failed", message="An unforeseen error ended a request.", exc_info=error)
            failure = Failure(error="an unforeseen error of the server")
            response = answer(failure, HTTPStatus.INTERNAL_SERVER_ERROR)
        route = path if path in self._endpoints else _UNMATCHED
        self._metrics.answered(route, response.status, time.perf_counter() - began_at)
        return response

    def _handler(self, path: str, method: str) -> Handler:
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            raise RequestError(HTTPStatus.NOT_FOUND, "Not Found")
        allowed, handler = endpoint
        if method != allowed and (method, allowed) != ("HEAD", "GET"):
            methods = "GET,HEAD" if allowed == "GET" else allowed
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", headers={"Allow": methods})
        return handler
