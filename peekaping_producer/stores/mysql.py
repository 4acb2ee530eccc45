"""MySQL 8.0.13 and MariaDB 10.11 or later, by aiomysql, on the tables of `migrations/mysql`.

The tests' own server is a MariaDB; MYSQL_URL has them run on any other. Only what both servers document is used here.
"""

import asyncio

from pymysql.converters import escape_string

from peekaping_producer.maintenance import MaintenanceWindow
from peekaping_producer.monitor import Heartbeat, Monitor, Plan, Proxy
from peekaping_producer.stores import Loaded, connections
from peekaping_producer.stores.mysql_connections import MysqlConnection, MysqlDriver, translated
from peekaping_producer.stores.pool import Held, PooledStore
from peekaping_producer.stores.rows import Readers, Row, assemble, checked, is_uuid, push_ids, uuids
from peekaping_producer.targets import DatabaseTarget

# Columns named like keywords are in backquotes, which mean the same under ANSI_QUOTES; texts are in single quotes.
_MONITORS = """
SELECT m.id, m.name, m.type, m.`interval`, m.timeout, m.max_retries, m.retry_interval, m.resend_interval, m.active,
       coalesce(CAST(m.config AS CHAR), ''), m.proxy_id,
       p.id, p.protocol, p.host, p.port, p.auth, nullif(p.username, ''), nullif(p.password, '')
FROM monitors m LEFT JOIN proxies p ON p.id = m.proxy_id
WHERE m.id IN ({})
"""
_WINDOWS = """
SELECT l.monitor_id, w.id, w.active, w.strategy, w.start_date_time, w.end_date_time, w.start_time, w.end_time,
       w.interval_day, w.cron, w.timezone, w.duration
FROM monitor_maintenances l JOIN maintenances w ON w.id = l.maintenance_id
WHERE l.monitor_id IN ({}) AND w.active
ORDER BY w.updated_at DESC, w.id
"""
# One backward step in the index on (monitor_id, time) for each monitor, and one look at the primary key. With 1,000
# monitors of 1,000 heartbeats each on MariaDB 10.11 this takes 25 ms; max(time) GROUP BY joined back 40 ms, but 950 ms
# from the 1,000th id on, where MariaDB makes a subquery of the list and reads every entry; row_number() takes 9 s.
# LATERAL, as for Postgres, MariaDB does not know.
_HEARTBEATS = """
SELECT h.id, h.monitor_id, h.status, coalesce(h.msg, ''), coalesce(h.ping, 0), coalesce(h.duration, 0),
       coalesce(h.down_count, 0), coalesce(h.retries, 0), h.important, h.time,
       coalesce(h.end_time, TIMESTAMP'0001-01-01 00:00:00'), h.notified
FROM monitors m STRAIGHT_JOIN heartbeats h
    ON h.id = (SELECT latest.id FROM heartbeats latest WHERE latest.monitor_id = m.id ORDER BY time DESC LIMIT 1)
WHERE m.id IN ({})
"""
# What load() would find unreadable has no place in the schedule.
_PLANS = """
SELECT id, CASE WHEN active = 1 AND `interval` <= 2147483647 THEN `interval` ELSE 0 END FROM monitors WHERE id IN ({})
"""
# Ids that are none of ours would be dropped by the workers and added again by each sync. The pattern compares bytes,
# whatever the column's collation; its $ would let a line feed pass.
_PAGE = """
SELECT id, `interval` FROM monitors
WHERE {} active = 1 AND `interval` BETWEEN 1 AND 2147483647
  AND CHAR_LENGTH(id) = 36 AND CONVERT(id USING utf8mb4) COLLATE utf8mb4_bin
      REGEXP '^[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}$'
ORDER BY id LIMIT {}
"""

_READERS = Readers(
    checked("monitor", Monitor),
    checked("proxy", Proxy),
    checked("maintenance", MaintenanceWindow),
    checked("heartbeat", Heartbeat),
)


class MysqlSession:
    """One connection to the server; see Session."""

    def __init__(self, held: Held[MysqlConnection], target: DatabaseTarget) -> None:
        self.held = held
        self._target = target

    async def load(self, ids: list[str]) -> Loaded:
        """At most three statements, the third only for push monitors."""
        known = uuids(ids)
        if not known:
            return Loaded({}, {})
        monitors = await self._fetch(_MONITORS.format(_quoted(known)))
        windows = await self._fetch(_WINDOWS.format(_quoted(known)))
        pushed = push_ids(monitors)
        heartbeats = await self._fetch(_HEARTBEATS.format(_quoted(pushed))) if pushed else []
        return assemble(monitors, windows, heartbeats, _READERS)

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """One statement."""
        rows = await self._fetch(_PLANS.format(_quoted(uuids(ids))))
        return {row[0]: Plan(*row) for row in rows}

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One statement, along the primary key."""
        # A column of MariaDB's own type uuid compares with nothing but UUIDs.
        start = "" if after is None else f"id > '{escape_string(after)}' AND"
        return [Plan(*row) for row in await self._fetch(_PAGE.format(start, limit))]

    async def check_tables(self) -> None:
        """Read nothing from every table and column that the other methods read."""
        for statement in (_MONITORS, _WINDOWS, _HEARTBEATS, _PLANS):
            await self._fetch(statement.format(_quoted([])))

    async def ping(self) -> None:
        """A trivial statement."""
        await self._fetch("SELECT 1")

    async def _fetch(self, statement: str) -> list[Row]:
        """The statement's rows."""
        async with self.held.using() as connection:
            with translated(self._target):
                async with asyncio.timeout(connections.COMMAND_TIMEOUT):
                    return await connection.fetch(statement)


class MysqlStore(PooledStore[MysqlConnection, MysqlSession]):
    """A MonitorStore on MySQL or MariaDB with at most `size` connections."""

    def __init__(self, target: DatabaseTarget, size: int) -> None:
        super().__init__(target, MysqlDriver(target), size, lambda held: MysqlSession(held, target))

    def is_id(self, text: str) -> bool:
        """Whether `text` is a UUID as our tables hold it."""
        return is_uuid(text)


def _quoted(ids: list[str]) -> str:
    """What IN takes: UUIDs, in which nothing needs escaping. No list may be empty, and no id is."""
    return "'" + "','".join(ids) + "'"
