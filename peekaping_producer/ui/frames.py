"""The frames: a stream of server-sent events for the page, and the next one as a document for scripts."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

import structlog
from aiohttp import web

from peekaping_producer.metrics import Metrics
from peekaping_producer.ui.access.endpoints import visitor_of
from peekaping_producer.ui.answers import answer
from peekaping_producer.ui.shared_look import Reader, SharedLook
from peekaping_producer.web.refusals import RequestError

log = structlog.stdlib.get_logger()

MAX_STREAMS = 100
SLOW_AFTER_S = 5.0
"""A client that has not accepted a frame for so long is dropped."""
_HEARTBEAT_AFTER_S = 10.0
"""Without a frame a comment is sent: proxies close silent connections."""
_RETRY_AFTER_S = 5
_NEXT_WITHIN_S = 10.0
"""A frame comes once a second; the first when Redis has answered, or after half a second."""
_NO_FRAME = "The state of the fleet could not be read; the log of this replica reports why (ui.frame_failed)."
_SOCKET_BUFFER_BYTES = 64 * 1024
"""The kernel keeps a few frames for a client that does not read; by default it would keep hundreds."""
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_OPENING = b"retry: 2000\n\n"
"""Browsers connect again after 2 s."""


class Frames:
    """At most MAX_STREAMS at once; each buffers one frame, and ends with the session of its page."""

    def __init__(
        self,
        look: SharedLook,
        metrics: Metrics,
        *,
        slow_after_s: float = SLOW_AFTER_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now`: Unix time in seconds."""
        self._look = look
        self._metrics = metrics
        self._slow_after_s = slow_after_s
        self._now = now
        self._streams = 0
        self._stopping = asyncio.Event()

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/frames", self._stream, allow_head=False), web.get("/api/fleet", self._fleet)]

    def stop(self) -> None:
        """End all streams, and refuse others."""
        self._stopping.set()
        self._look.wake()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self._streams >= MAX_STREAMS or self._stopping.is_set():
            self._metrics.ui_streams_refused.inc()
            sentence = "This replica stops." if self._stopping.is_set() else f"{MAX_STREAMS} pages are open already."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, sentence, retry_after_s=_RETRY_AFTER_S)
        response = web.StreamResponse(headers=_HEADERS)
        with self._counted(), self._look.reading() as reader:
            await response.prepare(request)
            _keep_buffers_small(request)
            await self._send_frames(request, response, reader)
        return response

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a stream; requests for one frame are no pages."""
        self._streams += 1
        self._metrics.ui_streams.set(self._streams)
        try:
            yield
        finally:
            self._streams -= 1
            self._metrics.ui_streams.set(self._streams)

    async def _fleet(self, _request: web.Request) -> web.Response:
        """Answer with the latest frame if pages are open, otherwise with one that is made now."""
        published = None
        if not self._stopping.is_set():
            with self._look.reading() as reader:
                published = await reader.next(_NEXT_WITHIN_S)
        if published is None:
            sentence = "This replica stops." if self._stopping.is_set() else _NO_FRAME
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, sentence, retry_after_s=_RETRY_AFTER_S)
        return answer(published.frame)

    async def _send_frames(self, request: web.Request, response: web.StreamResponse, reader: Reader) -> None:
        data, ends_s = _OPENING, visitor_of(request).session_ends_s
        try:
            while not self._stopping.is_set() and (ends_s is None or self._now() < ends_s):
                async with asyncio.timeout(self._slow_after_s):
                    await response.write(data)
                    await request.writer.drain()
                published = await reader.next(_HEARTBEAT_AFTER_S)
                data = b"event: frame\ndata: " + published.event + b"\n\n" if published else b":\n\n"
        except TimeoutError:
            self._metrics.ui_readers_dropped.inc()
            log.info("ui.reader_dropped", message="A page did not read its frames; its connection was closed.")
            if request.transport:
                request.transport.abort()
        except ConnectionError:
            return  # the page was closed


def _keep_buffers_small(request: web.Request) -> None:
    """Let `drain` wait until the kernel has all, and the kernel accept little."""
    if transport := request.transport:
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
