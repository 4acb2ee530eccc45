"""A stand-in for upstream's producer, as a process: `python -m tests.kit.go_producer`, with a replica's variables.

It does what upstream's does, without its events: claims and reschedules without a fence, one monitor after the other;
leads by SET NX and a GET before each EXPIRE; compares what it remembers with the database. Beside a replica's variables
it takes CLOCK_OFF_MS, since upstream falls back to its own clock, TAKES_MS, the time it has for each monitor, and
WAITS_FOR_SIGUSR1: it is ready, and begins at that signal. Its tasks contain "made_by": "go".
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import asyncpg
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import PENDING, task_id, task_key
from tests.kit.go_peer import CLAIM, ENQUEUE, LEASE_MS, RECLAIM, RESCHEDULE

BATCH = 50
PAGE = 100
CLAIM_EVERY_S = 0.05
RECLAIM_EVERY_S = 2.0
RENEW_EVERY_S = 5.0
LEADER_TTL_S = 10
LOOK_AFTER_LEADERSHIP_EVERY_S = 1.0
SYNC_EVERY_S = 30.0

_PAGE = f"SELECT id::text, interval FROM monitors WHERE active ORDER BY id DESC LIMIT {PAGE} OFFSET $1"
_MONITOR = "SELECT interval, timeout FROM monitors WHERE id::text = $1 AND active"


class Log(Protocol):
    """Writes one event with its fields."""

    def __call__(self, event: str, **more: object) -> None: ...


class GoProducer:
    """One replica of it."""

    def __init__(
        self, redis: Redis, database: asyncpg.Pool, log: Log, *, clock_off_ms: int = 0, takes_ms: int = 0
    ) -> None:
        self.node = f"{socket.gethostname()}-{os.getpid()}"
        self.leads = False
        self._redis = redis
        self._database = database
        self._clock_off_ms = clock_off_ms
        self._takes_s = takes_ms / 1000
        self._log = log
        self._intervals: dict[str, int] = {}
        """Of the monitors that it has seen as leader; it compares the database with these, not with Redis."""
        self._synced_at: float | None = None
        self.stopping = asyncio.Event()
        self.handed_off = 0

    async def run(self, workers: int) -> None:
        """Run until stopped; then hand off the current batch, and resign."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(RENEW_EVERY_S, self.campaign))
            tasks.create_task(self._every(RECLAIM_EVERY_S, self.reclaim))
            tasks.create_task(self._every(LOOK_AFTER_LEADERSHIP_EVERY_S, self.look_after_leadership))
            for _ in range(workers):
                tasks.create_task(self._every(CLAIM_EVERY_S, self.claim))
        if self.leads and await self._redis.get(KEYS.leader) == self.node.encode():
            await self._redis.delete(KEYS.leader)

    async def _every(self, seconds: float, turn: Callable[[], Awaitable[None]]) -> None:
        while not self.stopping.is_set():
            await turn()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.stopping.wait()

    # Every replica.

    async def claim(self) -> None:
        """Take batches while there are any. Each is rescheduled as a whole, from the time at which it was claimed."""
        while not self.stopping.is_set():
            now_ms = await self._now_ms()
            claimed = await self._redis.eval(CLAIM, 2, KEYS.due, KEYS.lease, now_ms, LEASE_MS, BATCH)
            if not claimed:
                return
            self._log("claimed", count=len(claimed))
            intervals = {each.decode(): await self._enqueue(each.decode(), now_ms) for each in claimed}
            async with self._redis.pipeline(transaction=False) as pipe:
                for each, interval in intervals.items():
                    if interval > 0:
                        pipe.eval(RESCHEDULE, 2, KEYS.due, KEYS.lease, each, next_tick(now_ms, interval))
                await pipe.execute()
            self._log("rescheduled", count=len(claimed))

    async def reclaim(self) -> None:
        if count := await self._redis.eval(RECLAIM, 2, KEYS.due, KEYS.lease, await self._now_ms()):
            self._log("reclaimed", count=count)

    async def _enqueue(self, monitor_id: str, now_ms: int) -> int:
        """Returns the interval; 0 where there is nothing to reschedule. A task of the same id is let be."""
        row = await self._database.fetchrow(_MONITOR, monitor_id)
        await asyncio.sleep(self._takes_s)
        if row is None or row["interval"] <= 0:
            return 0
        scheduled_at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
        payload = {"monitor_id": monitor_id, "interval": row["interval"], "scheduled_at": scheduled_at, "made_by": "go"}
        task = HealthCheckTask(monitor_id, row["interval"], row["timeout"], json.dumps(payload).encode())
        args = (task_id(monitor_id), encode_message(task), f"{now_ms}000000")
        if await self._redis.eval(ENQUEUE, 2, task_key(monitor_id), PENDING, *args):
            self.handed_off += 1
        else:
            self._log("passed_over", monitor_id=monitor_id)  # a task of before is there, whatever became of it
        return int(row["interval"])

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._redis.time()
        return seconds * 1000 + microseconds // 1000 + self._clock_off_ms

    # The leader.

    async def campaign(self) -> None:
        if await self._redis.set(KEYS.leader, self.node, nx=True, ex=LEADER_TTL_S):
            self._set_leads(True)
        elif await self._redis.get(KEYS.leader) == self.node.encode():
            await self._redis.expire(KEYS.leader, LEADER_TTL_S)
            self._set_leads(True)
        else:
            self._set_leads(False)

    def _set_leads(self, leads: bool) -> None:
        if leads != self.leads:
            self._log("leads" if leads else "follows")
        self.leads = leads

    async def look_after_leadership(self) -> None:
        loop = asyncio.get_running_loop()
        if not self.leads:
            self._synced_at = None
        elif self._synced_at is None:
            await self._initialize()
            self._synced_at = loop.time()
        elif loop.time() >= self._synced_at + SYNC_EVERY_S:
            self._synced_at = loop.time()
            await self._refresh()

    async def _initialize(self) -> None:
        """Schedule monitors that were in neither set, read one after the other; remove those that do not run."""
        scheduled = {each.decode() for key in (KEYS.due, KEYS.lease) for each in await self._redis.zrange(key, 0, -1)}
        running = await self._running()
        self._intervals.update(running)
        now_ms = await self._now_ms()
        if absent := running.keys() - scheduled:
            await self._redis.zadd(KEYS.due, dict.fromkeys(absent, now_ms))
        await self._remove(scheduled - running.keys())

    async def _refresh(self) -> None:
        running = await self._running()
        now_ms = await self._now_ms()
        for each, interval in running.items():
            if (known := self._intervals.get(each)) != interval:
                self._intervals[each] = interval
                await self._remove({each})
                await self._redis.zadd(KEYS.due, {each: next_tick(now_ms, interval) if known else now_ms})
        gone = self._intervals.keys() - running.keys()
        for each in gone:
            del self._intervals[each]
        await self._remove(set(gone))

    async def _running(self) -> dict[str, int]:
        running: dict[str, int] = {}
        for offset in range(0, 1 << 31, PAGE):
            page = await self._database.fetch(_PAGE, offset)
            running |= {row["id"]: row["interval"] for row in page if row["interval"] > 0}
            if len(page) < PAGE:
                break
        return running

    async def _remove(self, ids: set[str]) -> None:
        if ids:
            await self._redis.zrem(KEYS.due, *ids)
            await self._redis.zrem(KEYS.lease, *ids)


def log(event: str, **more: object) -> None:
    """A line of its log."""
    print(json.dumps({"event": event, **more}), flush=True)


async def main() -> None:
    """Run with the environment's settings until SIGTERM."""
    env = os.environ
    address: dict[str, Any] = {"host": env["DB_HOST"], "port": int(env["DB_PORT"]), "database": env["DB_NAME"]}
    login: dict[str, Any] = {"user": env["DB_USER"], "password": env["DB_PASS"]}
    redis = Redis(host=env["REDIS_HOST"], port=int(env["REDIS_PORT"]))
    off_ms, takes_ms = int(env.get("CLOCK_OFF_MS", "0")), int(env.get("TAKES_MS", "0"))
    async with asyncpg.create_pool(**address, **login, ssl=False, min_size=1) as database, redis:
        producer = GoProducer(redis, database, log, clock_off_ms=off_ms, takes_ms=takes_ms)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, producer.stopping.set)
        if "WAITS_FOR_SIGUSR1" in env:
            begins = asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, begins.set)
            log("waits")
            await begins.wait()
        await producer.run(workers=int(env.get("PRODUCER_CONCURRENCY", "4")))


if __name__ == "__main__":
    asyncio.run(main())
