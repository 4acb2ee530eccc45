"""Collects the fleet events of one replica; they are written to Redis with its next report."""

import time
from collections import deque
from collections.abc import Callable

import structlog

from peekaping_producer.operations.fleet_events import FleetEvent, encode_event

log = structlog.stdlib.get_logger()

PER_SECOND = 20
"""Events of a second that are recorded; more are counted."""
MAX_WAITING = 200
"""Events that wait for Redis."""
RETRY_AFTER_S = 60.0
"""After a refusal."""


class EventRecorder:
    """Events may be lost: with their replica, if Redis is unavailable for long, or if they are too many."""

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.monotonic())  # noqa: PLW0108 - tests patch time.monotonic
        self._waiting: deque[tuple[float, str, str, str | None]] = deque()
        self._omitted = 0
        self._second = 0
        self._in_second = 0
        self._encoded = (0, 0)
        """Events that `encoded` returned last, and omitted ones that it counted."""
        self._is_refused = False
        self._refused_until = 0.0

    def record(self, kind: str, message: str, *, monitor_id: str | None = None) -> None:
        """Record one event. `kind`: the name of its log event; `message`: a sentence without secrets."""
        now = self._clock()
        if now < self._refused_until:
            return
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        self._in_second += 1
        if self._in_second > PER_SECOND or len(self._waiting) >= MAX_WAITING:
            self._omitted += 1
            return
        self._waiting.append((now, kind, message, monitor_id))

    def encoded(self, node: str, redis_ms: Callable[[float], int]) -> list[bytes]:
        """Return what waits, to be written. `redis_ms`: Redis TIME by time.monotonic()."""
        events = [
            FleetEvent(redis_ms(at), kind, message, node, monitor_id) for at, kind, message, monitor_id in self._waiting
        ]
        if self._omitted:
            message = f"{self._omitted} more {'event was' if self._omitted == 1 else 'events were'} not recorded."
            events.append(FleetEvent(redis_ms(self._clock()), "events.omitted", message, node))
        self._encoded = (len(self._waiting), self._omitted)
        return [encode_event(event) for event in events]

    def written(self) -> None:
        """Remove what `encoded` returned last: Redis has answered. More may have been recorded since."""
        events, omitted = self._encoded
        for _ in range(events):
            self._waiting.popleft()
        self._omitted -= omitted
        self._encoded = (0, 0)
        if self._is_refused and events + omitted:
            self._is_refused = False
            log.info("fleet.events_accepted", message="Redis accepts the stream of fleet events again.")

    def refused(self, reason: str) -> None:
        """Redis does not permit the stream: log it once, and record nothing for RETRY_AFTER_S."""
        self._waiting.clear()
        self._omitted, self._encoded = 0, (0, 0)
        self._refused_until = self._clock() + RETRY_AFTER_S
        if not self._is_refused:
            self._is_refused = True
            log.warning(
                "fleet.events_refused",
                message="Redis refuses the stream of fleet events; the replica works without them. See Permissions.",
                error=reason,
            )
