"""Migrations of SQLite: one transaction that nobody else can write beside."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from peekaping_producer.errors import StoreError
from peekaping_producer.stores import sqlite
from peekaping_producer.targets import DatabaseTarget

CREATE_LEDGER = """\
CREATE TABLE peekaping_producer_migrations (
    name VARCHAR(255) PRIMARY KEY,
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""
_LOCK_TIMEOUT = 60.0
"""Seconds to wait for another replica's migration."""


def record(name: str) -> str:
    """The statement that writes `name` into the ledger."""
    return f"INSERT INTO peekaping_producer_migrations (name) VALUES ('{name}');\n"  # noqa: S608 - a file of ours


class SqliteConnection:
    """See Connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these tables are there."""
        rows = await self._connection.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {row[0] for row in rows} & set(names)

    async def applied(self) -> set[str]:
        """The names that the ledger holds."""
        rows = await self._connection.execute_fetchall("SELECT name FROM peekaping_producer_migrations")
        return {row[0] for row in rows}

    async def run(self, script: str) -> None:
        """Run the statements of one text, one by one: executescript() would commit our transaction first."""
        for statement in _statements(script):
            await self._connection.execute(statement)


@asynccontextmanager
async def reading(target: DatabaseTarget) -> AsyncIterator[SqliteConnection]:
    """A connection that cannot write: opened for writing, the API server's file could have its log moved into it."""
    path = _path(target)
    # What is not there yet is as good as an empty database.
    name = sqlite.read_only_uri(path) if path.exists() else ":memory:"
    with sqlite.translated(target):
        async with aiosqlite.connect(name, uri=True, timeout=_LOCK_TIMEOUT) as connection:
            yield SqliteConnection(connection)


@asynccontextmanager
async def exclusive(target: DatabaseTarget) -> AsyncIterator[SqliteConnection]:
    """One transaction, in a file that is made where there is none."""
    with sqlite.translated(target):
        async with aiosqlite.connect(_path(target), timeout=_LOCK_TIMEOUT, isolation_level=None) as connection:
            await connection.execute("BEGIN EXCLUSIVE")
            try:
                yield SqliteConnection(connection)
            except BaseException:
                await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")


def _path(target: DatabaseTarget) -> Path:
    sqlite.check_params(target)
    path = Path(target.name).absolute()
    if not path.parent.is_dir():
        raise StoreError(f"sqlite:{path}: the folder {path.parent} does not exist: create it, or correct DB_NAME")
    return path


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
