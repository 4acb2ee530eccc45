"""The port of the HTTP endpoint: bound at the start of the process, served once the loops run."""

from __future__ import annotations

import asyncio
import importlib
import socket
from typing import TYPE_CHECKING

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.web.health import Health
from peekaping_producer.web.listening import bind

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.stdlib.get_logger()


class HealthServer:
    """A request that arrives between `bind` and `serve` waits for its answer."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._socket: socket.socket | None = None
        self._runner: web.AppRunner | None = None

    def bind(self, host: str, port: int, *, required: bool) -> None:
        """Bind `host`:`port`; "" and :: mean all interfaces.

        If that fails: raises ConfigError if `required`, otherwise logs a warning.
        """
        bound = bind("METRICS_ADDR", host, port, required=required)
        if isinstance(bound, str):
            log.warning("health.no_port", message=f"Probes and metrics are disabled: {bound}")
        else:
            self._socket = bound

    async def serve(self) -> None:
        """Serve from now on, if a port is bound. The web framework is imported in a thread."""
        if self._socket is None:
            return
        await asyncio.to_thread(importlib.import_module, "peekaping_producer.web.probes")
        from aiohttp import web

        from peekaping_producer.web.probes import Probes

        self._runner = Probes(self._health, self._metrics).runner()
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()
        host, port = self._socket.getsockname()[:2]
        log.info("health.listening", message="Serving /livez, /readyz and /metrics.", host=host, port=port)

    async def stop(self) -> None:
        """Close the port."""
        if self._runner:
            await self._runner.cleanup()
        if self._socket:
            self._socket.close()
