"""The broker of Peekaping's Go workers: a queue of hibiken/asynq 0.25, in the schedule's own Redis.

One script enqueues and reschedules, so that both happen at once.
"""

import math
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from peekaping_producer.brokers.asynq_keys import (
    ASYNQ_PRELUDE,
    QUEUE,
    QUEUE_KEYS,
    RESULTS_KEYS,
    TASK_ID_PREFIX,
    TASK_KEY_PREFIX,
    TASK_TYPE,
)
from peekaping_producer.brokers.protocol import HandOff, Outcome, Queue, SweepResult
from peekaping_producer.brokers.stray_entries import StrayEntries
from peekaping_producer.errors import REDIS, RedisUnavailableError
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.monitors.ticks import phase_s
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK, Script
from peekaping_producer.schedule import Claim
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.isolation import describe, is_of_dependency, isolate
from peekaping_producer.transports.asynq.calls import LARGE_BYTES, calls_of, concerns_every_call
from peekaping_producer.transports.asynq.keys import QUEUES, SERVERS
from peekaping_producer.transports.asynq.protobuf import varint
from peekaping_producer.transports.asynq.server_info import decode_server_info
from peekaping_producer.transports.asynq.task_message import DEFAULT_TIMEOUT_S

REPEAT_FOR_S = 8.0
"""How long a hand-off is repeated whose reply was lost; then the lease expires and another claim follows."""

UNCOMPLETED_AFTER_S = 60.0
UNCOMPLETED_AFTER_TICKS = 5
"""A worker that has held the task of a monitor for longer than both does not complete it."""

_STATES = ("pending", "active", "archived", "completed", "retry", "scheduled")
_INSPECTED = (*(QUEUE_KEYS.prefix + name for name in (*_STATES, "paused")), SERVERS, QUEUE_KEYS.lease)
_SHOWN = (QUEUE_KEYS.processed, RESULTS_KEYS.pending)

_UNIX_TIME_DIGITS = 10
"""Until the year 2286."""
_COUNTER_DIGITS = 19
"""Of 2**63; a shorter number is a counter, a longer one is not from Redis."""


class AsynqBroker:
    """Hands tasks to asynq's queue `healthcheck`."""

    dependency = REDIS

    def __init__(self, redis: Client, *, keys: Keys = KEYS, clock: str = CLOCK) -> None:
        """`keys` are those of the schedule that the claims are from."""
        self._redis = redis
        names = ("pending", "active", "lease", "retry", "scheduled", "archived", "completed")
        of_queue = (QUEUE_KEYS.prefix + name for name in names)
        self._hand_off_keys = (keys.due, keys.lease, QUEUES, *of_queue, keys.late)
        self._hand_off = Script(__package__, "hand_off", prelude=clock + ASYNQ_PRELUDE)
        self._queue = Script(__package__, "queue", prelude=clock + ASYNQ_PRELUDE)
        self._strays = StrayEntries(redis, clock=clock)

    async def open(self) -> None:
        """See Broker. The queue is in the schedule's own Redis, which is opened and closed with the schedule."""

    async def close(self) -> None:
        """See Broker."""

    async def hand_off(self, claim: Claim, tasks: list[HealthCheckTask]) -> HandOff:
        """See Broker. A call whose reply was lost is repeated; what the claim then no longer holds is `unconfirmed`."""
        parts: list[HandOff] = []
        refused: dict[str, str] = {}

        async def attempt(messages: list[_Message]) -> None:
            parts.append(await self._call(claim, messages))

        def refuse(message: _Message, error: Exception) -> None:
            refused[message.task.monitor_id] = _why_refused(message, error)

        large_last = sorted((_Message(task, encode_message(task)) for task in tasks), key=lambda each: each.is_large)
        for messages in calls_of(large_last, lambda message: len(message.data)):
            of_all = concerns_every_call if messages[0].is_large else is_of_dependency
            await isolate(messages, attempt, refuse, is_of_dependency=of_all)
        return _joined(parts, claim.now_ms, refused)

    async def _call(self, claim: Claim, messages: list["_Message"]) -> HandOff:
        """Run the script, again if its reply was lost."""
        spread = claim.spread_since_ms is not None
        args: list[str | bytes | int] = [claim.token, QUEUE, TASK_KEY_PREFIX, TASK_ID_PREFIX, 4 if spread else 3]
        for message in messages:
            args += (message.task.monitor_id, message.task.interval * 1000, message.data)
            if spread:
                args.append(phase_s(message.task.monitor_id, message.task.interval) * 1000)
        repeated = False
        large = len(messages) == 1 and messages[0].is_large
        give_up_at = min(claim.ends_at, time.monotonic() + (0 if large else REPEAT_FOR_S))
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                reply = await self._hand_off.run(self._redis, self._hand_off_keys, args)
                break
            except RedisUnavailableError:
                if time.monotonic() >= give_up_at:
                    raise
                repeated = True
                await backoff.wait()
        lost = Outcome.UNCONFIRMED if repeated else Outcome.LOST
        ids = [message.task.monitor_id for message in messages]
        with decoding():
            now_ms, outcomes, overlaps, wrong_type = reply
            return HandOff(
                now_ms,
                {ids[n - 1]: lost if each == b"lost" else Outcome(each.decode()) for n, each in _pairs(outcomes)},
                overlaps={ids[n - 1]: count for n, count in _pairs(overlaps)},
                wrong_type=tuple(ids[n - 1] for n in wrong_type),
            )

    async def sweep(self) -> SweepResult:
        """See Broker."""
        return await self._strays.remove()

    async def inspect(self) -> Queue:
        """See Broker."""
        long = (UNCOMPLETED_AFTER_TICKS, int(UNCOMPLETED_AFTER_S * 1000))
        args = (TASK_KEY_PREFIX, *long, RESULTS_KEYS.prefix + "t:")
        reply = await self._queue.run(self._redis, (*_INSPECTED, *_SHOWN), args)
        with decoding():
            now_ms, counts, waits_ms, paused, servers, problems, next_task, uncompleted, uncompleted_ms = reply[:9]
            infos, processed, (results_pending, results_wait_ms), paused_s = reply[9:]
            return Queue(
                dict(zip(_STATES, counts, strict=True)),
                waits_ms / 1000 if waits_ms >= 0 else None,
                bool(paused),
                servers,
                tuple(each.decode(errors="replace") for each in problems),
                next_task=next_task.decode(errors="replace") or None,
                uncompleted=uncompleted,
                uncompleted_s=uncompleted_ms / 1000,
                now_ms=now_ms,
                workers=tuple(filter(None, map(decode_server_info, infos))),
                processed=int(processed) if processed.isdigit() and len(processed) < _COUNTER_DIGITS else None,
                paused_since_ms=_paused_since_ms(paused_s, now_ms),
                results_pending=results_pending,
                results_oldest_s=results_wait_ms / 1000 if results_wait_ms >= 0 else None,
            )


def _paused_since_ms(seconds: bytes, now_ms: int) -> int | None:
    """Return the Unix time that `asynq queue pause` writes; None for any other value, and for a time to come."""
    since_ms = 1000 * int(seconds) if seconds.isdigit() and len(seconds) == _UNIX_TIME_DIGITS else None
    return since_ms if since_ms is not None and since_ms <= now_ms else None


class _Message(msgspec.Struct, frozen=True, gc=False):
    task: HealthCheckTask
    data: bytes

    @property
    def is_large(self) -> bool:
        return len(self.data) >= LARGE_BYTES


def _joined(parts: list[HandOff], now_ms: int, refused: dict[str, str]) -> HandOff:
    return HandOff(
        parts[-1].now_ms if parts else now_ms,
        {key: value for part in parts for key, value in part.not_enqueued.items()},
        refused,
        {key: value for part in parts for key, value in part.overlaps.items()},
        tuple(key for part in parts for key in part.wrong_type),
    )


def _why_refused(message: _Message, error: Exception) -> str:
    """The reason, in the same words at each attempt, so that it is logged once."""
    size = f"{math.ceil(len(message.data) / 1000)} kB"
    # Redis reports its limit and closes the connection: either may be seen first.
    too_large = isinstance(error, RedisUnavailableError) or "invalid bulk length" in str(error)
    if message.is_large and too_large:
        return f"{size} is more than Redis or a proxy accepts; raise proto-max-bulk-len"
    return f"{describe(error)} ({size})"


def _pairs(flat: list[Any]) -> Iterable[tuple[int, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def encode_message(task: HealthCheckTask) -> bytes:
    """asynq's TaskMessage (protobuf, proto3: zero values are absent): type, payload, id, queue, timeout.

    Joining bytes costs 0.2 µs, the protobuf library 3.5. There is no unique lock: its key is a hash of the payload,
    which contains the time, so that it never matches.
    """
    task_id = (TASK_ID_PREFIX + task.monitor_id).encode()
    return b"".join(
        (
            _HEAD,
            varint(len(task.payload)),
            task.payload,
            b"\x1a",
            varint(len(task_id)),
            task_id,
            _QUEUE_FIELD,
            varint(task.timeout if task.timeout > 0 else DEFAULT_TIMEOUT_S),
        )
    )


_HEAD = b"\x0a" + varint(len(TASK_TYPE)) + TASK_TYPE.encode() + b"\x12"
_QUEUE_FIELD = b"\x22" + varint(len(QUEUE)) + QUEUE.encode() + b"\x40"
