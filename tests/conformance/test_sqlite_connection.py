"""The thread of a SQLite connection, where aiosqlite would leave a traceback, a thread or an open file."""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosqlite import core

from peekaping_producer.migrate import migrate
from peekaping_producer.stores.sqlite_connections import SqliteConnection
from tests.conformance.conftest import opened
from tests.kit import databases
from tests.kit.waiting import until


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "x.db")


@pytest.fixture
def uncaught(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Exceptions of threads."""
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    return raised


@pytest.fixture
def lock(file: str) -> Iterator[sqlite3.Connection]:
    """An exclusive lock, for which every reader waits."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield connection
    connection.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Every connection that was made."""
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def recorded(*args: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*args, **options))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", recorded)
    return connections


async def _nothing(_: SqliteConnection) -> None:
    return None


async def _abort(connection: SqliteConnection) -> None:
    connection.abort()


async def _close_without_waiting(connection: SqliteConnection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await connection.close()
    connection.abort()


@pytest.mark.parametrize("end", [_nothing, _abort, _close_without_waiting])
@pytest.mark.filterwarnings("ignore:.*was deleted before being closed:ResourceWarning")
def test_a_thread_that_outlives_the_event_loop_ends_without_a_traceback(
    file: str,
    lock: sqlite3.Connection,
    made: list[sqlite3.Connection],
    uncaught: list[object],
    end: Callable[[SqliteConnection], Awaitable[None]],
) -> None:
    async def read_while_locked() -> threading.Thread:
        connection = await SqliteConnection.open(file, lock_timeout=60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.fetch("SELECT * FROM sqlite_master")
        await end(connection)
        return connection._thread

    thread = asyncio.run(read_while_locked())
    lock.execute("COMMIT")
    thread.join(60)
    assert not thread.is_alive()
    assert uncaught == []
    assert _are_closed(made)
    gc.collect()


async def test_a_canceled_open_leaves_no_file_open(
    file: str, monkeypatch: pytest.MonkeyPatch, made: list[sqlite3.Connection]
) -> None:
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    may_connect = threading.Event()

    def slow(*args: Any, **options: Any) -> sqlite3.Connection:
        may_connect.wait(60)
        return connect(*args, **options)

    monkeypatch.setattr(sqlite3, "connect", slow)
    before = threading.active_count()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await SqliteConnection.open(file, lock_timeout=60)
    may_connect.set()
    await until(lambda: threading.active_count() <= before)  # a thread of an earlier test may end, too
    assert len(made) == 1
    assert _are_closed(made)


async def test_a_canceled_close_does_not_wait_for_a_lock(file: str, lock: sqlite3.Connection) -> None:
    connection = await SqliteConnection.open(file, lock_timeout=60)
    reading = asyncio.create_task(connection.fetch("SELECT * FROM sqlite_master"))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await connection.close()
    assert connection.is_dead
    lock.execute("COMMIT")
    assert await reading == []
    await until(lambda: not connection._thread.is_alive())


async def test_a_second_close_does_not_wait(file: str) -> None:
    for first in (SqliteConnection.close, _abort):
        connection = await SqliteConnection.open(file, lock_timeout=60)
        await first(connection)
        connection.abort()
        await connection.close()
        assert connection.is_dead
        with pytest.raises(ValueError, match="closed"):
            await connection.fetch("SELECT 1")
        await until(lambda: not connection._thread.is_alive())  # noqa: B023


async def test_an_aborted_statement_ends_at_once(file: str) -> None:
    connection = await SqliteConnection.open(file, lock_timeout=60)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    started = threading.Event()
    await connection.create_function("started", 0, started.set)
    reading = asyncio.create_task(connection.fetch(f"{endless} WHERE i > 1 OR started() IS NULL"))
    await until(started.is_set)
    connection.abort()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await reading
    await until(lambda: not connection._thread.is_alive())


async def test_a_connection_whose_thread_died_is_replaced(tmp_path: Path) -> None:
    target = databases.sqlite_target(tmp_path)
    await migrate(target)
    async with opened(target) as store, store.session() as session:
        dead = session.slot.connection
        assert dead is not None
        dead._tx.put_nowait((None, lambda: core._STOP_RUNNING_SENTINEL))
        await until(lambda: not dead._thread.is_alive())
        assert await session.page_of_plans(None, 1) == []
        assert session.slot.connection is not dead


def _are_closed(connections: list[sqlite3.Connection]) -> bool:
    for each in connections:
        try:
            each.interrupt()  # of all methods the one that any thread may call
        except sqlite3.ProgrammingError:
            continue
        return False
    return bool(connections)
