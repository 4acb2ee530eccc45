"""What the errors of MongoDB's driver mean."""

from contextlib import AbstractContextManager
from functools import partial

from pymongo.errors import ConfigurationError, ConnectionFailure, ExecutionTimeout, InvalidOperation, OperationFailure

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.stores.errors import (
    READ_TIMED_OUT,
    BadRowsError,
    LoginRefusedError,
    StatementCanceledError,
    as_store_errors,
)
from peekaping_producer.targets import DatabaseTarget

_UNAUTHORIZED, _MECHANISM_UNAVAILABLE = 13, 334
_AUTHENTICATION_FAILED = {18, 8000}
"""The second is Atlas's."""
_BAD_ROWS = {10334, 17419, 17420, 4031700, 292, 96, 22, 2, 14, 9, 4}
"""Documents too large, memory exceeded, corrupt or unexpected values."""
_REASONS = (
    "connection refused",
    "name or service not known",
    "SSL handshake failed",
    "no replica set members",
    "timed out",
)


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError, also for a reply that is not BSON."""
    return as_store_errors(target, partial(_store_error, is_srv=target.port is None))


def _store_error(error: Exception, prefix: str, *, is_srv: bool) -> StoreError | None:
    match error:
        case OperationFailure(code=code) if code in _AUTHENTICATION_FAILED:
            return LoginRefusedError(
                f"{prefix}: the server reports: authentication failed (authSource is admin unless set)"
            )
        case OperationFailure(code=code) if code == _UNAUTHORIZED:
            return StoreRefusedError(
                f"{prefix}: the server reports: not authorized; grant this user the role read on the database"
            )
        case OperationFailure(code=code) if code == _MECHANISM_UNAVAILABLE:
            return StoreRefusedError(f"{prefix}: the server does not offer this authMechanism for this user")
        case ExecutionTimeout():
            return StatementCanceledError(f"{prefix}: {READ_TIMED_OUT}")
        case ConnectionFailure() if "certificate verify failed" in str(error):
            return StoreRefusedError(f"{prefix}: the server's certificate is not trusted")
        case ConnectionFailure() if error.timeout:
            return StoreUnavailableError(f"{prefix}: no answer in time")
        case ConnectionFailure():
            reason = _reason(error)
            failure = "cannot connect, or the connection broke"
            return StoreUnavailableError(f"{prefix}: {failure}: {reason}" if reason else f"{prefix}: {failure}")
        case InvalidOperation():
            return StoreUnavailableError(f"{prefix}: the store is not open")
        case ConfigurationError() if is_srv:
            return StoreUnavailableError(f"{prefix}: its servers cannot be found in DNS")
        case ConfigurationError():
            return StoreRefusedError(f"{prefix}: the driver cannot use this server, which is too old")
        case OperationFailure(code=code):
            kind = BadRowsError if code in _BAD_ROWS else StoreUnavailableError
            return kind(f"{prefix}: the server failed (error {code})")
        case _:
            return None


def _reason(error: Exception) -> str:
    """The part of the driver's long text that helps, if any; the rest lists the state of each server."""
    return next((reason for reason in _REASONS if reason.lower() in str(error).lower()), "")
