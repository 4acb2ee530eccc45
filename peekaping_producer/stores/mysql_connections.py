"""Connections to MySQL and MariaDB, by aiomysql with stricter rules, and what their errors mean."""

import logging
from contextlib import AbstractContextManager
from typing import Any

from aiomysql import Connection
from pymysql import err
from pymysql.constants import CLIENT, CR, FIELD_TYPE

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.service.text import first_sentence
from peekaping_producer.stores.errors import (
    CREATE_TABLES,
    READ_TIMED_OUT,
    LoginRefusedError,
    StatementCanceledError,
    as_store_errors,
    store_error,
)
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.rows import Row, text_or_bytes
from peekaping_producer.stores.server_driver import ServerDriver, check_params
from peekaping_producer.stores.tls import database_ssl_context
from peekaping_producer.targets import DatabaseTarget

# The driver logs each step of a handshake at debug.
logging.getLogger("aiomysql").setLevel(logging.WARNING)

# A server, a user or a proxy may have other settings, which must not change what is read.
_SETTINGS = (
    "SET NAMES utf8mb4, autocommit = 1, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
)
# A server notices a closed connection only when it answers, so a statement would run on. Each server reads the other's
# part as a comment.
_STATEMENT_LIMIT = " /*M! , max_statement_time = {0:g} */ /*!80000 , max_execution_time = {1:.0f} */"
_READ_ONLY = "SET SESSION TRANSACTION READ ONLY"

_LOGIN_REFUSALS = {1044, 1045, 1049, 1698}
_REFUSALS = {1050, 1129, 1130, 1142, 1143, 1227, 1251, 1290, 1370, 1524, 1792, 1820, 1862, 3118, 3159, 3955, 4151}
"""Permanent server errors, about permissions: their text names users and objects only."""
_UNKNOWN_OBJECTS = {1054, 1146}
_BUSY = {1040, 1053, 1203, 1213, 1226}
"""Temporary server errors, whose text names users and limits only."""
_TOO_SLOW = {1205, 1317, 1969, 3024}
_BAD_ROWS = {126, 127, 1024, 1030, 1034, 1035, 1038, 1041, 1127, 1153, 1194, 1195, 1292, 1300, 1301, 1366, 1411, 1416}
_BAD_ROWS |= {1690, 1712, 1740, 1877, *range(3140, 3160), 4037, 4038}
"""Server errors about a row: damaged, too large, not of its type."""
_SYNTAX = 1064
_UNKNOWN_PLUGIN = 2059


class _RefusedServerError(Exception):
    """A server that must not be used; the message is the reason."""


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError."""
    return as_store_errors(target, _store_error)


class MysqlConnection(Connection):  # type: ignore[misc]
    """aiomysql's connection without the features that a server, or an impostor, could abuse."""

    async def _get_server_information(self) -> None:
        """Read the server's greeting. Where it does not offer TLS, the driver would continue without."""
        await super()._get_server_information()
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise _RefusedServerError("TLS is required, but the server does not offer it")
        if not self._ssl_context:
            _refuse_in_clear(self._server_auth_plugin)

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        if not self._secure:
            _refuse_in_clear(plugin_name.decode("ascii", "replace"))
        return await super()._process_auth(plugin_name, auth_packet)

    def close(self) -> None:
        """Close without waiting for the server, which may hang."""
        if self._writer:
            self._writer.transport.abort()
        super().close()

    abort = close

    async def quit(self) -> None:
        """Send COM_QUIT, without which the server logs an aborted connection, and close."""
        if self._writer:
            self._writer.write(b"\x01\x00\x00\x00\x01")
        self.close()

    @property
    def is_dead(self) -> bool:
        """Whether the connection is known to have ended."""
        reader = self._reader
        return self.closed or reader is None or reader.eof_received or reader.exception() is not None

    async def check(self) -> None:
        """The protocol's ping."""
        await self.ping(reconnect=False)

    async def fetch(self, statement: str) -> list[Row]:
        """The rows of one statement. The driver's cursor would send another one for warnings."""
        await self.query(statement)
        return list(self._result.rows or ())

    async def run_script(self, script: str) -> None:
        """Run several statements; the server stops at the first that fails."""
        await self.query(script)
        while self._result.has_next:
            await self.next_result()


class MysqlDriver(ServerDriver[MysqlConnection]):
    """See Driver. Connections can write, and may wait without limit, unless `read_only`."""

    translated = staticmethod(translated)

    def __init__(self, target: DatabaseTarget, limits: Limits, *, read_only: bool = True) -> None:
        super().__init__(target, limits)
        self._read_only = read_only
        self._options = connect_options(target)

    async def attempt(self, candidate: DatabaseTarget, address: str) -> MysqlConnection:
        """See ServerDriver."""
        limit = self.limits.command_s
        # The driver sends the password's text in Latin-1; servers compare it with what was set in UTF-8.
        password = (candidate.password or "").encode().decode("latin-1")
        connection = MysqlConnection(
            host=address, user=candidate.user, password=password, db=candidate.name, **self._options
        )
        try:
            await connection._connect()
            limits = _STATEMENT_LIMIT.format(limit, limit * 1000) if self._read_only else ""
            await connection.query(_SETTINGS + limits)
            if self._read_only:
                await connection.query(_READ_ONLY)
        except BaseException:  # also if it is canceled
            connection.close()
            raise
        return connection


def connect_options(target: DatabaseTarget) -> dict[str, Any]:
    """The arguments of the connection that all candidates of this target share. Raises ConfigError."""
    check_params(target, set(), "ssl-mode only")
    return {
        "port": target.port or 3306,
        "ssl": database_ssl_context(target.tls, target.host) if target.tls else None,
        "charset": "utf8mb4",
        "use_unicode": False,
        "conv": _CONVERTERS,
        "autocommit": None,
        "local_infile": False,
        "program_name": "peekaping-producer",
    }


def is_about_rows(error: err.Error) -> bool:
    """Whether a statement failed because of a row; then the connection can be used again."""
    return bool(error.args) and error.args[0] in _BAD_ROWS


def _store_error(error: Exception, prefix: str) -> StoreError | None:
    match error:
        case _RefusedServerError():
            return StoreRefusedError(f"{prefix}: {error}")
        case err.Error(args=(CR.CR_CONN_HOST_ERROR, *_)) if isinstance(error.__cause__, OSError):
            return store_error(error.__cause__, prefix)
        case err.Error(args=(int(code), str(text), *_)):
            return _server_error(code, text, prefix)
        case _:
            return None


def _server_error(code: int, text: str, prefix: str) -> StoreError:
    message = first_sentence(text)
    if code in _LOGIN_REFUSALS:
        return LoginRefusedError(f"{prefix}: the server reports: {message}")
    if code in _REFUSALS:
        return StoreRefusedError(f"{prefix}: the server reports: {message}")
    if code in _UNKNOWN_OBJECTS:
        return StoreRefusedError(f"{prefix}: {message}; {CREATE_TABLES}")
    if code == _SYNTAX:
        return StoreRefusedError(f"{prefix}: the server rejects a statement: use MySQL 8.0.13, MariaDB 10.11 or later")
    if code == _UNKNOWN_PLUGIN:
        return StoreRefusedError(f"{prefix}: the driver does not support the authentication plugin of this user")
    if code in _TOO_SLOW:
        return StatementCanceledError(f"{prefix}: {READ_TIMED_OUT}")
    if code in _BUSY:
        return StoreUnavailableError(f"{prefix}: the server reports: {message}")
    return StoreUnavailableError(f"{prefix}: the connection broke, or the server failed (error {code})")


def _refuse_in_clear(plugin: str) -> None:
    """Raise for plugins that would send the password readable, or nearly so."""
    if plugin in {"mysql_clear_password", "mysql_old_password"}:
        raise _RefusedServerError(f"the server requests the password by {plugin}, which requires TLS")


def _time(value: bytes) -> str | bytes:
    """A time as text; Go's zero time for MySQL's "zero date", as in the Go driver."""
    return "0001-01-01 00:00:00" if value.startswith(b"0000-00-00 00:00:00") else text_or_bytes(value)


_INTEGERS = (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG)
_CONVERTERS = (
    dict.fromkeys(range(256), text_or_bytes)
    | dict.fromkeys(_INTEGERS, int)
    | dict.fromkeys((FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP), _time)
)
"""By a column's type on the wire; for bytes, since one bad text would fail a whole statement in the driver."""
