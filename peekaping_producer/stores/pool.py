"""A bounded pool of connections, whatever the driver, and the part of a store that is the same for each of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, Protocol, TypeVar

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.stores import Session, connections
from peekaping_producer.targets import DatabaseTarget

CHECK_AFTER = 5.0
"""Seconds after which an idle connection has to show that it works: a firewall may have dropped it without a word."""

_TURNS = 3
"""Of the event loop, after which it has seen the end of a connection that ended before the first of them."""

C = TypeVar("C")


class AnsweredError(StoreError):
    """An error that is an answer like any other: the connection stays in order."""


class Driver(Protocol[C]):
    """What a pool asks of a driver. `connect` and `check` raise StoreErrors only; what the others raise is ignored."""

    async def connect(self) -> C:
        """A new connection, within ACQUIRE_TIMEOUT."""
        ...

    async def check(self, connection: C) -> None:
        """One round trip."""
        ...

    def is_dead(self, connection: C) -> bool:
        """Whether the connection is known to have ended."""
        ...

    def abort(self, connection: C) -> None:
        """End the connection without waiting for the other side, which may be what is broken."""
        ...

    async def quit(self, connection: C) -> None:
        """End the connection as the server expects it."""
        ...


class Held(Generic[C]):
    """A place in a pool for the length of a session. The connection in it is replaced where it ended while idle."""

    def __init__(self, pool: "Pool[C]") -> None:
        self._pool = pool
        self.connection: C | None = None
        self._used_at = 0.0

    @asynccontextmanager
    async def using(self) -> AsyncIterator[C]:
        """The connection for one read. Whatever goes wrong, canceling too, ends it: its state is unknown."""
        connection = await self.ready()
        try:
            yield connection
        except AnsweredError:
            raise
        except BaseException:
            self.drop()
            raise
        self._used_at = time.monotonic()

    async def ready(self) -> C:
        """A connection that is not known to be broken. Raises StoreErrors only."""
        pool = self._pool
        pool.require_open()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        while self.connection is None and pool.idle:
            self.connection, self._used_at = pool.idle.pop()
            if pool.driver.is_dead(self.connection):
                self.drop()
        if self.connection is None or not await self._works(self.connection):
            self.drop()
            self.connection = await pool.driver.connect()
            self._used_at = time.monotonic()
            pool.require_open()  # close() may have come while we were connecting
        return self.connection

    def drop(self) -> None:
        """End the connection at once."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(Exception):
                self._pool.driver.abort(connection)

    def leave(self) -> None:
        """Leave the connection to those who come next."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._pool.take_back(connection, self._used_at)

    async def _works(self, connection: C) -> bool:
        """Where it does not, nothing is reported: if the server is away, replacing the connection finds out."""
        if self._pool.driver.is_dead(connection):
            return False
        if time.monotonic() - self._used_at < CHECK_AFTER:
            return True
        try:
            async with asyncio.timeout(connections.CHECK_TIMEOUT):
                await self._pool.driver.check(connection)
        except (TimeoutError, StoreError):
            return False
        except BaseException:
            self.drop()
            raise
        return True


class Pool(Generic[C]):
    """At most `size` connections, made when needed and used again, the latest used first."""

    def __init__(self, driver: Driver[C], size: int, where: str) -> None:
        self.driver = driver
        self.idle: list[tuple[C, float]] = []
        """With the time.monotonic() of its last use."""
        self._size = size
        self._where = where
        self._places = asyncio.Semaphore(size)
        self._held: set[Held[C]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Held[C]]:
        """Wait up to ACQUIRE_TIMEOUT for a place, then for its connection. Nothing is raised by giving it back."""
        try:
            async with asyncio.timeout(connections.ACQUIRE_TIMEOUT):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnavailableError(f"{self._where}: no answer in time: all connections are in use") from None
        held = Held(self)
        self._held.add(held)
        try:
            await held.ready()
            yield held
        finally:
            self._held.discard(held)
            held.leave()
            self._places.release()

    async def close(self) -> None:
        """End the idle connections, and those in use when they come back, or after CLOSE_TIMEOUT."""
        self._is_closed = True
        while self.idle:
            self._end(self.idle.pop()[0])
        with suppress(TimeoutError):
            async with asyncio.timeout(connections.CLOSE_TIMEOUT):
                for _ in range(self._size):
                    await self._places.acquire()
        for held in self._held:
            held.drop()
        if self._ending:
            await asyncio.wait(self._ending)

    def require_open(self) -> None:
        """Raises StoreUnavailableError once closed."""
        if self._is_closed:
            raise StoreUnavailableError(f"{self._where}: the store is not open")

    def take_back(self, connection: C, used_at: float) -> None:
        """Keep a connection for the next session; end it where the pool is closed."""
        if self._is_closed:
            self._end(connection)
        else:
            self.idle.append((connection, used_at))

    def _end(self, connection: C) -> None:
        """Beside the caller: the goodbye may take a while."""
        task = asyncio.create_task(self._quit(connection))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _quit(self, connection: C) -> None:
        try:
            async with asyncio.timeout(connections.CLOSE_TIMEOUT):
                await self.driver.quit(connection)
        except Exception:  # it ends in any case
            with suppress(Exception):
                self.driver.abort(connection)


class CheckingSession(Session, Protocol):
    """A Session that can also see whether the tables are there."""

    async def check_tables(self) -> None:
        """Read nothing from every table and column that the other methods read."""
        ...


S = TypeVar("S", bound=CheckingSession)


class PooledStore(Generic[C, S]):
    """The part of a MonitorStore that pools its connections here; `session` makes a Session of a place in the pool."""

    def __init__(self, target: DatabaseTarget, driver: Driver[C], size: int, session: Callable[[Held[C]], S]) -> None:
        self._target = target
        self._driver = driver
        self._size = size
        self._session = session
        self._pool: Pool[C] | None = None

    async def open(self) -> None:
        """See that the server answers and the tables are there."""
        await self.close()
        self._pool = Pool(self._driver, self._size, connections.where(self._target))
        try:
            async with self._pool.hold() as held:
                await self._session(held).check_tables()
        except BaseException:
            await self.close()
            raise

    @asynccontextmanager
    async def session(self) -> AsyncIterator[S]:
        """Wait up to ACQUIRE_TIMEOUT for a connection; one that broke is replaced."""
        if self._pool is None:
            raise StoreUnavailableError(f"{self._target}: the store is not open")
        async with self._pool.hold() as held:
            yield self._session(held)

    async def ping(self) -> None:
        """A trivial statement on a connection of the pool."""
        async with self.session() as session:
            await session.ping()

    async def close(self) -> None:
        """Close the connections; sessions still open lose theirs after CLOSE_TIMEOUT."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
