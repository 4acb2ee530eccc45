"""A clock that tests set: it replaces Redis TIME in every script."""

from redis.asyncio import Redis

TEST_CLOCK = """
local now = tonumber(redis.call('GET', 'test:clock'))
local now_ns = string.format('%.0f', now) .. '000000'
"""
"""Replaces clock.lua."""

START_MS = 1_795_351_066_550


class Clock:
    """Milliseconds since the epoch, as the scripts see them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.now_ms = START_MS

    async def set(self, now_ms: int) -> None:
        self.now_ms = now_ms
        await self._redis.set("test:clock", now_ms)

    async def advance(self, seconds: float) -> None:
        await self.set(self.now_ms + round(seconds * 1000))
