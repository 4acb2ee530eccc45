"""The parts of one replica, over a real Redis and a database in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.producer.parts import Parts
from peekaping_producer.producer.timing import Timing
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from tests.kit.asynq_peer import PENDING
from tests.kit.clock import Clock
from tests.kit.memory_store import MemoryStore
from tests.kit.settings_loading import PARTS, load

TERM = "node/term"
SETTINGS = load(**PARTS, REDIS_HOST="redis", PRODUCER_CONCURRENCY="1", CLAIM_BATCH="500")


class Harness:
    """The parts of a replica, and what tests ask about them."""

    def __init__(self, parts: Parts, store: MemoryStore, clock: Clock) -> None:
        self.redis = parts.redis
        self.clock = clock
        self.schedule = parts.schedule
        self.broker = parts.broker
        self.store = store
        self.metrics = parts.metrics
        self.claims = parts.claims
        self.hints = parts.hints
        self.sync = parts.sync
        self.events = parts.events
        self.worker = parts.workers[0]
        self.reclaimer = parts.reclaimer
        self.suspects = parts.suspects
        self.anomalies = parts.anomalies
        self.activity = parts.activity

    async def due(self) -> dict[str, float]:
        return {each.decode(): score for each, score in await self.redis.zrange(KEYS.due, 0, -1, withscores=True)}

    async def leased(self) -> set[str]:
        return {each.decode() for each in await self.redis.zrange(KEYS.lease, 0, -1)}

    async def pending(self) -> set[str]:
        ids = await self.redis.lrange(PENDING, 0, -1)
        return {each.decode().removeprefix("healthcheck:") for each in ids}

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"peekaping_producer_{name}", labels) or 0.0

    def tick(self, interval: int) -> int:
        return (self.clock.now_ms // (interval * 1000) + 1) * interval * 1000


def commands_of(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the commands that this client sends from now on."""
    sent: list[str] = []
    execute: Any = redis.execute_command

    async def recorded(name: str, *args: Any, **options: Any) -> Any:
        sent.append(name)
        return await execute(name, *args, **options)

    monkeypatch.setattr(redis, "execute_command", recorded)
    return sent


@pytest.fixture(autouse=True)
async def nothing_runs_on() -> AsyncIterator[None]:
    """A test that fails half-way leaves its loops running, and a lost cancellation would then hang the session."""
    yield
    await cancel_and_wait(*(asyncio.all_tasks() - {asyncio.current_task()}))


@pytest.fixture
def timing() -> Timing:
    """Tests shorten what they wait for."""
    return Timing(read_again_after_s=0.0)


@pytest.fixture
async def harness(redis: Redis, clock: Clock, schedule: Schedule, broker: AsynqBroker, timing: Timing) -> Harness:
    await redis.set(KEYS.leader, TERM)
    store = MemoryStore()
    return Harness(Parts(SETTINGS, redis, store, schedule, broker, timing=timing), store, clock)
