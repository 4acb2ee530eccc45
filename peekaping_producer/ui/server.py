"""The port of the page: bound at the start of the process, served once the loops run."""

from __future__ import annotations

import asyncio
import importlib
import socket
from typing import TYPE_CHECKING

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.settings import Settings
from peekaping_producer.targets import host_port_text
from peekaping_producer.ui.view import ReplicaView
from peekaping_producer.web.listening import bind

if TYPE_CHECKING:
    from aiohttp import web

    from peekaping_producer.ui.page import Page

log = structlog.stdlib.get_logger()

MAX_CONNECTIONS = 256
"""More are closed at once: each needs a file descriptor, and those of the producer must not run out."""
_IDLE_S = 20.0
"""A connection is closed if no request is complete so long after it was opened or last answered."""
_STOP_WITHIN_S = 1.0
"""For requests that run when the process stops."""


class PageServer:
    """Without an address it imports no web framework and does nothing."""

    def __init__(self, settings: Settings, replica: ReplicaView, metrics: Metrics, *, program: str) -> None:
        """`program`: the version of this program."""
        self._settings = settings
        self._replica = replica
        self._metrics = metrics
        self._program = program
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None
        self._page: Page | None = None
        self._arriving = 0
        """Connections that the server does not count yet: many are accepted at once."""

    def bind(self) -> None:
        """Bind UI_ADDR. If that fails: raise ConfigError if it is set, otherwise log a warning."""
        if self._settings.ui_address is None:
            return
        bound = bind("UI_ADDR", *self._settings.ui_address, required=self._settings.ui_addr_explicit)
        if isinstance(bound, str):
            log.warning("ui.no_port", message=f"The page is disabled: {bound}")
        else:
            self._socket = bound

    async def serve(self) -> None:
        """Serve from now on, if a port is bound. Whatever fails is logged: the replica works without its page."""
        if self._socket is None:
            return
        try:
            await self._start(self._socket)
        except Exception as error:  # checks are handed off without a page, too
            log.error("ui.failed", message="The page cannot be served; the replica runs without it.", exc_info=error)
            await self.stop()
            self._socket = self._server = self._runner = self._page = None

    async def _start(self, bound: socket.socket) -> None:
        """Serve at the port. The page's modules are imported in a thread."""
        await asyncio.to_thread(importlib.import_module, "peekaping_producer.ui.page")
        from aiohttp import web

        from peekaping_producer.ui.page import Page

        self._page = Page(self._settings, self._replica, self._metrics, program=self._program)
        app = await asyncio.to_thread(self._page.application)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=_IDLE_S,
            lingering_time=0,
            shutdown_timeout=_STOP_WITHIN_S,
        )
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=bound)
        host, port = bound.getsockname()[:2]
        address = f"http://{host_port_text(host, port)}/"
        log.info("ui.listening", message=f"Serving the page at {address}", host=host, port=port)

    def end_streams(self) -> None:
        """End the open pages: the process stops."""
        if self._page:
            self._page.end_streams()

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._server:
            self._server.close()
        if self._runner:
            await self._runner.cleanup()
        if self._page:
            await self._page.stop()
        if self._socket:
            self._socket.close()

    def _protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection; one that closes it if there are too many."""
        server = self._runner.server if self._runner else None
        if server is None or len(server.connections) + self._arriving >= MAX_CONNECTIONS:
            self._metrics.ui_connections_refused.inc()
            return _Refusal()
        self._arriving += 1
        asyncio.get_running_loop().call_soon(self._arrived)
        return server()

    def _arrived(self) -> None:
        """Count no longer a connection that the server counts from now on."""
        self._arriving -= 1


class _Refusal(asyncio.Protocol):
    """Closes the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
