"""A consumer that takes and finishes every task at once, and a record of what it and some looks at the schedule saw."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from peekaping_producer.brokers.asynq_keys import PENDING, TASK_ID_PREFIX, TASK_KEY_PREFIX
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from tests.chaos.history import AnyLine, EndLine, Looked, RowLine, Taken

_AT_ONCE = 1000
_POLL_S = 0.01
_LOOK_EVERY_S = 0.25
# A hand-off enqueues and reschedules in one step, so that the score is the due time that this hand-off has set.
_TAKE = """
local tasks = redis.call('RPOP', KEYS[1], ARGV[1]) or {}
local now = redis.call('TIME')
if #tasks == 0 then return {now, {}, {}, {}} end
local monitors, since = {}, {}
for n, task in ipairs(tasks) do
  monitors[n] = string.sub(task, #ARGV[3] + 1)
  since[n] = redis.call('HGET', ARGV[2] .. task, 'pending_since')
  redis.call('DEL', ARGV[2] .. task)
end
return {now, monitors, since, redis.call('ZMSCORE', KEYS[2], unpack(monitors))}
"""


class HandOff(NamedTuple):
    """One task, as the consumer took it."""

    at: float
    """Seconds since the record began."""
    monitor: str
    enqueued_ms: float
    """By Redis TIME."""
    taken_ms: float
    """By Redis TIME."""
    next_due_ms: float | None
    """The due time at that moment; None if a claim holds the monitor again."""


class HandOffRecord:
    """Every hand-off, and looks at the schedule, in order."""

    def __init__(self, redis: Redis, ids: Sequence[str], interval_s: int) -> None:
        self.hand_offs: list[HandOff] = []
        self.looks: list[Looked] = []
        self.next_due_ms: dict[str, float] = {}
        """By monitor, the latest."""
        self.ids = ids
        self.tasks: list[asyncio.Task[None]] = []
        """Those that record."""
        self._redis = redis
        self._interval_s = interval_s
        self._began_at = time.monotonic()
        self._is_complete = False
        """Whether the schedule has contained every monitor."""

    def lines(self) -> Iterator[AnyLine]:
        """The record as a history for the checker of tests/chaos."""
        yield RowLine(monitors=list(self.ids), interval=self._interval_s, runs=True)
        period_ms = self._interval_s * 1000
        looks = iter([*self.looks, None])
        look = next(looks)
        for hand_off in self.hand_offs:
            while look and look.at <= hand_off.at:
                yield look
                look = next(looks)
            enqueued_ms = int(hand_off.enqueued_ms)
            yield Taken(
                at=hand_off.at,
                monitor=hand_off.monitor,
                tick=enqueued_ms // period_ms,
                interval=self._interval_s,
                scheduled_at_ms=enqueued_ms,
                enqueued_at_ms=enqueued_ms,
            )
        while look:
            yield look
            look = next(looks)
        yield EndLine(at=self._now())

    def require_whole(self) -> None:
        """Raise the error of a task that has ended."""
        for task in self.tasks:
            if task.done():
                task.result()

    async def take(self) -> None:
        """Take tasks until canceled."""
        sha = await self._redis.script_load(_TAKE)
        arguments = (2, PENDING, KEYS.due, _AT_ONCE, TASK_KEY_PREFIX, TASK_ID_PREFIX)
        while True:
            (seconds, micros), *found = cast(Any, await self._redis.evalsha(sha, *arguments))
            taken_ms = int(seconds) * 1000 + int(micros) / 1000
            at = self._now()
            for name, since, due in zip(*found, strict=True):
                monitor, next_due_ms = name.decode(), None if due is None else float(due)
                self.hand_offs.append(HandOff(at, monitor, int(since) / 1_000_000, taken_ms, next_due_ms))
                if next_due_ms is not None:
                    self.next_due_ms[monitor] = next_due_ms
            if len(found[0]) < _AT_ONCE:
                await asyncio.sleep(_POLL_S)

    async def look(self) -> None:
        """Look at the schedule until canceled. Raises AssertionError if it no longer contains every monitor."""
        while True:
            await self._look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.time()
            pipe.get(KEYS.leader)
            pipe.exists(KEYS.spread)
            pipe.llen(PENDING)
            pipe.zcard(KEYS.due)
            pipe.zcard(KEYS.lease)
            pipe.zrange(KEYS.due, 0, 0, withscores=True)
            (seconds, micros), leader, spread, pending, due, leased, first = await pipe.execute()
        redis_ms, entered = seconds * 1000 + micros // 1000, []
        if due + leased == len(self.ids) and not self._is_complete:
            self._is_complete, entered = True, list(self.ids)
        count = due + leased
        assert count == len(self.ids) or not self._is_complete, f"{count} of {len(self.ids)} monitors are scheduled"
        self.looks.append(
            Looked(
                at=self._now(),
                entered=entered,
                left=[],
                overdue_s=max(0.0, (redis_ms - first[0][1]) / 1000) if first else 0.0,
                leased=leased,
                pending=pending,
                redis_ms=redis_ms,
                leader=leader.decode() if leader else None,
                next_back=[],
                spread=bool(spread),
            )
        )

    def _now(self) -> float:
        return time.monotonic() - self._began_at


@asynccontextmanager
async def recorded(redis: Redis, ids: Sequence[str], interval_s: int) -> AsyncIterator[HandOffRecord]:
    """Record during the block. Raises AssertionError at its end if the record is not whole."""
    record = HandOffRecord(redis, ids, interval_s)
    record.tasks = [asyncio.create_task(record.take()), asyncio.create_task(record.look())]
    try:
        yield record
        record.require_whole()
    finally:
        await cancel_and_wait(*record.tasks)
