"""Postgres, by asyncpg; directly or through a pooler such as PgBouncer, in any of its modes."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.catalogue import TABLES, Catalogue, missing_indexes
from peekaping_producer.stores.errors import error_prefix
from peekaping_producer.stores.load_reader import HEARTBEATS, LINKS, MONITORS, PLANS, PROXIES, WINDOWS
from peekaping_producer.stores.pages import Paged
from peekaping_producer.stores.postgres_connections import (
    PostgresConnection,
    PostgresDriver,
    recoverable_error,
)
from peekaping_producer.stores.rows import UUID, Row, bounds_of_uuids, expanded, plan_of
from peekaping_producer.stores.store import StoreSession

# Ids are returned as text: a cast on the server is cheaper than building and printing UUID objects in Python. A value
# stored in more than $2 bytes is not decompressed, which would take seconds for hundreds of megabytes. OFFSET 0 makes
# Postgres compute a size once per row. Timestamps without time zone are in UTC, and may be outside Python's range.
_MONITORS = """
SELECT m.id::text, s.size, m.id::text, FIT(m.name), FIT(m.type), m.interval, m.timeout, m.max_retries,
       m.retry_interval, m.resend_interval, m.active, FIT(c.config), m.proxy_id::text
FROM monitors m
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_column_size(m.config) > $2 THEN NULL ELSE coalesce(m.config::text, '') END AS config OFFSET 0
) c
CROSS JOIN LATERAL (
    SELECT BYTES(m.name) + BYTES(m.type)
           + coalesce(octet_length(c.config), greatest(pg_column_size(m.config), $1::bigint + 1)) AS size OFFSET 0
) s
"""
_LINKS = "SELECT monitor_id::text, 0, maintenance_id::text FROM monitor_maintenances WHERE monitor_id = ANY($1::uuid[])"
_WINDOWS = """
SELECT w.id::text, s.size, w.id::text, w.active, FIT(w.strategy), FIT(w.start_date_time), FIT(w.end_date_time),
       FIT(w.start_time), FIT(w.end_time), w.interval_day, FIT(w.cron), FIT(w.timezone), w.duration
FROM maintenances w
CROSS JOIN LATERAL (
    SELECT BYTES(w.strategy) + BYTES(w.start_date_time) + BYTES(w.end_date_time) + BYTES(w.start_time)
           + BYTES(w.end_time) + BYTES(w.cron) + BYTES(w.timezone) AS size OFFSET 0
) s
WHERE w.id = ANY($2::uuid[]) AND w.active
ORDER BY w.updated_at DESC, w.id
"""
_PROXIES = """
SELECT p.id::text, s.size, p.id::text, FIT(p.protocol), FIT(p.host), p.port, p.auth, FIT(p.username), FIT(p.password)
FROM proxies p
CROSS JOIN LATERAL (
    SELECT BYTES(p.protocol) + BYTES(p.host) + BYTES(p.username) + BYTES(p.password) AS size OFFSET 0
) s
WHERE p.id = ANY($2::uuid[])
"""
_HEARTBEATS = """
SELECT h.monitor_id::text, BYTES(h.msg), h.id::text, h.monitor_id::text, h.status,
       CASE WHEN BYTES(h.msg) <= $1 THEN h.msg END, h.ping, h.duration, h.down_count, h.retries, h.important,
       TIME(h.time), TIME(h.end_time), h.notified
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM heartbeats WHERE monitor_id = wanted.id ORDER BY time DESC LIMIT 1) h
"""
_expanded = partial(
    expanded,
    FIT="CASE WHEN s.size <= $1 THEN {} END".format,
    BYTES="coalesce(octet_length({}), 0)::bigint".format,
    TIME="least(greatest({}, '0001-01-01'), '9999-12-31') AT TIME ZONE 'UTC'".format,
)
_STATEMENTS = {
    MONITORS: _expanded(_MONITORS + "WHERE m.id = ANY($3::uuid[])"),
    PLANS: "SELECT id::text, 0, active, interval FROM monitors WHERE id = ANY($1::uuid[])",
    LINKS: _LINKS,
    WINDOWS: _expanded(_WINDOWS),
    PROXIES: _expanded(_PROXIES),
    HEARTBEATS: _expanded(_HEARTBEATS),
}
_ONE_MONITOR = _expanded(_MONITORS + "LIMIT 1")
_FIRST_PAGE = "SELECT id::text, active, interval FROM monitors WHERE active ORDER BY monitors.id LIMIT $1"
_NEXT_PAGE = """
SELECT id::text, active, interval FROM monitors
WHERE active AND monitors.id > $2::uuid ORDER BY monitors.id LIMIT $1
"""
_NEXT_ID = "SELECT id::text FROM monitors WHERE $1::uuid IS NULL OR id > $1::uuid ORDER BY monitors.id LIMIT 1"
_FOUND = "SELECT id::text, left(name, 300), active, interval FROM monitors"
_BY_ID = f"{_FOUND} WHERE id BETWEEN $1::uuid AND $2::uuid ORDER BY monitors.id LIMIT $3"
_BY_NAME = f"{_FOUND} WHERE {{words}} ORDER BY name <> $1, length(name), name, monitors.id LIMIT $2"
_CONTAINS = "strpos(lower(name), lower(${})) > 0"
_RECENT_HEARTBEATS = _expanded(
    "SELECT TIME(time), status, ping FROM heartbeats WHERE monitor_id = $1::uuid ORDER BY heartbeats.time DESC LIMIT $2"
)
_WINDOW_IDS = "SELECT id::text FROM maintenances WHERE active ORDER BY maintenances.id LIMIT $1"
_VERSION = "SELECT current_setting('server_version')"
_INDEXES = """
SELECT t.relname::text, array_to_string(array(
    SELECT coalesce(a.attname, '?') FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number ORDER BY k.place
), ',')
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
WHERE i.indrelid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name) AND i.indisvalid AND i.indpred IS NULL
"""
_WRITABLE = """
SELECT name FROM unnest($1::text[]) AS name WHERE has_table_privilege(to_regclass(name), 'INSERT, UPDATE, DELETE')
"""
_STORED_BYTES = 32 * 2**10
"""Configs that are stored in more bytes, after compression, are not read with a batch."""


class PostgresSession(Paged, StoreSession[PostgresConnection]):
    """One connection of the pool; see Session."""

    is_id = staticmethod(UUID.fullmatch)
    _driver: PostgresDriver

    async def page(self, after: str | None, limit: int) -> list[Plan]:
        """See Paged."""
        rows = await (self._read(_FIRST_PAGE, limit) if after is None else self._read(_NEXT_PAGE, limit, after))
        return [plan_of(*row) for row in rows]

    async def next_id(self, after: str | None) -> str | None:
        """See Paged."""
        rows = await self._read(_NEXT_ID, after)
        return rows[0][0] if rows else None

    async def rows_by_id(self, prefix: str, limit: int) -> Sequence[Row]:
        """See StoreSession. As text, ids would be compared one by one."""
        bounds = bounds_of_uuids(prefix)
        return await self._read(_BY_ID, *bounds, limit, timeout_s=self._limits.find_s) if bounds else []

    async def rows_by_name(self, text: str, words: Sequence[str], limit: int) -> Sequence[Row]:
        """See StoreSession."""
        contained = " AND ".join(_CONTAINS.format(number) for number, _ in enumerate(words, 3))
        statement = _BY_NAME.format(words=contained)
        return await self._read(statement, text, limit, *words, timeout_s=self._limits.find_s)

    async def heartbeat_rows(self, monitor_id: str, limit: int) -> Sequence[Row]:
        """See StoreSession."""
        return await self._read(_RECENT_HEARTBEATS, monitor_id, limit, timeout_s=self._limits.side_table_s)

    async def window_ids(self, limit: int) -> list[str]:
        """See StoreSession."""
        return [row[0] for row in await self._read(_WINDOW_IDS, limit)]

    async def catalogue(self) -> Catalogue:
        """See Session."""
        ((version,),) = await self._read(_VERSION)
        indexes = await self._read(_INDEXES, TABLES)
        writable = await self._read(_WRITABLE, TABLES)
        return Catalogue(f"Postgres {version}", missing_indexes(indexes), tuple(row[0] for row in writable))

    async def ping(self) -> None:
        """Read a monitor with every column that load() reads, except for large texts."""
        await self._read(_ONE_MONITOR, 0, 0)

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        """See TableReader."""
        arguments: tuple[Any, ...] = (max_bytes, keys)
        if table == MONITORS:
            arguments = (
                max_bytes,
                max_bytes if max_bytes > self._limits.row_bytes else min(max_bytes, _STORED_BYTES),
                keys,
            )
        elif table in {PLANS, LINKS}:
            arguments = (keys,)
        return await self._read(_STATEMENTS[table], *arguments, timeout_s=timeout_s)

    async def _read(self, statement: str, *arguments: Any, timeout_s: float | None = None) -> list[Row]:
        timeout_s = self._limits.command_s if timeout_s is None else timeout_s
        async with self.slot.using(timeout_s + self._limits.answer_s) as connection:
            # Outside a transaction, a pooler in transaction mode may change the server connection.
            transaction = connection.transaction(readonly=True) if self._driver.pooled else None
            if transaction:
                await transaction.start()
            try:
                rows: list[Any] = await connection.fetch(statement, *arguments, timeout=timeout_s)
            except Exception as error:  # `using` makes it a StoreError
                if connection.is_dead:
                    raise
                async with asyncio.timeout(self._limits.answer_s):
                    await (transaction.rollback() if transaction else connection.check())
                raise recoverable_error(error, error_prefix(self._target)) or error from None
            if transaction:
                await transaction.commit()
            return rows
