"""Reading from MySQL 8.0.13 and MariaDB 10.11 or later, by aiomysql, on the tables of `migrations/mysql`.

The tests start a MariaDB; set MYSQL_URL to run them on another server. Only features of both are used.
"""

import re
from collections.abc import Iterable, Sequence
from functools import partial

from pymysql import err
from pymysql.converters import escape_string

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.catalogue import TABLES, Catalogue, missing_indexes
from peekaping_producer.stores.errors import BadRowsError
from peekaping_producer.stores.load_reader import HEARTBEATS, LINKS, MONITORS, PLANS, PROXIES, WINDOWS
from peekaping_producer.stores.mysql_connections import MysqlConnection, is_about_rows
from peekaping_producer.stores.rows import Row, expanded, plan_of
from peekaping_producer.stores.store import StoreSession

# Columns named like keywords are in backquotes, which mean the same under ANSI_QUOTES; texts are in single quotes. CAST
# gives NULL for a config of more than max_allowed_packet.
_MONITORS = """
SELECT m.id, BYTES(m.name) + BYTES(m.type) + BYTES(m.config), m.id, FIT(m.name), FIT(m.type), m.`interval`, m.timeout,
       m.max_retries, m.retry_interval, m.resend_interval, m.active,
       CASE WHEN m.config IS NULL THEN '' WHEN LENGTH(m.config) <= {max_bytes} THEN CAST(m.config AS CHAR) END,
       m.proxy_id
FROM monitors m
"""
_LINKS = "SELECT monitor_id, 0, maintenance_id FROM monitor_maintenances WHERE monitor_id IN ({ids})"
_WINDOWS = """
SELECT w.id, BYTES(w.strategy) + BYTES(w.start_date_time) + BYTES(w.end_date_time) + BYTES(w.start_time)
       + BYTES(w.end_time) + BYTES(w.cron) + BYTES(w.timezone),
       w.id, w.active, FIT(w.strategy), FIT(w.start_date_time), FIT(w.end_date_time), FIT(w.start_time),
       FIT(w.end_time), w.interval_day, FIT(w.cron), FIT(w.timezone), w.duration
FROM maintenances w WHERE w.id IN ({ids}) AND w.active
ORDER BY w.updated_at DESC, w.id
"""
_PROXIES = """
SELECT p.id, BYTES(p.protocol) + BYTES(p.host) + BYTES(p.username) + BYTES(p.password),
       p.id, FIT(p.protocol), FIT(p.host), p.port, p.auth, FIT(p.username), FIT(p.password)
FROM proxies p WHERE p.id IN ({ids})
"""
# One backward step in the index on (monitor_id, time) for each monitor, and one look-up in the primary key. With 1,000
# monitors of 1,000 heartbeats each on MariaDB 10.11 this takes 25 ms; max(time) GROUP BY joined back 40 ms, but 950 ms
# from the 1,000th id on, where MariaDB makes a subquery of the list and reads every entry; row_number() takes 9 s.
# MariaDB has no LATERAL.
_HEARTBEATS = """
SELECT h.monitor_id, BYTES(h.msg), h.id, h.monitor_id, h.status, FIT(h.msg), h.ping, h.duration, h.down_count,
       h.retries, h.important, h.time, h.end_time, h.notified
FROM monitors m STRAIGHT_JOIN heartbeats h
    ON h.id = (SELECT latest.id FROM heartbeats latest WHERE latest.monitor_id = m.id ORDER BY time DESC LIMIT 1)
WHERE m.id IN ({ids})
"""
_expanded = partial(
    expanded,
    FIT="CASE WHEN LENGTH({0}) <= {{max_bytes}} THEN {0} END".format,
    BYTES="coalesce(LENGTH({}), 0)".format,
)
_STATEMENTS = {
    MONITORS: _expanded(_MONITORS + "WHERE m.id IN ({ids})"),
    PLANS: "SELECT id, 0, active, `interval` FROM monitors WHERE id IN ({ids})",
    LINKS: _LINKS,
    WINDOWS: _expanded(_WINDOWS),
    PROXIES: _expanded(_PROXIES),
    HEARTBEATS: _expanded(_HEARTBEATS),
}
_ONE_MONITOR = _expanded(_MONITORS + "LIMIT 1")
# A column of MariaDB's own type uuid compares with nothing but UUIDs: so the first page has no condition on the id.
_PAGE = "SELECT id, active, `interval` FROM monitors WHERE {after} active <> 0 ORDER BY id LIMIT {limit}"
_FOUND = "SELECT id, left(name, 300), active, `interval` FROM monitors WHERE"
# A column of MariaDB's own type uuid compares with nothing but UUIDs: there, a whole id is found and a prefix is not.
_BY_ID = f"{_FOUND} id = '{{first}}' OR id >= '{{first}}' AND id <= '{{last}}' ORDER BY id LIMIT {{limit}}"
_BY_NAME = f"""
{_FOUND} {{words}}
ORDER BY name <> '{{text}}', CHAR_LENGTH(name), name, id LIMIT {{limit}}
"""
_CONTAINS = "LOCATE(lower('{}'), lower(name)) > 0"
_RECENT_HEARTBEATS = """
SELECT time, status, ping FROM heartbeats WHERE monitor_id = '{id}' ORDER BY heartbeats.time DESC LIMIT {limit}
"""
_WINDOW_IDS = "SELECT id FROM maintenances WHERE active ORDER BY id LIMIT {limit}"
_INDEXES = """
SELECT table_name, group_concat(coalesce(column_name, '?') ORDER BY seq_in_index) FROM information_schema.statistics
WHERE table_schema = database() GROUP BY table_name, index_name
"""
_NAME = r"(\*|`(?:[^`]|``)*`)"
_GRANT = re.compile(rf"GRANT (.+) ON (?:TABLE )?{_NAME}\.{_NAME} TO ")
_WRITES = re.compile(r"\b(ALL PRIVILEGES|INSERT|UPDATE|DELETE)\b")
# A limit of the server keeps the connection. Each server reads the other's part as a comment.
_LIMIT = "/*M! SET STATEMENT max_statement_time = {0:g} FOR */ SELECT /*+ MAX_EXECUTION_TIME({1:.0f}) */"
_ID = re.compile("[!->@-~]([ -~]{0,62}[!->@-~])?")


class MysqlSession(StoreSession[MysqlConnection]):
    """One connection to the server; see Session."""

    is_id = staticmethod(_ID.fullmatch)

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One statement, along the primary key."""
        start = "" if after is None else f"id > '{escape_string(after)}' AND"
        return [_plan(*row) for row in await self._fetch(_PAGE.format(after=start, limit=limit))]

    async def rows_by_id(self, prefix: str, limit: int) -> Sequence[Row]:
        """See StoreSession. A collation may treat other ids as equal; these are left out."""
        if not _ID.fullmatch(prefix):
            return []
        first, last = escape_string(prefix), escape_string(prefix + "~" * (64 - len(prefix)))
        statement = _BY_ID.format(first=first, last=last, limit=limit)
        rows = await self._fetch(statement, self._limits.find_s)
        return [row for row in rows if str(row[0]).lower().startswith(prefix.lower())]

    async def rows_by_name(self, text: str, words: Sequence[str], limit: int) -> Sequence[Row]:
        """See StoreSession."""
        contained = " AND ".join(_CONTAINS.format(escape_string(word)) for word in words)
        statement = _BY_NAME.format(words=contained, text=escape_string(text), limit=limit)
        return await self._fetch(statement, self._limits.find_s)

    async def heartbeat_rows(self, monitor_id: str, limit: int) -> Sequence[Row]:
        """See StoreSession."""
        statement = _RECENT_HEARTBEATS.format(id=escape_string(monitor_id), limit=limit)
        return await self._fetch(statement, self._limits.side_table_s)

    async def window_ids(self, limit: int) -> list[str]:
        """See StoreSession."""
        return [str(row[0]) for row in await self._fetch(_WINDOW_IDS.format(limit=limit))]

    async def catalogue(self) -> Catalogue:
        """See Session."""
        ((version, schema),) = await self._fetch("SELECT version(), database()")
        product = "" if "mariadb" in str(version).lower() else "MySQL "
        indexes = [(str(table), str(columns)) for table, columns in await self._fetch(_INDEXES)]
        grants = [str(row[0]) for row in await self._fetch("SHOW GRANTS")]
        return Catalogue(f"{product}{version}", missing_indexes(indexes), writable_by(grants, str(schema)))

    async def ping(self) -> None:
        """Read a monitor with every column that load() reads, except for large texts."""
        await self._fetch(_ONE_MONITOR.format(max_bytes=0))

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        """See TableReader. A collation may treat other ids as equal; these are left out."""
        wanted = set(keys)
        statement = _STATEMENTS[table].format(ids=_quoted(keys), max_bytes=max_bytes)
        return [row for row in await self._fetch(statement, timeout_s) if row[0] in wanted]

    async def _fetch(self, statement: str, timeout_s: float | None = None) -> list[Row]:
        timeout_s = self._limits.command_s if timeout_s is None else timeout_s
        limited = statement.strip().replace("SELECT", _LIMIT.format(timeout_s, timeout_s * 1000), 1)
        async with self.slot.using(timeout_s + self._limits.answer_s) as connection:
            try:
                return await connection.fetch(limited)
            except err.Error as error:
                if not is_about_rows(error):
                    raise
                raise BadRowsError(f"{self._target}: a row is damaged or too large ({error.args[0]})") from None


def writable_by(grants: Iterable[str], schema: str) -> tuple[str, ...] | None:
    """The tables that a user with these grants may write to; None if a role, whose grants are not listed, may do more.

    MariaDB lists those of enabled roles, too.
    """
    found: set[str] = set()
    has_role = False
    for grant in grants:
        parts = _GRANT.match(grant)
        if parts is None:
            has_role = True
        elif _WRITES.search(parts[1]) and parts[2].strip("`").replace("\\", "") in {"*", schema}:
            found |= {parts[3].strip("`")} & {*TABLES, "*"}
    tables = TABLES if "*" in found else tuple(sorted(found))
    return None if has_role and not tables else tables


def _plan(id_: object, active: object, interval: object) -> Plan:
    if isinstance(id_, str) and _ID.fullmatch(id_):
        return plan_of(id_, active, interval)
    text = id_.decode(errors="surrogateescape") if isinstance(id_, bytes) else str(id_ or "")
    return Plan(
        text, 0, "id: expected up to 64 printable ASCII characters that neither start with ? nor end with a space"
    )


def _quoted(ids: Iterable[str]) -> str:
    """The list for IN; of an empty one, the empty text, which is no id."""
    return "'" + "','".join(map(escape_string, ids)) + "'"
