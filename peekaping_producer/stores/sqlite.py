"""SQLite, by aiosqlite; read only, while the API server writes the same file."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite
import msgspec

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.maintenance import MaintenanceWindow
from peekaping_producer.monitor import Heartbeat, Monitor, Plan, Proxy
from peekaping_producer.stores import Loaded, connections
from peekaping_producer.stores.rows import Readers, Row, assemble, checked, is_uuid, push_ids, uuids
from peekaping_producer.targets import DatabaseTarget

# The driver logs each call twice at debug.
logging.getLogger("aiosqlite").setLevel(logging.WARNING)

# Ids come as one JSON array, since SQLite limits how many values a statement binds; the order of a join with
# json_each is fixed by CROSS JOIN, so that the primary key is what finds the rows.
_MONITORS = """
SELECT m.id, m.name, m.type, m.interval, m.timeout, m.max_retries, m.retry_interval, m.resend_interval, m.active,
       coalesce(CAST(m.config AS TEXT), ''), m.proxy_id,
       p.id, p.protocol, p.host, p.port, p.auth, nullif(p.username, ''), nullif(p.password, '')
FROM json_each(?) AS wanted CROSS JOIN monitors m ON m.id = wanted.value LEFT JOIN proxies p ON p.id = m.proxy_id
"""
_WINDOWS = """
SELECT l.monitor_id, w.id, w.active, w.strategy, w.start_date_time, w.end_date_time, w.start_time, w.end_time,
       w.interval_day, w.cron, w.timezone, w.duration
FROM json_each(?) AS wanted CROSS JOIN monitor_maintenances l ON l.monitor_id = wanted.value
JOIN maintenances w ON w.id = l.maintenance_id
WHERE w.active
ORDER BY w.updated_at DESC, w.id
"""
_HEARTBEATS = """
SELECT h.id, h.monitor_id, h.status, coalesce(h.msg, ''), coalesce(h.ping, 0), coalesce(h.duration, 0),
       coalesce(h.down_count, 0), coalesce(h.retries, 0), h.important, h.time,
       coalesce(h.end_time, '0001-01-01 00:00:00'), h.notified
FROM json_each(?) AS wanted CROSS JOIN heartbeats h
    ON h.rowid = (SELECT rowid FROM heartbeats WHERE monitor_id = wanted.value ORDER BY time DESC LIMIT 1)
"""
# A row whose interval is no integer, or more than Postgres' would hold, has no place in the schedule; load() says
# what is wrong with it. Ids that are none of ours would be dropped by the workers and added again by each sync.
_PLANS = """
SELECT m.id,
       CASE WHEN m.active AND typeof(m.interval) = 'integer' AND m.interval < 2147483648 THEN m.interval ELSE 0 END
FROM json_each(?) AS wanted CROSS JOIN monitors m ON m.id = wanted.value
"""
_PAGE = """
SELECT id, interval FROM monitors
WHERE id > ? AND active AND typeof(interval) = 'integer' AND interval BETWEEN 1 AND 2147483647 AND id GLOB ?
ORDER BY id LIMIT ?
"""
_UUID_GLOB = "-".join("[0-9a-f]" * length for length in (8, 4, 4, 4, 12))

_READERS = Readers(
    checked("monitor", Monitor),
    checked("proxy", Proxy),
    checked("maintenance", MaintenanceWindow),
    checked("heartbeat", Heartbeat),
)


class SqliteSession:
    """One connection to the file; see Session."""

    def __init__(self, connection: aiosqlite.Connection, target: DatabaseTarget) -> None:
        self.connection = connection
        self._target = target
        self.broken = False
        """Whether a read failed: nobody is given the connection again."""

    async def load(self, ids: list[str]) -> Loaded:
        """At most three statements, the third only for push monitors."""
        wanted = _json(uuids(ids))
        monitors = await self._fetch(_MONITORS, wanted)
        windows = await self._fetch(_WINDOWS, wanted)
        pushed = push_ids(monitors)
        heartbeats = await self._fetch(_HEARTBEATS, _json(pushed)) if pushed else []
        return assemble(monitors, windows, heartbeats, _READERS)

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """One statement."""
        return {row[0]: Plan(*row) for row in await self._fetch(_PLANS, _json(uuids(ids)))}

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One statement, along the primary key."""
        return [Plan(*row) for row in await self._fetch(_PAGE, after or "", _UUID_GLOB, limit)]

    async def check_tables(self) -> None:
        """Read nothing from every table and column that the other methods read."""
        for statement in (_MONITORS, _WINDOWS, _HEARTBEATS, _PLANS):
            await self._fetch(statement, "[]")

    async def ping(self) -> None:
        """Read the file's header."""
        await self._fetch("PRAGMA schema_version")

    async def _fetch(self, statement: str, *values: Any) -> list[Row]:
        try:
            with translated(self._target):
                async with asyncio.timeout(connections.COMMAND_TIMEOUT):
                    return await self._fetch_any_text(statement, values)
        except BaseException:
            self.broken = True
            raise

    async def _fetch_any_text(self, statement: str, values: tuple[Any, ...]) -> list[Row]:
        """The rows; one text among them that is no UTF-8 would fail them all, so then such texts come as bytes."""
        try:
            return list(await self.connection.execute_fetchall(statement, values))
        except sqlite3.OperationalError as error:
            if not str(error).startswith("Could not decode to UTF-8"):
                raise
        self.connection.text_factory = _text_or_bytes
        rows: list[Row] = list(await self.connection.execute_fetchall(statement, values))
        self.connection.text_factory = str
        return rows


class SqliteStore:
    """A MonitorStore on one file with at most `size` connections, each of which is a thread."""

    def __init__(self, target: DatabaseTarget, size: int) -> None:
        check_params(target)
        self._target = target
        self._size = size
        self._free = asyncio.Semaphore(0)
        self._idle: list[aiosqlite.Connection] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._is_open = False

    async def open(self) -> None:
        """See that the file and the tables are there."""
        await self.close()
        self._free = asyncio.Semaphore(self._size)
        self._is_open = True
        try:
            async with self.session() as session:
                await session.check_tables()
        except BaseException:
            await self.close()
            raise

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SqliteSession]:
        """Wait up to ACQUIRE_TIMEOUT for a connection; one that failed is replaced by the next session."""
        self._require_open()
        free = self._free
        with translated(self._target):
            async with asyncio.timeout(connections.ACQUIRE_TIMEOUT):
                await free.acquire()
        try:
            self._require_open()
            session = SqliteSession(self._idle.pop() if self._idle else await _connect(self._target), self._target)
            try:
                yield session
            finally:
                self._give_back(session)
        finally:
            free.release()

    def is_id(self, text: str) -> bool:
        """Whether `text` is a UUID as Go prints it."""
        return is_uuid(text)

    async def ping(self) -> None:
        """Read the file's header on a connection of the pool."""
        async with self.session() as session:
            await session.ping()

    async def close(self) -> None:
        """Close the idle connections; those in use are closed by the sessions that hold them."""
        self._is_open = False
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailableError(f"{self._target}: the store is not open")

    def _give_back(self, session: SqliteSession) -> None:
        if self._is_open and not session.broken:
            self._idle.append(session.connection)
            return
        # Beside the caller: the connection's thread may still wait for a lock, which nothing cuts short.
        task = asyncio.create_task(session.connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def check_params(target: DatabaseTarget) -> None:
    """Raises ConfigError for what a DATABASE_URL says in vain."""
    if target.params:
        raise ConfigError([f"DATABASE_URL: got {name}=..., sqlite takes none" for name in sorted(target.params)])


async def _connect(target: DatabaseTarget) -> aiosqlite.Connection:
    path = _existing(target)
    with translated(target):
        return await aiosqlite.connect(
            read_only_uri(path), uri=True, timeout=connections.ACQUIRE_TIMEOUT, isolation_level=None
        )


def read_only_uri(path: Path) -> str:
    """What sqlite3.connect(uri=True) takes to read `path`, whatever characters it holds."""
    return f"file:{quote(str(path))}?mode=ro"


def _existing(target: DatabaseTarget) -> Path:
    path = Path(target.name).absolute()
    try:
        found = path.is_file()
    except OSError as error:
        raise StoreError(f"sqlite:{path}: {error.strerror}") from None
    if not found:
        raise StoreError(
            f"sqlite:{path}: there is no such file; run `peekaping-producer migrate` or start the API server"
        )
    return path


@contextmanager
def translated(target: DatabaseTarget) -> Iterator[None]:
    """Raise what the driver raises as a StoreError, without the driver's text, which may quote a row."""
    try:
        yield
    except TimeoutError:
        raise StoreUnavailableError(f"{target}: no answer in time") from None
    except sqlite3.Error as error:
        raise _store_error(error, target) from None


def _store_error(error: sqlite3.Error, target: DatabaseTarget) -> StoreError:
    code = getattr(error, "sqlite_errorname", type(error).__name__)
    said = str(error)
    if said.startswith(("no such table", "no such column")):
        return StoreError(f"{target}: {said}; run `peekaping-producer migrate`, or the API server's migrations")
    if code == "SQLITE_ERROR":  # what SQLite finds wrong with a statement; it names tables and columns only
        return StoreError(f"{target}: {said}")
    if code in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
        return StoreError(f"{target}: the file is no SQLite database, or a damaged one ({code})")
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreError(f"{target}: the file cannot be opened ({code}): see who may read it and its folder")
    if code.startswith("SQLITE_READONLY"):
        return StoreUnavailableError(
            f"{target}: its -wal and -shm files are missing and may not be made ({code}): "
            "let this user write in the folder, or start the API server"
        )
    return StoreUnavailableError(f"{target}: SQLite failed ({code})")


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _json(ids: list[str]) -> str:
    return msgspec.json.encode(ids).decode()
