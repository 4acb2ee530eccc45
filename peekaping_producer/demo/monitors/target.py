"""What the demo checks: a small HTTP server on loopback, and monitors for it."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web

from peekaping_producer.demo.embedded import HOST
from peekaping_producer.monitors.monitor import Monitor

SLOW_S = 0.6
HANGS_FOR_S = 5.0
KEYWORD = "operational"


@asynccontextmanager
async def open_target() -> AsyncIterator[list[Monitor]]:
    """Serve for the duration of the `async with`; yields the monitors, one for each kind of behavior."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/ok", _ok),
            web.get("/slow", _slow),
            web.get("/flaky", _every_nth_fails(3)),
            web.get("/status", _status_page),
            web.get("/hangs", _hangs),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        # Bound and not listening: connections are refused, and no other process can take the port.
        with socket.socket() as refusing:
            refusing.bind((HOST, 0))
            yield _monitors(runner.addresses[0][1], refusing.getsockname()[1])
    finally:
        await runner.cleanup()


def _monitors(port: int, refusing_port: int) -> list[Monitor]:
    here, refusing = f"http://{HOST}:{port}", f"http://{HOST}:{refusing_port}"
    return [
        _monitor("Shop", here + "/ok", interval=2),
        _monitor("Search", here + "/flaky", interval=2),
        _monitor("Checkout", here + "/slow", interval=3),
        _monitor("Login", here + "/ok", interval=4),
        _monitor("Status page", here + "/status", interval=5, keyword=KEYWORD),
        _monitor("Mail gateway", refusing, interval=6),
        _monitor("Reports", here + "/hangs", interval=8),
        _monitor("Archive", here + "/ok", interval=10),
    ]


def _monitor(name: str, url: str, *, interval: int, keyword: str | None = None) -> Monitor:
    config = {"url": url, "method": "GET", "encoding": "json", "accepted_statuscodes": ["2XX"], "authMethod": "none"}
    if keyword:
        config["keyword"] = keyword
    return Monitor(
        id=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        name=name,
        type="http-keyword" if keyword else "http",
        interval=interval,
        timeout=1,
        max_retries=0,
        retry_interval=interval,
        resend_interval=0,
        active=True,
        config=json.dumps(config),
    )


async def _ok(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(SLOW_S)
    return web.Response(text="ok")


async def _hangs(_request: web.Request) -> web.Response:
    await asyncio.sleep(HANGS_FOR_S)
    return web.Response(text="too late")


async def _status_page(_request: web.Request) -> web.Response:
    return web.Response(text=f"All systems {KEYWORD}")


def _every_nth_fails(nth: int) -> Callable[[web.Request], Awaitable[web.Response]]:
    requests = count(1)

    async def flaky(_request: web.Request) -> web.Response:
        return web.Response(status=500 if next(requests) % nth == 0 else 200)

    return flaky
