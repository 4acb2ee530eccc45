"""A connection to a SQLite file in a thread of its own: SQLite waits for disks and locks, the event loop must not."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Self, TypeVar

from peekaping_producer.stores.rows import Row

T = TypeVar("T")


class SqliteConnection:
    """One statement at a time, without transactions but for those that a statement begins.

    Raises sqlite3.Error, RuntimeError once closed, and whatever else the module raises.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._connection: sqlite3.Connection | None = None
        self.is_closed = False

    @classmethod
    async def open(cls, name: str, *, lock_timeout: float) -> Self:
        """Connect to a path or `file:` URI; each statement waits for locks for up to `lock_timeout` seconds."""
        connection = cls()
        try:
            await connection._run(lambda: connection._open(name, lock_timeout))
        except BaseException:
            connection.abort()
            raise
        return connection

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        """The statement's rows; texts among them that are no UTF-8 are bytes."""
        return await self._run(lambda: self._fetch(statement, values))

    async def close(self) -> None:
        """Close it, and wait for that."""
        if not self.is_closed:
            self.is_closed = True
            closing = self._run(self._close)
            self._thread.shutdown(wait=False)
            await closing

    def abort(self) -> None:
        """Interrupt its statement, and have the thread close it as soon as it can: a wait for a lock is not cut."""
        if not self.is_closed:
            self.is_closed = True
            with suppress(Exception):
                self._thread.submit(self._close)
            self._thread.shutdown(wait=False)
            if self._connection is not None:
                with suppress(sqlite3.Error):  # it may be closed by now
                    self._connection.interrupt()

    def _run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _open(self, name: str, lock_timeout: float) -> None:
        self._connection = sqlite3.connect(
            name, uri=True, timeout=lock_timeout, isolation_level=None, check_same_thread=False
        )

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _fetch(self, statement: str, values: tuple[object, ...]) -> list[Row]:
        assert self._connection is not None
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            if not str(error).startswith("Could not decode to UTF-8"):
                raise
        # One such text fails all rows.
        self._connection.text_factory = _text_or_bytes
        try:
            return self._connection.execute(statement, values).fetchall()
        finally:
            self._connection.text_factory = str


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
