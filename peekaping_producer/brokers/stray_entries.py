"""Entries of the pending list that stand for no task, or for one that an earlier entry stands for.

asynq turns an entry without a task into a task that never ends and blocks its monitor.
"""

from collections import Counter

import structlog

from peekaping_producer.brokers.asynq_keys import ASYNQ_PRELUDE, PENDING, TASK_KEY_PREFIX
from peekaping_producer.brokers.protocol import SweepResult
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK, Script
from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.isolation import describe, isolate
from peekaping_producer.transports.asynq.calls import LARGE_BYTES, concerns_every_call

log = structlog.stdlib.get_logger()
_CHUNK = 500
_STRAYS_AT_ONCE = 50
"""LPOS and LREM cost the length of the list: 50 of them hold a list of 100,000 for about 0.1 s."""


class StrayEntries:
    """Finds and removes the stray entries of the pending list."""

    def __init__(self, redis: Client, *, clock: str = CLOCK) -> None:
        self._redis = redis
        self._inspect_pending = Script(__package__, "inspect_pending", prelude=clock + ASYNQ_PRELUDE)
        self._sweep_pending = Script(__package__, "sweep_pending", prelude=clock + ASYNQ_PRELUDE)

    async def remove(self) -> SweepResult:
        """Remove them; return how many of each kind."""
        swept = SweepResult(0, 0)

        async def remove_some(ids: list[bytes]) -> None:
            nonlocal swept
            reply = await self._sweep_pending.run(self._redis, (PENDING,), (TASK_KEY_PREFIX, *ids))
            with decoding():
                orphans, duplicates = reply
                swept = SweepResult(swept.orphans + orphans, swept.duplicates + duplicates)

        def leave(task_id: bytes, error: Exception) -> None:
            log.warning(
                "queue.unremovable",
                message="Redis refused to remove a stray entry.",
                task_id=ascii(task_id[:40])[2:-1],
                error=describe(error),
            )

        orphans, duplicates = await self._found()
        strays = [*orphans, *duplicates]
        for ids in chunks([each for each in strays if len(each) < LARGE_BYTES], _STRAYS_AT_ONCE):
            await isolate(ids, remove_some, leave)
        for ids in chunks([each for each in strays if len(each) >= LARGE_BYTES], 1):
            await isolate(ids, remove_some, leave, is_of_dependency=concerns_every_call)
        return swept

    async def count(self) -> SweepResult:
        """Count those that `remove` would remove."""
        orphans, duplicates = await self._found()
        return SweepResult(orphans.total(), duplicates.total())

    async def _found(self) -> tuple[Counter[bytes], Counter[bytes]]:
        """Count the entries of the pending list without a task, and second entries, by id.

        Pushes to the head do not move what is read here.
        """
        seen: set[bytes] = set()
        orphans, duplicates = Counter[bytes](), Counter[bytes]()
        stop = -1
        while True:
            start = stop - _CHUNK + 1
            reply = await self._inspect_pending.run(self._redis, (PENDING,), (TASK_KEY_PREFIX, start, stop))
            with decoding():
                ids, without_task = reply
                orphans.update(without_task)
            for task_id in ids:
                if task_id in seen:
                    duplicates[task_id] += 1
                seen.add(task_id)
            if len(ids) < _CHUNK:
                return orphans, Counter({each: count for each, count in duplicates.items() if each not in orphans})
            stop = start - 1
