"""The databases that bench.stores measures: each starts a server, fills it and explains what a store asked it.

BENCH_DATABASE_URL points at another server: its database must be empty, or filled by an earlier run of the same size;
nothing in it is deleted. On Postgres the user must be a superuser.
"""

import json
import os
import sqlite3
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiomysql
import asyncpg

from bench.contents import START, Contents, Expressions, id_of, statements
from bench.plans import Plan, Statement, mysql_plan, postgres_plan, recorded, sqlite_plan
from bench.servers import DATABASE_URL, database_of
from peekaping_producer.migrate import migrate
from peekaping_producer.stores.sqlite_connection import SqliteConnection
from peekaping_producer.targets import DatabaseTarget
from tests.kit import mysql, postgres, processes
from tests.kit.databases import TABLES

POSTGRES_OPTIONS = ("shared_buffers=2GB", "max_wal_size=16GB", "maintenance_work_mem=1GB")
MYSQL_OPTIONS = ("--innodb-buffer-pool-size=6G", "--innodb-log-file-size=4G", "--max-connections=200")


class Database(ABC):
    """A connection beside the store's."""

    middle: ClassVar[str] = "80000000-0000-0000-0000-000000000000"
    """Half of all monitors' ids lie before it."""

    @abstractmethod
    async def fill(self, contents: Contents) -> None:
        """Write all rows, unless they are there."""

    @abstractmethod
    async def size(self) -> int:
        """Bytes on disk, indexes included."""

    @abstractmethod
    async def explain(self, statement: Statement) -> list[Plan]:
        """Run a statement again and say how; more than one plan where the server may choose between them."""

    @abstractmethod
    def recorded(self) -> AbstractContextManager[list[Statement]]:
        """What the store's sessions ask meanwhile."""


class SqlDatabase(Database):
    """What the SQL databases have in common."""

    expressions: ClassVar[Expressions]
    before: ClassVar[tuple[str, ...]]
    """Settings for the connection that fills."""
    after: ClassVar[tuple[str, ...]]

    @abstractmethod
    async def execute(self, statement: str) -> list[Any]:
        """Run one statement."""

    async def fill(self, contents: Contents) -> None:
        """Inside the database: nothing but the statements goes there."""
        counts = {table: (await self.execute(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}
        if (counts["monitors"], counts["heartbeats"]) == (contents.monitors, contents.heartbeats):
            return
        if held := [f"{count} rows in {table}" for table, count in counts.items() if count]:
            raise SystemExit(f"expected an empty database, or one filled by an earlier run, got {', '.join(held)}")
        for statement in (*self.before, *statements(contents, self.expressions), *self.after):
            started_at = time.perf_counter()
            await self.execute(statement)
            took_s = time.perf_counter() - started_at
            print(f"  {took_s:6.1f} s  {' '.join(statement.split())[:60]}", file=sys.stderr, flush=True)


class PostgresDatabase(SqlDatabase):
    """The custom and the generic plan: a server may take the latter for a statement that it has seen a few times."""

    expressions = Expressions(
        id_of=lambda text: f"md5({text})::uuid",
        at=lambda seconds: f"timestamp '{START:%Y-%m-%d}' + {seconds} * interval '1 second'",
    )
    before = ("SET session_replication_role = replica",)  # no look-up of each foreign key
    after = ("SET session_replication_role = origin", "VACUUM ANALYZE")

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, statement: str) -> list[Any]:
        """Run one statement."""
        return list(await self._connection.fetch(statement, timeout=3600))

    async def size(self) -> int:
        """Of the whole database."""
        return int((await self.execute("SELECT pg_database_size(current_database())"))[0][0])

    async def explain(self, statement: Statement) -> list[Plan]:
        """By EXPLAIN (ANALYZE, BUFFERS)."""
        await self.execute(f"PREPARE explained AS {statement.text}")
        arguments = ", ".join(_literal(each) for each in statement.arguments)
        execute = "EXECUTE explained" + (f"({arguments})" if arguments else "")
        plans = []
        for kind in ("custom", "generic"):
            await self.execute(f"SET plan_cache_mode = force_{kind}_plan")
            answer = await self.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {execute}")
            plans.append(postgres_plan(f"{kind} plan", json.loads(answer[0][0])[0]["Plan"]))
        await self.execute("DEALLOCATE explained")
        return plans

    def recorded(self) -> AbstractContextManager[list[Statement]]:
        """What asyncpg fetches."""
        return recorded(asyncpg.Connection, "fetch")


class MysqlDatabase(SqlDatabase):
    """MySQL, or MariaDB."""

    expressions = Expressions(
        id_of=lambda text: (
            f"insert(insert(insert(insert(md5({text}), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')"
        ),
        at=lambda seconds: f"timestamp '{START:%Y-%m-%d %H:%M:%S}' + INTERVAL {seconds} SECOND",
    )
    # Each of the two servers takes the other's part for a comment.
    before = (
        "SET sql_mode = 'ANSI', foreign_key_checks = 0, unique_checks = 0",
        "SET /*M! max_recursive_iterations */ /*!80000 cte_max_recursion_depth */ = 4294967295",
    )
    after = ("ANALYZE TABLE monitors, proxies, maintenances, monitor_maintenances, heartbeats",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, statement: str) -> list[Any]:
        """Run one statement."""
        return await self._fetch(statement, aiomysql.Cursor)

    async def size(self) -> int:
        """Of the tables as the last ANALYZE saw them."""
        size = "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()"
        return int((await self.execute(size))[0][0])

    async def explain(self, statement: Statement) -> list[Plan]:
        """By MariaDB's ANALYZE, else EXPLAIN; and by the server's own count of the rows it read."""
        text = str(statement.text).partition(" FOR */ ")[2] or statement.text  # without the store's limit
        plan = await self._fetch(f"/*M! ANALYZE */ /*!80000 EXPLAIN */ {text}", aiomysql.DictCursor)
        await self.execute("FLUSH STATUS")
        await self.execute(statement.text)
        counters = await self.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return [mysql_plan(plan, {name: int(count) for name, count in counters})]

    def recorded(self) -> AbstractContextManager[list[Statement]]:
        """What aiomysql sends."""
        return recorded(aiomysql.Connection, "query")

    async def _fetch(self, statement: str, kind: type) -> list[Any]:
        async with self._connection.cursor(kind) as cursor:
            await cursor.execute(statement)
            return list(await cursor.fetchall())


class SqliteDatabase(SqlDatabase):
    """The file, opened for writing."""

    expressions = Expressions(
        id_of=lambda text: f"id_of({text})",
        at=lambda seconds: f"strftime('%Y-%m-%d %H:%M:%f+00:00', {int(START.timestamp())} + {seconds}, 'unixepoch')",
    )
    before = ("PRAGMA journal_mode = wal", "PRAGMA synchronous = off", "PRAGMA cache_size = -1000000")
    after = ("ANALYZE", "PRAGMA wal_checkpoint(truncate)")

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        connection.create_function("id_of", 1, id_of, deterministic=True)

    async def execute(self, statement: str) -> list[Any]:
        """Run one statement."""
        return self._connection.execute(statement).fetchall()

    async def size(self) -> int:
        """Of the file."""
        return self._path.stat().st_size

    async def explain(self, statement: Statement) -> list[Plan]:
        """By EXPLAIN QUERY PLAN, which depends on no value."""
        rows = self._connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.arguments).fetchall()
        lines, tables = sqlite_plan(rows, statement.text)
        counts = [(await self.execute(f"SELECT count(*) FROM {table}"))[0][0] for table in tables]
        return [Plan("EXPLAIN QUERY PLAN", lines, sum(counts))]

    def recorded(self) -> AbstractContextManager[list[Statement]]:
        """What the store fetches."""
        return recorded(SqliteConnection, "fetch")


@asynccontextmanager
async def database(dialect: str) -> AsyncIterator[tuple[DatabaseTarget, Database]]:
    """A database with the producer's tables: BENCH_DATABASE_URL's, or one of our own that ends with the block."""
    with _server(dialect) as target:
        await migrate(target)
        match dialect:
            case "postgres":
                connection = await postgres.connect(target)
                try:
                    yield target, PostgresDatabase(connection)
                finally:
                    await connection.close()
            case "mysql":
                connection = await mysql.connect(target)
                try:
                    yield target, MysqlDatabase(connection)
                finally:
                    connection.close()
            case _:
                with closing(sqlite3.connect(target.name, isolation_level=None)) as file:
                    yield target, SqliteDatabase(file, Path(target.name))


@contextmanager
def _server(dialect: str) -> Iterator[DatabaseTarget]:
    if url := os.environ.get(DATABASE_URL):
        yield database_of(url, dialect, "--dialect")
        return
    match dialect:
        case "postgres":
            with postgres.postgres_running(*POSTGRES_OPTIONS) as server:
                yield server.target
        case "mysql":
            with mysql.mysql_running(*MYSQL_OPTIONS) as mariadb:
                yield mariadb.target
        case _:
            with processes.directory("peekaping-bench-") as folder:
                yield DatabaseTarget(dialect="sqlite", name=str(folder / "bench.db"))


def _literal(value: Any) -> str:
    return f"'{{{','.join(value)}}}'" if isinstance(value, list) else f"'{value}'"
