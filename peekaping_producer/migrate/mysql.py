"""Migrations of MySQL and MariaDB: nothing can be rolled back there, so every statement may be repeated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.migrate.files import LOCK_TIMEOUT_S
from peekaping_producer.migrate.sql import SqlConnection, record
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mysql_connections import MysqlDriver, translated
from peekaping_producer.stores.rows import Row
from peekaping_producer.targets import DatabaseTarget

__all__ = ["CREATE_LEDGER", "locked", "read_only", "record"]

CREATE_LEDGER = """\
CREATE TABLE IF NOT EXISTS peekaping_producer_migrations (
    name VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    applied_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))
) ENGINE = InnoDB;
"""
# Locks belong to the whole server, and their names have at most 64 characters.
_TAKE_LOCK = "SELECT GET_LOCK(concat('peekaping.migrate.', sha1(DATABASE())), {:g})"
_STATEMENT_TIMEOUT_S = 120.0
"""For one text: the server itself ends the wait for the lock."""


class _Connection(SqlConnection):
    tables_among = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({})"
    )

    async def run(self, script: str) -> None:
        with translated(self._target):
            async with asyncio.timeout(_STATEMENT_TIMEOUT_S):
                await self._connection.run_script(script)

    async def fetch(self, statement: str) -> list[Row]:
        with translated(self._target):
            async with asyncio.timeout(_STATEMENT_TIMEOUT_S):
                rows: list[Row] = await self._connection.fetch(statement)
                return rows


@asynccontextmanager
async def read_only(target: DatabaseTarget, *, writable: bool = False) -> AsyncIterator[SqlConnection]:
    """A connection without a lock."""
    connection = await MysqlDriver(target, Limits(), read_only=not writable).connect()
    try:
        yield _Connection(connection, target)
    finally:
        with suppress(Exception):  # what was raised before counts
            await connection.quit()


@asynccontextmanager
async def locked(target: DatabaseTarget, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> AsyncIterator[SqlConnection]:
    """A connection with a lock that ends with it, however it ends."""
    async with read_only(target, writable=True) as connection:
        [[taken]] = await connection.fetch(_TAKE_LOCK.format(lock_timeout_s))
        if taken != 1:
            raise StoreUnavailableError(f"{target}: another migration still runs after {lock_timeout_s:g} s")
        yield connection
