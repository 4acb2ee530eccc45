"""The life of one process that relays or consumes messages: start, watch, drain."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from peekaping_producer import logs
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.health import MessagesHealth, Watched
from peekaping_producer.messages.relay import Relay
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.settings import Settings
from peekaping_producer.web.server import HealthServer

log = structlog.stdlib.get_logger()

_PROGRESS_EVERY_S = 1.0
_LOG_WITHIN_S = 0.2


class Source(Protocol):
    """What a relay gets its messages from."""

    async def run(self) -> None:
        """Pass on messages until `stop` is called, or canceled."""

    def stop(self) -> None:
        """Pass on no more."""


class Part(Watched, Protocol):
    """The work of the process."""

    async def run(self) -> None:
        """Work until drained, or canceled."""

    async def drain(self, within_s: float) -> int:
        """Accept no more, finish what is held; return how many messages are left to their broker or source."""

    def progress(self) -> str:
        """How far the work has come, in a line."""


class RelayPart:
    """A source and its relay."""

    def __init__(self, relay: Relay, source: Source) -> None:
        self._relay = relay
        self._source = source
        self.stopping = False

    def __str__(self) -> str:
        return "relay"

    @property
    def loops(self) -> Sequence[Loop]:
        """See Part."""
        return [self._relay.loop]

    async def run(self) -> None:
        """See Part."""
        source = asyncio.create_task(self._source.run(), name="source")
        relay = asyncio.create_task(self._relay.run(), name="relay")
        try:
            done, _ = await asyncio.wait({source, relay}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await asyncio.gather(source, relay)
        finally:
            await cancel_and_wait(source, relay)

    async def drain(self, within_s: float) -> int:
        """See Part. Lines that are not confirmed are sent again after the next start."""
        self.stopping = True
        self._source.stop()
        return await self._relay.drain(within_s)

    def progress(self) -> str:
        """See Part."""
        progress = self._relay.progress()
        return f"{progress.lines:,} lines   {progress.rate:,.0f}/s   lag {progress.lag_s:.1f} s"


class ConsumerPart:
    """A consumer."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def __str__(self) -> str:
        return "consumer"

    @property
    def loops(self) -> Sequence[Loop]:
        """See Part."""
        return self._consumer.loops

    @property
    def stopping(self) -> bool:
        """See Part."""
        return self._consumer.stopping

    async def run(self) -> None:
        """See Part."""
        await self._consumer.run()

    async def drain(self, within_s: float) -> int:
        """See Part."""
        return await self._consumer.drain(within_s)

    def progress(self) -> str:
        """See Part."""
        return f"{self._consumer.consumed:,} messages   {self._consumer.held:,} in progress"


class MessageService:
    """Runs a part with probes, metrics and signals."""

    def __init__(self, settings: Settings, part: Part, dependencies: Dependencies, metrics: Metrics) -> None:
        self._settings = settings
        self._part = part
        self._health = HealthServer(MessagesHealth(part, dependencies), metrics)
        self._stopping = asyncio.Event()
        self._signals = 0

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP, then drain. Raises what the part does."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        if address := self._settings.metrics_address:
            self._health.bind(*address, required=self._settings.metrics_addr_explicit)
        log.info("service.started", message=f"Started: {self._part}.", broker=self._settings.broker or "rabbitmq")
        part = asyncio.create_task(self._part.run(), name="part")
        showing = asyncio.create_task(self._show_progress())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await self._health.serve()
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
            await self._health.stop()

    def stop(self) -> None:
        """Drain and stop; a second call exits at once."""
        self._signals += 1
        if self._signals > 1:
            log.warning("service.aborted", message="Second signal: exiting at once.")
            logs.drain(within_s=_LOG_WITHIN_S)
            os._exit(1)
        log.info("service.stopping", message="Stopping: finishing the messages in progress.")
        self._stopping.set()

    async def _drain(self, part: "asyncio.Task[None]") -> None:
        began_at = time.monotonic()
        left = await self._part.drain(self._settings.shutdown_grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.wait({part})
        if not part.done():
            await cancel_and_wait(part)
        took_ms = round((time.monotonic() - began_at) * 1000)
        message = (
            "Stopped. Unfinished messages are sent or delivered again."
            if left
            else "Stopped; no message is unfinished."
        )
        log.info("service.stopped", message=message, left=left, took_ms=took_ms)

    async def _show_progress(self) -> None:
        """Keep one line up to date on a terminal."""
        while sys.stdout.isatty():
            print(f"\r\x1b[K{self._part.progress()}", end="", flush=True)
            await asyncio.sleep(_PROGRESS_EVERY_S)
