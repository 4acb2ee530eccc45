"""Create the tables that the producer reads, where the API server's own migrations have not made them.

The migrations are plain SQL files, `<dialect>/NNNN_name.sql`, applied in the order of their names and written down in
the table `peekaping_producer_migrations`. A database that has `monitors` and not this table is the API server's:
nothing is written to it.
"""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import asyncpg
import msgspec

from peekaping_producer.errors import ConfigError, StoreError
from peekaping_producer.stores import postgres, sqlite
from peekaping_producer.targets import DatabaseTarget

LEDGER = "peekaping_producer_migrations"
_CREATE_LEDGER = """
CREATE TABLE peekaping_producer_migrations (
    name varchar(255) PRIMARY KEY,
    applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""
_TABLES_THERE = "SELECT name FROM unnest($1::text[]) AS wanted (name) WHERE to_regclass(name) IS NOT NULL"
_READ_LEDGER = "SELECT name FROM peekaping_producer_migrations"
_LOCK = 0x7065656B
"""The advisory lock's key; any number that other programs on the database do not use."""
_LOCK_TIMEOUT = 60.0
"""Seconds to wait for another replica's migration."""


class MigrationReport(msgspec.Struct, frozen=True):
    """What one run did."""

    applied: tuple[str, ...] = ()
    """Names of the migrations applied now, in order."""
    upstream: bool = False
    """The tables are the API server's: nothing was written."""
    created_file: str | None = None
    """The SQLite file that this run made."""

    def __str__(self) -> str:
        if self.upstream:
            return "upstream schema found: nothing to do"
        if not self.applied:
            return "up to date: nothing to do"
        made = f"created {self.created_file}; " if self.created_file else ""
        return f"{made}applied {', '.join(self.applied)}"


class Migration(msgspec.Struct, frozen=True):
    """One file: its name without `.sql`, and its statements."""

    name: str
    sql: str


async def migrate(target: DatabaseTarget) -> MigrationReport:
    """Bring the target's tables up to date; safe to repeat, and when several start it at once.

    Raises StoreUnavailableError and StoreError as MonitorStore.open() does; StoreError also where the ledger names a
    migration that this program does not know, and where a SQLite file's folder is missing. ConfigError for a dialect
    that has no migrations.
    """
    match target.dialect:
        case "postgres":
            return await _migrate_postgres(target, migrations("postgres"))
        case "sqlite":
            return await asyncio.to_thread(_migrate_sqlite, target, migrations("sqlite"))
        case _:
            raise ConfigError([f"DB_TYPE: got {target.dialect}, migrate takes postgres or sqlite"])


def migrations(dialect: str) -> list[Migration]:
    """The migrations of a dialect, in order."""
    folder = _folder() / dialect
    found = [Migration(file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in folder.iterdir()]
    return sorted(found, key=lambda migration: migration.name)


def _folder() -> Traversable:
    """Inside the installed package; in a checkout, beside it."""
    packaged = files("peekaping_producer") / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / "migrations"


def _missing(known: Sequence[Migration], applied: set[str], target: DatabaseTarget) -> list[Migration]:
    if newer := sorted(applied - {migration.name for migration in known}):
        raise StoreError(f"{target}: {LEDGER} names {', '.join(newer)}, which this version does not know: upgrade it")
    return [migration for migration in known if migration.name not in applied]


async def _migrate_postgres(target: DatabaseTarget, known: Sequence[Migration]) -> MigrationReport:
    with postgres.translated(target):
        connection = await asyncpg.connect(
            **postgres.connect_options(target), statement_cache_size=0, command_timeout=_LOCK_TIMEOUT
        )
        try:
            # One transaction: all or nothing, and the lock ends with it, behind a transaction pooler too.
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                return await _apply_to_postgres(connection, target, known)
        finally:
            connection.terminate()


async def _apply_to_postgres(
    connection: "asyncpg.Connection[asyncpg.Record]", target: DatabaseTarget, known: Sequence[Migration]
) -> MigrationReport:
    names = await connection.fetch(_TABLES_THERE, ["monitors", LEDGER])
    tables = {row[0] for row in names}
    if _is_upstream(tables):
        return MigrationReport(upstream=True)
    if LEDGER not in tables:
        await connection.execute(_CREATE_LEDGER)
    applied = {row[0] for row in await connection.fetch(_READ_LEDGER)}
    missing = _missing(known, applied, target)
    for migration in missing:
        await connection.execute(migration.sql)
        await connection.execute("INSERT INTO peekaping_producer_migrations (name) VALUES ($1)", migration.name)
    return MigrationReport(tuple(migration.name for migration in missing))


def _migrate_sqlite(target: DatabaseTarget, known: Sequence[Migration]) -> MigrationReport:
    path = Path(target.name).absolute()
    if not path.parent.is_dir():
        raise StoreError(f"sqlite:{path}: the folder {path.parent} does not exist: create it, or correct DB_NAME")
    is_new = not path.exists()
    with sqlite.translated(target):
        # Looked at first, since opening the API server's file for writing could already move its log into it.
        if not is_new and _is_upstream(_tables_of(path)):
            return MigrationReport(upstream=True)
        with _exclusive(path) as connection:
            report = _apply_to_sqlite(connection, target, known)
    return msgspec.structs.replace(report, created_file=str(path)) if is_new and report.applied else report


def _is_upstream(tables: set[str]) -> bool:
    return "monitors" in tables and LEDGER not in tables


def _tables_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(sqlite.read_only_uri(path), uri=True, timeout=_LOCK_TIMEOUT)) as connection:
        return _tables(connection)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextmanager
def _exclusive(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction that nobody else can write beside."""
    with closing(sqlite3.connect(path, timeout=_LOCK_TIMEOUT, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _apply_to_sqlite(
    connection: sqlite3.Connection, target: DatabaseTarget, known: Sequence[Migration]
) -> MigrationReport:
    tables = _tables(connection)
    if _is_upstream(tables):
        return MigrationReport(upstream=True)
    if LEDGER not in tables:
        connection.execute(_CREATE_LEDGER)
    applied = {row[0] for row in connection.execute(_READ_LEDGER)}
    missing = _missing(known, applied, target)
    for migration in missing:
        for statement in _statements(migration.sql):
            connection.execute(statement)
        connection.execute("INSERT INTO peekaping_producer_migrations (name) VALUES (?)", (migration.name,))
    return MigrationReport(tuple(migration.name for migration in missing))


def _statements(sql: str) -> Iterator[str]:
    """One by one: executescript() would commit our transaction first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
