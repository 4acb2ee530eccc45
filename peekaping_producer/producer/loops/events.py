"""The event subscription: monitor events of the API server become hints."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import structlog

from peekaping_producer.errors import REDIS
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.events import CHANNEL_PREFIX, CHANNELS, TYPES, monitor_id_of
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.subscription import messages_of
from peekaping_producer.schedule import MAX_ID_LENGTH
from peekaping_producer.service.dedupe import Deduplicator
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop

log = structlog.stdlib.get_logger()


class EventListener:
    """Keeps a subscription; each new one requests a sync, since events may have been missed."""

    def __init__(
        self,
        redis: Client,
        hints: Hints,
        *,
        is_id: Callable[[str], bool],
        on_subscribed: Callable[[], None],
        metrics: Metrics,
        dependencies: Dependencies,
    ) -> None:
        self.loop = Loop("events", dependencies, uses=(REDIS,))
        self._redis = redis
        self._hints = hints
        self._is_id = is_id
        self._on_subscribed = on_subscribed
        self._metrics = metrics
        self._logged = Deduplicator()

    async def run(self) -> None:
        """Listen until canceled; subscribe again whenever the connection breaks."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Subscribe and listen until the connection breaks, which raises RedisError."""
        async with aclosing(messages_of(self._redis, *CHANNELS, on_step=self.loop.progressed)) as messages:
            async for message in messages:
                self._handle(message)
        return 0.0

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe" and message["channel"].decode().endswith(TYPES[-1]):
            log.info("events.subscribed", message="Listening to monitor events.")
            self.loop.turn_succeeded()
            self._on_subscribed()
        elif message["type"] == "message":
            kind = message["channel"].decode().removeprefix(CHANNEL_PREFIX)
            self._metrics.events.labels(kind, self._hint(kind, message["data"])).inc()

    def _hint(self, kind: str, data: bytes) -> str:
        """Turn one event into a hint; returns the outcome as the metric's label."""
        try:
            monitor_id = monitor_id_of(data)
        except ValueError as error:
            if self._logged.is_new(kind):
                log.warning("events.malformed", message="Ignored a malformed event.", type=kind, error=str(error))
            return "malformed"
        if monitor_id is None:
            return "ignored"
        if len(monitor_id) > MAX_ID_LENGTH or not self._is_id(monitor_id):
            return "foreign"
        self._hints.add((monitor_id,))
        return "hinted"
