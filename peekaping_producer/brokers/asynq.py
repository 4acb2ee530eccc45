"""The broker that Peekaping's Go workers consume: hibiken/asynq 0.25 queues, in the schedule's own Redis.

One script enqueues and reschedules, so there is no instant at which one of the two has happened.
"""

import time
from functools import lru_cache

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from peekaping_producer.backoff import Backoff
from peekaping_producer.brokers import HandOff
from peekaping_producer.schedule import Claim, Outcome, chunks, keys
from peekaping_producer.schedule.script import CLOCK, Script
from peekaping_producer.task import HealthCheckTask

QUEUE = "healthcheck"
TASK_TYPE = "monitor:healthcheck"
TASK_ID_PREFIX = "healthcheck:"
DEFAULT_TIMEOUT_S = 1800
"""asynq's default: a message with neither timeout nor deadline is an error to its workers."""

REPEAT_FOR_S = 8.0
"""How long a hand-off is repeated whose reply was lost; then the lease runs out and others take over."""

_QUEUES = "asynq:queues"
QUEUE_KEY = f"asynq:{{{QUEUE}}}:"
PENDING = QUEUE_KEY + "pending"
TASK_KEY_PREFIX = QUEUE_KEY + "t:"
_HAND_OFF_KEYS = (
    keys.DUE,
    keys.LEASE,
    _QUEUES,
    *(QUEUE_KEY + name for name in ("pending", "active", "lease", "retry", "scheduled", "archived", "completed")),
)
_LISTS = ("pending", "active")
_SETS = ("archived", "completed", "retry", "scheduled")
_PACKAGE = "peekaping_producer.brokers"
_STRETCH = 500
_SUSPECTS_AT_ONCE = 50
"""LPOS and LREM cost the length of the list: 50 of them hold a list of 100,000 for about 0.1 s."""


class AsynqBroker:
    """Hands tasks to asynq's queue `healthcheck`."""

    def __init__(self, redis: Redis, *, clock: str = CLOCK) -> None:
        self._redis = redis
        self._hand_off = Script(_PACKAGE, "hand_off", clock=clock)
        self._look_at_pending = Script(_PACKAGE, "look_at_pending", clock=clock)
        self._sweep_pending = Script(_PACKAGE, "sweep_pending", clock=clock)

    async def hand_off(self, claim: Claim, tasks: list[HealthCheckTask]) -> HandOff:
        """See Broker. Where a reply was lost the call is repeated, and what it then finds gone is `unconfirmed`."""
        args: list[str | bytes | int] = [claim.token, QUEUE, TASK_KEY_PREFIX, TASK_ID_PREFIX]
        for task in tasks:
            args += (task.monitor_id, task.interval * 1000, encode_message(task))
        repeated = False
        give_up_at = min(claim.ends_at, time.monotonic() + REPEAT_FOR_S)
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                now_ms, outcomes = await self._hand_off.run(self._redis, _HAND_OFF_KEYS, args)
                break
            except (RedisConnectionError, RedisTimeoutError, OSError):
                if time.monotonic() >= give_up_at:
                    raise
                repeated = True
                await backoff.wait()
        lost = Outcome.UNCONFIRMED if repeated else Outcome.LOST
        exceptions = {
            tasks[index - 1].monitor_id: lost if outcome == b"lost" else Outcome(outcome.decode())
            for index, outcome in zip(outcomes[::2], outcomes[1::2], strict=True)
        }
        return HandOff(now_ms, exceptions)

    async def sweep_pending(self) -> tuple[int, int]:
        """Walk the pending list; remove entries without a task and entries that stand in it twice, and count them.

        asynq makes a task that never ends out of an entry without one, which would silence its monitor.
        """
        seen: set[bytes] = set()
        suspects: list[bytes] = []
        stop = -1  # from the tail: what is pushed meanwhile, at the head, moves nothing
        while True:
            ids, orphans = await self._look_at_pending.run(
                self._redis, (PENDING,), (TASK_KEY_PREFIX, stop - _STRETCH + 1, stop)
            )
            suspects += orphans
            for task_id in ids:
                if task_id in seen:
                    suspects.append(task_id)
                seen.add(task_id)
            if len(ids) < _STRETCH:
                break
            stop -= _STRETCH
        swept_orphans = swept_doubles = 0
        for some in chunks(list(dict.fromkeys(suspects)), _SUSPECTS_AT_ONCE):
            orphaned, doubled = await self._sweep_pending.run(self._redis, (PENDING,), (TASK_KEY_PREFIX, *some))
            swept_orphans += orphaned
            swept_doubles += doubled
        return swept_orphans, swept_doubles

    async def depths(self) -> dict[str, int]:
        """How many tasks the queue holds, by state."""
        async with self._redis.pipeline(transaction=True) as pipe:
            for name in _LISTS:
                pipe.llen(QUEUE_KEY + name)
            for name in _SETS:
                pipe.zcard(QUEUE_KEY + name)
            counts = await pipe.execute()
        return dict(zip(_LISTS + _SETS, counts, strict=True))


def encode_message(task: HealthCheckTask) -> bytes:
    """asynq's TaskMessage (protobuf, proto3: zero values are absent): type, payload, id, queue, timeout.

    Joined bytes cost 0.2 µs, the protobuf library 3.5. No unique lock: its key is the hash of a payload that holds the
    time, so it never matched anything.
    """
    task_id = (TASK_ID_PREFIX + task.monitor_id).encode()
    return b"".join(
        (
            _HEAD,
            _varint(len(task.payload)),
            task.payload,
            b"\x1a",
            _varint(len(task_id)),
            task_id,
            _QUEUE_FIELD,
            _varint(task.timeout if task.timeout > 0 else DEFAULT_TIMEOUT_S),
        )
    )


@lru_cache(maxsize=65536)
def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_HEAD = b"\x0a" + _varint(len(TASK_TYPE)) + TASK_TYPE.encode() + b"\x12"
_QUEUE_FIELD = b"\x22" + _varint(len(QUEUE)) + QUEUE.encode() + b"\x40"
