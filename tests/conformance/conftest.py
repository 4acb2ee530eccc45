"""The databases that the stores' tests run on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from peekaping_producer.migrate import migrate
from peekaping_producer.stores import MonitorStore, store_for
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.databases import Database

SQL_DIALECTS = ["postgres", "mysql", "sqlite"]
DIALECTS = [*SQL_DIALECTS, "mongo"]


@pytest.fixture(params=DIALECTS)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseTarget:
    """A database without tables; for sqlite a file that is not there yet."""
    if request.param == "sqlite":
        return databases.sqlite_target(tmp_path)
    target: DatabaseTarget = request.getfixturevalue(f"{request.param}_database")
    return target


@pytest_asyncio.fixture
async def database(empty_database: DatabaseTarget) -> AsyncIterator[Database]:
    """A database with the five tables, empty."""
    await migrate(empty_database)
    async with databases.connected(empty_database) as connection:
        yield connection


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[MonitorStore]:
    """An open store on `database`."""
    opened = store_for(database.target, connections=3)
    await opened.open()
    yield opened
    await opened.close()
