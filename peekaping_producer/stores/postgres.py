"""Postgres, by asyncpg; directly or through a pooler such as PgBouncer, in any of its modes."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

import asyncpg

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.monitor import Plan
from peekaping_producer.stores import Loaded, connections
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


class _UnreadableDataError(StoreError):
    """The server cannot give out what a row holds: without an encoding (SQL_ASCII) it takes bytes that are no text."""


class PostgresSession:
    """One connection of the pool; see Session."""

    def __init__(self, connection: Any, store: "PostgresStore") -> None:
        self._connection = connection
        self._store = store

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
        """The connection's fetch. Whatever goes wrong, cancelling too, ends the connection: its state is unknown."""
        # A pooler in transaction mode may change the server connection whenever no transaction is open.
        transaction = self._connection.transaction(readonly=True) if self._store.pooled else nullcontext()
        try:
            with translated(self._store.target):
                async with transaction:
                    yield self._connection.fetch
        except _UnreadableDataError:
            raise  # an answer like any other: the connection is in order
        except BaseException:
            with suppress(asyncpg.InterfaceError):  # the pool has taken a connection that broke already
                self._connection.terminate()
            raise


class PostgresStore:
    """A MonitorStore on Postgres with at most `size` connections."""

    def __init__(self, target: DatabaseTarget, size: int) -> None:
        self.target = target
        self.pooled = False
        """Whether a pooler stands between us and the server; known after open()."""
        self._options = connect_options(target)
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Find out what answers, and see that the tables are there."""
        await self.close()
        with translated(self.target):
            self.pooled = await _is_pooled(self._options)
            self._pool = await asyncpg.create_pool(
                min_size=0,
                max_size=self._size,
                reset=_nothing_to_reset,
                command_timeout=connections.COMMAND_TIMEOUT,
                statement_cache_size=0 if self.pooled else 100,
                **self._options,
            )
        try:
            async with self.session() as session:
                await session.check_tables()
        except BaseException:
            await self.close()
            raise

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PostgresSession]:
        """Wait up to ACQUIRE_TIMEOUT for a connection; one that broke is replaced by the next session."""
        if self._pool is None:
            raise StoreUnavailableError(f"{self.target}: the store is not open")
        pool = self._pool
        with translated(self.target):
            connection = await pool.acquire(timeout=connections.ACQUIRE_TIMEOUT)
        try:
            yield PostgresSession(connection, self)
        finally:
            await pool.release(connection)

    def is_id(self, text: str) -> bool:
        """Whether `text` is a UUID as Postgres prints it."""
        return is_uuid(text)

    async def ping(self) -> None:
        """A trivial statement on a connection of the pool."""
        async with self.session() as session:
            await session.ping()

    async def close(self) -> None:
        """Close the connections; sessions still open lose theirs after CLOSE_TIMEOUT."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), connections.CLOSE_TIMEOUT)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()


def connect_options(target: DatabaseTarget) -> dict[str, Any]:
    """What asyncpg.connect takes for this target. Raises ConfigError for what a DATABASE_URL said in vain.

    Everything is given, so that PGHOST and its like in the environment change nothing; and PgBouncer refuses a
    connection that brings any other server setting than the name.
    """
    unknown = sorted(target.params.keys() - {"application_name"})
    if unknown:
        raise ConfigError(
            [f"DATABASE_URL: got {name}=..., postgres takes sslmode and application_name only" for name in unknown]
        )
    return {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "password": target.password or "",
        "database": target.name,
        "ssl": connections.ssl_context(target.tls) if target.tls else False,
        "target_session_attrs": "any",
        "timeout": connections.ACQUIRE_TIMEOUT,
        "server_settings": {"application_name": target.params.get("application_name", "peekaping-producer")},
    }


@contextmanager
def translated(target: DatabaseTarget) -> Iterator[None]:
    """Raise what the driver raises as a StoreError, without the driver's text where that could hold a secret."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise _store_error(error, target) from None


def _store_error(error: Exception, target: DatabaseTarget) -> StoreError:
    where = f"{target}, user {target.user}"
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    match error:
        case (
            asyncpg.InvalidAuthorizationSpecificationError()
            | asyncpg.InvalidCatalogNameError()
            | asyncpg.InsufficientPrivilegeError()
            | asyncpg.ReadOnlySQLTransactionError()
            | asyncpg.DuplicateTableError()
        ):
            return StoreError(f"{where}: the server says: {said}")
        case asyncpg.DataError():
            return _UnreadableDataError(f"{where}: a row holds what the server cannot give out ({error.sqlstate})")
        case asyncpg.SyntaxOrAccessError():
            return StoreError(f"{where}: {said}; run `peekaping-producer migrate`, or the API server's migrations")
        case asyncpg.ProtocolViolationError() if _POOLER_REFUSAL.search(said):
            return StoreError(f"{where}: the pooler says: {said}")
        case ssl.SSLCertVerificationError():
            return StoreError(f"{where}: the server's certificate is not trusted: {error.verify_message}")
        case ConnectionError() if "rejected SSL upgrade" in said:
            return StoreError(f"{where}: the server has no TLS, and TLS is asked for")
        case TimeoutError():
            return StoreUnavailableError(f"{where}: no answer in time")
        case _:
            return StoreUnavailableError(f"{where}: {said}")


# PgBouncer before 1.20 gives these the code of a protocol violation.
_POOLER_REFUSAL = re.compile("authentication failed|auth failed|no such (user|database)|not allowed", re.IGNORECASE)


async def _is_pooled(options: dict[str, Any]) -> bool:
    """Whether the server process that answers is another one than the one that the connection was told of."""
    connection = await asyncpg.connect(statement_cache_size=0, command_timeout=connections.COMMAND_TIMEOUT, **options)
    try:
        async with connection.transaction():
            answering = await connection.fetchval("SELECT pg_backend_pid()")
        return bool(answering != connection.get_server_pid())
    finally:
        connection.terminate()


async def _nothing_to_reset(_: Any) -> None:
    """Sessions only read, so that giving a connection back needs no round trip."""
