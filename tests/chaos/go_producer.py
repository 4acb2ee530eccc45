"""A stand-in for upstream's producer beside ours: its unfenced scripts, one monitor after the other, by its own clock.

Its scripts are those of tests/invariants/go_peer.py; here it reads the rows from a real database, and its tasks say
whose they are.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.monitor import next_aligned
from peekaping_producer.schedule import keys
from peekaping_producer.targets import DatabaseTarget
from peekaping_producer.task import HealthCheckTask
from tests.asynq_peer import PENDING, task_id, task_key
from tests.chaos.background import Background
from tests.chaos.history import Handed, Recorder
from tests.invariants.go_peer import CLAIM, ENQUEUE, LEASE_MS, RECLAIM, RESCHEDULE
from tests.servers import postgres

BATCH = 50
CLAIMS_EVERY_S = 0.05
RECLAIMS_EVERY_S = 2.0
AHEAD_MS = 300
"""Its clock is a little fast: ours wake at the very time that a monitor is due, and would leave it nothing."""
_ROW = "SELECT id::text, name, type, interval, timeout FROM monitors WHERE id::text = $1 AND active"


class GoProducer(Background):
    """One replica of it."""

    def __init__(self, connect: Callable[[], Redis], database: DatabaseTarget, recorder: Recorder) -> None:
        self.handed_off = 0
        self._recorder = recorder
        self._connect = connect
        self._database = database

    async def run(self) -> None:
        database = await postgres.connect(self._database)
        try:
            while True:
                with suppress(RedisError, OSError):
                    async with self._connect() as redis:
                        await self._produce(redis, database)
                await asyncio.sleep(CLAIMS_EVERY_S)
        finally:
            database.terminate()

    async def _produce(self, redis: Redis, database: asyncpg.Connection) -> None:
        reclaims_at = time.monotonic()
        while True:
            if time.monotonic() >= reclaims_at:
                await redis.eval(RECLAIM, 2, keys.DUE, keys.LEASE, _now_ms())
                reclaims_at += RECLAIMS_EVERY_S
            for member in await redis.eval(CLAIM, 2, keys.DUE, keys.LEASE, _now_ms(), LEASE_MS, BATCH):
                if row := await database.fetchrow(_ROW, member.decode(errors="replace")):
                    await self._handle(redis, row)
            await asyncio.sleep(CLAIMS_EVERY_S)

    async def _handle(self, redis: Redis, row: asyncpg.Record) -> None:
        now_ms, monitor_id, interval = _now_ms(), row["id"], row["interval"]
        if interval <= 0:
            return
        scheduled_at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
        payload = {"monitor_id": monitor_id, "interval": interval, "scheduled_at": scheduled_at, "made_by": "go"}
        message = encode_message(HealthCheckTask(monitor_id, interval, row["timeout"], json.dumps(payload).encode()))
        args = (task_id(monitor_id), message, f"{now_ms}000000")
        if await redis.eval(ENQUEUE, 2, task_key(monitor_id), PENDING, *args):
            self.handed_off += 1
        else:  # whatever became of the task that is there, it lets this tick go
            self._recorder.write(Handed(producer="go", token="", outcomes={monitor_id: "overlap"}))
        await redis.eval(RESCHEDULE, 2, keys.DUE, keys.LEASE, monitor_id, next_aligned(now_ms, interval))


def _now_ms() -> int:
    return int(time.time() * 1000) + AHEAD_MS
