"""Checks the queue after a hand-off, and reads the times of its tasks."""

from collections.abc import Mapping

import msgspec
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq_keys import PENDING, TASK_ID_PREFIX, TASK_KEY_PREFIX
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import decode

_CHUNK = 1000


class _Payload(msgspec.Struct):
    monitor_id: str


async def handed_off_at_ms(redis: Redis, ids: list[str]) -> dict[str, float]:
    """Return when each of `ids` was handed off first, by Redis TIME in ms.

    Raises AssertionError if one has not exactly one pending task, or the payload of its task is of another monitor.
    """
    pending = [each.decode() for each in await redis.lrange(PENDING, 0, -1)]
    assert len(pending) == len(set(pending)), "a task is pending twice"
    missing = {TASK_ID_PREFIX + each for each in ids} - set(pending)
    assert not missing, f"{len(missing)} of {len(ids)} monitors have no pending task"
    at: dict[str, float] = {}
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        async with redis.pipeline(transaction=False) as pipe:
            for each in some:
                pipe.hmget(TASK_KEY_PREFIX + TASK_ID_PREFIX + each, "pending_since", "msg")
            rows = await pipe.execute()
        for each, (since, message) in zip(some, rows, strict=True):
            assert msgspec.json.decode(decode(message).payload, type=_Payload).monitor_id == each
            at[each] = int(since) / 1e6
    return at


async def first_and_last_ms(redis: Redis, ids: list[str], interval: int) -> tuple[float, float, int]:
    """Return when the first and the last of `ids` were handed off, and the size of the first batch.

    Raises AssertionError as handed_off_at_ms does, if a lease is left or a due time is not a tick of `interval` (s).
    """
    at = await handed_off_at_ms(redis, ids)
    assert await redis.zcard(KEYS.lease) == 0, "monitors are still leased"
    due = dict(await redis.zrange(KEYS.due, 0, -1, withscores=True))
    assert len(due) == len(ids), f"{len(due)} of {len(ids)} monitors are due again"
    assert all(score % (interval * 1000) == 0 for score in due.values()), "due times are not aligned"
    times = list(at.values())
    assert await redis.llen(PENDING) == len(ids), "tasks of other monitors are pending"
    first = min(times)
    return first, max(times), times.count(first)


async def lateness_ms(redis: Redis, due: Mapping[str, float]) -> list[float]:
    """Return the ms from each due time (ms, by id) to the first hand-off."""
    at = await handed_off_at_ms(redis, list(due))
    late = [at[each] - due_ms for each, due_ms in due.items()]
    assert min(late) > -1.0, f"a task was handed off {-min(late):.1f} ms before it was due"
    return late
