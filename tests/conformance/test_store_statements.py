"""How many statements the calls of a session cost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymongo import monitoring

from peekaping_producer.stores.limits import Limits
from tests.conformance.conftest import opened
from tests.kit.databases import Database

Count = Callable[[Any], Awaitable[int]]
"""Return the number of statements on the connection of a session since the count began."""


class Operations(monitoring.CommandListener):
    """Records the names of the commands that clients send."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Operations:
    """Those of every MongoDB client that is made after this."""
    listener = Operations()
    listeners = monitoring._LISTENERS
    monkeypatch.setattr(monitoring, "_LISTENERS", listeners._replace(command_listeners=[listener]))
    return listener


async def begin_count(dialect: str, session: Any, operations: Operations) -> Count:
    sent, before, asked = operations.names, 0, 0
    sent.clear()
    if dialect == "postgres":
        session.slot.connection.add_query_logger(lambda record: sent.append(record.query))
    elif dialect == "mysql":
        before = await questions(session)

    async def count(current: Any) -> int:
        nonlocal asked
        if dialect == "mysql":
            asked += 1
            return await questions(current) - before - asked
        await asyncio.sleep(0)  # asyncpg logs in the next turn of the event loop
        return len(sent)

    return count


async def questions(session: Any) -> int:
    """Return the number of statements that a connection to MySQL has sent, this one included."""
    return int((await session._fetch("SHOW SESSION STATUS LIKE 'Questions'"))[0][1])


@pytest.mark.parametrize("empty_database", ["postgres", "mysql", "mongo"], indirect=True)
async def test_a_load_is_one_statement_for_each_table_it_needs(operations: Operations, database: Database) -> None:
    rows = [database.monitor(type="push") for _ in range(300)]
    ids = [row["id"] for row in rows]
    shared, through = database.window(), database.proxy()
    await database.insert("monitors", *rows)
    await database.insert("maintenances", shared)
    await database.insert("monitor_maintenances", *(database.link(row, shared) for row in rows))
    await database.insert("heartbeats", *(database.heartbeat(row) for row in rows))
    await database.insert("proxies", through)
    limits = Limits(side_table_s=7.0)  # the tests' MongoDB is slow at joins
    async with opened(database.target, limits) as store, store.session() as session:
        count = await begin_count(database.target.dialect, session, operations)
        monitors = (await session.load(ids)).monitors
        assert await count(session) == 4
        assert all(details.latest_heartbeat and details.windows for details in monitors.values())
        await session.load([database.new_id()])
        assert await count(session) == 4 + 1
        await session.page_of_plans(None, 100)
        await session.plans(ids)
        assert await count(session) == 4 + 1 + 2


@pytest.mark.parametrize("empty_database", ["postgres", "mysql"], indirect=True)
async def test_returning_a_connection_costs_no_statement(
    operations: Operations, database: Database, store: Any
) -> None:
    async with store.session() as session:
        connection = session.slot.connection
        count = await begin_count(database.target.dialect, session, operations)
    async with store.session() as session:
        assert session.slot.connection is connection
        assert await count(session) == 0
        await session.ping()
        assert await count(session) == 1
