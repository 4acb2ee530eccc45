"""Migrations of Postgres: one transaction under an advisory lock, behind a pooler in transaction mode too."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from peekaping_producer.stores import postgres
from peekaping_producer.targets import DatabaseTarget

CREATE_LEDGER = """\
CREATE TABLE peekaping_producer_migrations (
    name varchar(255) PRIMARY KEY,
    applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""
# to_regclass() would answer from a cache that waiting for the advisory lock does not bring up to date.
_TABLES = "SELECT relname FROM pg_class WHERE relname = ANY($1::text[]) AND pg_table_is_visible(oid)"
_LOCK = 0x7065656B
"""The advisory lock's key; any number that other programs on the database do not use."""
_LOCK_TIMEOUT = 60.0
"""Seconds to wait for another replica's migration."""


def record(name: str) -> str:
    """The statement that writes `name` into the ledger."""
    return f"INSERT INTO peekaping_producer_migrations (name) VALUES ('{name}');\n"  # noqa: S608 - a file of ours


class PostgresConnection:
    """See Connection."""

    def __init__(self, connection: Any, target: DatabaseTarget) -> None:
        self._connection = connection
        self._target = target

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these tables are there, by the search path."""
        return {row[0] for row in await self._fetch(_TABLES, names)}

    async def applied(self) -> set[str]:
        """The names that the ledger holds."""
        return {row[0] for row in await self._fetch("SELECT name FROM peekaping_producer_migrations")}

    async def run(self, script: str) -> None:
        """Run the statements of one text."""
        with postgres.translated(self._target):
            await self._connection.execute(script)

    async def _fetch(self, statement: str, *values: object) -> Any:
        with postgres.translated(self._target):
            return await self._connection.fetch(statement, *values)


@asynccontextmanager
async def reading(target: DatabaseTarget) -> AsyncIterator[PostgresConnection]:
    """A connection that takes no lock."""
    driver = postgres.PostgresDriver(target, command_timeout=_LOCK_TIMEOUT)
    connection = await driver.connect()
    try:
        yield PostgresConnection(connection, target)
    finally:
        with suppress(Exception):  # what was raised before counts
            driver.abort(connection)


@asynccontextmanager
async def exclusive(target: DatabaseTarget) -> AsyncIterator[PostgresConnection]:
    """One transaction: all or nothing, and the lock ends with it. Without its commit the connection's end undoes it."""
    async with reading(target) as alone:
        await alone.run("BEGIN")
        await alone.run(f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield alone
        await alone.run("COMMIT")
