"""The pages of the HTTP endpoint. Imported once the port is served: aiohttp takes a third of a second."""

import json
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from peekaping_producer.metrics import Metrics
from peekaping_producer.web.health import Health
from peekaping_producer.web.malformed import silence_malformed_requests

silence_malformed_requests()


@web.middleware
async def _without_a_body(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse requests that have a body, without reading it: no page needs one."""
    if not request.body_exists:
        return await handler(request)
    response = web.Response(status=413)
    response.force_close()
    return response


def _json(body: dict[str, object], status: int) -> web.Response:
    return web.json_response(text=json.dumps(body) + "\n", status=status)


class Probes:
    """/livez, /readyz and /metrics, from Health and Metrics; nothing here calls Redis or the database."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics

    def runner(self) -> web.AppRunner:
        """Return the aiohttp runner; the caller sets it up and adds a site."""
        app = web.Application(middlewares=[_without_a_body])
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._serve_metrics),
            ]
        )
        return web.AppRunner(app, access_log=None, handle_signals=False, lingering_time=0)

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(text="peekaping-producer: /livez /readyz /metrics\n")

    async def _livez(self, _request: web.Request) -> web.Response:
        stalled = self._health.stalled()
        return _json({"alive": not stalled, "stalled": stalled}, 503 if stalled else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self._health.unready()
        body: dict[str, object] = {"ready": not reasons, "reasons": reasons, "notes": self._health.notes()}
        if verdict := self._health.verdict():
            body["verdict"] = verdict
        return _json(body, 503 if reasons else 200)

    async def _serve_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
