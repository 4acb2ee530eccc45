"""A stand-in for upstream's producer beside ours, in every chaos run: tests/kit/go_producer.py, which never leads."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from peekaping_producer.targets import DatabaseTarget
from tests.chaos.background import Background
from tests.chaos.history import Handed, Recorder
from tests.kit.go_producer import CLAIM_EVERY_S, RECLAIM_EVERY_S, GoProducer

AHEAD_MS = 300
"""Its clock is a little fast: ours wake at the very time that a monitor is due, and would leave it nothing."""


class GoBeside(Background):
    """One replica of it."""

    def __init__(self, connect: Callable[[], Redis], database: DatabaseTarget, recorder: Recorder) -> None:
        self.handed_off = 0
        self._connect = connect
        self._database = database
        self._recorder = recorder

    async def run(self) -> None:
        target = self._database
        options: dict[str, Any] = {
            "host": target.host,
            "port": target.port,
            "user": target.user,
            "password": target.password,
            "database": target.name,
            "ssl": False,
        }
        async with asyncpg.create_pool(min_size=1, **options) as database:
            while True:
                with suppress(RedisError, OSError):
                    async with self._connect() as redis:
                        await self._produce(GoProducer(redis, database, self._hear, clock_off_ms=AHEAD_MS))
                await asyncio.sleep(CLAIM_EVERY_S)

    async def _produce(self, go: GoProducer) -> None:
        reclaims_at = 0.0
        while True:
            if (now := asyncio.get_running_loop().time()) >= reclaims_at:
                await go.reclaim()
                reclaims_at = now + RECLAIM_EVERY_S
            before = go.handed_off
            await go.claim()
            self.handed_off += go.handed_off - before
            await asyncio.sleep(CLAIM_EVERY_S)

    def _hear(self, event: str, **more: object) -> None:
        if event == "passed_over":
            self._recorder.write(Handed(producer="go", token="", outcomes={str(more["monitor_id"]): "overlap"}))
