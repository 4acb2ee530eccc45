"""Migrations of SQLite: one transaction that nobody else can write beside."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

from peekaping_producer.stores import sqlite
from peekaping_producer.stores.rows import Row
from peekaping_producer.stores.sqlite_connection import SqliteConnection
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


class SqliteMigrationConnection:
    """See Connection."""

    def __init__(self, connection: SqliteConnection, target: DatabaseTarget) -> None:
        self._connection = connection
        self._target = target

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these tables are there."""
        return {row[0] for row in await self._fetch("SELECT name FROM sqlite_master WHERE type = 'table'")} & set(names)

    async def applied(self) -> set[str]:
        """The names that the ledger holds."""
        return {row[0] for row in await self._fetch("SELECT name FROM peekaping_producer_migrations")}

    async def run(self, script: str) -> None:
        """Run the statements of one text, one by one: executescript() would commit our transaction first."""
        for statement in _statements(script):
            await self._fetch(statement)

    async def _fetch(self, statement: str) -> list[Row]:
        with sqlite.translated(self._target):
            return await self._connection.fetch(statement)


@asynccontextmanager
async def reading(target: DatabaseTarget) -> AsyncIterator[SqliteMigrationConnection]:
    """A connection that cannot write: opened for writing, the API server's file could have its log moved into it."""
    sqlite.check_params(target)
    path = sqlite.existing_path(target)
    # What is not there yet is as good as an empty database.
    async with _connected(target, sqlite.read_only_uri(path) if path else ":memory:") as connection:
        yield connection


@asynccontextmanager
async def exclusive(target: DatabaseTarget) -> AsyncIterator[SqliteMigrationConnection]:
    """One transaction, in a file that is made where there is none."""
    async with _connected(target, _path(target)) as connection:
        await connection.run("BEGIN EXCLUSIVE;")
        yield connection
        await connection.run("COMMIT;")


@asynccontextmanager
async def _connected(target: DatabaseTarget, name: str) -> AsyncIterator[SqliteMigrationConnection]:
    """Without its COMMIT a transaction is taken back when the connection closes."""
    with sqlite.translated(target):
        connection = await SqliteConnection.open(name, lock_timeout=_LOCK_TIMEOUT)
    try:
        yield SqliteMigrationConnection(connection, target)
    finally:
        with suppress(Exception):  # what was raised before counts
            await connection.close()


def _path(target: DatabaseTarget) -> str:
    sqlite.check_params(target)
    sqlite.existing_path(target)
    return str(sqlite.path_of(target))


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
