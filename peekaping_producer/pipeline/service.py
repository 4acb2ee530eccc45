"""The life of one process that relays or consumes messages: start, watch, drain."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import NoReturn

import structlog

from peekaping_producer import logs
from peekaping_producer.metrics import Metrics
from peekaping_producer.pipeline import progress_line
from peekaping_producer.pipeline.part import Part
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.stop_signals import StopSignals
from peekaping_producer.settings import Settings
from peekaping_producer.web.server import HealthServer

log = structlog.stdlib.get_logger()

_LOG_WITHIN_S = 0.2
_CLOSE_WITHIN_S = 2.0
"""The part of the grace time that is kept for closing connections and files."""
_CANCEL_WITHIN_S = 8.0
"""After the grace time: work on a hung disk, for example, must not keep the process alive."""
STALLED_AFTER_S = 60.0
"""A loop at work that has not advanced for so long is reported as stuck."""


class MessageService:
    """Runs a part with metrics, signals, and probes (see web.health.Health): a process without messages is ready."""

    def __init__(
        self,
        settings: Settings,
        part: Part,
        dependencies: Dependencies,
        metrics: Metrics,
        *,
        metrics_address: tuple[str, int] | None = None,
        shows_progress: bool = True,
    ) -> None:
        """`metrics_address`: host and port of probes and metrics if METRICS_ADDR is not set.

        `shows_progress`: whether a terminal shows how far the part has come.
        """
        self._settings = settings
        use_default = metrics_address is not None and not settings.metrics_addr_explicit
        self.metrics_address = metrics_address if use_default else settings.metrics_address
        """Host and port of probes and metrics; None if they are off."""
        self._part = part
        self._shows_progress = shows_progress
        self._dependencies = dependencies
        self._server = HealthServer(self, metrics)
        self._stopping = asyncio.Event()

    def stalled(self) -> list[str]:
        """See Health."""
        return [loop.name for loop in self._part.loops if loop.stalled_s > STALLED_AFTER_S]

    def unready(self) -> dict[str, str]:
        """See Health: `draining`, and `<dependency>_unavailable`."""
        reasons = {"draining": "the process stops"} if self._part.stopping else {}
        for name, trouble in self._dependencies.troubles.items():
            reasons[f"{name}_unavailable"] = f"for {time.monotonic() - trouble.since:.0f} s: {trouble.reason}"
        return reasons

    def verdict(self) -> None:
        """See Health: a process of messages is not part of a fleet."""

    def notes(self) -> list[str]:
        """See Health: none."""
        return []

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP, then drain. Raises what the part does."""
        StopSignals(self.stop, lambda: _abort("Second signal: exiting at once.")).listen()
        if self.metrics_address:
            self._server.bind(*self.metrics_address, required=self._settings.metrics_addr_explicit)
        log.info("service.started", message=f"Started: {self._part}.", **self._destination())
        part = asyncio.create_task(self._part.run(), name="part")
        showing = asyncio.create_task(self._show_progress())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await self._server.serve()
            await asyncio.wait({part, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not part.done():
                await self._drain(part)
            part.result()
        except asyncio.CancelledError:  # the part was canceled at the end of the grace time
            if not self._stopping.is_set():
                raise
        finally:
            stopping.cancel()
            await cancel_and_wait(showing, part)
            await self._server.stop()

    def _destination(self) -> dict[str, str]:
        broker = self._settings.broker or "rabbitmq"
        queues = {"rabbitmq": self._settings.rabbitmq_queue, "asynq": self._settings.asynq_queue}
        return {"broker": broker} | ({"queue": queues[broker]} if broker in queues else {})

    def stop(self, _how: signal.Signals = signal.SIGTERM) -> None:
        """Drain and stop."""
        if not self._stopping.is_set():
            log.info(
                "service.stopping",
                message="Stopping: finishing the messages in progress. A second signal exits at once.",
                grace_s=self._settings.shutdown_grace,
            )
        self._stopping.set()

    async def _drain(self, part: "asyncio.Task[None]") -> None:
        began_at = time.monotonic()
        grace_s = self._settings.shutdown_grace
        close_s = min(_CLOSE_WITHIN_S, grace_s / 2)
        left = await self._part.drain(grace_s - close_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(close_s):
                await asyncio.wait({part})
        if not part.done():
            canceling = asyncio.create_task(cancel_and_wait(part))
            await asyncio.wait({canceling}, timeout=_CANCEL_WITHIN_S)
            if not part.done():
                _abort(f"Work did not end within {_CANCEL_WITHIN_S:g} s after it was canceled: exiting at once.")
        took_ms = round((time.monotonic() - began_at) * 1000)
        message = (
            "Stopped. Unfinished messages are sent or delivered again."
            if left
            else "Stopped; no message is unfinished."
        )
        log.info("service.stopped", message=message, left=left, took_ms=took_ms)

    async def _show_progress(self) -> None:
        if self._shows_progress:
            await progress_line.show(self._part.progress)


def _abort(message: str) -> NoReturn:
    log.warning("service.aborted", message=message)
    logs.drain(within_s=_LOG_WITHIN_S)
    os._exit(1)
