"""An HTTP endpoint on a real port that records requests and answers as a test decides."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.kit.processes import HOST

Answer = Callable[[web.Request], Awaitable[web.StreamResponse] | web.StreamResponse]


class Endpoint:
    """Records each request; `answers` are used in order, the last one again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, bytes, dict[str, str]]] = []
        self.answers: list[int | Answer] = [201]
        self.peers: set[Any] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport
        self.peers.add(request.transport.get_extra_info("peername"))
        self.requests.append((request.path, await request.read(), dict(request.headers)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            return web.Response(status=answer, text="what is wrong")
        response = answer(request)
        return response if isinstance(response, web.StreamResponse) else await response

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body, _ in self.requests]

    @property
    def ids(self) -> list[str]:
        return [headers["Idempotency-Key"] for *_, headers in self.requests]


async def hang(_: web.Request) -> web.StreamResponse:
    """An answer that does not come; the client ends the request."""
    await asyncio.sleep(60)
    return web.Response()


async def break_off(request: web.Request) -> web.StreamResponse:
    """An answer that ends the connection."""
    assert request.transport
    request.transport.abort()
    return web.Response()


def redirect(status: int, location: str) -> Answer:
    return lambda _: web.Response(status=status, headers={"Location": location})


def retry_after(value: str, status: int = 429) -> Answer:
    return lambda _: web.Response(status=status, headers={"Retry-After": value})


@asynccontextmanager
async def running_endpoint(path: str = "") -> AsyncIterator[Endpoint]:
    """The endpoint, with a `url` that ends with `path`; it answers at every path."""
    app = web.Application(client_max_size=2**24)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    endpoint = Endpoint("")
    app.router.add_route("*", "/{path:.*}", endpoint.handle)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    endpoint.url = f"http://{HOST}:{runner.addresses[0][1]}{path}"
    try:
        yield endpoint
    finally:
        await runner.cleanup()
