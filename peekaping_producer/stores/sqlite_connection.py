"""A connection of aiosqlite, which has a thread: SQLite waits for disks and locks, the event loop must not."""

import sqlite3
from contextlib import ExitStack, closing, suppress
from threading import Thread
from typing import Self

import aiosqlite

from peekaping_producer.stores.rows import Row


class SqliteConnection(aiosqlite.Connection):
    """One statement at a time, without transactions but for those that a statement begins.

    Raises sqlite3.Error, ValueError once closed, and whatever else the drivers raise.
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
    def is_closed(self) -> bool:
        """Whether it was closed, or its thread ended."""
        return not (self._running and self._thread.is_alive())

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        """The statement's rows; texts among them that are no UTF-8 are bytes."""
        try:
            return list(await self.execute_fetchall(statement, values))
        except sqlite3.OperationalError as error:
            if not str(error).startswith("Could not decode to UTF-8"):
                raise
        # One such text fails all rows. It will be read again, so this slower way stays.
        self.text_factory = _text_or_bytes
        return list(await self.execute_fetchall(statement, values))

    async def close(self) -> None:
        """Close it, and wait for that; aiosqlite's own would go on waiting when canceled."""
        if not self.is_closed and (closed := self.stop()):
            await closed

    def abort(self) -> None:
        """Interrupt its statement, and have the thread close it as soon as it can: a wait for a lock is not cut."""
        connection = self._connection
        if self._running and connection is not None:
            self._connection = None  # its thread closes it in any case
            self.stop()
            with suppress(sqlite3.Error):  # it may be closed by now
                connection.interrupt()


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
