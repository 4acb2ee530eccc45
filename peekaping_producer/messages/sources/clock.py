"""The source that sends the time: one message per interval, at the multiples of the interval since the Unix epoch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from peekaping_producer.errors import RelayClosedError
from peekaping_producer.messages.buffer import Refused
from peekaping_producer.messages.relay import Relay
from peekaping_producer.service.loop import Loop
from peekaping_producer.transports.message import Message

log = structlog.stdlib.get_logger()

MAX_SLEEP_S = 1.0
"""The clock is read again after this time at the latest, since it may have been set."""


def datetime_body(tick: datetime) -> bytes:
    """{"datetime": "2026-01-31 10:30:00"}, in UTC."""
    return msgspec.json.encode({"datetime": tick.strftime("%Y-%m-%d %H:%M:%S")})


class ClockSource:
    """Sends each tick at most once; one that passed while the relay was full or the process away is not sent later."""

    loops: Sequence[Loop] = ()
    """None: it waits for the clock and for the relay alone."""

    def __init__(
        self,
        name: str,
        interval_s: float,
        relay: Relay,
        *,
        body: Callable[[datetime], bytes] = datetime_body,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """The id of a message is `<name>:<tick in ms>`. `now` returns Unix time in seconds."""
        self._name = name
        self._interval_ms = round(interval_s * 1000)
        if self._interval_ms < 1:
            raise ValueError(f"interval: expected at least 0.001 seconds, got {interval_s:g}")
        self._relay = relay
        self._body = body
        self._now = now
        self._sleep = sleep
        self._sent_ms = 0
        self._stopping = False

    async def run(self) -> None:
        """Send until canceled, or until the relay closes or `stop` was called."""
        self._sent_ms = self._tick_before(self._now())
        while not self._stopping:
            tick_ms = self._sent_ms + self._interval_ms
            remaining_s = tick_ms / 1000 - self._now()
            if remaining_s > 0:
                await self._sleep(min(remaining_s, MAX_SLEEP_S))
                continue
            latest_ms = self._tick_before(self._now())
            if latest_ms > tick_ms:
                log.warning(
                    "tick.missed",
                    message="Skipped ticks that passed while the relay was full or the process was stopped.",
                    count=(latest_ms - tick_ms) // self._interval_ms,
                )
            try:
                await self._send(latest_ms)
            except RelayClosedError:
                return

    def stop(self) -> None:
        """Send no more."""
        self._stopping = True

    def _tick_before(self, now: float) -> int:
        return int(now * 1000) // self._interval_ms * self._interval_ms

    async def _send(self, tick_ms: int) -> None:
        body = self._body(datetime.fromtimestamp(tick_ms / 1000, UTC))
        future = await self._relay.put([Message(f"{self._name}:{tick_ms}", body, "application/json")])
        future.add_done_callback(self._report)
        self._sent_ms = tick_ms

    def _report(self, future: "asyncio.Future[Refused]") -> None:
        """Log a tick that the broker refused: there is nothing to repeat."""
        if not future.cancelled() and not future.exception() and future.result():
            log.warning("tick.refused", message="The broker refused a tick.", error=future.result()[0])
