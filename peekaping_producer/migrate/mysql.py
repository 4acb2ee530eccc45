"""Migrations of MySQL and MariaDB: nothing can be taken back here, so that every statement may be repeated."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.stores import mysql_connections as mysql
from peekaping_producer.stores.rows import Row
from peekaping_producer.targets import DatabaseTarget

CREATE_LEDGER = """\
CREATE TABLE IF NOT EXISTS peekaping_producer_migrations (
    name VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    applied_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))
) ENGINE = InnoDB;
"""
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({})"
# Locks are the whole server's, and their names have at most 64 characters.
_TAKE_LOCK = "SELECT GET_LOCK(concat('peekaping.migrate.', sha1(DATABASE())), {:g})"
_LOCK_TIMEOUT = 60.0
"""Seconds to wait for another replica's migration."""
_STATEMENT_TIMEOUT = 120.0
"""Seconds that one text may take: the server itself ends the wait for the lock."""


def record(name: str) -> str:
    """The statement that writes `name` into the ledger."""
    return f"INSERT INTO peekaping_producer_migrations (name) VALUES ('{name}');\n"  # noqa: S608 - a file of ours


class MysqlMigrationConnection:
    """See Connection."""

    def __init__(self, connection: mysql.MysqlConnection, target: DatabaseTarget) -> None:
        self._connection = connection
        self._target = target

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these tables are in this database."""
        wanted = ", ".join(self._connection.escape(name) for name in names)
        return {row[0] for row in await self.fetch(_TABLES.format(wanted))}

    async def applied(self) -> set[str]:
        """The names that the ledger holds."""
        return {row[0] for row in await self.fetch("SELECT name FROM peekaping_producer_migrations")}

    async def run(self, script: str) -> None:
        """Run the statements of one text; the first that fails ends it."""
        with mysql.translated(self._target):
            async with asyncio.timeout(_STATEMENT_TIMEOUT):
                await self._connection.run_script(script)

    async def fetch(self, statement: str) -> list[Row]:
        """The rows of one statement."""
        with mysql.translated(self._target):
            async with asyncio.timeout(_STATEMENT_TIMEOUT):
                return await self._connection.fetch(statement)


@asynccontextmanager
async def reading(target: DatabaseTarget) -> AsyncIterator[MysqlMigrationConnection]:
    """A connection that takes no lock and cannot write."""
    async with _connected(target, read_only=True) as connection:
        yield connection


@asynccontextmanager
async def exclusive(target: DatabaseTarget) -> AsyncIterator[MysqlMigrationConnection]:
    """A connection with a lock that ends when it does, however that comes about."""
    async with _connected(target, read_only=False) as connection:
        [[taken]] = await connection.fetch(_TAKE_LOCK.format(_LOCK_TIMEOUT))
        if taken != 1:
            raise StoreUnavailableError(f"{target}: another migration still runs after {_LOCK_TIMEOUT:g} s")
        yield connection


@asynccontextmanager
async def _connected(target: DatabaseTarget, *, read_only: bool) -> AsyncIterator[MysqlMigrationConnection]:
    driver = mysql.MysqlDriver(target, read_only=read_only)
    connection = await driver.connect()
    try:
        yield MysqlMigrationConnection(connection, target)
    finally:
        with suppress(Exception):  # what was raised before counts
            await driver.quit(connection)
