"""Postgres, by asyncpg; directly or through a pooler such as PgBouncer, in any of its modes."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

import asyncpg

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.monitor import Plan
from peekaping_producer.stores import Loaded, connections
from peekaping_producer.stores.connector import Connector, LoginRefusedError
from peekaping_producer.stores.pool import AnsweredError, Held, PooledStore
from peekaping_producer.stores.rows import TYPED, assemble, is_uuid, push_ids, uuids
from peekaping_producer.targets import DatabaseTarget

# Ids leave as text: casting them on the server is cheaper than making and printing uuid objects here.
# coalesce gives what Go reads for NULL, and greatest too, which ignores it; timestamps without zone hold UTC, and may
# lie outside the years that Python knows.
_MONITORS = """
SELECT m.id::text, m.name, m.type, m.interval, m.timeout, m.max_retries, m.retry_interval, m.resend_interval, m.active,
       coalesce(m.config::text, ''), m.proxy_id::text,
       p.id::text, p.protocol, p.host, p.port, p.auth, nullif(p.username, ''), nullif(p.password, '')
FROM monitors m LEFT JOIN proxies p ON p.id = m.proxy_id
WHERE m.id = ANY($1::uuid[])
"""
_WINDOWS = """
SELECT l.monitor_id::text, w.id::text, w.active, w.strategy, w.start_date_time, w.end_date_time, w.start_time,
       w.end_time, w.interval_day, w.cron, w.timezone, w.duration
FROM monitor_maintenances l JOIN maintenances w ON w.id = l.maintenance_id
WHERE l.monitor_id = ANY($1::uuid[]) AND w.active
ORDER BY w.updated_at DESC, w.id
"""
_HEARTBEATS = """
SELECT h.id::text, h.monitor_id::text, h.status, coalesce(h.msg, ''), coalesce(h.ping, 0), coalesce(h.duration, 0),
       coalesce(h.down_count, 0), coalesce(h.retries, 0), h.important,
       least(greatest(h.time, '0001-01-01'), '9999-12-31') AT TIME ZONE 'UTC',
       least(greatest(h.end_time, '0001-01-01'), '9999-12-31') AT TIME ZONE 'UTC', h.notified
FROM unnest($1::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM heartbeats WHERE monitor_id = wanted.id ORDER BY time DESC LIMIT 1) h
"""
_PLANS = "SELECT id::text, CASE WHEN active THEN interval ELSE 0 END FROM monitors WHERE id = ANY($1::uuid[])"
_FIRST_PAGE = "SELECT id::text, interval FROM monitors WHERE active AND interval > 0 ORDER BY monitors.id LIMIT $1"
_NEXT_PAGE = """
SELECT id::text, interval FROM monitors
WHERE active AND interval > 0 AND monitors.id > $2::uuid ORDER BY monitors.id LIMIT $1
"""


class _UnreadableDataError(AnsweredError):
    """The server cannot give out what a row holds: without an encoding (SQL_ASCII) it takes bytes that are no text."""


class PostgresSession:
    """One connection of the pool; see Session."""

    def __init__(self, held: Held[Any], driver: "PostgresDriver") -> None:
        self.held = held
        self._driver = driver

    async def load(self, ids: list[str]) -> Loaded:
        """At most three statements, the third only for push monitors."""
        known = uuids(ids)
        if not known:
            return Loaded({}, {})
        try:
            return await self._load(known)
        except _UnreadableDataError:
            return await self._load_around_what_is_unreadable(known)

    async def _load(self, known: list[str]) -> Loaded:
        async with self._reading() as fetch:
            monitors = await fetch(_MONITORS, known)
            windows = await fetch(_WINDOWS, known)
            pushed = push_ids(monitors)
            heartbeats = await fetch(_HEARTBEATS, pushed) if pushed else []
        return assemble(monitors, windows, heartbeats, TYPED)

    async def _load_around_what_is_unreadable(self, known: list[str]) -> Loaded:
        """Halve the batch until the unreadable monitors are alone: slow, and only they are left out."""
        if len(known) == 1:
            return Loaded({}, {known[0]: "a text that belongs to it is no UTF-8"})
        middle = len(known) // 2
        first, second = await self.load(known[:middle]), await self.load(known[middle:])
        return Loaded(first.checks | second.checks, first.broken | second.broken)

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """One statement."""
        async with self._reading() as fetch:
            rows = await fetch(_PLANS, uuids(ids))
        return {row[0]: Plan(*row) for row in rows}

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One statement, along the primary key."""
        async with self._reading() as fetch:
            rows = await (fetch(_FIRST_PAGE, limit) if after is None else fetch(_NEXT_PAGE, limit, after))
        return [Plan(*row) for row in rows]

    async def check_tables(self) -> None:
        """Read nothing from every table and column that the other methods read."""
        async with self._reading() as fetch:
            for statement in (_MONITORS, _WINDOWS, _HEARTBEATS, _PLANS):
                await fetch(statement, [])

    async def ping(self) -> None:
        """A trivial statement."""
        async with self._reading() as fetch:
            await fetch("SELECT 1")

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Any]:
        """The connection's fetch."""
        async with self.held.using() as connection:
            with translated(self._driver.target):
                if not self._driver.pooled:
                    yield connection.fetch
                    return
                # A pooler in transaction mode may change the server connection whenever no transaction is open.
                transaction = connection.transaction(readonly=True)
                await transaction.start()
                try:
                    yield connection.fetch
                except asyncpg.DataError:  # the connection stays in order; any other error ends it
                    await transaction.rollback()
                    raise
                await transaction.commit()


class PostgresDriver:
    """See Driver; `settings` are for asyncpg.connect."""

    def __init__(self, target: DatabaseTarget, **settings: Any) -> None:
        self.target = target
        self.pooled = True
        """Whether a pooler stands between us and the server; until look_for_pooler(), as if there were one."""
        self._options = connect_options(target) | settings
        self._connector = Connector[Any](target, self._attempt)

    async def look_for_pooler(self) -> None:
        """See whether the server process that answers is another one than the one that the connection was told of."""
        self.pooled = True
        connection = await self.connect()
        try:
            with translated(self.target):
                async with asyncio.timeout(connections.COMMAND_TIMEOUT), connection.transaction():
                    answering = await connection.fetchval("SELECT pg_backend_pid()")
                self.pooled = answering != connection.get_server_pid()
        finally:
            self.abort(connection)

    async def connect(self) -> Any:
        """A new connection."""
        return await self._connector.connect()

    async def check(self, connection: Any) -> None:
        """A statement that is not prepared: one round trip, behind a pooler too."""
        with translated(self.target):
            await connection.execute("SELECT 1")

    def is_dead(self, connection: Any) -> bool:
        """Whether the connection is known to have ended."""
        return bool(connection.is_closed())

    def abort(self, connection: Any) -> None:
        """End it at once."""
        connection.terminate()

    async def quit(self, connection: Any) -> None:
        """End it as the server expects."""
        await connection.close()

    async def _attempt(self, reading: DatabaseTarget, address: str) -> Any:
        with translated(reading):
            return await asyncpg.connect(
                host=address,
                user=reading.user,
                password=reading.password or "",
                database=reading.name,
                statement_cache_size=0 if self.pooled else 100,
                **{"command_timeout": connections.COMMAND_TIMEOUT} | self._options,
            )


class PostgresStore(PooledStore[Any, PostgresSession]):
    """A MonitorStore on Postgres with at most `size` connections."""

    def __init__(self, target: DatabaseTarget, size: int) -> None:
        self.driver = PostgresDriver(target)
        super().__init__(target, self.driver, size, lambda held: PostgresSession(held, self.driver))

    async def open(self) -> None:
        """Find out what answers, and see that the tables are there."""
        await self.close()
        await self.driver.look_for_pooler()
        await super().open()

    def is_id(self, text: str) -> bool:
        """Whether `text` is a UUID as Postgres prints it."""
        return is_uuid(text)


def connect_options(target: DatabaseTarget) -> dict[str, Any]:
    """What asyncpg.connect takes for every reading of this target. Raises ConfigError for unsupported parameters.

    Everything is given, so that PGHOST and its like in the environment change nothing; and PgBouncer refuses a
    connection that brings any other server setting than the name, `options` too.
    """
    unknown = sorted(target.params.keys() - {"application_name", "options"})
    if unknown:
        known = "sslmode, application_name and options only"
        raise ConfigError([f"DATABASE_URL: got {name}=..., postgres takes {known}" for name in unknown])
    return {
        "port": target.port,
        "ssl": connections.ssl_context(target.tls, target.host) if target.tls else False,
        "target_session_attrs": "any",
        "server_settings": {"application_name": "peekaping-producer"} | target.params,
    }


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError, without its text where that could hold a row or a secret."""
    return connections.translated(partial(_store_error, target=target))


def _store_error(error: Exception, target: DatabaseTarget) -> StoreError:
    where = connections.where(target)
    said = connections.quoted(str(error)) or type(error).__name__
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidCatalogNameError():
            return LoginRefusedError(f"{where}: the server says: {said}")
        case (
            asyncpg.InsufficientPrivilegeError() | asyncpg.ReadOnlySQLTransactionError() | asyncpg.DuplicateTableError()
        ):
            return StoreError(f"{where}: the server says: {said}")
        case asyncpg.DataError():
            return _UnreadableDataError(f"{where}: a row holds what the server cannot give out ({error.sqlstate})")
        case asyncpg.SyntaxOrAccessError():
            return StoreError(f"{where}: {said}; {connections.CREATE_TABLES}")
        case asyncpg.ProtocolViolationError() if _POOLER_REFUSAL.search(said):
            return LoginRefusedError(f"{where}: the pooler says: {said}")
        case asyncpg.InterfaceError() if "authentication" in said:
            return StoreError(f"{where}: {said}")
        case ConnectionError() if "rejected SSL upgrade" in said:
            return StoreError(f"{where}: the server has no TLS, and TLS is asked for")
        case TimeoutError():
            return StoreUnavailableError(f"{where}: no answer in time")
        case _ if failure := connections.tls_failure(error):
            return StoreError(f"{where}: {failure}")
        case asyncpg.PostgresError():
            return StoreUnavailableError(f"{where}: the server says: {said}")
        case OSError():
            return StoreUnavailableError(f"{where}: cannot connect, or the connection broke: {_reason(error)}")
        case _:
            return StoreUnavailableError(
                f"{where}: the connection broke, or the driver failed ({type(error).__name__})"
            )


def _reason(error: OSError) -> str:
    return connections.quoted(error.strerror or "") or type(error).__name__


# PgBouncer before 1.20 gives these the code of a protocol violation.
_POOLER_REFUSAL = re.compile("authentication failed|auth failed|no such (user|database)|not allowed", re.IGNORECASE)
