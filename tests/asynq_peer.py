"""What an asynq 0.25 server does to the keys of a queue, step by step, so that tests can stop between the steps."""

from dataclasses import dataclass

from redis.asyncio import Redis

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


class AsynqPeer:
    """A consumer, by hand."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def dequeue(self, now_s: float, *, lease_s: float = 30) -> Message | None:
        """pending → active, as asynq's own script does it."""
        taken = await self._redis.rpoplpush(PENDING, ACTIVE)
        if taken is None:
            return None
        key = f"{PREFIX}t:{taken.decode()}"
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, "state", "active")
            pipe.hdel(key, "pending_since")
            pipe.zadd(LEASE, {taken: now_s + lease_s})
            pipe.hget(key, "msg")
            *_, message = await pipe.execute()
        return decode(message) if message else None

    async def finish(self, monitor_id: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.lrem(ACTIVE, 0, task_id(monitor_id))
            pipe.zrem(LEASE, task_id(monitor_id))
            pipe.delete(task_key(monitor_id))
            await pipe.execute()

    async def fail(self, monitor_id: str, now_s: float) -> None:
        """Out of retries: archived, and the hash stays."""
        await self._redis.lrem(ACTIVE, 0, task_id(monitor_id))
        await self._redis.zrem(LEASE, task_id(monitor_id))
        await self._redis.zadd(ARCHIVED, {task_id(monitor_id): now_s})
        await self._redis.hset(task_key(monitor_id), "state", "archived")

    async def requeue(self, monitor_id: str) -> None:
        """At a consumer's shutdown: back to the end of the list that is served first."""
        await self._redis.lrem(ACTIVE, 0, task_id(monitor_id))
        await self._redis.zrem(LEASE, task_id(monitor_id))
        await self._redis.rpush(PENDING, task_id(monitor_id))
        await self._redis.hset(task_key(monitor_id), "state", "pending")
