"""A database with the producer's tables in it, into which a test writes as the API server would."""

import sqlite3
import uuid
from pathlib import Path
from typing import Any, Protocol

import msgspec

from peekaping_producer.targets import DatabaseTarget
from tests.servers import postgres

Row = dict[str, Any]


class Database(Protocol):
    """What both dialects' tests write with."""

    target: DatabaseTarget

    async def insert(self, table: str, *rows: Row) -> None:
        """Insert rows that name the same columns; `config` is JSON text."""
        ...

    async def execute(self, statement: str) -> list[Any]:
        """Run one statement without parameters."""
        ...


class PostgresDatabase:
    """One connection to a Postgres database."""

    def __init__(self, target: DatabaseTarget, connection: Any) -> None:
        self.target = target
        self._connection = connection

    async def insert(self, table: str, *rows: Row) -> None:
        """Let the server make its types of JSON values."""
        columns = ", ".join(rows[0])
        records = [{name: _json_value(name, value) for name, value in row.items()} for row in rows]
        await self._connection.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json)",
            msgspec.json.encode(records).decode(),
        )

    async def execute(self, statement: str) -> list[Any]:
        """Run one statement without parameters."""
        return list(await self._connection.fetch(statement))


class SqliteDatabase:
    """A connection that writes to the file as the API server does: write-ahead log, other process or not."""

    def __init__(self, target: DatabaseTarget) -> None:
        self.target = target
        self._connection = sqlite3.connect(target.name, isolation_level=None, timeout=1)
        self._connection.execute("PRAGMA journal_mode = wal")
        self._connection.execute("PRAGMA synchronous = off")

    async def insert(self, table: str, *rows: Row) -> None:
        """Store the values as they are."""
        columns = ", ".join(rows[0])
        marks = ", ".join("?" * len(rows[0]))
        self._connection.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})", [tuple(row.values()) for row in rows]
        )

    async def execute(self, statement: str) -> list[Any]:
        """Run one statement without parameters."""
        return self._connection.execute(statement).fetchall()

    def close(self) -> None:
        """Leave the file."""
        self._connection.close()


def sqlite_target(folder: Path) -> DatabaseTarget:
    """A path with everything in it that a URI would read otherwise."""
    return DatabaseTarget(dialect="sqlite", name=str(folder / "peeka ping?mode=rwc#1%20.db"))


async def postgres_database(target: DatabaseTarget) -> PostgresDatabase:
    """A connection to `target`; it ends when the next test empties the database."""
    return PostgresDatabase(target, await postgres.connect(target))


def new_id() -> str:
    """An id as the API server makes it."""
    return str(uuid.uuid4())


def monitor(**changes: Any) -> Row:
    """A row of `monitors`."""
    row: Row = {
        "id": new_id(),
        "type": "http",
        "name": "a monitor",
        "interval": 60,
        "timeout": 16,
        "max_retries": 3,
        "retry_interval": 30,
        "resend_interval": 10,
        "active": True,
        "config": '{"url": "https://example.com"}',
        "proxy_id": None,
    }
    return row | changes


def proxy(**changes: Any) -> Row:
    """A row of `proxies`."""
    row: Row = {
        "id": new_id(),
        "protocol": "http",
        "host": "proxy.example.com",
        "port": 3128,
        "auth": True,
        "username": "user",
        "password": "p@ss",
    }
    return row | changes


def window(**changes: Any) -> Row:
    """A row of `maintenances`."""
    row: Row = {
        "id": new_id(),
        "title": "a window",
        "active": True,
        "strategy": "manual",
        "start_date_time": None,
        "end_date_time": None,
        "start_time": None,
        "end_time": None,
        "interval_day": None,
        "cron": None,
        "timezone": None,
        "duration": None,
        "updated_at": "2026-11-22 12:00:00",
    }
    return row | changes


def link(monitor_row: Row, window_row: Row) -> Row:
    """A row of `monitor_maintenances`."""
    return {"id": new_id(), "monitor_id": monitor_row["id"], "maintenance_id": window_row["id"]}


def heartbeat(monitor_row: Row, **changes: Any) -> Row:
    """A row of `heartbeats`."""
    row: Row = {
        "id": new_id(),
        "monitor_id": monitor_row["id"],
        "status": 1,
        "msg": "ok",
        "ping": 12,
        "duration": 3,
        "down_count": 2,
        "retries": 1,
        "important": True,
        "time": "2026-11-22 12:37:53.220344",
        "end_time": "2026-11-22 12:37:54.000001",
        "notified": True,
    }
    return row | changes


def _json_value(column: str, value: Any) -> Any:
    return msgspec.Raw(value.encode()) if column == "config" and value is not None else value
