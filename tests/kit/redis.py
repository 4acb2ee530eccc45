"""A real Redis-compatible server: shared by the whole session, or private for tests that stop, kill or flush it."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import EmbeddedServerError, RedisServer
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.targets import RedisTarget
from tests.kit.given import require_empty_server
from tests.kit.processes import free_port
from tests.kit.requirements import need

KNOWN_KEYS = (
    *("peekaping:sched:due", "peekaping:sched:lease", "peekaping:sched:late"),
    *("peekaping:sched:held", "peekaping:sched:sync_requested", "peekaping:sched:spread"),
    *("peekaping:producer:", "asynq:", "test:"),
)
"""What a test may leave behind (by prefix); `test:` is for keys of the test itself."""
UNIQUE_LOCKS = "asynq:{healthcheck}:unique:"
"""Upstream leaks one of these for each task; ours makes none."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server() -> AsyncIterator[RedisTarget]:
    """One server for the whole session: TEST_REDIS_URL (it must hold no keys at all), else an embedded one."""
    if url := os.environ.get("TEST_REDIS_URL"):
        async with redis_for(_from_url(url), connections=1) as client:
            await require_empty_server("TEST_REDIS_URL", client)
        yield _from_url(url)
        return
    need_a_binary()
    async with embedded.redis_server() as server:
        yield RedisTarget(host=embedded.HOST, port=server.port)


@pytest_asyncio.fixture
async def redis(redis_server: RedisTarget) -> AsyncIterator[Redis]:
    """A client of the shared server, whose database is empty; bytes come back. Fails where a test leaks keys."""
    async with redis_for(redis_server, connections=100) as client:
        _require_empty(await client.dbsize(), redis_server)
        try:
            yield client
            unknown = [key for key in await client.keys() if not _known(key)]
        finally:
            await client.flushdb()
    assert not unknown, f"keys that nothing ever removes: {unknown}"


@pytest_asyncio.fixture
async def private_redis() -> AsyncIterator[RedisServer]:
    """A server of one test's own, which it may stop, kill, freeze, restart or flush."""
    need_a_binary()
    async with embedded.redis_server(port=free_port()) as server:
        yield server


@pytest_asyncio.fixture
async def server(private_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client of a server of one test's own."""
    async with redis_for(target_of(private_redis), connections=50) as client:
        yield client


@pytest.fixture
def blocking_redis(redis_server: RedisTarget) -> Iterator[BlockingRedis]:
    """A blocking client of the shared server. Fails where the database is not empty; it is emptied at the end."""
    server = redis_server
    with BlockingRedis(
        host=server.host,
        port=server.port,
        db=server.db,
        username=server.username,
        password=server.password or None,
        protocol=2,
        encoding_errors="surrogateescape",
    ) as client:
        _require_empty(client.dbsize(), server)
        yield client
        client.flushdb()


def target_of(server: RedisServer) -> RedisTarget:
    """Where a private server is, in the product's terms."""
    return RedisTarget(host=embedded.HOST, port=server.port)


def _from_url(url: str) -> RedisTarget:
    parts = parse_url(url)
    return RedisTarget(
        host=parts.get("host", "localhost"),
        port=parts.get("port", 6379),
        db=parts.get("db", 0),
        username=parts.get("username"),
        password=parts.get("password"),
    )


def need_a_binary() -> None:
    try:
        embedded.find_binary()
    except EmbeddedServerError as error:
        need(False, str(error))


def _require_empty(keys: int, server: RedisTarget) -> None:
    if keys:
        pytest.fail(f"{server} is not empty, and the tests would flush it", pytrace=False)


def _known(key: bytes | str) -> bool:
    key = key.decode() if isinstance(key, bytes) else key
    return key.startswith(KNOWN_KEYS) and not key.startswith(UNIQUE_LOCKS)
