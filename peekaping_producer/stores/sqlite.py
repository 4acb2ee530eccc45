"""Reading from SQLite, by aiosqlite, while the API server writes the same file."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.catalogue import Catalogue, missing_indexes
from peekaping_producer.stores.errors import BadRowsError
from peekaping_producer.stores.load_reader import HEARTBEATS, LINKS, MONITORS, PLANS, PROXIES, WINDOWS
from peekaping_producer.stores.pages import Paged
from peekaping_producer.stores.rows import MAX_ID_LENGTH, Row, expanded, is_text_id, plan_of
from peekaping_producer.stores.sqlite_connections import SqliteConnection
from peekaping_producer.stores.store import StoreSession

# Ids come as one JSON array, since SQLite limits how many values a statement binds; the order of a join with
# json_each is fixed by CROSS JOIN, so that the primary key finds the rows. Any column may hold any value: large texts
# are left out, and so are texts and blobs in place of numbers. An id of digits only is stored as an integer, because of
# the column's type; it is compared as text too, since "1e2" would find 100.
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
# A prefix of digits would be compared as a number, since the column's type makes numbers of such texts.
_FOUND = "SELECT CAST(m.id AS TEXT), substr(CAST(m.name AS TEXT), 1, 300), NUMBER(m.active), NUMBER(m.interval)"
_BY_ID = f"""
{_FOUND} FROM monitors m
WHERE m.id = ?2 AND CAST(m.id AS TEXT) = ?2 OR m.id > ?2 || char(1) AND m.id < ?2 || char(1114111)
ORDER BY m.id LIMIT ?1
"""
_BY_NAME = f"""
{_FOUND} FROM monitors m WHERE {{words}}
ORDER BY m.name <> ?2, length(m.name), m.name, m.id LIMIT ?1
"""
_CONTAINS = "instr(lower(m.name), lower(?{})) > 0"
_RECENT_HEARTBEATS = """
SELECT CASE WHEN length(CAST(h.time AS BLOB)) <= 100 THEN h.time END, NUMBER(h.status), NUMBER(h.ping)
FROM heartbeats h WHERE h.monitor_id = ?2 ORDER BY h.time DESC LIMIT ?1
"""
_WINDOW_IDS = "SELECT CAST(w.id AS TEXT) FROM maintenances w WHERE w.active ORDER BY w.id LIMIT ?1"
_INDEXES = """
SELECT t.name, (
    SELECT group_concat(name) FROM (SELECT ifnull(c.name, '?') AS name FROM pragma_index_info(i.name) c ORDER BY seqno)
)
FROM sqlite_master t JOIN pragma_index_list(t.name) i WHERE t.type = 'table' AND NOT i.partial
"""
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


class SqliteSession(Paged, StoreSession[SqliteConnection]):
    """One connection to the file; see Session."""

    is_id = staticmethod(is_text_id)

    async def page(self, after: str | None, limit: int) -> list[Plan]:
        """See Paged."""
        condition, bound = _beyond(after)
        return [_plan(*row) for row in await self._read(_expanded(_PAGE.format(condition)), limit, *bound)]

    async def next_id(self, after: str | None) -> str | None:
        """See Paged."""
        condition, bound = _beyond(after)
        rows = await self._read(_NEXT_ID.format(condition), 1, *bound)
        return _plan(rows[0][0], rows[0][1], 1, 1).id if rows else None

    async def rows_by_id(self, prefix: str, limit: int) -> Sequence[Row]:
        """See StoreSession."""
        return await self._read(_expanded(_BY_ID), limit, prefix, timeout_s=self._limits.find_s)

    async def rows_by_name(self, text: str, words: Sequence[str], limit: int) -> Sequence[Row]:
        """See StoreSession."""
        contained = " AND ".join(_CONTAINS.format(number) for number, _ in enumerate(words, 3))
        statement = _expanded(_BY_NAME.format(words=contained))
        return await self._read(statement, limit, text, *words, timeout_s=self._limits.find_s)

    async def heartbeat_rows(self, monitor_id: str, limit: int) -> Sequence[Row]:
        """See StoreSession."""
        statement = _expanded(_RECENT_HEARTBEATS)
        return await self._read(statement, limit, monitor_id, timeout_s=self._limits.side_table_s)

    async def window_ids(self, limit: int) -> list[str]:
        """See StoreSession."""
        return [str(row[0]) for row in await self._read(_WINDOW_IDS, limit)]

    async def catalogue(self) -> Catalogue:
        """See Session. The connection cannot write, whatever the permissions of the file."""
        ((version,),) = await self._read("SELECT sqlite_version()")
        indexes = [(str(table), str(columns)) for table, columns in await self._read(_INDEXES)]
        return Catalogue(f"SQLite {version}", missing_indexes(indexes), ())

    async def ping(self) -> None:
        """Read a monitor with every column that load() reads, except texts."""
        await self._read(_ONE_MONITOR, 0)

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        """See TableReader."""
        return await self._read(_STATEMENTS[table], max_bytes, _json(keys), timeout_s=timeout_s)

    async def _read(self, statement: str, *values: Any, timeout_s: float | None = None) -> list[Row]:
        async with self.slot.using(self._limits.command_s if timeout_s is None else timeout_s) as connection:
            try:
                return await connection.fetch(statement, *values)
            except (sqlite3.Error, MemoryError, ValueError, OverflowError) as error:
                code = getattr(error, "sqlite_errorname", type(error).__name__)
                if isinstance(error, sqlite3.Error) and not code.startswith(_BAD_ROWS):
                    raise
                raise BadRowsError(f"{self._target}: SQLite cannot return a row ({code})") from None


def _plan(id_: Any, kind: str, active: Any, interval: Any) -> Plan:
    if kind == "integer":
        id_ = str(id_)
    if type(id_) is str and is_text_id(id_):
        return plan_of(id_, active, interval)
    wanted = "id: expected a text of 1 to 64 characters in UTF-8"
    match kind:
        case "text":
            text = id_.encode() if isinstance(id_, str) else id_
            if len(id_) > MAX_ID_LENGTH:
                text += "\U0010ffff".encode()  # behind all that begin like this
            return Plan(f"?text:{text.hex()}", 0, f"{wanted}, got another text")
        case "blob":
            return Plan(f"?blob:{id_.hex()}", 0, f"{wanted}, got a blob")
        case "real":
            return Plan(f"?real:{id_!r}", 0, f"{wanted}, got a fraction")
        case _:
            return Plan("?null:", 0, f"{wanted}, got NULL")


def _beyond(after: str | None) -> tuple[str, tuple[Any, ...]]:
    """The condition for rows after an id, as _plan names it, with its values."""
    if after is None or not after.startswith("?"):
        return ("m.id > ?2 AND", (after,)) if after else ("", ())
    kind, _, value = after[1:].partition(":")
    match kind:
        case "text":
            return "m.id > CAST(?2 AS TEXT) AND", (bytes.fromhex(value),)
        case "blob":  # only the beginning of a long one is known: others that begin alike are skipped
            return f"m.id > ?2 AND substr(m.id, 1, {MAX_ID_LENGTH}) > ?2 AND", (bytes.fromhex(value)[:MAX_ID_LENGTH],)
        case "real":
            return "m.id > ?2 AND", (float(value),)
        case _:
            return "m.id IS NOT NULL AND", ()


def _json(ids: Sequence[str]) -> str:
    return msgspec.json.encode(ids).decode()
