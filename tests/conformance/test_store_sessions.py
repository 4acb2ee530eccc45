"""The connections and sessions of every store."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores import Loaded, MonitorStore, store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import (
    DIALECTS,
    SQL_DIALECTS,
    STORES,
    cancel_at_each_turn,
    limited,
    opened,
    store_on,
    without_tables,
)
from tests.kit.databases import Database, SqlDatabase
from tests.kit.fault_proxy import FaultProxy, fault_proxy
from tests.kit.processes import DatabaseServer, free_port
from tests.kit.waiting import until

SERVERS = pytest.mark.parametrize("empty_database", [each for each in DIALECTS if each != "sqlite"], indirect=True)

SQL = pytest.mark.parametrize("empty_database", SQL_DIALECTS, indirect=True)


@pytest.fixture(params=STORES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseTarget:
    return without_tables(request, tmp_path)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_is_a_monitor_store(dialect: str) -> None:
    target = DatabaseTarget(dialect=dialect, host="h", port=1, name="x")
    assert isinstance(store_for(target, connections=1), MonitorStore)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_unknown_parameter_is_named_without_its_value(dialect: str) -> None:
    target = DatabaseTarget(dialect=dialect, name="x", params={"pool_size": "s3cret"})
    with pytest.raises(ConfigError, match="pool_size") as caught:
        store_for(target, connections=1)
    assert "s3cret" not in str(caught.value)


async def test_a_session_waits_until_another_ends(store: MonitorStore) -> None:
    async with store.session(), store.session(), store.session() as third:
        fourth = asyncio.create_task(_read_once(store))
        for _ in range(5):
            await third.page_of_plans(None, 1)
        assert not fourth.done()
    assert await fourth == []


@limited(acquire_s=1.0)
async def test_an_exhausted_pool_is_an_unavailable_store(store: MonitorStore) -> None:
    async with store.session(), store.session(), store.session():
        with pytest.raises(StoreUnavailableError, match="no answer in time"):
            async with store.session():
                pass
    await store.ping()


async def test_sessions_read_concurrently(database: Database, store: MonitorStore) -> None:
    rows = [database.monitor() for _ in range(20)]
    await database.insert("monitors", *rows)

    async def read(id_: str) -> bool:
        async with store.session() as session:
            return set((await session.load([id_])).monitors) == {id_} == set(await session.plans([id_]))

    assert all(await asyncio.gather(*(read(row["id"]) for row in rows)))


async def test_a_canceled_read_affects_no_other_session(database: Database, store: MonitorStore) -> None:
    row = database.monitor()
    await database.insert("monitors", row)

    async def read() -> None:
        async with store.session() as session:
            while True:
                await session.load([row["id"]])

    await cancel_at_each_turn(read, 30)
    async with store.session() as session, store.session(), store.session():
        assert set((await session.load([row["id"]])).monitors) == {row["id"]}


async def test_ping_answers_only_while_the_store_is_open(database: Database) -> None:
    store = store_on(database, connections=1)
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


@limited(close_s=0.05)
async def test_close_ends_sessions_still_open(database: Database, store: MonitorStore) -> None:
    async with store.session() as session:
        await store.close()
        if database.target.dialect != "sqlite":  # there close() does not wait for a thread that may wait for a lock
            with pytest.raises(StoreUnavailableError):
                await session.page_of_plans(None, 1)
    with pytest.raises(StoreUnavailableError):
        await store.ping()


@dataclass
class Remote:
    """A store of one connection, and the proxy between it and its server."""

    store: MonitorStore
    proxy: FaultProxy


@pytest_asyncio.fixture
async def remote(database: Database) -> AsyncIterator[Remote]:
    async with fault_proxy(database.target.port or 0) as proxy:
        target = msgspec.structs.replace(database.target, port=proxy.port)
        async with opened(target, Limits(acquire_s=2.0, command_s=2.0), connections=1) as store:
            yield Remote(store, proxy)


@SERVERS
async def test_a_connection_that_is_cut_during_a_read_is_replaced(database: Database, remote: Remote) -> None:
    row = database.monitor(type="push")
    await database.insert("monitors", row)

    async def load() -> Loaded:
        async with remote.store.session() as session:
            return await session.load([row["id"]])

    await load()
    remote.proxy.hold_replies()
    reading = asyncio.create_task(load())
    await until(lambda: remote.proxy.requests > 0)
    await remote.proxy.cut()
    with pytest.raises(StoreUnavailableError):
        await reading
    remote.proxy.release_replies()
    assert set((await load()).monitors) == {row["id"]}


@SERVERS
async def test_a_late_answer_reaches_no_later_read(database: Database, remote: Remote) -> None:
    early, late = database.monitor(), database.monitor()
    await database.insert("monitors", early, late)

    async def load(id_: str) -> set[str]:
        async with remote.store.session() as session:
            return set((await session.load([id_])).monitors)

    await load(early["id"])
    remote.proxy.hold_replies()
    with pytest.raises(StoreUnavailableError, match="no answer in time"):
        await load(late["id"])
    remote.proxy.release_replies()
    assert await load(early["id"]) == {early["id"]}


@SERVERS
async def test_a_server_that_was_down_is_used_again(remote: Remote) -> None:
    await remote.store.ping()
    await remote.proxy.down()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await remote.store.ping()
    await remote.proxy.up()
    await remote.store.ping()


@pytest.mark.parametrize("server", ["private_postgres", "private_mysql"])
async def test_a_restarted_server_is_used_again(request: pytest.FixtureRequest, server: str) -> None:
    """A server that stops also sends errors of its own, which no proxy does."""
    restarted: DatabaseServer = request.getfixturevalue(server)
    await migrate(restarted.target)
    async with opened(restarted.target) as store:
        restarted.stop()
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await store.ping()
        restarted.start()
        await store.ping()


@SERVERS
async def test_a_server_that_cannot_be_reached_is_unavailable(database: Database) -> None:
    for nowhere in ({"port": free_port()}, {"host": "no.such.host.invalid"}):
        with pytest.raises(StoreUnavailableError) as caught:
            async with opened(msgspec.structs.replace(database.target, **nowhere), Limits(acquire_s=1.0)):
                pass
        assert (database.target.password or "s3cret") not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("empty_database", ["postgres", "mysql"], indirect=True)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": "not the pa$$word"}, "password authentication failed|Access denied"),
        ({"name": "nowhere"}, "database \"nowhere\" does not exist|Unknown database 'nowhere'"),
    ],
    ids=["password", "database"],
)
async def test_a_wrong_login_is_final_and_named(database: Database, changes: dict[str, str], reason: str) -> None:
    target = msgspec.structs.replace(database.target, **changes)
    with pytest.raises(StoreError, match=reason) as caught:
        await store_for(target, connections=1).open()
    assert not isinstance(caught.value, StoreUnavailableError)
    assert str(caught.value).startswith(f"{target}, user {target.user}: the server reports: ")
    assert "pa$$word" not in "".join(traceback.format_exception(caught.value))


@SQL
@pytest.mark.parametrize("table", ["monitors", "proxies", "maintenances", "monitor_maintenances", "heartbeats"])
async def test_a_missing_table_is_named_with_the_remedy(database: Database, table: str) -> None:
    await database.rename(table, f"{table}_away")
    with pytest.raises(StoreError, match=f"{table}.*migrate") as caught:
        await store_for(database.target, connections=1).open()
    assert not isinstance(caught.value, StoreUnavailableError)


@SQL
async def test_a_missing_column_is_named_with_the_remedy(database: SqlDatabase) -> None:
    await database.execute("ALTER TABLE maintenances DROP COLUMN duration")
    with pytest.raises(StoreError, match=r"duration.*migrate"):
        await store_for(database.target, connections=1).open()


@SQL
async def test_a_table_that_disappears_is_a_store_error(database: Database, store: MonitorStore) -> None:
    row = database.monitor()
    await database.insert("monitors", row)
    async with store.session() as session:
        await session.load([row["id"]])
        await database.rename("monitors", "away")
        with pytest.raises(StoreError, match="migrate"):
            await session.load([row["id"]])
    await database.rename("away", "monitors")
    async with store.session() as session:
        assert set((await session.load([row["id"]])).monitors) == {row["id"]}


async def _read_once(store: MonitorStore) -> list[Plan]:
    async with store.session() as session:
        return await session.page_of_plans(None, 1)
