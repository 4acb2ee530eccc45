"""What only the MySQL store does: values, settings of servers, broken connections, the lock of migrations."""

import asyncio
import json

import pytest

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.migrate import mysql as migrations
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.mysql import MysqlSession
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import cancel_at_each_turn, limited
from tests.kit.mysql import MysqlDatabase
from tests.kit.waiting import until

MysqlStore = Store[MysqlSession]

SESSIONS = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"


@pytest.fixture
def empty_database(mysql_database: DatabaseTarget) -> DatabaseTarget:
    return mysql_database


async def has_no_session(database: MysqlDatabase) -> bool:
    return not await database.execute(SESSIONS)


async def cut_all(database: MysqlDatabase) -> None:
    for (number,) in await database.execute(SESSIONS):
        await database.execute(f"KILL {number}")


async def test_reads_do_not_depend_on_settings_of_the_server(database: MysqlDatabase, store: MysqlStore) -> None:
    """The tests' own server has another time zone, sql_mode, character set and autocommit than ours."""
    row = database.monitor(type="push", name="日本 é 🚦 'a' \"b\" \\ `c` || d", config=json.dumps({"k": "é\\\n'🚦"}))
    await database.insert("monitors", row)
    await database.insert("heartbeats", {"id": database.new_id(), "monitor_id": row["id"], "status": 1})
    async with store.session() as session:
        details = (await session.load([row["id"]])).monitors[row["id"]]
        (age,) = (await session._fetch("SELECT timestampdiff(SECOND, time, UTC_TIMESTAMP()) FROM heartbeats"))[0]
        assert details.monitor.name == row["name"]
        assert json.loads(details.monitor.config) == json.loads(row["config"])
        assert abs(age) < 60, "DEFAULT gives UTC whatever the server's zone"
        await database.delete("monitors", row["id"])
        assert (await session.load([row["id"]])).monitors == {}, "each read sees what is there now"


async def test_timestamps_are_read_in_utc_too(database: MysqlDatabase, store: MysqlStore) -> None:
    """A column of the type TIMESTAMP is returned in the session's zone."""
    row = database.monitor(type="push")
    await database.insert("monitors", row)
    await database.execute("ALTER TABLE heartbeats MODIFY end_time TIMESTAMP(6) NULL")
    await database.execute("SET time_zone = '+00:00'")
    await database.insert("heartbeats", database.heartbeat(row, end_time="2026-11-22 12:37:54.001"))
    async with store.session() as session:
        beat = (await session.load([row["id"]])).monitors[row["id"]].latest_heartbeat
    assert str(getattr(beat, "end_time", None)) == "2026-11-22 12:37:54.001000+00:00"


async def test_a_session_cannot_write(database: MysqlDatabase, store: MysqlStore) -> None:
    async with store.session() as session:
        with pytest.raises(StoreError, match="READ ONLY"):
            await session._fetch("DELETE FROM monitors")


async def test_odd_values_break_only_their_monitor(database: MysqlDatabase, store: MysqlStore) -> None:
    good, two, zero, no_day, no_config = (database.monitor(type="push") for _ in range(5))
    await database.insert("monitors", good, two, zero, no_day, no_config | {"config": None, "name": ""})
    await database.update("monitors", two["id"], active=2)
    await database.insert("heartbeats", database.heartbeat(zero, time="0000-00-00 00:00:00", end_time=None))
    await database.insert("heartbeats", database.heartbeat(no_day, time="2026-11-00 00:00:00"))
    await database.insert("heartbeats", database.heartbeat(good, time="2026-11-22 12:37:53.220344"))
    async with store.session() as session:
        loaded = await session.load([row["id"] for row in (good, two, zero, no_day, no_config)])
    assert loaded.broken.keys() == {two["id"]}
    assert "time: expected a time like" in str(loaded.monitors[no_day["id"]].problems)
    assert loaded.broken[two["id"]] == "active: expected 0 or 1, got 2"
    beats = {id_: details.latest_heartbeat for id_, details in loaded.monitors.items()}
    assert str(getattr(beats[zero["id"]], "time", None)) == "0001-01-01 00:00:00+00:00"
    assert str(getattr(beats[good["id"]], "time", None)) == "2026-11-22 12:37:53.220344+00:00"
    assert (loaded.monitors[no_config["id"]].monitor.config, loaded.monitors[no_config["id"]].monitor.name) == ("", "")


async def test_invalid_utf8_breaks_only_its_monitor(database: MysqlDatabase, store: MysqlStore) -> None:
    await database.execute("ALTER TABLE monitors MODIFY name VARBINARY(600) NOT NULL")
    bad, good = database.monitor(), database.monitor(name="日本 🚦")
    await database.insert("monitors", bad, good)
    await database.execute(f"UPDATE monitors SET name = X'FFFE' WHERE id = '{bad['id']}'")
    async with store.session() as session:
        loaded = await session.load([bad["id"], good["id"]])
    assert loaded.broken == {bad["id"]: "name: expected text, got bytes"}
    assert loaded.monitors[good["id"]].monitor.name == "日本 🚦"


@pytest.mark.parametrize("collation", ["ascii_bin", "ascii_general_ci"])
async def test_ids_of_any_printable_text_are_used_unchanged(
    database: MysqlDatabase, store: MysqlStore, collation: str
) -> None:
    await database.execute("DROP TABLE heartbeats")  # its foreign key fixes the type
    await database.execute("ALTER TABLE monitor_maintenances DROP CONSTRAINT fk_monitor_maintenances_monitor")
    await database.execute(f"ALTER TABLE monitors MODIFY id CHAR(80) CHARACTER SET ascii COLLATE {collation} NOT NULL")
    ids = [database.new_id(), database.new_id().upper(), "x", "~" * 36, "it's \\ 100%", "a" * 64]
    strange = ["", f"{database.new_id()}\n", "?", "b" * 65]
    await database.insert("monitors", *(database.monitor(id=id_) for id_ in [*ids, *strange]))
    seen: list[Plan] = []
    async with store.session() as session:
        while page := await session.page_of_plans(seen[-1].id if seen else None, 3):
            seen += page
        loaded = await session.load([*ids, *strange, ids[0].upper(), ids[1].lower(), "X", "x "])
        plans = await session.plans([*ids, *strange, ids[1].lower()])
    assert {plan.id for plan in seen if plan.interval} == set(ids) == set(loaded.monitors) == set(plans)
    assert all(store.is_id(id_) for id_ in ids)
    assert {plan.id for plan in seen if plan.problem.startswith("id: expected")} == set(strange)
    assert not any(store.is_id(id_) for id_ in strange)


async def test_a_connection_that_is_killed_during_a_read_is_replaced(
    database: MysqlDatabase, store: MysqlStore
) -> None:
    row = database.monitor()
    await database.insert("monitors", row)
    async with store.session() as session:
        await database.execute("LOCK TABLES monitors WRITE")
        read = asyncio.create_task(session.load([row["id"]]))
        async with asyncio.timeout(20):
            while not await database.execute(f"{SESSIONS} AND state LIKE '%lock%'"):
                pass
        await cut_all(database)
        with pytest.raises(StoreUnavailableError):
            await read
        await database.execute("UNLOCK TABLES")
    async with store.session() as session:
        assert set((await session.load([row["id"]])).monitors) == {row["id"]}


async def test_a_connection_that_the_server_closed_while_idle_fails_no_read(
    database: MysqlDatabase, store: MysqlStore
) -> None:
    async with store.session() as first, store.session() as second:
        for session in (first, second):
            await session._fetch("SET SESSION wait_timeout = 1")
    idle = [connection for connection, _ in store._pool.idle] if store._pool else []
    assert len(idle) == 2
    await until(lambda: all(connection.is_dead for connection in idle), "closed by wait_timeout")
    async with store.session() as first, store.session() as second:
        assert await first.page_of_plans(None, 1) == await second.page_of_plans(None, 1) == []


async def test_canceled_reads_leave_no_connection_open(database: MysqlDatabase, store: MysqlStore) -> None:
    async def read() -> None:
        async with store.session() as session:
            while True:
                await session.page_of_plans(None, 10)

    await cancel_at_each_turn(read, 40)
    assert store._pool is not None
    assert not store._pool._slots
    await store.close()
    await until(lambda: has_no_session(database), "the server has no session of ours")


async def test_closing_ends_every_session_on_the_server(database: MysqlDatabase, store: MysqlStore) -> None:
    async with store.session() as first, store.session() as second:
        await asyncio.gather(first.ping(), second.ping())
        assert len(await database.execute(SESSIONS)) >= 2
    await store.close()
    await until(lambda: has_no_session(database), "the server has no session of ours")


@limited(answer_s=1000.0)
async def test_the_server_cancels_a_statement_at_its_limit(store: MysqlStore) -> None:
    endless = " CROSS JOIN ".join(f"information_schema.columns c{n}" for n in range(4))
    async with asyncio.timeout(20), store.session() as session:
        with pytest.raises(StoreUnavailableError, match="no answer in time"):
            await session._fetch(f"SELECT count(*) FROM {endless}", 0.5)
        connection = session.slot.connection
        await session.ping()
        assert session.slot.connection is connection, "kept"


async def test_the_lock_of_a_migration_ends_with_its_connection(mysql_database: DatabaseTarget) -> None:
    async with migrations.locked(mysql_database):
        with pytest.raises(StoreUnavailableError, match="another migration still runs"):
            async with migrations.locked(mysql_database, lock_timeout_s=0.05):
                pass
    with pytest.raises(RuntimeError, match="broke off"):
        async with migrations.locked(mysql_database):
            raise RuntimeError("broke off")
    async with migrations.locked(mysql_database):
        pass


async def test_a_connection_for_reading_the_ledger_cannot_write(database: MysqlDatabase) -> None:
    async with migrations.read_only(database.target) as connection:
        with pytest.raises(StoreError, match="READ ONLY"):
            await connection.run(migrations.record("x"))
