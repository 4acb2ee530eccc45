"""Reads what `top` shows."""

import time
from collections.abc import Callable

from peekaping_producer.brokers import Queue
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import RedisError, RedisRefusedError
from peekaping_producer.operations.heartbeat import SLOTS
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.top.view import View
from peekaping_producer.schedule import Details, Schedule, Slots, Stats

EVENTS = 50
"""That are read; the screen shows fewer, and counts those of the last minute."""


class TopReader:
    """While Redis does not answer, it returns the latest reading, with the failure."""

    def __init__(
        self, schedule: Schedule, broker: AsynqBroker | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`broker`: None if the tasks are not in asynq's queue."""
        self._schedule = schedule
        self._broker = broker
        self._clock = clock
        self._stats: Stats | None = None
        self._queue: Queue | None = None
        self._details = Details(0)
        self._details_width_s = 0
        self._ms_ahead = 0.0
        """Redis TIME minus the local clock, in ms."""
        self._failing_since: float | None = None

    async def read(self, width_s: int) -> View:
        """Read everything. `width_s`: of the slots of due times, 1 or 10. Also marks the fleet as watched."""
        try:
            stats = await self._schedule.stats()
            slot_ms = stats.now_ms // 1000 // width_s * width_s * 1000
            self._details = await self._schedule.look(
                members=0, slots=Slots(slot_ms, 1000 * width_s, SLOTS + 1), events=EVENTS, watch=True
            )
            self._details_width_s = width_s
            self._queue = await self._broker.inspect() if self._broker else None
        except RedisError as error:
            return self._away(error)
        self._failing_since = None
        self._ms_ahead = stats.now_ms - 1000 * self._clock()
        self._stats = stats
        return View(Look(stats, self._queue), self._details, width_s)

    def _away(self, error: RedisError) -> View:
        now = self._clock()
        self._failing_since = self._failing_since or now
        since_ms = 1000 * self._failing_since + self._ms_ahead if self._stats else None
        look = Look(
            self._stats,
            self._queue,
            redis_failure=str(error),
            redis_refuses=isinstance(error, RedisRefusedError),
            redis_failing_since_ms=since_ms,
        )
        return View(look, self._details, self._details_width_s or 1)
