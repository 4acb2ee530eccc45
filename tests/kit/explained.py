"""One monitor in a database and in the schedule, and what `explain` prints about it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.explain.codes import MonitorVerdict
from peekaping_producer.operations.explain.document import document_of
from peekaping_producer.operations.explain.facts import Facts
from peekaping_producer.operations.explain.reading import Explained, explain
from peekaping_producer.operations.explain.text import lines_of
from peekaping_producer.operations.explain.verdict import verdict_of
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit import databases
from tests.kit.asynq_harness import AsynqHarness
from tests.kit.clock import TEST_CLOCK
from tests.kit.commands import ROOT
from tests.kit.databases import SqliteDatabase
from tests.kit.schedule import TERM

DOCS = (ROOT / "docs" / "explain.md").read_text()
ID = "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"


class Scene:
    """One monitor, every 60 s, in a database of SQLite and in the schedule. The clock shows 03:10:19.204."""

    def __init__(self, database: SqliteDatabase, asynq: AsynqHarness, target: RedisTarget) -> None:
        self.database, self.asynq, self.redis_target = database, asynq, target
        self.database_target = database.target
        self.redis, self.clock, self.schedule = asynq.redis, asynq.clock, asynq.schedule

    async def insert(self, **columns: Any) -> dict[str, Any]:
        row = self.database.monitor(id=ID, name="payments", timeout=30, max_retries=2, retry_interval=20) | columns
        await self.database.insert("monitors", row)
        return row

    async def place(self, interval: int = 60) -> None:
        """Sync, which makes it due now, then a hand-off whose task a worker finishes: it is due at 03:11:00."""
        await self.redis.set(KEYS.leader, TERM)
        await self.schedule.place(TERM, [Plan(ID, interval)])
        await self.hand_off()
        await self.asynq.take()
        await self.asynq.peer.finish(ID)

    async def hand_off(self) -> None:
        await self.asynq.hand_off(await self.schedule.claim(10), '{"scheduled_at": "2026-11-26T03:10:19.204Z"}')

    async def report(self, node: str = "vm-b", **fields: Any) -> None:
        """A replica reports, as the script of its vitals does."""
        await self.schedule.stats(node=node, report=encode_report(ReplicaReport(**fields)))

    async def until_due(self) -> None:
        await self.clock.set((await self.due_ms()) + 10)

    async def due_ms(self) -> int:
        score = await self.redis.zscore(KEYS.due, ID)
        assert score is not None
        return int(score)

    async def explain(self, text: str = ID) -> Explained:
        return await explain(
            text, self.redis_target, self.database_target, lease_ttl_s=10.0, server_zone="UTC", clock=TEST_CLOCK
        )

    async def facts(self) -> Facts:
        facts = (await self.explain()).facts
        assert facts is not None
        return facts

    async def verdict(self) -> MonitorVerdict:
        facts = await self.facts()
        verdict = verdict_of(facts, Moments(facts.now_ms))
        assert document_of(facts, verdict)["verdict"] == verdict.code
        assert verdict.sentence in "\n".join(lines_of(facts, verdict, Moments(facts.now_ms), "UTC"))
        return verdict


@pytest_asyncio.fixture
async def scene(tmp_path: Path, asynq: AsynqHarness, redis_server: RedisTarget) -> AsyncIterator[Scene]:
    target = databases.sqlite_target(tmp_path)
    await migrate(target)
    await asynq.clock.set(1_795_662_619_204)
    async with databases.connected(target) as database:
        assert isinstance(database, SqliteDatabase)
        yield Scene(database, asynq, redis_server)
