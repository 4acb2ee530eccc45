"""Connections to MySQL and MariaDB: what aiomysql leaves open, and errors in our terms."""

import logging
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from aiomysql import Connection
from pymysql import err
from pymysql.constants import CLIENT, CR, FIELD_TYPE

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.stores import connections
from peekaping_producer.stores.connector import Connector, LoginRefusedError
from peekaping_producer.stores.loading import CanceledError, LateError
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

_LOGIN_REFUSALS = {1044, 1045, 1049, 1698}
_REFUSALS = {1050, 1129, 1130, 1142, 1143, 1227, 1251, 1290, 1370, 1524, 1792, 1820, 1862, 3118, 3159, 3955, 4151}
"""Server errors that waiting does not mend, about who may do what: the server's text names users and objects only."""
_UNKNOWN_OBJECTS = {1054, 1146}
_BUSY = {1040, 1053, 1203, 1213, 1226}
"""Server errors that may be over later, whose text names users and limits only."""
_TOO_SLOW = {1205, 1317, 1969, 3024}
_BAD_ROWS = {126, 127, 1024, 1030, 1034, 1035, 1038, 1041, 1127, 1153, 1194, 1195, 1292, 1300, 1301, 1366, 1411, 1416}
_BAD_ROWS |= {1690, 1712, 1740, 1877, *range(3140, 3160), 4037, 4038}
"""Server errors about what a row holds: damaged, too large, not of its type."""
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
        reader = self._reader
        return self.closed or reader is None or reader.eof_received or reader.exception() is not None

    async def fetch(self, statement: str) -> list[Row]:
        """The rows of one statement. The driver's cursor would ask for warnings too, with a statement more."""
        await self.query(statement)
        return list(self._result.rows or ())

    async def run_script(self, script: str) -> None:
        """Run several statements; the server stops at the first that fails."""
        await self.query(script)
        while self._result.has_next:
            await self.next_result()


class MysqlDriver:
    """See Driver. Connections can write, and may wait without limit, unless `read_only`."""

    def __init__(self, target: DatabaseTarget, *, read_only: bool = True) -> None:
        self.target = target
        self._read_only = read_only
        self._options = connect_options(target)
        self._connector = Connector[MysqlConnection](target, self._attempt)

    async def connect(self) -> MysqlConnection:
        """A connection with our own settings."""
        return await self._connector.connect()

    async def check(self, connection: MysqlConnection) -> None:
        """The protocol's own question."""
        with translated(self.target):
            await connection.ping(reconnect=False)

    def is_dead(self, connection: MysqlConnection) -> bool:
        """Whether the connection is known to have ended."""
        return connection.is_dead

    def abort(self, connection: MysqlConnection) -> None:
        """End it at once."""
        connection.close()

    async def quit(self, connection: MysqlConnection) -> None:
        """End it as the server expects."""
        connection.quit()

    async def _attempt(self, reading: DatabaseTarget, address: str) -> MysqlConnection:
        limit = connections.COMMAND_TIMEOUT
        with translated(reading):
            # The driver sends the password's text in Latin-1; servers compare it with what was set in UTF-8.
            password = (reading.password or "").encode().decode("latin-1")
            connection = MysqlConnection(
                host=address, user=reading.user, password=password, db=reading.name, **self._options
            )
            try:
                await connection._connect()
                limits = _STATEMENT_LIMIT.format(limit, limit * 1000) if self._read_only else ""
                await connection.query(_SETTINGS + limits)
                if self._read_only:
                    await connection.query(_READ_ONLY)
            except BaseException:
                connection.close()
                raise
        return connection


def connect_options(target: DatabaseTarget) -> dict[str, Any]:
    """What aiomysql connects with for every reading of this target. Raises ConfigError for unsupported parameters."""
    if target.params:
        raise ConfigError(
            [f"DATABASE_URL: got {name}=..., mysql takes ssl-mode only" for name in sorted(target.params)]
        )
    return {
        "port": target.port or 3306,
        "ssl": connections.ssl_context(target.tls, target.host) if target.tls else None,
        "charset": "utf8mb4",
        "use_unicode": False,
        "conv": _CONVERTERS,
        "autocommit": None,
        "local_infile": False,
        "program_name": "peekaping-producer",
    }


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError, without its text where that could hold a row or a secret."""
    return connections.translated(partial(_store_error, where=connections.where(target)))


def is_about_rows(error: err.Error) -> bool:
    """Whether a statement failed for what a row holds, with the connection in order."""
    return bool(error.args) and error.args[0] in _BAD_ROWS


def _store_error(error: Exception, where: str) -> StoreError:
    match error:
        case _RefusedServerError():
            return StoreError(f"{where}: {error}")
        case err.Error(args=(CR.CR_CONN_HOST_ERROR, *_)) if isinstance(error.__cause__, OSError):
            return _store_error(error.__cause__, where)
        case err.Error(args=(int(code), str(said), *_)):
            return _server_error(code, said, where)
        case TimeoutError():
            return LateError(f"{where}: no answer in time")
        case _ if failure := connections.tls_failure(error):
            return StoreError(f"{where}: {failure}")
        case OSError():
            reason = connections.quoted(error.strerror or "") or type(error).__name__
            return StoreUnavailableError(f"{where}: cannot connect, or the connection broke: {reason}")
        case _:
            return StoreUnavailableError(
                f"{where}: the connection broke, or the other side is no MySQL server ({type(error).__name__})"
            )


def _server_error(code: int, text: str, where: str) -> StoreError:
    said = connections.quoted(text)
    if code in _LOGIN_REFUSALS:
        return LoginRefusedError(f"{where}: the server says: {said}")
    if code in _REFUSALS:
        return StoreError(f"{where}: the server says: {said}")
    if code in _UNKNOWN_OBJECTS:
        return StoreError(f"{where}: {said}; {connections.CREATE_TABLES}")
    if code == _SYNTAX:
        return StoreError(f"{where}: the server does not know a statement: takes MySQL 8.0.13 or MariaDB 10.11 and up")
    if code == _UNKNOWN_PLUGIN:
        return StoreError(f"{where}: the user's way to authenticate is none that the driver knows")
    if code in _TOO_SLOW:
        return CanceledError(f"{where}: no answer in time")
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
