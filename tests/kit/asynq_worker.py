"""A receiver of asynq tasks whose parts run when a test calls them, with a clock that the test sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError
from peekaping_producer.metrics import Metrics
from peekaping_producer.redis_client.client import Client
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.asynq.delivery import AsynqDelivery
from peekaping_producer.transports.asynq.keys import QUEUES, QueueKeys
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.scripts import Scripts
from peekaping_producer.transports.asynq.session import Session
from peekaping_producer.transports.asynq.task_message import TaskMessage, decode, encode
from tests.kit.clock import TEST_CLOCK, Clock

QUEUE = "test"
KEYS = QueueKeys(QUEUE)
LEASE_S = 30
ENDED_S = 31
"""By Redis, a lease lasts 29 to 31 s."""
RECOVERED_S = 61
"""A lease, and 30 s more."""
DAY_S = 86_400


class AsynqWorker(Session):
    """All parts of a receiver. `freeze` stops its own clock, so that its leases do not end by it."""

    def __init__(
        self,
        redis: Redis,
        clock: Clock,
        queues: Mapping[str, int] | None = None,
        *,
        strict: bool = False,
        scripts: Scripts | None = None,
    ) -> None:
        self._frozen_at: float | None = None
        self._clock = clock
        super().__init__(
            scripts or Scripts(redis, TEST_CLOCK),
            Priorities(queues or {QUEUE: 1}, strict=strict),
            Dependencies(Metrics()),
            self._monotonic,
        )

    def freeze(self) -> None:
        self._frozen_at = self._monotonic()

    def thaw(self) -> None:
        self._frozen_at = None

    @property
    def is_frozen(self) -> bool:
        return self._frozen_at is not None

    async def dequeue(self, limit: int = 10) -> list[AsynqDelivery]:
        return await self.dequeuer.dequeue(limit)

    async def dequeue_one(self) -> AsynqDelivery:
        (delivery,) = await self.dequeue(1)
        return delivery

    def _monotonic(self) -> float:
        return self._clock.now_ms / 1000 if self._frozen_at is None else self._frozen_at


class QueueView:
    """What Redis contains of a queue, and a producer for it."""

    def __init__(self, redis: Redis, queue: str = QUEUE) -> None:
        self.redis = redis
        self.keys = QueueKeys(queue)

    async def enqueue(self, *ids: str, **fields: Any) -> None:
        for task_id in ids:
            task = TaskMessage(**{"type": "t", "id": task_id, "queue": self.keys.queue, "timeout": 60, **fields})
            await self.enqueue_raw(task_id, encode(task))

    async def enqueue_raw(self, task_id: str, message: bytes) -> None:
        await self.redis.sadd(QUEUES, self.keys.queue)
        fields = {"msg": message, "state": "pending", "pending_since": "1"}
        await self.redis.hset(self.key(task_id), mapping=fields)
        await self.redis.lpush(self.keys.pending, task_id)

    def key(self, task_id: str) -> str:
        return f"{self.keys.prefix}t:{task_id}"

    async def message(self, task_id: str) -> TaskMessage:
        return decode(await self.redis.hget(self.key(task_id), "msg"))

    async def states(self) -> dict[str, list[str]]:
        """The ids in each list or set that is not empty; the next of the pending list comes first."""
        found: dict[str, Any] = {
            "pending": (await self.redis.lrange(self.keys.pending, 0, -1))[::-1],
            "active": (await self.redis.lrange(self.keys.active, 0, -1))[::-1],
        }
        for name in ("lease", "retry", "scheduled", "archived", "completed"):
            found[name] = await self.redis.zrange(getattr(self.keys, name), 0, -1)
        return {name: [each.decode() for each in ids] for name, ids in found.items() if ids}

    async def counters(self) -> dict[str, int]:
        """The totals, and the counts of days by name and date."""
        keys = [key.decode() for key in await self.redis.keys()]
        names = {key.removeprefix(self.keys.prefix) for key in keys if key.startswith(self.keys.prefix)}
        counters = sorted(name for name in names if name.partition(":")[0] in {"processed", "failed"})
        return {name: int(await self.redis.get(self.keys.prefix + name)) for name in counters}


class LostReplies(Scripts):
    """The named script runs, and its reply is lost, a number of times; or it is refused."""

    def __init__(self, redis: Client, name: str, times: int, *, refused: bool = False) -> None:
        super().__init__(redis, TEST_CLOCK)
        self._name = name
        self.left = times
        self._refused = refused

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Any], *decode: Any) -> Any:
        if name != self._name or not self.left:
            return await super().run(name, keys, args, *decode)
        self.left -= 1
        if self._refused:
            raise BrokerRefusedError("Redis: OOM")
        await super().run(name, keys, args, *decode)
        raise BrokerUnavailableError("Redis: the reply was lost")


@pytest.fixture
def queue(redis: Redis, clock: Clock) -> QueueView:
    return QueueView(redis)


@pytest.fixture
def worker(redis: Redis, clock: Clock) -> AsynqWorker:
    return AsynqWorker(redis, clock)


@pytest.fixture
def other(redis: Redis, clock: Clock) -> AsynqWorker:
    return AsynqWorker(redis, clock)
