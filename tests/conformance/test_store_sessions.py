"""What every store promises about its connections, on every database."""

import asyncio

import pytest

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.monitor import Plan
from peekaping_producer.stores import MonitorStore, connections, open_store
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import SQL_DIALECTS
from tests.servers.databases import Database, SqlDatabase


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ACQUIRE_TIMEOUT", 0.05)


def test_both_are_monitor_stores() -> None:
    for target in (DatabaseTarget(dialect="sqlite", name="x"), DatabaseTarget(dialect="postgres", name="x")):
        assert isinstance(open_store(target, connections=1), MonitorStore)


@pytest.mark.parametrize("dialect", ["postgres", "sqlite"])
def test_a_parameter_that_no_driver_knows_is_named_and_its_value_is_not(dialect: str) -> None:
    target = DatabaseTarget(dialect=dialect, name="x", params={"pool_size": "s3cret"})
    with pytest.raises(ConfigError, match="pool_size") as caught:
        open_store(target, connections=1)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("dialect", ["mysql", "mongo"])
def test_a_dialect_without_store_is_refused(dialect: str) -> None:
    with pytest.raises(ConfigError, match=f"got {dialect}, takes postgres or sqlite"):
        open_store(DatabaseTarget(dialect=dialect, name="x"), connections=1)


async def test_a_session_waits_until_another_ends(store: MonitorStore) -> None:
    async with store.session(), store.session(), store.session() as third:
        fourth = asyncio.create_task(_read_once(store))
        for _ in range(5):
            await third.page_of_plans(None, 1)
        assert not fourth.done()
    assert await fourth == []


@pytest.mark.usefixtures("short_wait")
async def test_an_exhausted_pool_is_an_unavailable_store(store: MonitorStore) -> None:
    async with store.session(), store.session(), store.session():
        with pytest.raises(StoreUnavailableError, match="no answer in time"):
            async with store.session():
                pass
    await store.ping()


async def test_sessions_read_side_by_side(database: Database, store: MonitorStore) -> None:
    rows = [database.monitor() for _ in range(20)]
    await database.insert("monitors", *rows)

    async def read(id_: str) -> bool:
        async with store.session() as session:
            return set((await session.load([id_])).checks) == {id_} == set(await session.plans([id_]))

    assert all(await asyncio.gather(*(read(row["id"]) for row in rows)))


async def test_a_cancelled_read_costs_nobody_else(database: Database, store: MonitorStore) -> None:
    row = database.monitor()
    await database.insert("monitors", row)

    async def read() -> None:
        async with store.session() as session:
            while True:
                await session.load([row["id"]])

    for turns in range(30):
        task = asyncio.create_task(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with store.session() as session, store.session(), store.session():
        assert set((await session.load([row["id"]])).checks) == {row["id"]}


async def test_ping_answers_while_the_store_is_open_and_only_then(database: Database) -> None:
    store = open_store(database.target, connections=1)
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.ping()
    await store.open()
    await store.ping()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.ping()
    await store.open()
    await store.ping()
    await store.close()


async def test_close_ends_sessions_still_open(
    database: Database, store: MonitorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CLOSE_TIMEOUT", 0.05)
    async with store.session():
        await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.ping()


@pytest.mark.parametrize("table", ["monitors", "proxies", "maintenances", "monitor_maintenances", "heartbeats"])
async def test_a_missing_table_is_named_with_the_way_out(database: Database, table: str) -> None:
    await database.rename(table, f"{table}_away")
    with pytest.raises(StoreError, match=f"{table}.*migrate") as caught:
        await open_store(database.target, connections=1).open()
    assert not isinstance(caught.value, StoreUnavailableError)


@pytest.mark.parametrize("empty_database", SQL_DIALECTS, indirect=True)
async def test_a_missing_column_is_named_with_the_way_out(database: SqlDatabase) -> None:
    await database.execute("ALTER TABLE maintenances DROP COLUMN duration")
    with pytest.raises(StoreError, match=r"duration.*migrate"):
        await open_store(database.target, connections=1).open()


async def test_a_table_that_goes_while_running_is_a_store_error(database: Database, store: MonitorStore) -> None:
    row = database.monitor()
    await database.insert("monitors", row)
    async with store.session() as session:
        await session.load([row["id"]])
        await database.rename("maintenances", "away")
        with pytest.raises(StoreError, match="migrate"):
            await session.load([row["id"]])
    await database.rename("away", "maintenances")
    async with store.session() as session:
        assert set((await session.load([row["id"]])).checks) == {row["id"]}


async def _read_once(store: MonitorStore) -> list[Plan]:
    async with store.session() as session:
        return await session.page_of_plans(None, 1)
