"""Servers and databases for whole replicas."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import database, empty_database
from tests.kit import databases
from tests.kit.databases import SqlDatabase
from tests.kit.fleet import Fleet, fleet_of
from tests.kit.redis import target_of

__all__ = ["database", "empty_database"]


@pytest_asyncio.fixture
async def postgres_only(postgres_database: DatabaseTarget) -> AsyncIterator[SqlDatabase]:
    """A Postgres database with the five tables, empty."""
    await migrate(postgres_database)
    yield await databases.connect_sql(postgres_database)


@pytest_asyncio.fixture
async def server(private_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client of the replicas' own Redis."""
    async with redis_for(target_of(private_redis), connections=50) as client:
        yield client


@pytest.fixture
def fleet(server: Redis, postgres_only: SqlDatabase, tmp_path: Path) -> Iterator[Fleet]:
    """Replicas on a Redis of their own and on Postgres; none is started yet."""
    with fleet_of(server, postgres_only, tmp_path) as made:
        yield made
