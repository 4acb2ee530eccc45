"""Migrations of SQLite: one transaction, during which no other connection can write."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

from peekaping_producer.migrate.files import LOCK_TIMEOUT_S
from peekaping_producer.migrate.sql import SqlConnection, record
from peekaping_producer.stores.rows import Row
from peekaping_producer.stores.sqlite_connections import SqliteConnection
from peekaping_producer.stores.sqlite_file import existing_path, path_of, read_only_uri, translated
from peekaping_producer.targets import DatabaseTarget

__all__ = ["CREATE_LEDGER", "locked", "read_only", "record"]

CREATE_LEDGER = """\
CREATE TABLE peekaping_producer_migrations (
    name VARCHAR(255) PRIMARY KEY,
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""


class _Connection(SqlConnection):
    tables_among = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ({})"

    async def run(self, script: str) -> None:
        for statement in _statements(script):  # executescript() would commit our transaction first
            await self.fetch(statement)

    async def fetch(self, statement: str) -> list[Row]:
        with translated(self._target):
            rows: list[Row] = await self._connection.fetch(statement)
            return rows


@asynccontextmanager
async def read_only(target: DatabaseTarget) -> AsyncIterator[SqlConnection]:
    """A connection that cannot write: one that can might move the write-ahead log into the API server's file."""
    path = existing_path(target)
    # A file that does not exist yet is read as an empty database.
    async with _connected(target, read_only_uri(path) if path else ":memory:") as connection:
        yield connection


@asynccontextmanager
async def locked(target: DatabaseTarget) -> AsyncIterator[SqlConnection]:
    """One transaction, in a file that is created if it does not exist."""
    existing_path(target)
    async with _connected(target, str(path_of(target))) as connection:
        await connection.run("BEGIN EXCLUSIVE;")
        yield connection
        await connection.run("COMMIT;")


@asynccontextmanager
async def _connected(target: DatabaseTarget, name: str) -> AsyncIterator[SqlConnection]:
    """Closing the connection rolls back a transaction without its COMMIT."""
    with translated(target):
        connection = await SqliteConnection.open(name, lock_timeout=LOCK_TIMEOUT_S)
    try:
        yield _Connection(connection, target)
    finally:
        with suppress(Exception):  # what was raised before counts
            await connection.close()


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
