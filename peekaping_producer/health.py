"""The HTTP endpoint for probes and metrics: /livez, /readyz, /metrics."""

import errno
import os

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from peekaping_producer.errors import ConfigError
from peekaping_producer.metrics import Metrics
from peekaping_producer.vitals import Vitals

log = structlog.stdlib.get_logger()


class HealthServer:
    """Serves what Vitals and Metrics know; nothing here asks Redis or the database."""

    def __init__(self, vitals: Vitals, metrics: Metrics) -> None:
        self._vitals = vitals
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, *, required: bool) -> None:
        """Listen on `host`:`port`. Where that is taken: ConfigError if `required`, otherwise a warning."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._serve_metrics),
            ]
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            known = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({known})"
            if required:
                raise ConfigError([f"METRICS_ADDR: {host}:{port} {taken}; takes a free host:port, or off"]) from None
            log.warning("health.no_port", message=f"{host}:{port} {taken}: no probes and metrics. Set METRICS_ADDR.")
            return
        self._runner = runner
        port = runner.addresses[0][1]  # 0 took a free one
        log.info("health.listening", message="Serving /livez, /readyz and /metrics.", host=host, port=port)

    async def stop(self) -> None:
        """Close the port."""
        if self._runner:
            await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        stalled = self._vitals.stalled()
        return web.json_response({"alive": not stalled, "stalled": stalled}, status=503 if stalled else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self._vitals.unready()
        body = {"ready": not reasons, "reasons": reasons, "remarks": self._vitals.noted()}
        return web.json_response(body, status=503 if reasons else 200)

    async def _serve_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
