"""Connections to MySQL and MariaDB: what aiomysql leaves open, a bounded pool, and errors in our terms."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiomysql import Connection
from pymysql import err
from pymysql.constants import CLIENT, CR, FIELD_TYPE

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.stores import connections
from peekaping_producer.stores.rows import Row
from peekaping_producer.targets import DatabaseTarget

# The driver logs each step of a handshake at debug.
logging.getLogger("aiomysql").setLevel(logging.WARNING)

# What a server, a user or a proxy may have set otherwise; it must not change what we read.
_SETTINGS = (
    "SET NAMES utf8mb4, autocommit = 1, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
)
# A statement that nobody waits for any more would run on: a server notices a closed connection when it answers. Each
# of the two servers takes the other's part for a comment.
_STATEMENT_LIMIT = " /*M! , max_statement_time = {0:g} */ /*!80000 , max_execution_time = {1:.0f} */"
_READ_ONLY = "SET SESSION TRANSACTION READ ONLY"

_REFUSALS = {1044, 1045, 1049, 1050, 1130, 1142, 1143, 1227, 1251, 1290, 1370, 1698, 1792, 1820, 1862, 3118, 3159, 4151}
"""Server errors that waiting does not mend, about who may do what: the server's text names users and objects only."""
_UNKNOWN_OBJECTS = {1054, 1146}
_BUSY = {1040, 1053, 1129, 1203, 1205, 1213, 1226}
"""Server errors that may be over later, whose text names users and limits only."""
_TOO_SLOW = {1969, 3024}
_SYNTAX = 1064
_UNKNOWN_PLUGIN = 2059


class _RefusedServerError(Exception):
    """A server that we do not talk to; the message says why."""


class MysqlConnection(Connection):  # type: ignore[misc]
    """aiomysql's connection without what a server, or whoever answers in its place, could abuse."""

    async def _get_server_information(self) -> None:
        """The server's greeting. Without TLS in it the driver would go on in clear, although it was told to use TLS."""
        await super()._get_server_information()
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise _RefusedServerError("the server has no TLS, and TLS is asked for")
        if not self._ssl_context:
            _refuse_in_clear(self._server_auth_plugin)

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        if not self._secure:
            _refuse_in_clear(plugin_name.decode("ascii", "replace"))
        return await super()._process_auth(plugin_name, auth_packet)

    def close(self) -> None:
        """At once: closing gently would wait for the other side, which may be what is broken."""
        if self._writer:
            self._writer.transport.abort()
        super().close()

    def quit(self) -> None:
        """Say goodbye, which the server would miss in its log, and close."""
        if self._writer:
            self._writer.write(b"\x01\x00\x00\x00\x01")
        self.close()

    @property
    def is_dead(self) -> bool:
        """Whether the other side is known to have closed: it did so while the connection was idle."""
        return self.closed or self._reader.eof_received or self._reader.exception() is not None

    async def fetch(self, statement: str) -> list[Row]:
        """The rows of one statement. The driver's cursor would ask for warnings too, with a statement more."""
        await self.query(statement)
        return list(self._result.rows or ())

    async def run_script(self, script: str) -> None:
        """Run several statements; the server stops at the first that fails."""
        await self.query(script)
        while self._result.has_next:
            await self.next_result()


class Pool:
    """Connections made when needed and used again, the latest used first.

    aiomysql's own pool holds its lock while it connects, so that all wait behind one slow connection, even those who
    would give one back; neither that wait nor the one for closing ends.
    """

    def __init__(self, target: DatabaseTarget, options: dict[str, Any], size: int) -> None:
        self._target = target
        self._options = options
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[MysqlConnection] = []
        self._used: set[MysqlConnection] = set()
        self._is_closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[MysqlConnection]:
        """One that is not known to be broken."""
        with translated(self._target):
            async with asyncio.timeout(connections.ACQUIRE_TIMEOUT):
                await self._free.acquire()
        try:
            connection = self._alive() or await connect(self._target, self._options, read_only=True)
            self._used.add(connection)
            try:
                self._require_open()  # close() may have come while we were connecting
                yield connection
            finally:
                self._used.discard(connection)
                self._give_back(connection)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close the idle connections, and those in use when they come back, or after CLOSE_TIMEOUT."""
        self._is_closed = True
        for connection in self._idle:
            connection.quit()
        self._idle.clear()
        try:
            async with asyncio.timeout(connections.CLOSE_TIMEOUT):
                for _ in range(self._size):
                    await self._free.acquire()
        except TimeoutError:
            for connection in self._used:
                connection.close()

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailableError(f"{self._target}: the store is not open")

    def _alive(self) -> MysqlConnection | None:
        self._require_open()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_dead:
                return connection
            connection.close()
        return None

    def _give_back(self, connection: MysqlConnection) -> None:
        if self._is_closed:
            connection.quit()
        elif not connection.closed:
            self._idle.append(connection)


def connect_options(target: DatabaseTarget) -> dict[str, Any]:
    """What aiomysql connects with for this target. Raises ConfigError for what a DATABASE_URL said in vain."""
    if target.params:
        raise ConfigError(
            [f"DATABASE_URL: got {name}=..., mysql takes ssl-mode only" for name in sorted(target.params)]
        )
    return {
        "host": target.host,
        "port": target.port or 3306,
        "user": target.user,
        # The driver sends the text in Latin-1; servers compare it with what was set in UTF-8.
        "password": (target.password or "").encode().decode("latin-1"),
        "db": target.name,
        "ssl": connections.ssl_context(target.tls) if target.tls else None,
        "charset": "utf8mb4",
        "use_unicode": False,
        "conv": _CONVERTERS,
        "autocommit": None,
        "local_infile": False,
        "program_name": "peekaping-producer",
    }


async def connect(target: DatabaseTarget, options: dict[str, Any], *, read_only: bool) -> MysqlConnection:
    """A connection with our own settings; it can write, and take its time, unless `read_only`.

    Raises as `translated` does.
    """
    limit = connections.COMMAND_TIMEOUT
    connection = MysqlConnection(**options)
    try:
        with translated(target):
            async with asyncio.timeout(connections.ACQUIRE_TIMEOUT):
                await connection._connect()
                await connection.query(_SETTINGS + (_STATEMENT_LIMIT.format(limit, limit * 1000) if read_only else ""))
                if read_only:
                    await connection.query(_READ_ONLY)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated(target: DatabaseTarget) -> Iterator[None]:
    """Raise what the driver raises as a StoreError, without its text where that could hold a row or a secret.

    That may be anything: a reply that is not as the protocol has it ends in whatever error the driver's code runs into.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise _store_error(error, f"{target}, user {target.user}") from None


def _store_error(error: Exception, where: str) -> StoreError:
    match error:
        case _RefusedServerError():
            return StoreError(f"{where}: {error}")
        case err.Error(args=(CR.CR_CONN_HOST_ERROR, *_)) if isinstance(error.__cause__, OSError):
            return _store_error(error.__cause__, where)
        case err.Error(args=(int(code), str(said), *_)):
            return _server_error(code, said, where)
        case ssl.SSLCertVerificationError():
            return StoreError(f"{where}: the server's certificate is not trusted: {error.verify_message}")
        case TimeoutError():
            return StoreUnavailableError(f"{where}: no answer in time")
        case OSError():
            return StoreUnavailableError(f"{where}: cannot connect: {error.strerror or type(error).__name__}")
        case _:
            return StoreUnavailableError(
                f"{where}: the connection broke, or the other side is no MySQL server ({type(error).__name__})"
            )


def _server_error(code: int, said: str, where: str) -> StoreError:
    if code in _REFUSALS:
        return StoreError(f"{where}: the server says: {said}")
    if code in _UNKNOWN_OBJECTS:
        return StoreError(f"{where}: {said}; run `peekaping-producer migrate`")
    if code == _SYNTAX:
        return StoreError(f"{where}: the server does not know a statement: takes MySQL 8.0.13 or MariaDB 10.11 and up")
    if code == _UNKNOWN_PLUGIN:
        return StoreError(f"{where}: the user's way to authenticate is none that the driver knows")
    if code in _TOO_SLOW:
        return StoreUnavailableError(f"{where}: no answer in time")
    if code in _BUSY:
        return StoreUnavailableError(f"{where}: the server says: {said}")
    return StoreUnavailableError(f"{where}: the connection broke, or the server failed (error {code})")


def _refuse_in_clear(plugin: str) -> None:
    """By these the password itself, or next to it, would be told to whoever answers."""
    if plugin in {"mysql_clear_password", "mysql_old_password"}:
        raise _RefusedServerError(f"the server asks for the password by {plugin}, which needs TLS")


def _text(value: bytes) -> str | bytes:
    """Text; where it is no UTF-8, the bytes, so that only the row they belong to is broken."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _time(value: bytes) -> str | bytes:
    """MySQL's "zero date", for which the Go driver gives the zero time, or any other time as text."""
    return "0001-01-01 00:00:00" if value.startswith(b"0000-00-00 00:00:00") else _text(value)


_INTEGERS = (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG)
_CONVERTERS = (
    dict.fromkeys(range(256), _text)
    | dict.fromkeys(_INTEGERS, int)
    | dict.fromkeys((FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP), _time)
)
"""By a column's type on the wire; given bytes, since the driver would fail a whole statement for one bad text."""
