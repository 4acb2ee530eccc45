"""The databases that the stores' tests run on."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from peekaping_producer.errors import StoreError
from peekaping_producer.migrate import migrate
from peekaping_producer.stores import Loaded, MonitorStore, store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.databases import Database
from tests.kit.memory_store import MemoryDatabase

SQL_DIALECTS = ["postgres", "mysql", "sqlite"]
DIALECTS = [*SQL_DIALECTS, "mongo"]
STORES = [*DIALECTS, "memory"]
"""The last is the store in memory that loops are tested with."""

UNKNOWN_ID = "0" * 24


def without_tables(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseTarget:
    """A database without tables; for SQLite a file that does not exist yet."""
    match request.param:
        case "memory":
            return DatabaseTarget(dialect=request.param, name="")
        case "sqlite":
            return databases.sqlite_target(tmp_path)
        case dialect:
            target: DatabaseTarget = request.getfixturevalue(f"{dialect}_database")
            return target


@pytest.fixture(params=DIALECTS)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseTarget:
    """A database of each kind."""
    return without_tables(request, tmp_path)


@pytest_asyncio.fixture
async def database(empty_database: DatabaseTarget) -> AsyncIterator[Database]:
    """A database with the five tables, empty."""
    if empty_database.dialect not in DIALECTS:
        yield MemoryDatabase(empty_database)
        return
    await migrate(empty_database)
    async with databases.connected(empty_database) as connection:
        yield connection


def store_on(on: DatabaseTarget | Database, limits: Limits = Limits(), *, connections: int = 2) -> Any:  # noqa: B008
    """A store, not opened yet."""
    if isinstance(on, MemoryDatabase):
        return on.store(limits, connections)
    target = on.target if isinstance(on, Database) else on
    return store_for(target, connections=connections, limits=limits)


@asynccontextmanager
async def opened(
    on: DatabaseTarget | Database,
    limits: Limits = Limits(),  # noqa: B008
    *,
    connections: int = 2,
) -> AsyncIterator[Any]:
    """An open store."""
    store = store_on(on, limits, connections=connections)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def load(store: MonitorStore, *ids: str) -> Loaded:
    async with store.session() as session:
        return await session.load(list(ids))


async def cancel_at_each_turn(read: Callable[[], Coroutine[Any, Any, None]], turns: int) -> None:
    """Start an endless read and cancel it after 0, 1, 2, ... turns of the event loop."""
    for count in range(turns):
        task = asyncio.create_task(read())
        for _ in range(count):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def refusal(target: DatabaseTarget) -> StoreError:
    """The error of opening a store or of its first read, which contains neither the password nor the statement."""
    limits = Limits(acquire_s=2.0) if target.dialect == "mongo" else Limits()  # its driver retries until then
    with pytest.raises(StoreError) as caught:
        async with opened(target, limits, connections=1) as store, store.session() as session:
            await session.load([UNKNOWN_ID])
    shown = "".join(traceback.format_exception(caught.value))
    assert not target.password or target.password not in shown
    assert "$match" not in shown
    return caught.value


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
    async with opened(database, limits, connections=3) as each:
        yield each
