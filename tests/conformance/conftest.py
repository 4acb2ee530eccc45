"""The databases that the stores' tests run on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from peekaping_producer.migrate import migrate
from peekaping_producer.stores import store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.store import Store
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


@asynccontextmanager
async def opened(target: DatabaseTarget, limits: Limits = Limits(), *, connections: int = 2) -> AsyncIterator[Any]:  # noqa: B008
    """An open store."""
    store = store_for(target, connections=connections, limits=limits)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def limits() -> Limits:
    """Those of `store`; see `limited`."""
    return Limits()


def limited(**changes: Any) -> pytest.MarkDecorator:
    """Give `store` other limits."""
    return pytest.mark.parametrize("limits", [Limits(**changes)], ids=["limited"])


@pytest_asyncio.fixture
async def store(database: Database, limits: Limits) -> AsyncIterator[Store[Any]]:
    """An open store on `database`."""
    async with opened(database.target, limits, connections=3) as each:
        yield each
