"""SQLite, by aiosqlite; read only, while the API server writes the same file."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores import Loaded, connections
from peekaping_producer.stores.loading import (
    HEARTBEATS,
    LINKS,
    MONITORS,
    PLANS,
    PROXIES,
    TABLES,
    WINDOWS,
    BadRowsError,
    LateError,
    Loader,
    page_of_plans,
)
from peekaping_producer.stores.pool import Held, PooledStore
from peekaping_producer.stores.rows import LONGEST_ID, Row, expanded, is_text_id, plan_of
from peekaping_producer.stores.sqlite_connection import SqliteConnection
from peekaping_producer.targets import DatabaseTarget

# Ids come as one JSON array, since SQLite limits how many values a statement binds; the order of a join with
# json_each is fixed by CROSS JOIN, so that the primary key is what finds the rows. Any column may hold any value: texts
# that are too large are left out, and so is whatever is no number where one belongs. An id of digits only is kept as
# an integer, as the column's type has it; it is compared as text too, since "1e2" would find 100.
_MONITORS = """
SELECT CAST(m.id AS TEXT), BYTES(m.name) + BYTES(m.type) + BYTES(m.config) + BYTES(m.proxy_id),
       CAST(m.id AS TEXT), FIT(m.name), FIT(m.type), NUMBER(m.interval), NUMBER(m.timeout), NUMBER(m.max_retries),
       NUMBER(m.retry_interval), NUMBER(m.resend_interval), NUMBER(m.active),
       CASE WHEN m.config IS NULL THEN '' WHEN BYTES(m.config) <= ?1 THEN CAST(m.config AS TEXT) END, FIT(m.proxy_id)
"""
_PLANS = "SELECT CAST(m.id AS TEXT), 0, NUMBER(m.active), NUMBER(m.interval)"
_AMONG = "FROM WANTED(monitors m) ON m.id = wanted.value AND CAST(m.id AS TEXT) = wanted.value"
_LINKS = """
SELECT wanted.value, 0, FIT(l.maintenance_id) FROM WANTED(monitor_maintenances l) ON l.monitor_id = wanted.value
"""
_WINDOWS = """
SELECT wanted.value, BYTES(w.strategy) + BYTES(w.start_date_time) + BYTES(w.end_date_time) + BYTES(w.start_time)
       + BYTES(w.end_time) + BYTES(w.cron) + BYTES(w.timezone),
       wanted.value, NUMBER(w.active), FIT(w.strategy), FIT(w.start_date_time), FIT(w.end_date_time), FIT(w.start_time),
       FIT(w.end_time), NUMBER(w.interval_day), FIT(w.cron), FIT(w.timezone), NUMBER(w.duration)
FROM WANTED(maintenances w) ON w.id = wanted.value
WHERE w.active
ORDER BY w.updated_at DESC, w.id
"""
_PROXIES = """
SELECT wanted.value, BYTES(p.protocol) + BYTES(p.host) + BYTES(p.username) + BYTES(p.password),
       wanted.value, FIT(p.protocol), FIT(p.host), NUMBER(p.port), NUMBER(p.auth), FIT(p.username), FIT(p.password)
FROM WANTED(proxies p) ON p.id = wanted.value
"""
_HEARTBEATS = """
SELECT wanted.value, BYTES(h.id) + BYTES(h.msg) + BYTES(h.time) + BYTES(h.end_time),
       FIT(h.id), wanted.value, NUMBER(h.status), FIT(h.msg), NUMBER(h.ping), NUMBER(h.duration), NUMBER(h.down_count),
       NUMBER(h.retries), NUMBER(h.important), FIT(h.time), FIT(h.end_time), NUMBER(h.notified)
FROM WANTED(heartbeats h)
    ON h.rowid = (SELECT rowid FROM heartbeats WHERE monitor_id = wanted.value ORDER BY time DESC LIMIT 1)
"""
_PAGE = """
SELECT CASE WHEN length(m.id) > 64 THEN substr(m.id, 1, 65) ELSE m.id END, typeof(m.id), NUMBER(m.active),
       NUMBER(m.interval)
FROM monitors m WHERE {} m.active IS NOT NULL AND m.active <> 0 ORDER BY m.id LIMIT ?1
"""
_NEXT_ID = "SELECT m.id, typeof(m.id) FROM monitors m WHERE {} true ORDER BY m.id LIMIT ?1"
_expanded = partial(
    expanded,
    BYTES="ifnull(length(CAST({} AS BLOB)), 0)".format,
    FIT="CASE WHEN ifnull(length(CAST({0} AS BLOB)), 0) <= ?1 THEN {0} END".format,
    NUMBER="CASE typeof({0}) WHEN 'text' THEN '' WHEN 'blob' THEN x'' ELSE {0} END".format,
    WANTED="json_each(?2) AS wanted CROSS JOIN {}".format,
)
_STATEMENTS = {
    MONITORS: _expanded(f"{_MONITORS} {_AMONG}"),
    PLANS: _expanded(f"{_PLANS} {_AMONG}"),
    LINKS: _expanded(_LINKS),
    WINDOWS: _expanded(_WINDOWS),
    PROXIES: _expanded(_PROXIES),
    HEARTBEATS: _expanded(_HEARTBEATS),
}
_FIRST = "FROM monitors m WHERE m.id = (SELECT min(id) FROM monitors)"
_ONE_MONITOR = _expanded(f"{_MONITORS} {_FIRST}")
_BAD_ROWS = ("SQLITE_CORRUPT", "SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_NOMEM", "SQLITE_IOERR")


class SqliteFileError(StoreError, ConfigError):
    """DB_NAME names what cannot be used as a database file: a bad setting at start, any other StoreError later."""


class SqliteSession:
    """One connection to the file; see Session."""

    def __init__(self, held: Held[SqliteConnection], target: DatabaseTarget, loader: Loader) -> None:
        self.held = held
        self._target = target
        self._loader = loader

    async def load(self, ids: list[str]) -> Loaded:
        """One statement for each table that is needed."""
        return await self._loader.load(self, list(filter(is_text_id, ids)))

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """One statement."""
        return await self._loader.plans(self, list(filter(is_text_id, ids)))

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One statement, along the primary key."""
        return await page_of_plans(self, after, limit)

    async def page(self, after: str | None, limit: int) -> list[Plan]:
        """See Pages."""
        condition, bound = _beyond(after)
        return [_plan(*row) for row in await self._read(_expanded(_PAGE.format(condition)), limit, *bound)]

    async def next_id(self, after: str | None) -> str | None:
        """See Pages."""
        condition, bound = _beyond(after)
        rows = await self._read(_NEXT_ID.format(condition), 1, *bound)
        return _plan(rows[0][0], rows[0][1], 1, 1).id if rows else None

    async def check_tables(self) -> None:
        """Read nothing from every table and column that the other methods read."""
        for table in TABLES:
            await self.fetch(table, [], 0, connections.COMMAND_TIMEOUT)

    async def ping(self) -> None:
        """Read a monitor with every column that load() reads, but for texts."""
        await self._read(_ONE_MONITOR, 0)

    async def fetch(self, table: str, keys: Sequence[str], most: int, within_s: float) -> list[Row]:
        """See Source."""
        return await self._read(_STATEMENTS[table], most, _json(keys), within_s=within_s)

    async def _read(self, statement: str, *values: Any, within_s: float | None = None) -> list[Row]:
        async with self.held.using() as connection:
            with translated(self._target):
                async with asyncio.timeout(connections.COMMAND_TIMEOUT if within_s is None else within_s):
                    try:
                        return await connection.fetch(statement, *values)
                    except (sqlite3.Error, MemoryError, ValueError, OverflowError) as error:
                        code = getattr(error, "sqlite_errorname", type(error).__name__)
                        if isinstance(error, sqlite3.Error) and not code.startswith(_BAD_ROWS):
                            raise
                        raise BadRowsError(f"{self._target}: a row holds what cannot be given out ({code})") from None


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
        loader = Loader()
        super().__init__(target, SqliteDriver(target), size, lambda held: SqliteSession(held, target, loader))

    def is_id(self, text: str) -> bool:
        """Whether `text` is one that Go runs: any text, in so far as the schedule can hold it."""
        return is_text_id(text)


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
        if not path.exists():
            if why := _no_new_file(path, target.name):
                raise _unusable(target, why)
            return None
        if path.is_dir():
            raise _unusable(target, "it is a directory")
        if not path.is_file():
            raise _unusable(target, "it is no regular file")
    except OSError as error:
        raise _unusable(target, error.strerror or type(error).__name__) from None
    if not os.access(path, os.R_OK):
        raise _unusable(target, "this user may not read it")
    return path


def _no_new_file(path: Path, written: str) -> str | None:
    """Why no file is to be made at `path`, as `written` in the setting; None where it may be."""
    if ":memory:" in written:
        return "a database in memory cannot be shared with the API server: write the path of its file"
    if written.lower().startswith("file:"):
        return "a URI is not read as one: write the path alone"
    if written == "~" or (written.startswith("~") and "/" in written):
        return "~ is not expanded: write the home directory's path"
    for folder in reversed(path.parents):
        if not folder.exists():
            return f"the folder {path.parent} does not exist"
        if not folder.is_dir():
            return f"the folder {path.parent} cannot exist: {folder} is a file"
    return None


def _unusable(target: DatabaseTarget, reason: str) -> SqliteFileError:
    path = path_of(target)
    return SqliteFileError([f"{target.named_in}: expected the path of a SQLite file, got {path}: {reason}"])


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError, without the driver's text, which may quote a row."""
    return connections.translated(partial(_store_error, target=target))


def _store_error(error: Exception, target: DatabaseTarget) -> StoreError:
    code = getattr(error, "sqlite_errorname", type(error).__name__)
    said = connections.quoted(str(error)) if isinstance(error, sqlite3.Error) else ""
    if isinstance(error, TimeoutError):
        return LateError(f"{target}: no answer in time")
    if said.startswith(("no such table", "no such column")):
        return StoreError(f"{target}: {said}; {connections.CREATE_TABLES}")
    if code == "SQLITE_ERROR":  # what SQLite finds wrong with a statement; it names tables and columns only
        return StoreError(f"{target}: {said}")
    if code == "SQLITE_NOTADB":
        return _unusable(target, "it is no SQLite database")
    if code == "SQLITE_CORRUPT":
        return StoreError(f"{target}: the database is damaged ({code}): restore it from a backup")
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return _unusable(target, f"it cannot be opened ({code}); see who may use it and its folder")
    if code in {"SQLITE_READONLY", "SQLITE_READONLY_DIRECTORY"}:
        return _unusable(target, f"this user may not write it or in its folder ({code})")
    if code.startswith("SQLITE_READONLY"):
        return StoreUnavailableError(
            f"{target}: its -wal and -shm files are missing and may not be made ({code}): "
            "let this user write in the folder, or start the API server"
        )
    return StoreUnavailableError(f"{target}: SQLite failed ({code})")


def _plan(id_: Any, kind: str, active: Any, interval: Any) -> Plan:
    if kind == "integer":
        id_ = str(id_)
    if type(id_) is str and is_text_id(id_):
        return plan_of(id_, active, interval)
    wanted = "id: expected a text of 1 to 64 characters in UTF-8"
    match kind:
        case "text":
            text = id_.encode() if isinstance(id_, str) else id_
            if len(id_) > LONGEST_ID:
                text += "\U0010ffff".encode()  # beyond all that begin like this
            return Plan(f"?text:{text.hex()}", 0, f"{wanted}, got another text")
        case "blob":
            return Plan(f"?blob:{id_.hex()}", 0, f"{wanted}, got a blob")
        case "real":
            return Plan(f"?real:{id_!r}", 0, f"{wanted}, got a fraction")
        case _:
            return Plan("?null:", 0, f"{wanted}, got NULL")


def _beyond(after: str | None) -> tuple[str, tuple[Any, ...]]:
    """The condition for rows after an id, as _plan names it, with what is to be bound."""
    if after is None or not after.startswith("?"):
        return ("m.id > ?2 AND", (after,)) if after else ("", ())
    kind, _, value = after[1:].partition(":")
    match kind:
        case "text":
            return "m.id > CAST(?2 AS TEXT) AND", (bytes.fromhex(value),)
        case "blob":  # of a long one only the beginning is known: those that begin alike are passed over
            return f"m.id > ?2 AND substr(m.id, 1, {LONGEST_ID}) > ?2 AND", (bytes.fromhex(value)[:LONGEST_ID],)
        case "real":
            return "m.id > ?2 AND", (float(value),)
        case _:
            return "m.id IS NOT NULL AND", ()


def _json(ids: Sequence[str]) -> str:
    return msgspec.json.encode(ids).decode()
