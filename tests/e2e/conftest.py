"""Databases for whole replicas."""

from collections.abc import AsyncIterator

import pytest_asyncio

from peekaping_producer.migrate import migrate
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import database, empty_database
from tests.kit import databases
from tests.kit.databases import SqlDatabase

__all__ = ["database", "empty_database"]


@pytest_asyncio.fixture
async def postgres_only(postgres_database: DatabaseTarget) -> AsyncIterator[SqlDatabase]:
    """A Postgres database with the five tables, empty."""
    await migrate(postgres_database)
    yield await databases.connect_sql(postgres_database)
