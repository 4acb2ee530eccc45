"""A Redis of one test's own, the proxy before it, and clients of both."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.demo.embedded import HOST, RedisServer
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.steps import Step
from tests.chaos.wire import StepProxy, step_proxy
from tests.kit.redis import target_of
from tests.kit.waiting import DEADLINE_S

SILENCE_S = 0.2
"""The wait for data that must not come; a slower machine may miss a bug, but reports no false one."""


class RawClient:
    """A connection on which a test sends raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> "RawClient":
        return cls(*await asyncio.open_connection(HOST, port))

    async def received(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readexactly(size)

    async def is_silent(self) -> bool:
        """Whether nothing arrives, not even the end of the connection."""
        try:
            async with asyncio.timeout(SILENCE_S):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def sees_the_end(self) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    def die(self) -> None:
        """As a process does that is killed while something is unread: the connection is reset."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass
class Wire:
    """A producer's schedule and broker behind the proxy, and `redis`, which goes past it."""

    server: RedisServer
    proxy: StepProxy
    redis: Redis
    behind: Redis
    schedule: Schedule
    broker: AsynqBroker
    seen: list[Step] = field(default_factory=list)

    async def due(self, *ids: str) -> None:
        await self.redis.zadd(KEYS.due, dict.fromkeys(ids, 1000))

    async def claimed(self) -> int:
        return await self.redis.zcard(KEYS.lease)

    async def claiming(self) -> "asyncio.Task[object]":
        """A claim under way, of a script that the server knows."""
        await self.redis.script_load(self.schedule._claim._text)
        return asyncio.create_task(self.schedule.claim(10))


@pytest_asyncio.fixture
async def wire(private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    monkeypatch.setattr("peekaping_producer.redis_client.client.SOCKET_TIMEOUT_S", 30.0)
    target = target_of(private_redis)
    async with (
        step_proxy(private_redis.port) as proxy,
        redis_for(target, connections=5) as redis,
        redis_for(msgspec.structs.replace(target, port=proxy.port), connections=20) as behind,
    ):
        wire = Wire(private_redis, proxy, redis, behind, Schedule(behind), AsynqBroker(behind))
        proxy.seen = wire.seen.append
        yield wire
