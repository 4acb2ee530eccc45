"""Which indexes MySQL uses, and how many rows it reads."""

from typing import Any

import pytest

from peekaping_producer.stores import mysql as statements
from peekaping_producer.stores.mysql import MysqlSession
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget
from tests.kit.mysql import MysqlDatabase

MysqlStore = Store[MysqlSession]


@pytest.fixture
def empty_database(mysql_database: DatabaseTarget) -> DatabaseTarget:
    return mysql_database


async def test_indexes_find_what_is_read(database: MysqlDatabase, store: MysqlStore) -> None:
    await _fill(database, monitors=3000, heartbeats=12_000)
    async with store.session() as session:
        ids = [plan.id for plan in await session.page_of_plans(None, 1000)]
        assert len((await session.load(ids)).monitors) == 1000
        page = await _explain(session, statements._PAGE.format(after=f"id > '{ids[500]}' AND", limit=1000))
        assert page == {"monitors": "PRIMARY"}
        for count in (10, 300):
            keys = {
                table: await _explain(session, text.format(ids=statements._quoted(ids[:count]), max_bytes=1))
                for table, text in statements._STATEMENTS.items()
            }
            assert keys["plans"] == {"monitors": "PRIMARY"}
            assert keys["monitors"]["m"] == "PRIMARY"
            assert keys["heartbeats"]["m"] == keys["heartbeats"]["h"] == "PRIMARY"
            assert "monitor_time" in str(keys["heartbeats"]["latest"])
            assert keys["monitor_maintenances"]["monitor_maintenances"] is not None


async def test_only_the_latest_of_many_heartbeats_are_read(database: MysqlDatabase, store: MysqlStore) -> None:
    """Counted by the storage engine, whatever the plan is."""
    await _fill(database, monitors=40, heartbeats=20_000)
    await database.execute("UPDATE monitors SET type = 'push'")
    async with store.session() as session:
        ids = [plan.id for plan in await session.page_of_plans(None, 1000)]
        before = await _rows_read(session)
        loaded = await session.load(ids)
        assert await _rows_read(session) - before < 20 * len(ids)
    assert all(details.latest_heartbeat for details in loaded.monitors.values())


async def _fill(database: MysqlDatabase, *, monitors: int, heartbeats: int) -> None:
    rows = [database.monitor() for _ in range(monitors)]
    await database.insert("monitors", *rows)
    for start in range(0, heartbeats, 5000):
        await database.insert(
            "heartbeats",
            *(
                database.heartbeat(
                    rows[n % monitors],
                    time=f"2026-11-{n // 3600 % 28 + 1:02} 12:{n // 60 % 60:02}:{n % 60:02}.{n:06}",
                    end_time=None,
                )
                for n in range(start, min(start + 5000, heartbeats))
            ),
        )
    await database.execute("ANALYZE TABLE monitors, heartbeats")


async def _explain(session: MysqlSession, statement: str) -> dict[str, Any]:
    """The key by which each table is read."""
    connection = session.slot.connection
    assert connection is not None
    await connection.query(f"EXPLAIN {statement}")
    result = connection._result
    names = [field.name for field in result.fields]
    rows = [dict(zip(names, row, strict=True)) for row in result.rows]
    return {row["table"]: row["key"] for row in rows}


async def _rows_read(session: MysqlSession) -> int:
    return sum(int(value) for _, value in await session._fetch("SHOW SESSION STATUS LIKE 'Handler_read%'"))
