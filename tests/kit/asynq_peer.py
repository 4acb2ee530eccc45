"""What an asynq 0.25 server does to the keys of a queue, step by step, so that tests can stop between the steps."""

from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from peekaping_producer.transports.asynq.protobuf import int_field, text_field

PREFIX = "asynq:{healthcheck}:"
PENDING, ACTIVE, LEASE, ARCHIVED, COMPLETED = (
    PREFIX + name for name in ("pending", "active", "lease", "archived", "completed")
)


def task_id(monitor_id: str) -> str:
    return f"healthcheck:{monitor_id}"


def task_key(monitor_id: str) -> str:
    return f"{PREFIX}t:{task_id(monitor_id)}"


@dataclass(frozen=True)
class Message:
    """A decoded TaskMessage; absent fields are zero."""

    type: str
    payload: bytes
    id: str
    queue: str
    timeout: int
    others: tuple[int, ...]
    """Numbers of fields beside these."""
    pending_since: int | None = None
    """ns, from the task's hash; the message does not hold it."""


def decode(data: bytes) -> Message:
    """Protobuf wire format: varints (wire type 0) and bytes (2)."""
    fields: dict[int, bytes | int] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        shift = value = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            fields[tag >> 3] = varint()
        else:
            assert tag & 7 == 2, f"wire type {tag & 7}"
            length = varint()
            fields[tag >> 3] = data[at : at + length]
            at += length

    def text(number: int) -> str:
        value = fields.pop(number)
        assert isinstance(value, bytes)
        return value.decode()

    payload, timeout = fields.pop(2), fields.pop(8, 0)
    assert isinstance(payload, bytes)
    assert isinstance(timeout, int)
    return Message(text(1), payload, text(3), text(4), timeout, tuple(sorted(fields)))


_TAKEN_BACK = """
if redis.call('LREM', KEYS[1], 0, ARGV[1]) == 0 then return 0 end
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
"""
"""asynq's own guard: a consumer that no longer holds the task, recovered or replaced, does nothing to it."""

_DEQUEUE = """
local id = redis.call('RPOPLPUSH', KEYS[3], KEYS[1])
if not id then return false end
local key = ARGV[2] .. id
local since = redis.call('HGET', key, 'pending_since')
redis.call('HSET', key, 'state', 'active')
redis.call('HDEL', key, 'pending_since')
redis.call('ZADD', KEYS[2], ARGV[1], id)
return {redis.call('HGET', key, 'msg'), since}
"""
_FINISH = _TAKEN_BACK + "return redis.call('DEL', ARGV[2])"
_FAIL = (
    _TAKEN_BACK
    + """
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
redis.call('HSET', ARGV[2], 'state', 'archived')
if ARGV[4] ~= '' then redis.call('HSET', ARGV[2], 'msg', redis.call('HGET', ARGV[2], 'msg') .. ARGV[4]) end
return 1
"""
)
_REQUEUE = (
    _TAKEN_BACK
    + """
redis.call('RPUSH', KEYS[3], ARGV[1])
redis.call('HSET', ARGV[2], 'state', 'pending')
return 1
"""
)
_KEYS = (ACTIVE, LEASE, PENDING, ARCHIVED)

RECOVER_AFTER_S = 30
"""asynq's recoverer leaves a task alone until this long after its lease ended: other consumers' clocks differ."""


class AsynqPeer:
    """A consumer, by hand: each step is one script, as asynq has it. Those that end a task return whether they did."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def dequeue(self, now_s: float, *, lease_s: float = 30) -> Message | None:
        """pending → active."""
        taken = await self._redis.eval(_DEQUEUE, len(_KEYS), *_KEYS, now_s + lease_s, f"{PREFIX}t:")
        message, since = taken or (None, None)
        return replace(decode(message), pending_since=since and int(since)) if message else None

    async def finish(self, monitor_id: str) -> bool:
        return await self._end(_FINISH, monitor_id)

    async def fail(self, monitor_id: str, now_s: float, error: str = "") -> bool:
        """Out of retries: archived, and the hash stays. The message then has the error and the time of the failure."""
        failure = text_field(7, error) + int_field(11, int(now_s)) if error else b""
        return await self._end(_FAIL, monitor_id, now_s, failure)

    async def requeue(self, monitor_id: str) -> bool:
        """At a consumer's shutdown: back to the end of the list that is served first."""
        return await self._end(_REQUEUE, monitor_id)

    async def extend(self, monitor_id: str, now_s: float, *, lease_s: float = 30) -> None:
        """A living consumer does this again and again for the task in its hand."""
        await self._redis.zadd(LEASE, {task_id(monitor_id): now_s + lease_s}, xx=True)

    async def recover(self, now_s: float) -> None:
        """Archive what a consumer took and never ended: the tasks have no retries."""
        over: list[Any] = await self._redis.zrange(LEASE, "-inf", now_s - RECOVER_AFTER_S, byscore=True)
        for task in over:
            if await self._redis.hexists(f"{PREFIX}t:".encode() + task, "msg"):
                await self.fail(task.decode().removeprefix("healthcheck:"), now_s)

    async def _end(self, script: str, monitor_id: str, *more: float | bytes) -> bool:
        done = await self._redis.eval(script, len(_KEYS), *_KEYS, task_id(monitor_id), task_key(monitor_id), *more)
        return bool(done)
