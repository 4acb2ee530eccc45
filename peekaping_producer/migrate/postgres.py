"""Migrations of Postgres: one transaction under an advisory lock, behind a pooler in transaction mode too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from peekaping_producer.migrate.files import LOCK_TIMEOUT_S
from peekaping_producer.migrate.sql import SqlConnection, record
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.postgres_connections import PostgresDriver, translated
from peekaping_producer.stores.rows import Row
from peekaping_producer.targets import DatabaseTarget

__all__ = ["CREATE_LEDGER", "locked", "read_only", "record"]

CREATE_LEDGER = """\
CREATE TABLE peekaping_producer_migrations (
    name varchar(255) PRIMARY KEY,
    applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""
_LOCK = 0x7065656B
"""The advisory lock's key; any number that other programs on the database do not use."""


class _Connection(SqlConnection):
    # to_regclass() would answer from a cache that waiting for the advisory lock does not update.
    tables_among = "SELECT relname FROM pg_class WHERE relname IN ({}) AND pg_table_is_visible(oid)"

    async def run(self, script: str) -> None:
        with translated(self._target):
            await self._connection.execute(script)

    async def fetch(self, statement: str) -> list[Row]:
        with translated(self._target):
            rows: list[Row] = await self._connection.fetch(statement)
            return rows


@asynccontextmanager
async def read_only(target: DatabaseTarget) -> AsyncIterator[SqlConnection]:
    """A connection without a lock."""
    connection = await PostgresDriver(target, Limits(), command_timeout=LOCK_TIMEOUT_S).connect()
    try:
        yield _Connection(connection, target)
    finally:
        with suppress(Exception):  # what was raised before counts
            connection.abort()


@asynccontextmanager
async def locked(target: DatabaseTarget) -> AsyncIterator[SqlConnection]:
    """One transaction, with which the lock ends. Without a commit, closing the connection rolls it back."""
    async with read_only(target) as alone:
        await alone.run("BEGIN")
        await alone.run(f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield alone
        await alone.run("COMMIT")
