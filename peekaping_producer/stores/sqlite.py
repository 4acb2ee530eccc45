"""SQLite, by aiosqlite; read only, while the API server writes the same file."""

import asyncio
import os
import sqlite3
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.maintenance import MaintenanceWindow
from peekaping_producer.monitor import Heartbeat, Monitor, Plan, Proxy
from peekaping_producer.stores import Loaded, connections
from peekaping_producer.stores.pool import Held, PooledStore
from peekaping_producer.stores.rows import Readers, Row, assemble, checked, is_uuid, push_ids, uuids
from peekaping_producer.stores.sqlite_connection import SqliteConnection
from peekaping_producer.targets import DatabaseTarget

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


class SqliteFileError(StoreError, ConfigError):
    """DB_NAME names what cannot be used as a database file: a bad setting at start, any other StoreError later."""


class SqliteSession:
    """One connection to the file; see Session."""

    def __init__(self, held: Held[SqliteConnection], target: DatabaseTarget) -> None:
        self.held = held
        self._target = target

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
        async with self.held.using() as connection:
            with translated(self._target):
                async with asyncio.timeout(connections.COMMAND_TIMEOUT):
                    return await connection.fetch(statement, *values)


class SqliteDriver:
    """See Driver. Each connection is a thread. Raises SqliteFileError at once for a path that cannot be a database."""

    def __init__(self, target: DatabaseTarget) -> None:
        check_params(target)
        existing_path(target)
        self.target = target

    async def connect(self) -> SqliteConnection:
        """A connection that cannot write."""
        path = existing_path(self.target)
        if path is None:
            raise StoreError(f"{self.target}: there is no such file; {connections.CREATE_TABLES}")
        with translated(self.target):
            async with asyncio.timeout(connections.ACQUIRE_TIMEOUT):
                return await SqliteConnection.open(read_only_uri(path), lock_timeout=connections.ACQUIRE_TIMEOUT)

    async def check(self, connection: SqliteConnection) -> None:
        """Read the file's header."""
        with translated(self.target):
            await connection.fetch("PRAGMA schema_version")

    def is_dead(self, connection: SqliteConnection) -> bool:
        """Whether the connection is closed."""
        return connection.is_closed

    def abort(self, connection: SqliteConnection) -> None:
        """End it at once."""
        connection.abort()

    async def quit(self, connection: SqliteConnection) -> None:
        """Close it and wait for its thread."""
        await connection.close()


class SqliteStore(PooledStore[SqliteConnection, SqliteSession]):
    """A MonitorStore on one file with at most `size` connections."""

    def __init__(self, target: DatabaseTarget, size: int) -> None:
        super().__init__(target, SqliteDriver(target), size, lambda held: SqliteSession(held, target))

    def is_id(self, text: str) -> bool:
        """Whether `text` is a UUID as Go prints it."""
        return is_uuid(text)


def check_params(target: DatabaseTarget) -> None:
    """Raises ConfigError for what a DATABASE_URL says in vain."""
    if target.params:
        raise ConfigError([f"DATABASE_URL: got {name}=..., sqlite takes none" for name in sorted(target.params)])


def read_only_uri(path: Path) -> str:
    """What sqlite3.connect(uri=True) takes to read `path`, whatever characters it holds."""
    return f"file:{quote(str(path))}?mode=ro"


def path_of(target: DatabaseTarget) -> Path:
    """Where the file is, or would be made: the first reading of DB_NAME that names a file, else the first of all."""
    paths = [Path(reading.name).absolute() for reading in target.readings]
    return next(filter(os.path.isfile, paths), paths[0])


def existing_path(target: DatabaseTarget) -> Path | None:
    """The file's path; None where there is no file yet, in a folder that exists.

    Raises SqliteFileError for anything else, without opening it: that would wait at a named pipe.
    """
    path = path_of(target)
    try:
        if not path.parent.is_dir():
            raise _unusable(path, f"the folder {path.parent} does not exist")
        if not path.exists():
            return None
        if path.is_dir():
            raise _unusable(path, "it is a directory")
        if not path.is_file():
            raise _unusable(path, "it is no regular file")
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from None
    if not os.access(path, os.R_OK):
        raise _unusable(path, "this user may not read it")
    return path


def _unusable(path: object, reason: str) -> SqliteFileError:
    return SqliteFileError([f"DB_NAME: expected the path of a SQLite file, got {path}: {reason}"])


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError, without the driver's text, which may quote a row."""
    return connections.translated(partial(_store_error, target=target))


def _store_error(error: Exception, target: DatabaseTarget) -> StoreError:
    code = getattr(error, "sqlite_errorname", type(error).__name__)
    said = connections.quoted(str(error)) if isinstance(error, sqlite3.Error) else ""
    if isinstance(error, TimeoutError):
        return StoreUnavailableError(f"{target}: no answer in time")
    if said.startswith(("no such table", "no such column")):
        return StoreError(f"{target}: {said}; {connections.CREATE_TABLES}")
    if code == "SQLITE_ERROR":  # what SQLite finds wrong with a statement; it names tables and columns only
        return StoreError(f"{target}: {said}")
    if code == "SQLITE_NOTADB":
        return _unusable(path_of(target), "it is no SQLite database")
    if code == "SQLITE_CORRUPT":
        return StoreError(f"{target}: the database is damaged ({code}): restore it from a backup")
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return _unusable(path_of(target), f"it cannot be opened ({code}); see who may use it and its folder")
    if code in {"SQLITE_READONLY", "SQLITE_READONLY_DIRECTORY"}:
        return _unusable(path_of(target), f"this user may not write it or in its folder ({code})")
    if code.startswith("SQLITE_READONLY"):
        return StoreUnavailableError(
            f"{target}: its -wal and -shm files are missing and may not be made ({code}): "
            "let this user write in the folder, or start the API server"
        )
    return StoreUnavailableError(f"{target}: SQLite failed ({code})")


def _json(ids: list[str]) -> str:
    return msgspec.json.encode(ids).decode()
