"""The way of monitors from the schedule to asynq's queue, step by step."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.brokers import HandOff
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.brokers.asynq_keys import QUEUE
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import Claim, Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.transports.asynq.protobuf import bytes_field, int_field, text_field
from tests.kit.asynq_peer import PENDING, AsynqPeer, decode, task_key
from tests.kit.clock import Clock
from tests.kit.poison import bulks_limited

INTERVAL = 60


class AsynqHarness:
    """Claims monitors and hands them off; `peer` is the consumer."""

    def __init__(self, redis: Redis, schedule: Schedule, broker: AsynqBroker, clock: Clock) -> None:
        self.redis, self.schedule, self.broker, self.clock = redis, schedule, broker, clock
        self.peer = AsynqPeer(redis)

    @property
    def now_s(self) -> float:
        return self.clock.now_ms / 1000

    async def claim(self, *ids: str) -> Claim:
        await self.redis.zadd(KEYS.due, dict.fromkeys(ids, self.clock.now_ms))
        return await self.schedule.claim(1000)

    async def hand_off(self, claim: Claim, text: str = "{}") -> HandOff:
        tasks = [HealthCheckTask(monitor_id, INTERVAL, 16, text.encode()) for monitor_id in claim.due]
        return await self.broker.hand_off(claim, tasks)

    async def run(self, *ids: str, text: str = "{}") -> HandOff:
        return await self.hand_off(await self.claim(*ids), text)

    async def take(self, count: int = 1) -> None:
        """Have the consumer take tasks."""
        for _ in range(count):
            await self.peer.dequeue(self.now_s)

    async def register(self, *queues: str, slots: int, busy: int) -> None:
        """Register a worker process of these queues (without any: of checks), as asynq does."""
        queues = queues or (QUEUE,)
        entries = (bytes_field(5, text_field(1, name) + int_field(2, 1)) for name in queues)
        of_process = text_field(1, "worker") + int_field(2, 7)
        key = f"asynq:servers:{{{queues}}}"
        await self.redis.set(key, of_process + int_field(4, slots) + b"".join(entries) + int_field(9, busy))
        await self.redis.zadd("asynq:servers", {key: self.clock.now_ms // 1000 + 60})

    async def pending(self) -> list[str]:
        """Monitor ids in the order in which consumers take them."""
        task_ids = await self.redis.lrange(PENDING, 0, -1)
        return [task_id.decode().removeprefix("healthcheck:") for task_id in task_ids[::-1]]

    async def payload(self, monitor_id: str) -> bytes:
        message = await self.redis.hget(task_key(monitor_id), "msg")
        assert message is not None
        return decode(message).payload

    async def is_rescheduled(self, *ids: str) -> bool:
        tick = (self.clock.now_ms // 60_000 + 1) * 60_000
        scores = await self.redis.zmscore(KEYS.due, list(ids))
        return scores == [tick] * len(ids) and await self.redis.zcard(KEYS.lease) == 0


@pytest.fixture
def asynq(redis: Redis, schedule: Schedule, broker: AsynqBroker, clock: Clock) -> AsynqHarness:
    return AsynqHarness(redis, schedule, broker, clock)


@pytest_asyncio.fixture
async def small_arguments(redis: Redis) -> AsyncIterator[None]:
    """A Redis that accepts no argument above 1 MiB, as some hosted ones do."""
    async with bulks_limited(redis):
        yield
