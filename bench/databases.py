"""The databases that bench.stores measures: each starts a server, fills it and explains the statements of a store.

BENCH_DATABASE_URL points at another server: its database must be empty, or filled by an earlier run of the same size;
nothing in it is deleted. On Postgres the user must be a superuser.
"""

import json
import os
import sys
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import Any, ClassVar

import aiomysql
import asyncpg

from bench.dataset import START, Dataset, Expressions, id_of, statements
from bench.plans import QueryPlan, Statement, mysql_plan, postgres_plan, recorded, sqlite_plan
from bench.servers import DATABASE_URL, database_of
from peekaping_producer.migrate import migrate
from peekaping_producer.stores.sqlite_connections import SqliteConnection
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.databases import TABLES, SqlDatabase
from tests.kit.mysql import MysqlDatabase

OPTIONS: dict[str, tuple[str, ...]] = {
    "postgres": ("shared_buffers=2GB", "max_wal_size=16GB", "maintenance_work_mem=1GB"),
    "mysql": ("--innodb-buffer-pool-size=6G", "--innodb-log-file-size=4G", "--max-connections=200"),
    "sqlite": (),
}


class MeasuredDatabase(SqlDatabase):
    """A connection beside the store's, which fills the tables and explains the store's statements."""

    middle: ClassVar[str] = "80000000-0000-0000-0000-000000000000"
    """Half of the ids of all monitors sort before it."""
    expressions: ClassVar[Expressions]
    before: ClassVar[tuple[str, ...]]
    """Settings for the connection that fills."""
    after: ClassVar[tuple[str, ...]]

    async def fill(self, dataset: Dataset) -> None:
        """Write all rows by statements that run inside the database, unless an earlier run has written them."""
        counts = {table: (await self.execute(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}
        if (counts["monitors"], counts["heartbeats"]) == (dataset.monitors, dataset.heartbeats):
            return
        if held := [f"{count} rows in {table}" for table, count in counts.items() if count]:
            raise SystemExit(f"expected an empty database, or one filled by an earlier run, got {', '.join(held)}")
        for statement in (*self.before, *statements(dataset, self.expressions), *self.after):
            started_at = time.perf_counter()
            await self.execute(statement)
            took_s = time.perf_counter() - started_at
            print(f"  {took_s:6.1f} s  {' '.join(statement.split())[:60]}", file=sys.stderr, flush=True)

    @abstractmethod
    async def size(self) -> int:
        """Bytes on disk, indexes included."""

    @abstractmethod
    async def explain(self, statement: Statement) -> list[QueryPlan]:
        """Run a statement again and return its plans; more than one where the server may choose between them."""

    @abstractmethod
    def recorded(self) -> AbstractContextManager[list[Statement]]:
        """The statements of the store's sessions during the block."""


class MeasuredPostgres(MeasuredDatabase, databases.PostgresDatabase):
    """The custom and the generic plan: a server may choose the latter for a statement that it has run a few times."""

    expressions = Expressions(
        id_of=lambda text: f"md5({text})::uuid",
        at=lambda seconds: f"timestamp '{START:%Y-%m-%d}' + {seconds} * interval '1 second'",
    )
    before = ("SET session_replication_role = replica",)  # no look-up of each foreign key
    after = ("SET session_replication_role = origin", "VACUUM ANALYZE")

    async def size(self) -> int:
        """Of the whole database."""
        return int((await self.execute("SELECT pg_database_size(current_database())"))[0][0])

    async def explain(self, statement: Statement) -> list[QueryPlan]:
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
        """Through asyncpg."""
        return recorded(asyncpg.Connection, "fetch")


class MeasuredMysql(MeasuredDatabase, MysqlDatabase):
    """MySQL, or MariaDB."""

    expressions = Expressions(
        id_of=lambda text: (
            f"insert(insert(insert(insert(md5({text}), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')"
        ),
        at=lambda seconds: f"timestamp '{START:%Y-%m-%d %H:%M:%S}' + INTERVAL {seconds} SECOND",
    )
    # Each of the two servers reads the part for the other as a comment.
    before = (
        "SET sql_mode = 'ANSI', foreign_key_checks = 0, unique_checks = 0",
        "SET /*M! max_recursive_iterations */ /*!80000 cte_max_recursion_depth */ = 4294967295",
    )
    after = ("ANALYZE TABLE monitors, proxies, maintenances, monitor_maintenances, heartbeats",)

    async def size(self) -> int:
        """Of the tables as of the last ANALYZE."""
        size = "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()"
        return int((await self.execute(size))[0][0])

    async def explain(self, statement: Statement) -> list[QueryPlan]:
        """By MariaDB's ANALYZE, else EXPLAIN; and by the row counts that the server reports."""
        text = str(statement.text).partition(" FOR */ ")[2] or statement.text  # without the store's limit
        rows = await self.execute(f"/*M! ANALYZE */ /*!80000 EXPLAIN */ {text}")
        plan = [dict(zip(self.columns, row, strict=True)) for row in rows]
        await self.execute("FLUSH STATUS")
        await self.execute(statement.text)
        counters = await self.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return [mysql_plan(plan, {name: int(count) for name, count in counters})]

    def recorded(self) -> AbstractContextManager[list[Statement]]:
        """Through aiomysql."""
        return recorded(aiomysql.Connection, "query")


class MeasuredSqlite(MeasuredDatabase, databases.SqliteDatabase):
    """The file, opened for writing."""

    expressions = Expressions(
        id_of=lambda text: f"id_of({text})",
        at=lambda seconds: f"strftime('%Y-%m-%d %H:%M:%f+00:00', {int(START.timestamp())} + {seconds}, 'unixepoch')",
    )
    before = ("PRAGMA cache_size = -1000000",)
    after = ("ANALYZE", "PRAGMA wal_checkpoint(truncate)")

    def __init__(self, target: DatabaseTarget) -> None:
        super().__init__(target)
        self._connection.create_function("id_of", 1, id_of, deterministic=True)

    async def size(self) -> int:
        """Of the file."""
        size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        return int((await self.execute(size))[0][0])

    async def explain(self, statement: Statement) -> list[QueryPlan]:
        """By EXPLAIN QUERY PLAN, which is independent of the values."""
        rows = self._connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.arguments).fetchall()
        lines, tables = sqlite_plan(rows, statement.text)
        counts = [(await self.execute(f"SELECT count(*) FROM {table}"))[0][0] for table in tables]
        return [QueryPlan("EXPLAIN QUERY PLAN", lines, sum(counts))]

    def recorded(self) -> AbstractContextManager[list[Statement]]:
        """Through the store's connection."""
        return recorded(SqliteConnection, "fetch")


KINDS: dict[str, type[MeasuredDatabase]] = {
    "postgres": MeasuredPostgres,
    "mysql": MeasuredMysql,
    "sqlite": MeasuredSqlite,
}


@asynccontextmanager
async def database(dialect: str) -> AsyncIterator[tuple[DatabaseTarget, MeasuredDatabase]]:
    """A database with the producer's tables: that of BENCH_DATABASE_URL, or of a server of its own."""
    with ExitStack() as stack:
        if url := os.environ.get(DATABASE_URL):
            target = database_of(url, dialect, "--dialect")
        else:
            target = stack.enter_context(databases.own_server(dialect, *OPTIONS[dialect]))
        await migrate(target)
        side = await KINDS[dialect].connect(target)
        try:
            yield target, side
        finally:
            await side.close()


def _literal(value: Any) -> str:
    return f"'{{{','.join(value)}}}'" if isinstance(value, list) else f"'{value}'"
