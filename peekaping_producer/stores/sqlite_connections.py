"""Connections of aiosqlite, each with a thread: SQLite waits for disks and locks, the event loop must not."""

import asyncio
import sqlite3
from contextlib import ExitStack, closing, suppress
from threading import Thread
from typing import Self

import aiosqlite

from peekaping_producer.errors import StoreRefusedError
from peekaping_producer.stores.errors import CREATE_TABLES
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.pool import Driver
from peekaping_producer.stores.rows import Row, text_or_bytes
from peekaping_producer.stores.sqlite_file import existing_path, read_only_uri, translated
from peekaping_producer.targets import DatabaseTarget


class SqliteConnection(aiosqlite.Connection):
    """One statement at a time; only a statement begins a transaction.

    Raises sqlite3.Error, ValueError once closed, and what else the drivers raise.
    """

    def __init__(self, name: str, lock_timeout: float) -> None:
        opened = ExitStack()

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(name, uri=True, timeout=lock_timeout, isolation_level=None)
            return opened.enter_context(closing(connection))

        super().__init__(connect, iter_chunk_size=64)
        answer_calls = self._thread.run

        def run() -> None:
            # aiosqlite's thread would end with a traceback where the event loop was closed before it could answer,
            # and forget the connection of an open() that was canceled.
            with opened, suppress(RuntimeError):
                answer_calls()

        # A daemon: a wait for a lock must not outlast the process.
        self._thread = Thread(target=run, name="sqlite", daemon=True)

    @classmethod
    async def open(cls, name: str, *, lock_timeout: float) -> Self:
        """Connect to a path or `file:` URI; each statement waits for locks for up to `lock_timeout` seconds."""
        connection = cls(name, lock_timeout)
        await connection
        return connection

    @property
    def is_dead(self) -> bool:
        """Whether it was closed, or its thread ended."""
        return not (self._running and self._thread.is_alive())

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        """The statement's rows; texts that are not valid UTF-8 are bytes."""
        try:
            return list(await self.execute_fetchall(statement, values))
        except sqlite3.OperationalError as error:
            if not str(error).startswith("Could not decode to UTF-8"):
                raise
        # One such text fails all rows. It will be read again, so the connection keeps this slower way.
        self.text_factory = text_or_bytes
        return list(await self.execute_fetchall(statement, values))

    async def close(self) -> None:
        """Close it and wait for that; aiosqlite's own close() would ignore a cancellation."""
        if not self.is_dead and (closed := self.stop()):
            await closed

    quit = close

    async def check(self) -> None:
        """Read the file's header."""
        await self.fetch("PRAGMA schema_version")

    def abort(self) -> None:
        """Interrupt its statement; the thread closes it as soon as it can: a wait for a lock is not interrupted."""
        connection = self._connection
        if self._running and connection is not None:
            self._connection = None  # its thread closes it in any case
            self.stop()
            with suppress(sqlite3.Error):  # it may be closed by now
                connection.interrupt()


class SqliteDriver(Driver[SqliteConnection]):
    """See Driver. Each connection is a thread. Raises SqliteFileError at once for a path that cannot be a database."""

    translated = staticmethod(translated)

    def __init__(self, target: DatabaseTarget, limits: Limits) -> None:
        super().__init__(target, limits)
        existing_path(target)

    async def connect(self) -> SqliteConnection:
        """A connection that cannot write."""
        path = existing_path(self.target)
        if path is None:
            raise StoreRefusedError(f"{self.target}: there is no such file; {CREATE_TABLES}")
        with translated(self.target):
            async with asyncio.timeout(self.limits.acquire_s):
                return await SqliteConnection.open(read_only_uri(path), lock_timeout=self.limits.acquire_s)
