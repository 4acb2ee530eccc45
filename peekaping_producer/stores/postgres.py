"""Postgres, by asyncpg; directly or through a pooler such as PgBouncer, in any of its modes."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import asyncpg

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.service.text import first_sentence
from peekaping_producer.stores.errors import (
    CREATE_TABLES,
    BadRowsError,
    LoginRefusedError,
    StatementCanceledError,
    as_store_errors,
    error_prefix,
)
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.load_reader import HEARTBEATS, LINKS, MONITORS, PLANS, PROXIES, WINDOWS
from peekaping_producer.stores.pages import page_of_plans
from peekaping_producer.stores.rows import Row, expanded, plan_of
from peekaping_producer.stores.server_driver import ServerDriver, check_params
from peekaping_producer.stores.store import StoreSession
from peekaping_producer.stores.tls import database_ssl_context
from peekaping_producer.targets import DatabaseTarget

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
_STORED_BYTES = 32 * 2**10
"""Configs that are stored in more bytes, after compression, are not read with a batch."""
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BAD_ROWS = re.compile("22|54|58|XX|53200")
_CANCELED = {"57014", "55P03"}
"""By the server's own limits, for statements and for locks."""


# PgBouncer before 1.20 gives these the code of a protocol violation.
_POOLER_REFUSAL = re.compile("authentication failed|auth failed|no such (user|database)|not allowed", re.IGNORECASE)


class PostgresConnection(asyncpg.Connection):
    """See pool.Connection."""

    @property
    def is_dead(self) -> bool:
        """Whether it is closed."""
        return self.is_closed()

    async def check(self) -> None:
        """A statement that is not prepared: one round trip, behind a pooler too."""
        await self.execute("SELECT 1")

    abort = asyncpg.Connection.terminate
    quit = asyncpg.Connection.close


class PostgresSession(StoreSession[PostgresConnection]):
    """One connection of the pool; see Session."""

    is_id = staticmethod(_UUID.fullmatch)
    _driver: "PostgresDriver"

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One statement, along the primary key."""
        return await page_of_plans(self, after, limit)

    async def page(self, after: str | None, limit: int) -> list[Plan]:
        """See PageReader."""
        rows = await (self._read(_FIRST_PAGE, limit) if after is None else self._read(_NEXT_PAGE, limit, after))
        return [plan_of(*row) for row in rows]

    async def next_id(self, after: str | None) -> str | None:
        """See PageReader."""
        rows = await self._read(_NEXT_ID, after)
        return rows[0][0] if rows else None

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
        async with self.slot.using() as connection:
            with translated(self._target):
                async with asyncio.timeout(timeout_s + self._limits.answer_s):
                    # Outside a transaction, a pooler in transaction mode may change the server connection.
                    transaction = connection.transaction(readonly=True) if self._driver.pooled else None
                    if transaction:
                        await transaction.start()
                    try:
                        rows: list[Any] = await connection.fetch(statement, *arguments, timeout=timeout_s)
                    except Exception as error:
                        if connection.is_dead:
                            raise
                        async with asyncio.timeout(self._limits.answer_s):
                            await (transaction.rollback() if transaction else connection.check())
                        raise _recoverable_error(error, error_prefix(self._target)) or error from None
                    if transaction:
                        await transaction.commit()
                    return rows


class PostgresDriver(ServerDriver[PostgresConnection]):
    """See Driver; `settings` are for asyncpg.connect."""

    def __init__(self, target: DatabaseTarget, limits: Limits, **settings: Any) -> None:
        super().__init__(target, limits)
        self.pooled = True
        """Whether connections go through a pooler; True until prepare() has run."""
        self._options = {"command_timeout": limits.command_s} | connect_options(target) | settings

    async def prepare(self) -> None:
        """Detect a pooler: pg_backend_pid() differs from the pid in the connection's handshake."""
        self.pooled = True
        connection = await self.connect()
        try:
            with translated(self.target):
                async with asyncio.timeout(self.limits.command_s), connection.transaction():
                    answering = await connection.fetchval("SELECT pg_backend_pid()")
                self.pooled = answering != connection.get_server_pid()
        finally:
            connection.abort()

    async def attempt(self, candidate: DatabaseTarget, address: str) -> PostgresConnection:
        """See ServerDriver."""
        with translated(candidate):
            return await asyncpg.connect(
                connection_class=PostgresConnection,
                host=address,
                user=candidate.user,
                password=candidate.password or "",
                database=candidate.name,
                statement_cache_size=0 if self.pooled else 100,
                **self._options,
            )


def connect_options(target: DatabaseTarget) -> dict[str, Any]:
    """The arguments of asyncpg.connect that all candidates of this target share. Raises ConfigError.

    All are given, so that PGHOST and other variables of the environment change nothing; and PgBouncer refuses a
    connection with any other server setting than the application's name, `options` too.
    """
    check_params(target, {"application_name", "options"}, "sslmode, application_name or options")
    return {
        "port": target.port,
        "ssl": database_ssl_context(target.tls, target.host) if target.tls else False,
        "target_session_attrs": "any",
        "server_settings": {"application_name": "peekaping-producer"} | target.params,
    }


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError."""
    return as_store_errors(target, _store_error)


def _recoverable_error(error: Exception, prefix: str) -> StoreError | None:
    """Return the StoreError for an error that leaves the connection usable; None for any other."""
    match error:
        case TimeoutError():
            return StatementCanceledError(f"{prefix}: no answer in time")
        case asyncpg.PostgresError(sqlstate=str(state)) if state in _CANCELED:
            return StatementCanceledError(f"{prefix}: no answer in time ({state})")
        case asyncpg.PostgresError(sqlstate=str(state)) if _BAD_ROWS.match(state):
            return BadRowsError(f"{prefix}: the server cannot return a row ({state})")
        case asyncpg.PostgresError() | asyncpg.InterfaceError() | asyncpg.InternalClientError() | OSError():
            return None
        case _:
            return BadRowsError(f"{prefix}: the driver cannot read a row ({type(error).__name__})")


def _store_error(error: Exception, prefix: str) -> StoreError | None:
    text = first_sentence(str(error)) or type(error).__name__
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidCatalogNameError():
            return LoginRefusedError(f"{prefix}: the server reports: {text}")
        case (
            asyncpg.InsufficientPrivilegeError() | asyncpg.ReadOnlySQLTransactionError() | asyncpg.DuplicateTableError()
        ):
            return StoreRefusedError(f"{prefix}: the server reports: {text}")
        case asyncpg.SyntaxOrAccessError():
            return StoreRefusedError(f"{prefix}: {text}; {CREATE_TABLES}")
        case asyncpg.ProtocolViolationError() if _POOLER_REFUSAL.search(text):
            return LoginRefusedError(f"{prefix}: the pooler reports: {text}")
        case asyncpg.InterfaceError() if "authentication" in text:
            return StoreRefusedError(f"{prefix}: {text}")
        case ConnectionError() if "rejected SSL upgrade" in text:
            return StoreRefusedError(f"{prefix}: TLS is required, but the server does not offer it")
        case asyncpg.PostgresError():
            return StoreUnavailableError(f"{prefix}: the server reports: {text}")
        case _:
            return None
