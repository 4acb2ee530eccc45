"""A schedule, a queue and the reports of replicas, of which a verdict is made."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.heartbeat import (
    SLOTS,
    Heartbeat,
    Rings,
    Stages,
    StageTime,
)
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.operations.verdict import Verdict, verdict
from peekaping_producer.schedule import Claim
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_harness import AsynqHarness
from tests.kit.clock import START_MS

USUAL = Stages(StageTime(2.0, 2.0), StageTime(12.0, 12.0), StageTime(4.0, 4.0), StageTime(7.0, 7.0))
SLOW_READ = replace(USUAL, read=StageTime(9400.0, 12.0))
SLOW_REDIS = replace(USUAL, claim=StageTime(1000.0, 2.0), hand_off=StageTime(1100.0, 7.0))
STARTED = "12:37:46"
"""START_MS as a time of day."""


class Installation:
    """A schedule, a queue, and the reports of replicas."""

    def __init__(self, asynq: AsynqHarness) -> None:
        self.asynq, self.redis, self.clock = asynq, asynq.redis, asynq.clock

    async def beat(
        self, *hosts: str, leads: bool = False, conditions: Sequence[Condition] = (), **changes: Any
    ) -> None:
        """Write the reports of replicas on these hosts."""
        for host in hosts:
            beat = replace(Heartbeat(host=host, stages=USUAL, round_trip_ms=0.4, shortest_interval_s=20), **changes)
            report = ReplicaReport(leads=leads, conditions=tuple(conditions), lease_ttl_s=10.0, heartbeat=beat)
            await self.asynq.schedule.stats(node=f"{host}-1-abcd", report=encode_report(report))

    async def lead(self) -> None:
        """Let one of them lead."""
        await self.redis.set(KEYS.leader, "vm-a-1-abcd/1", px=9000)

    async def due(self, count: int, ago_s: float) -> None:
        """Make monitors overdue, or due in the future."""
        due_ms = self.clock.now_ms - round(1000 * ago_s)
        await self.redis.zadd(KEYS.due, {f"m{n}": due_ms for n in range(count)})

    async def claim(self, count: int) -> Claim:
        await self.due(count, 0)
        return await self.asynq.schedule.claim(count)

    async def worker(self, concurrency: int, active: int, *queues: str) -> None:
        """Register a worker process as asynq does."""
        await self.asynq.register(*queues, slots=concurrency, busy=active)

    async def enqueue(self, *, ago_s: float) -> None:
        """Leave one task pending, and its monitor due in the future."""
        await self.asynq.run("m0")
        await self.clock.advance(ago_s)
        await self.due(1, -30)

    async def verdict(self) -> Verdict:
        look = Look(await self.asynq.schedule.stats(), await self.asynq.broker.inspect())
        return verdict(look)

    async def expect(self, code: str, sentence: str, details: str) -> Verdict:
        found = await self.verdict()
        assert (found.code, found.sentence, found.details) == (code, sentence, details)
        return found


@pytest.fixture
def installation(asynq: AsynqHarness) -> Installation:
    return Installation(asynq)


async def hold(installation: Installation, **changes: Any) -> None:
    value = {"until_ms": installation.clock.now_ms + 600_000, "who": "anna", "why": "migration"} | changes
    await installation.redis.hset(KEYS.held, "*", json.dumps(value))


async def fail(installation: Installation, monitor_id: str) -> None:
    """Claim one monitor, whose attempt fails, and postpone it."""
    await installation.redis.zadd(KEYS.due, {monitor_id: installation.clock.now_ms})
    await installation.asynq.schedule.give_back(await installation.asynq.schedule.claim(1), [monitor_id], delay_s=60)


def rings(*last: int) -> Rings:
    """Rings whose last slots of a second have these counts."""
    return Rings(START_MS // 1000, (*[0] * (SLOTS - len(last)), *last), (0,) * SLOTS, (0,) * SLOTS, (0,) * SLOTS)
