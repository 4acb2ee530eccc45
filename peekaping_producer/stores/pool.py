"""A bounded pool of connections, whatever the driver."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Generic, Protocol, TypeVar

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.stores.errors import error_prefix
from peekaping_producer.stores.limits import Limits
from peekaping_producer.targets import DatabaseTarget

_PASSES = 3
"""Passes of the event loop until asyncio reports a connection that the server has closed."""


class Connection(Protocol):
    """A connection of any driver. Its methods may raise anything."""

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended."""
        ...

    async def check(self) -> None:
        """One round trip."""
        ...

    def abort(self) -> None:
        """End it without waiting for the server, which may hang."""
        ...

    async def quit(self) -> None:
        """End it as the server expects."""
        ...


C = TypeVar("C", bound=Connection)


class Driver(ABC, Generic[C]):
    """How connections to one target are made. Raises StoreErrors only."""

    def __init__(self, target: DatabaseTarget, limits: Limits) -> None:
        self.target = target
        self.limits = limits

    @staticmethod
    @abstractmethod
    def translated(target: DatabaseTarget, /) -> AbstractContextManager[None]:
        """Raise what the driver raises in the block as a StoreError."""

    async def prepare(self) -> None:
        """Do what must precede the first connection."""
        return

    @abstractmethod
    async def connect(self) -> C:
        """A new connection, within `acquire_s`."""

    async def close(self) -> None:
        """End what prepare() began."""
        return


class Slot(Generic[C]):
    """One of a pool's connections, for one session. A connection that ended while unused is replaced."""

    def __init__(self, pool: "Pool[C]") -> None:
        self._pool = pool
        self.connection: C | None = None
        self._used_at = 0.0

    @asynccontextmanager
    async def using(self, timeout_s: float | None = None) -> AsyncIterator[C]:
        """The connection for one read of at most `timeout_s`; whatever the driver raises becomes a StoreError.

        An error ends the connection, also a cancellation, unless it is still usable.
        """
        connection, driver = await self.ready(), self._pool.driver
        try:
            with driver.translated(driver.target):
                async with asyncio.timeout(timeout_s):
                    yield connection
        except BaseException as error:  # a canceled read leaves an answer unread
            if not (isinstance(error, StoreError) and error.connection_usable):
                self.drop()
            raise
        self._used_at = time.monotonic()

    async def ready(self) -> C:
        """A connection that is not known to be broken. Raises StoreErrors only."""
        pool = self._pool
        pool.require_open()
        for _ in range(_PASSES):
            await asyncio.sleep(0)
        while self.connection is None and pool.idle:
            self.connection, self._used_at = pool.idle.pop()
            if self.connection.is_dead:
                self.drop()
        if self.connection is None or not await self._works(self.connection):
            self.drop()
            self.connection = await pool.driver.connect()
            self._used_at = time.monotonic()
            pool.require_open()  # close() may have been called in the meantime
        return self.connection

    def drop(self) -> None:
        """End the connection at once."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(Exception):  # drivers raise anything for a broken connection
                connection.abort()

    def release(self) -> None:
        """Return the connection to the pool."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._pool.take_back(connection, self._used_at)

    async def _works(self, connection: C) -> bool:
        """Check a connection that was unused for a while. Its error is not raised: connecting again raises one."""
        limits = self._pool.driver.limits
        if connection.is_dead:
            return False
        if time.monotonic() - self._used_at < limits.check_after_s:
            return True
        try:
            with self._pool.driver.translated(self._pool.driver.target):
                async with asyncio.timeout(limits.check_s):
                    await connection.check()
        except StoreError:
            return False
        except BaseException:  # a canceled check leaves an answer unread
            self.drop()
            raise
        return True


class Pool(Generic[C]):
    """At most `size` connections, made when needed; the one used last is used next."""

    def __init__(self, driver: Driver[C], size: int) -> None:
        self.driver = driver
        self.idle: list[tuple[C, float]] = []
        """With the time.monotonic() of their last use."""
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._slots: set[Slot[C]] = set()
        """Those in use."""
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Slot[C]]:
        """Wait for a slot, up to `acquire_s`, and then for its connection. Releasing it raises nothing."""
        try:
            async with asyncio.timeout(self.driver.limits.acquire_s):
                await self._free.acquire()
        except TimeoutError:
            raise self._unavailable("no answer in time: all connections are in use") from None
        slot = Slot(self)
        self._slots.add(slot)
        try:
            await slot.ready()
            yield slot
        finally:
            self._slots.discard(slot)
            slot.release()
            self._free.release()

    async def close(self) -> None:
        """End the idle connections, and those in use when they are returned, or after `close_s`."""
        self._is_closed = True
        while self.idle:
            self._end(self.idle.pop()[0])
        with suppress(TimeoutError):
            async with asyncio.timeout(self.driver.limits.close_s):
                for _ in range(self._size):
                    await self._free.acquire()
        for slot in self._slots:
            slot.drop()
        if self._ending:
            await asyncio.wait(self._ending)

    def require_open(self) -> None:
        """Raise StoreUnavailableError once closed."""
        if self._is_closed:
            raise self._unavailable("the store is not open")

    def take_back(self, connection: C, used_at: float) -> None:
        """Keep a connection for the next session; end it where the pool is closed."""
        if self._is_closed:
            self._end(connection)
        else:
            self.idle.append((connection, used_at))

    def _unavailable(self, reason: str) -> StoreUnavailableError:
        return StoreUnavailableError(f"{error_prefix(self.driver.target)}: {reason}")

    def _end(self, connection: C) -> None:
        """End it in a task: the server may reply late."""
        task = asyncio.create_task(self._quit(connection))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _quit(self, connection: C) -> None:
        try:
            async with asyncio.timeout(self.driver.limits.close_s):
                await connection.quit()
        except Exception:  # it is ended below
            with suppress(Exception):  # drivers raise anything for a broken connection
                connection.abort()
