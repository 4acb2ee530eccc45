"""Connections to Postgres, by asyncpg, and what their errors mean."""

import asyncio
import re
from contextlib import AbstractContextManager, suppress
from typing import Any

import asyncpg

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.service.text import first_sentence
from peekaping_producer.stores.errors import (
    CREATE_TABLES,
    READ_TIMED_OUT,
    BadRowsError,
    LoginRefusedError,
    StatementCanceledError,
    as_store_errors,
)
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.server_driver import ServerDriver, check_params
from peekaping_producer.stores.tls import database_ssl_context
from peekaping_producer.targets import DatabaseTarget

_BAD_ROWS = re.compile("22|54|58|XX|53200")
_CANCELED = {"57014", "55P03"}
"""By the server's own limits, for statements and for locks."""
# PgBouncer before 1.20 gives these the code of a protocol violation.
_POOLER_REFUSAL = re.compile("authentication failed|auth failed|no such (user|database)|not allowed", re.IGNORECASE)


_CANCEL_WITHIN_S = 2.0
"""For the server to cancel the statement of a connection that ends; it may hang."""


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError."""
    return as_store_errors(target, _store_error)


class PostgresConnection(asyncpg.Connection):
    """See pool.Connection."""

    @property
    def is_dead(self) -> bool:
        """Whether it is closed."""
        return self.is_closed()

    async def check(self) -> None:
        """A statement that is not prepared: one round trip, behind a pooler too."""
        await self.execute("SELECT 1")

    def abort(self) -> None:
        """End it without waiting. Its statement is canceled: the server would continue to wait for a lock."""
        if self.is_closed():
            return
        ending = asyncio.create_task(self._cancel_and_close())
        _ending.add(ending)
        ending.add_done_callback(_ending.discard)

    async def _cancel_and_close(self) -> None:
        try:
            with suppress(Exception):  # drivers raise anything for a broken connection
                async with asyncio.timeout(_CANCEL_WITHIN_S):
                    await self.close()
        finally:
            self.terminate()

    quit = asyncpg.Connection.close


_ending: set[asyncio.Task[None]] = set()


class PostgresDriver(ServerDriver[PostgresConnection]):
    """See Driver; `settings` are for asyncpg.connect."""

    translated = staticmethod(translated)

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


def recoverable_error(error: Exception, prefix: str) -> StoreError | None:
    """Return the StoreError for an error that leaves the connection usable; None for any other."""
    match error:
        case TimeoutError():
            return StatementCanceledError(f"{prefix}: {READ_TIMED_OUT}")
        case asyncpg.PostgresError(sqlstate=state) if state in _CANCELED:
            return StatementCanceledError(f"{prefix}: {READ_TIMED_OUT}")
        case asyncpg.PostgresError(sqlstate=str(state)) if _BAD_ROWS.match(state):
            return BadRowsError(f"{prefix}: the server cannot return a row ({state})")
        case asyncpg.PostgresError() | asyncpg.InterfaceError() | asyncpg.InternalClientError() | OSError():
            return None
        case _:
            return BadRowsError(f"{prefix}: the driver cannot read a row")


def _store_error(error: Exception, prefix: str) -> StoreError | None:
    text = first_sentence(str(error)) or "no reason"
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
