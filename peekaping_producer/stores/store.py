"""The part of a store and of its sessions that is the same for every database."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.monitors.monitor import Heartbeat, Plan, RecentHeartbeat
from peekaping_producer.stores.catalogue import Catalogue, WindowsRead
from peekaping_producer.stores.errors import StatementCanceledError, TableTimeoutError, error_prefix
from peekaping_producer.stores.load_reader import HEARTBEATS, MONITORS, PLANS, SIDE_TABLES
from peekaping_producer.stores.loading import Loader
from peekaping_producer.stores.pool import C, Driver, Pool, Slot
from peekaping_producer.stores.protocol import MIN_PREFIX, FoundMonitor, Loaded
from peekaping_producer.stores.rows import Row, is_text, plan_of, recent_heartbeats_of

_RECENT = [2 + Heartbeat.__struct_fields__.index(name) for name in RecentHeartbeat.__struct_fields__]
"""Of a row of heartbeats as TableReader returns it."""
_MAX_SEARCHED = 300
"""Characters of a text that is searched."""
_MAX_WORDS = 5
"""Each may be compared with every name."""


class StoreSession(ABC, Generic[C]):
    """A Session and a TableReader: each database adds its statements."""

    def __init__(self, slot: Slot[C], driver: Any, loader: Loader) -> None:
        self.slot = slot
        self._driver = driver
        self._target = driver.target
        self._limits = driver.limits
        self._loader = loader

    @staticmethod
    @abstractmethod
    def is_id(text: str, /) -> object:
        """A true value for what can be a monitor id of this database, see MonitorStore.is_id."""

    async def load(self, ids: list[str]) -> Loaded:
        """One statement for each table that is needed."""
        return await self._loader.load(self, list(filter(self.is_id, ids)))

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """One statement."""
        return await self._loader.plans(self, list(filter(self.is_id, ids)))

    @abstractmethod
    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """See Session."""

    async def find(self, text: str, limit: int) -> list[FoundMonitor]:
        """One statement by id, and if no id begins with the text, one by name."""
        if not is_text(text, _MAX_SEARCHED):
            return []
        rows = await self.rows_by_id(text, limit) if len(text) >= MIN_PREFIX else []
        rows = rows or await self.rows_by_name(text, words_of(text), limit)
        return [
            FoundMonitor(plan_of(id_, active, interval), name if type(name) is str else "")
            for id_, name, active, interval in rows
        ]

    @abstractmethod
    async def rows_by_id(self, prefix: str, limit: int) -> Sequence[Row]:
        """Id, name, active and interval of the rows whose ids begin with `prefix`, along the primary key."""

    @abstractmethod
    async def rows_by_name(self, text: str, words: Sequence[str], limit: int) -> Sequence[Row]:
        """As rows_by_id, of the rows whose names contain all `words`, those named `text` first, within `find_s`."""

    async def recent_heartbeats(self, monitor_id: str, limit: int) -> list[RecentHeartbeat]:
        """One statement, along the index on (monitor_id, time)."""
        if not self.is_id(monitor_id):
            return []
        return recent_heartbeats_of(await self.heartbeat_rows(monitor_id, limit))

    @abstractmethod
    async def heartbeat_rows(self, monitor_id: str, limit: int) -> Sequence[Row]:
        """The columns of RecentHeartbeat, the latest first."""

    async def latest_heartbeats(self, ids: list[str]) -> dict[str, RecentHeartbeat]:
        """One statement: for each monitor one step in the index on (monitor_id, time)."""
        wanted, limits = list(filter(self.is_id, ids)), self._limits
        rows = await self.fetch(HEARTBEATS, wanted, limits.row_bytes, limits.command_s) if wanted else []
        found = {row[0]: recent_heartbeats_of([[row[column] for column in _RECENT]]) for row in rows}
        return {key: heartbeats[0] for key, heartbeats in found.items() if heartbeats}

    async def windows(self, limit: int) -> WindowsRead:
        """Two statements: their ids, and what load() reads of them."""
        return await self._loader.windows(self, await self.window_ids(limit))

    @abstractmethod
    async def window_ids(self, limit: int) -> list[str]:
        """The ids of up to `limit` active maintenance windows."""

    @abstractmethod
    async def catalogue(self) -> Catalogue:
        """See Session."""

    async def check_tables(self) -> dict[str, str]:
        """Read no rows from every table and column that the other methods read.

        Return the side tables that did not answer, with the reason: a lock on one must not prevent the start.
        """
        for table in (MONITORS, PLANS):
            try:
                await self.fetch(table, [], 0, self._limits.open_table_s)
            except StatementCanceledError as error:
                raise TableTimeoutError(f"{MONITORS}: {error}") from None
        late = {}
        for table in SIDE_TABLES:
            try:
                await self.fetch(table, [], 0, self._limits.side_table_s)
            except StoreUnavailableError as error:
                late[table] = f"{table}: {error}"
        self._loader.postpone(late)
        if late:
            await self.ping()  # raises if the database is the cause
        return late

    @abstractmethod
    async def ping(self) -> None:
        """Read a monitor with every column that load() reads, except for large texts."""

    @abstractmethod
    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        """See TableReader."""


def words_of(text: str) -> list[str]:
    """Return up to _MAX_WORDS words, which spaces separate; the last one contains the rest of the text."""
    words = [word for word in text.split(" ") if word]
    first, rest = words[: _MAX_WORDS - 1], words[_MAX_WORDS - 1 :]
    return [*first, " ".join(rest)] if rest else first or [text]


S = TypeVar("S", bound=StoreSession[Any])


class Store(Generic[S]):
    """A MonitorStore: sessions on a pool of at most `size` connections."""

    def __init__(self, driver: Driver[Any], session: type[S], size: int) -> None:
        self.driver = driver
        self._session = session
        self._size = size
        self._loader = Loader(driver.limits)
        self._pool: Pool[Any] | None = None
        self._failure: StoreError | None = None
        """Of the last open()."""

    async def open(self) -> dict[str, str]:
        """Check that the server answers and the tables exist. See MonitorStore."""
        await self.close()
        self._failure = None
        try:
            await self.driver.prepare()
            self._pool = Pool(self.driver, self._size)
            async with self.session() as session:
                late: dict[str, str] = await session.check_tables()
                return late
        except BaseException as error:  # also if it is canceled
            self._failure = error if isinstance(error, StoreError) else None
            await self.close()
            raise

    @asynccontextmanager
    async def session(self) -> AsyncIterator[S]:
        """Wait up to `acquire_s` for a connection; one that broke is replaced."""
        if self._pool is None:
            raise self._failure or StoreUnavailableError(f"{error_prefix(self.driver.target)}: the store is not open")
        async with self._pool.acquire() as slot:
            yield self._session(slot, self.driver, self._loader)

    def is_id(self, text: str) -> bool:
        """See MonitorStore."""
        return bool(self._session.is_id(text))

    async def ping(self) -> None:
        """Read a monitor on a connection of the pool."""
        async with self.session() as session:
            await session.ping()

    async def close(self) -> None:
        """Close the connections; sessions still open lose theirs after `close_s`."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        await self.driver.close()
