"""The parts of one replica, over a real Redis and a database in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.task import TaskBuilder
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.producer.loops.reclaimer import Reclaimer
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.producer.loops.worker import Worker
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import Suspects
from tests.clock import Clock
from tests.kit.asynq_peer import PENDING
from tests.memory_store import MemoryStore

TERM = "node/term"


@dataclass
class Parts:
    redis: Redis
    clock: Clock
    schedule: Schedule
    broker: AsynqBroker
    store: MemoryStore
    metrics: Metrics
    claims: Claims
    hints: Hints
    sync: Sync
    worker: Worker
    reclaimer: Reclaimer
    suspects: Suspects
    anomalies: Anomalies

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


@pytest.fixture(autouse=True)
async def nothing_runs_on() -> AsyncIterator[None]:
    """A test that fails half-way leaves its loops running, and a lost cancellation would then hang the session."""
    yield
    await cancel_and_wait(*(asyncio.all_tasks() - {asyncio.current_task()}))


@pytest.fixture
async def parts(redis: Redis, clock: Clock, schedule: Schedule, broker: AsynqBroker) -> Parts:
    await redis.set(KEYS.leader, TERM)
    store, metrics = MemoryStore(), Metrics()
    claims = Claims(schedule, metrics, batch=500)
    dependencies = Dependencies(metrics)
    anomalies = Anomalies(metrics)
    suspects = Suspects()
    hints = Hints(schedule, store, claims, anomalies=anomalies, metrics=metrics, dependencies=dependencies)

    async def no_sleep(_seconds: float) -> None: ...

    return Parts(
        redis,
        clock,
        schedule,
        broker,
        store,
        metrics,
        claims,
        hints,
        Sync(
            schedule=schedule,
            store=store,
            broker=broker,
            hints=hints,
            anomalies=anomalies,
            metrics=metrics,
            dependencies=dependencies,
            interval_s=30,
            sleep=no_sleep,
        ),
        Worker(
            0,
            claims=claims,
            schedule=schedule,
            store=store,
            builder=TaskBuilder(server_zone="UTC", report=anomalies.report),
            broker=broker,
            suspects=suspects,
            anomalies=anomalies,
            metrics=metrics,
            dependencies=dependencies,
        ),
        Reclaimer(schedule, claims, metrics, dependencies),
        suspects,
        anomalies,
    )
