"""The endpoints of the API."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from http import HTTPStatus

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from peekaping_producer.api.answers import BatchProduced, Produced, State, answer, timestamp
from peekaping_producer.api.guard import MAX_BYTES_SETTING, Guard
from peekaping_producer.api.metrics import ApiMetrics
from peekaping_producer.api.openapi import document
from peekaping_producer.api.requests import as_json_message, batch_of, message_of, stored_message_of
from peekaping_producer.api.server import ApiServer
from peekaping_producer.errors import BatchTooLargeError, BufferFullError, RelayClosedError
from peekaping_producer.messages.relay import Relay
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.web.bodies import read
from peekaping_producer.web.refusals import RequestError

LARGE_BYTES = 64 * 1024
MAX_LARGE_BODIES = 32
"""Bodies over LARGE_BYTES that are read at once; others wait in their connections, which bounds the memory."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RETRY_AFTER_S = 1
_RETRY_AFTER_OUTAGE_S = 5
"""The longest time between two attempts of the relay."""
_REPEAT = "Repeat the request with the same ids."


class Api:
    """Answers requests; the messages go to a relay."""

    def __init__(
        self,
        relay: Relay,
        dependencies: Dependencies,
        guard: Guard,
        *,
        metrics: ApiMetrics | None = None,
        confirm_timeout_s: float = 10.0,
        body_timeout_s: float = 30.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`dependencies`: those of the relay. `confirm_timeout_s`: how long a request waits for the broker.

        `body_timeout_s`: how long a client may take to send a body.
        """
        self._relay = relay
        self._dependencies = dependencies
        self._guard = guard
        self._metrics = metrics or ApiMetrics()
        self._confirm_timeout_s = confirm_timeout_s
        self._body_timeout_s = body_timeout_s
        self._now = now
        self._large_bodies = asyncio.Semaphore(MAX_LARGE_BODIES)
        self.stopping = False
        """Whether new messages are refused."""

    def runner(self, shutdown_timeout_s: float = 1.0) -> web.ServerRunner:
        """Return the aiohttp runner; the caller sets it up and adds a site."""
        endpoints = {
            "/produce": ("POST", self._produce),
            "/batch-produce": ("POST", self._batch_produce),
            "/api/messages": ("POST", self._store),
            "/health": ("GET", self._health),
            "/metrics": ("GET", self._serve_metrics),
            "/openapi.json": ("GET", self._openapi),
        }
        server = ApiServer(endpoints, self._metrics, max_bytes=self._guard.max_bytes)
        return server.runner(shutdown_timeout_s)

    async def _produce(self, request: web.BaseRequest) -> web.Response:
        message = message_of(await self._body(request))
        await self._publish([message])
        return answer(Produced(message_id=message.id, timestamp=timestamp(int(self._now()))))

    async def _batch_produce(self, request: web.BaseRequest) -> web.Response:
        messages = batch_of(await self._body(request))
        await self._publish(messages)
        return answer(BatchProduced(messages_produced=len(messages)))

    async def _store(self, request: web.BaseRequest) -> web.Response:
        stored = stored_message_of(await self._body(request))
        await self._publish([as_json_message(stored.id, msgspec.json.encode(stored))])
        return answer(stored, HTTPStatus.CREATED)

    async def _health(self, _request: web.BaseRequest) -> web.Response:
        healthy = not (self._dependencies.troubles or self.stopping)
        state = State("healthy" if healthy else "unhealthy", timestamp(int(self._now())))
        return answer(state, HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _serve_metrics(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _openapi(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(body=msgspec.json.encode(document()), headers={"Content-Type": "application/json"})

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The body of a request that may produce messages. Raises RequestError."""
        self._guard.check(request)
        if request.content.is_eof():
            return await self._read(request)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0
        is_small = request.content_length is not None and request.content_length <= LARGE_BYTES
        async with nullcontext() if is_small else self._large_bodies:
            try:
                async with asyncio.timeout(self._body_timeout_s):
                    return await self._read(request)
            except TimeoutError:
                reason = f"body: expected all of it within {self._body_timeout_s:g} s (API_BODY_TIMEOUT), got a part"
                raise RequestError(HTTPStatus.REQUEST_TIMEOUT, reason, headers={"Connection": "close"}) from None

    async def _read(self, request: web.BaseRequest) -> bytes:
        return await read(request, self._guard.max_bytes, MAX_BYTES_SETTING)

    async def _publish(self, messages: Sequence[Message]) -> None:
        """Return once the broker has confirmed all messages. Raises RequestError."""
        if self._dependencies.troubles:
            raise _unavailable("the broker is not available", _RETRY_AFTER_OUTAGE_S)
        try:
            future = self._relay.offer(messages)
            async with asyncio.timeout(self._confirm_timeout_s):
                refused = await future
        except BufferFullError:
            raise _unavailable("more messages wait for the broker than can be held", _RETRY_AFTER_S) from None
        except BatchTooLargeError as error:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from None
        except RelayClosedError:
            raise _unavailable("this process stops", _RETRY_AFTER_S) from None
        except TimeoutError:
            reason = f"the broker did not confirm within {self._confirm_timeout_s:g} s"
            raise _unavailable(reason, _RETRY_AFTER_OUTAGE_S) from None
        if refused:
            index, reason = min(refused.items())
            path = f"$.messages[{index}]" if len(messages) > 1 else "$"
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{path}: the broker refuses it: {reason}")
        self._metrics.produced.inc(len(messages))


def _unavailable(reason: str, retry_after_s: int) -> RequestError:
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}. {_REPEAT}", retry_after_s=retry_after_s)
