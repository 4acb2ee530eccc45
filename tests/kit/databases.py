"""A database with the producer's tables in it, into which a test writes as the API server would."""

import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from peekaping_producer.targets import DatabaseTarget
from tests.kit import postgres, processes

Row = dict[str, Any]
TABLES = ("monitor_maintenances", "heartbeats", "monitors", "maintenances", "proxies")
"""Peekaping's, those first that refer to others."""
LEDGER = "peekaping_producer_migrations"
"""What `migrate` writes down; no data."""


class Database(ABC):
    """What the tests of every dialect write with. Tables go by their SQL names, and ids by their outward form."""

    target: DatabaseTarget

    @classmethod
    @abstractmethod
    async def connect(cls, target: DatabaseTarget) -> Self:
        """A connection of the tests' own, to write with."""

    @abstractmethod
    async def insert(self, table: str, *rows: Row) -> None:
        """Insert rows that name the same columns; `config` is JSON text, times are text in UTC."""

    @abstractmethod
    async def update(self, table: str, id_: str, **columns: Any) -> None:
        """Change one row."""

    @abstractmethod
    async def delete(self, table: str, id_: str) -> None:
        """Delete one row."""

    @abstractmethod
    async def schema(self) -> object:
        """Whatever a write to the schema would change."""

    @abstractmethod
    async def rename(self, table: str, to: str) -> None:
        """Take a table away, or back."""

    @abstractmethod
    async def filled(self) -> list[str]:
        """The tables that hold rows, foreign ones included; without the ledger of `migrate`."""

    @abstractmethod
    async def clear(self) -> None:
        """Delete every row of Peekaping's tables; the tables stay."""

    async def set_zone(self, zone: str) -> None:
        """Have the server keep its clock in another zone, as far as it has one."""
        return

    async def let_proxies_dangle(self) -> None:
        """Let a monitor name a proxy that is not there, where the database would forbid it."""
        return

    @abstractmethod
    async def close(self) -> None:
        """Leave the database."""

    def new_id(self) -> str:
        """An id as the API server makes it."""
        return new_id()

    def monitor(self, **changes: Any) -> Row:
        """A row of `monitors` with a value for each column that a task needs."""
        usual = {"name": "a monitor", "retry_interval": 30, "resend_interval": 10, "proxy_id": None}
        return monitor_row(self.new_id(), **usual) | changes

    def proxy(self, **changes: Any) -> Row:
        """A row of `proxies`."""
        row: Row = {
            "id": self.new_id(),
            "protocol": "http",
            "host": "proxy.example.com",
            "port": 3128,
            "auth": True,
            "username": "user",
            "password": "p@ss",
        }
        return row | changes

    def window(self, **changes: Any) -> Row:
        """A row of `maintenances`."""
        row: Row = {
            "id": self.new_id(),
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

    def link(self, monitor_row: Row, window_row: Row) -> Row:
        """A row of `monitor_maintenances`."""
        return {"id": self.new_id(), "monitor_id": monitor_row["id"], "maintenance_id": window_row["id"]}

    def heartbeat(self, monitor_row: Row, **changes: Any) -> Row:
        """A row of `heartbeats`."""
        row: Row = {
            "id": self.new_id(),
            "monitor_id": monitor_row["id"],
            "status": 1,
            "msg": "ok",
            "ping": 12,
            "duration": 3,
            "down_count": 2,
            "retries": 1,
            "important": True,
            "time": "2026-11-22 12:37:53.220",
            "end_time": "2026-11-22 12:37:54.001",
            "notified": True,
        }
        return row | changes


class SqlDatabase(Database):
    """The part that SQL makes the same."""

    all_tables: ClassVar[str]
    """A query for the quoted names of all tables that are not the server's own."""

    async def filled(self) -> list[str]:
        names = [str(name) for (name,) in await self.execute(self.all_tables)]
        return [name for name in names if LEDGER not in name and await self.execute(f"SELECT 1 FROM {name} LIMIT 1")]

    async def clear(self) -> None:
        for table in TABLES:
            await self.execute(f"DELETE FROM {table}")

    @abstractmethod
    async def execute(self, statement: str) -> list[Any]:
        """Run one statement without parameters."""

    async def update(self, table: str, id_: str, **columns: Any) -> None:
        changes = ", ".join(f"{name} = {_literal(value)}" for name, value in columns.items())
        await self.execute(f"UPDATE {table} SET {changes} WHERE id = {_literal(id_)}")

    async def delete(self, table: str, id_: str) -> None:
        await self.execute(f"DELETE FROM {table} WHERE id = {_literal(id_)}")

    async def rename(self, table: str, to: str) -> None:
        await self.execute(f"ALTER TABLE {table} RENAME TO {to}")


class PostgresDatabase(SqlDatabase):
    """One connection to a Postgres database."""

    all_tables = """
        SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1
    """

    def __init__(self, target: DatabaseTarget, connection: Any) -> None:
        self.target = target
        self._connection = connection

    @classmethod
    async def connect(cls, target: DatabaseTarget) -> Self:
        """One that works through a pooler too."""
        return cls(target, await postgres.connect(target))

    async def insert(self, table: str, *rows: Row) -> None:
        """Let the server make its types of JSON values."""
        columns = ", ".join(rows[0])
        records = [{name: _json_value(name, value) for name, value in row.items()} for row in rows]
        await self._connection.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json)",
            msgspec.json.encode(records).decode(),
        )

    async def execute(self, statement: str) -> list[Any]:
        return list(await self._connection.fetch(statement))

    async def schema(self) -> object:
        """Tables and columns, with the files and transactions that made them."""
        return await self.execute(_POSTGRES_SCHEMA)

    async def set_zone(self, zone: str) -> None:
        """For the connections to come."""
        await self.execute(f"ALTER DATABASE {self.target.name} SET timezone = '{zone}'")

    async def let_proxies_dangle(self) -> None:
        await self.execute("ALTER TABLE monitors DROP CONSTRAINT IF EXISTS monitors_proxy_id_fkey")

    async def close(self) -> None:
        self._connection.terminate()


class SqliteDatabase(SqlDatabase):
    """A connection that writes to the file as the API server does: write-ahead log, other process or not."""

    all_tables = (
        "SELECT printf('\"%w\"', name) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY 1"
    )

    def __init__(self, target: DatabaseTarget) -> None:
        self.target = target
        self._connection = sqlite3.connect(target.name, isolation_level=None, timeout=1)
        self._connection.execute("PRAGMA journal_mode = wal")
        self._connection.execute("PRAGMA synchronous = off")

    @classmethod
    async def connect(cls, target: DatabaseTarget) -> Self:
        return cls(target)

    async def insert(self, table: str, *rows: Row) -> None:
        """Store the values as they are."""
        columns = ", ".join(rows[0])
        marks = ", ".join("?" * len(rows[0]))
        self._connection.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})", [tuple(row.values()) for row in rows]
        )

    async def execute(self, statement: str) -> list[Any]:
        return self._connection.execute(statement).fetchall()

    async def schema(self) -> object:
        """Every table and index, as it was made."""
        return await self.execute("SELECT * FROM sqlite_master ORDER BY name")

    async def close(self) -> None:
        self._connection.close()


def sqlite_target(folder: Path) -> DatabaseTarget:
    """A path with everything in it that a URI would read otherwise."""
    return DatabaseTarget(dialect="sqlite", name=str(folder / "peeka ping?mode=rwc#1%20.db"))


def class_of(dialect: str) -> type[Database]:
    """The class for a dialect."""
    from tests.kit.mongo import MongoDatabase
    from tests.kit.mysql import MysqlDatabase

    kinds: dict[str, type[Database]] = {"postgres": PostgresDatabase, "sqlite": SqliteDatabase}
    return (kinds | {"mysql": MysqlDatabase, "mongo": MongoDatabase})[dialect]


@contextmanager
def own_server(dialect: str, *options: str) -> Iterator[DatabaseTarget]:
    """An empty database of a server with these options, for the length of the block; for sqlite a new file."""
    from tests.kit.mongo import MongoServer
    from tests.kit.mysql import MysqlServer

    if dialect == "sqlite":
        with processes.directory("peekaping-sqlite-") as folder:
            yield DatabaseTarget(dialect="sqlite", name=str(folder / "peekaping.db"))
        return
    kinds: dict[str, type[processes.DatabaseServer]]
    kinds = {"postgres": postgres.PostgresServer, "mysql": MysqlServer, "mongo": MongoServer}
    with processes.running(kinds[dialect], *options) as server:
        yield server.target


@asynccontextmanager
async def connected(target: DatabaseTarget) -> AsyncIterator[Database]:
    """A connection for the length of the block."""
    database = await class_of(target.dialect).connect(target)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def locked_table(target: DatabaseTarget, table: str) -> AsyncIterator[None]:
    """What VACUUM FULL, ALTER TABLE and a forgotten transaction do, in Postgres or MySQL."""
    async with connected(target) as other:
        assert isinstance(other, SqlDatabase)
        if target.dialect == "postgres":
            await other.execute("BEGIN")
            await other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
            await other.execute("ROLLBACK")
        else:
            await other.execute(f"LOCK TABLES {table} WRITE")
            yield
            await other.execute("UNLOCK TABLES")


async def connect_sql(target: DatabaseTarget) -> SqlDatabase:
    """A connection to a database that speaks SQL."""
    database = await class_of(target.dialect).connect(target)
    assert isinstance(database, SqlDatabase)
    return database


def monitor_row(monitor_id: str, *, interval: int = 60, active: bool = True, **columns: Any) -> Row:
    """A monitor as the API server writes it."""
    row: Row = {
        "id": monitor_id,
        "type": "http",
        "name": f"monitor {monitor_id[:8]}",
        "interval": interval,
        "timeout": 16,
        "max_retries": 3,
        "retry_interval": 60,
        "resend_interval": 0,
        "active": active,
        "config": '{"url": "https://example.com"}',
    }
    return row | columns


def new_id() -> str:
    """An id as the API server makes it where the database speaks SQL."""
    return str(uuid.uuid4())


_POSTGRES_SCHEMA = """
SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), c.relfilenode, c.xmin::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 3
"""


def _json_value(column: str, value: Any) -> Any:
    return msgspec.Raw(value.encode()) if column == "config" and value is not None else value


def _literal(value: Any) -> str:
    """Tests' own values, as standard SQL writes them."""
    match value:
        case None | bool():
            return {None: "NULL", True: "true", False: "false"}[value]
        case int():
            return str(value)
        case _:
            return "'" + str(value).replace("'", "''") + "'"
