"""A lock on a table stops only monitors that need the table, for the limit of that table."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from peekaping_producer.errors import StoreRefusedError, StoreUnavailableError
from peekaping_producer.stores import Loaded, MonitorStore
from peekaping_producer.stores.limits import Limits
from tests.conformance.conftest import load, opened, store_on
from tests.kit.databases import Database, SqlDatabase, locked_table
from tests.kit.waiting import until

pytestmark = pytest.mark.parametrize("empty_database", ["postgres", "mysql"], indirect=True)

SIDE_TABLES = ["heartbeats", "maintenances", "monitor_maintenances", "proxies"]


@dataclass
class Ids:
    """One monitor of each kind, by id."""

    plain: str
    windowed: str
    proxied: str
    push: str

    @property
    def all(self) -> list[str]:
        return [self.plain, self.windowed, self.proxied, self.push]


SHORT = Limits(monitors_s=2.0, side_table_s=1.0, retry_part_s=0.1, retry_after_s=3600.0)
"""Longer than a read of a few rows without a lock takes, also on a busy machine with two cores."""


@pytest.fixture
def limits() -> Limits:
    return SHORT


@pytest_asyncio.fixture
async def rows(database: Database) -> Ids:
    proxy, window = database.proxy(), database.window()
    plain, windowed, proxied, push = (
        database.monitor(),
        database.monitor(),
        database.monitor(proxy_id=proxy["id"]),
        database.monitor(type="push"),
    )
    await database.insert("proxies", proxy)
    await database.insert("monitors", plain, windowed, proxied, push)
    await database.insert("maintenances", window)
    await database.insert("monitor_maintenances", database.link(windowed, window))
    await database.insert("heartbeats", database.heartbeat(push))
    return Ids(plain["id"], windowed["id"], proxied["id"], push["id"])


@pytest.mark.parametrize("table", SIDE_TABLES)
async def test_a_locked_side_table_costs_its_limit_once_and_its_last_known_rows_are_used(
    database: SqlDatabase, store: MonitorStore, rows: Ids, table: str
) -> None:
    before = await load(store, *rows.all)
    assert before.monitors.keys() == set(rows.all)
    async with locked_table(database.target, table):
        first = await load(store, *rows.all)
        started_at = time.monotonic()
        for _ in range(10):
            assert await load(store, *rows.all) == first
        assert time.monotonic() - started_at < 10 * SHORT.side_table_s, "the limit is not paid again by each"
    needs_it_fresh = {rows.push} if table == "heartbeats" else set()
    assert first.monitors == {id_: before.monitors[id_] for id_ in set(rows.all) - needs_it_fresh}
    assert first.waiting.keys() == needs_it_fresh
    assert first.degraded.keys() == ({table} if not needs_it_fresh else set())
    assert all(table in reason for reason in [*first.waiting.values(), *first.degraded.values()])


@pytest.mark.parametrize("table", SIDE_TABLES)
async def test_without_last_known_rows_windows_are_left_out_and_other_monitors_wait(
    database: SqlDatabase, store: MonitorStore, rows: Ids, table: str
) -> None:
    async with locked_table(database.target, table):
        loaded = await load(store, *rows.all)
    waiting = {"heartbeats": {rows.push}, "proxies": {rows.proxied}}.get(table, set())
    assert loaded.waiting.keys() == waiting
    assert loaded.monitors.keys() == set(rows.all) - waiting
    assert loaded.degraded.keys() == ({table} if not waiting else set())
    assert bool(loaded.monitors[rows.windowed].windows) == bool(waiting)


@pytest.mark.parametrize("table", ["heartbeats", "maintenances", "proxies"])
async def test_a_side_table_is_read_only_for_monitors_that_need_it(
    database: SqlDatabase, store: MonitorStore, rows: Ids, table: str
) -> None:
    async with locked_table(database.target, table):
        assert await load(store, rows.plain) == Loaded(
            {rows.plain: (await load(store, rows.plain)).monitors[rows.plain]}, {}
        )


@pytest.mark.parametrize("limits", [msgspec.structs.replace(SHORT, retry_after_s=0.0)], ids=["retrying"])
async def test_a_side_table_that_answers_again_is_read_again(
    database: SqlDatabase, store: MonitorStore, rows: Ids
) -> None:
    for table in SIDE_TABLES:
        async with locked_table(database.target, table):
            await load(store, *rows.all)
    loaded = await load(store, *rows.all)
    assert loaded.monitors.keys() == set(rows.all)
    assert (loaded.waiting, loaded.degraded) == ({}, {})


async def test_a_statement_that_ends_at_its_limit_keeps_the_connection(
    database: SqlDatabase, store: MonitorStore, rows: Ids
) -> None:
    async with store.session() as session:
        await session.load(rows.all)
        held: Any = session
        connection = held.slot.connection
        async with locked_table(database.target, "heartbeats"):
            await session.load(rows.all)
        assert held.slot.connection is connection
        await session.ping()
        assert held.slot.connection is connection


@pytest.mark.parametrize("table", SIDE_TABLES)
async def test_a_locked_side_table_does_not_prevent_the_start(database: SqlDatabase, rows: Ids, table: str) -> None:
    store = store_on(database, SHORT)
    async with locked_table(database.target, table):
        late = await store.open()
        assert late.keys() == {table}
        assert "no answer in time" in late[table]
        assert (await load(store, rows.plain)).monitors.keys() == {rows.plain}
    await store.close()
    assert await store.open() == {}
    await store.close()


async def test_a_missing_column_ends_the_start_although_another_table_is_locked(
    database: SqlDatabase, rows: Ids
) -> None:
    await database.execute("ALTER TABLE heartbeats DROP COLUMN duration")
    store = store_on(database, SHORT)
    async with locked_table(database.target, "proxies"):
        with pytest.raises(StoreRefusedError, match="duration"):
            await store.open()


async def test_a_lock_on_monitors_delays_the_start(database: SqlDatabase, rows: Ids) -> None:
    store = store_on(database, msgspec.structs.replace(SHORT, command_s=1.0))
    async with locked_table(database.target, "monitors"):
        with pytest.raises(StoreUnavailableError, match="no answer in time"):
            await store.open()


async def test_a_lock_on_monitors_fails_ping_and_load(database: SqlDatabase, store: MonitorStore, rows: Ids) -> None:
    async with opened(database.target, msgspec.structs.replace(SHORT, command_s=1.0)) as impatient:
        async with locked_table(database.target, "monitors"):
            for call in (load(store, *rows.all), impatient.ping()):
                with pytest.raises(StoreUnavailableError, match="no answer in time"):
                    await call
        await impatient.ping()
    assert (await load(store, *rows.all)).monitors.keys() == set(rows.all)


_WAITING = {
    "postgres": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE 'Waiting for%'",
}


async def test_a_read_that_its_caller_abandons_does_not_wait_on_at_the_server(
    database: SqlDatabase, store: MonitorStore, rows: Ids
) -> None:
    """Otherwise a lock of some minutes uses up the connections that the server allows."""

    async def waits() -> bool:
        ((count,),) = await database.execute(_WAITING[database.target.dialect])
        return int(count) > 0

    async def has_ended() -> bool:
        return not await waits()

    async with locked_table(database.target, "monitors"):
        reading = asyncio.create_task(store.ping())
        await until(waits, "the read waits for the lock")
        reading.cancel()
        await asyncio.wait({reading})
        await until(has_ended, "the server has ended it")
