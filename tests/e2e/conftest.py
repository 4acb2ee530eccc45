"""Servers and databases for whole replicas."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.migrate import migrate
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import database, empty_database
from tests.kit import databases
from tests.kit.databases import SqlDatabase
from tests.kit.fleet import Fleet, fleet_of

__all__ = ["database", "empty_database"]


@pytest_asyncio.fixture
async def postgres_only(postgres_database: DatabaseTarget) -> AsyncIterator[SqlDatabase]:
    """A Postgres database with the five tables, empty."""
    await migrate(postgres_database)
    yield await databases.connect_sql(postgres_database)


@pytest.fixture
def fleet(server: Redis, postgres_only: SqlDatabase, tmp_path: Path) -> Iterator[Fleet]:
    """Replicas on a Redis of their own and on Postgres; none is started yet."""
    with fleet_of(server, postgres_only, tmp_path) as made:
        yield made
