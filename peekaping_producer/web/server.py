"""The port of the HTTP endpoint for probes and metrics: taken at the start, answered once the loops run."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import socket
from typing import TYPE_CHECKING

import structlog

from peekaping_producer.errors import ConfigError
from peekaping_producer.metrics import Metrics
from peekaping_producer.targets import shown
from peekaping_producer.web.health import Health

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.stdlib.get_logger()


class HealthServer:
    """Whoever asks before it serves waits for the answer."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._socket: socket.socket | None = None
        self._runner: web.AppRunner | None = None

    def bind(self, host: str, port: int, *, required: bool) -> None:
        """Take `host`:`port`, where "" and :: are all interfaces.

        Where that is taken: ConfigError if `required`, otherwise a warning.
        """
        both = host in {"", "::"} and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, dualstack_ipv6=both)
        except OSError as error:
            known = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({known})"
            where = shown(host, port)
            if required:
                raise ConfigError([f"METRICS_ADDR: {where} {taken}; takes a free host:port, or off"]) from None
            log.warning("health.no_port", message=f"{where} {taken}: no probes and metrics. Set METRICS_ADDR.")

    async def serve(self) -> None:
        """Answer from now on, where there is a port. The web framework is imported beside whatever else runs."""
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
