"""The errors that stores raise, and how errors of drivers become these."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from peekaping_producer.errors import ProducerError, StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.service.text import first_sentence
from peekaping_producer.stores.tls import tls_failure
from peekaping_producer.targets import DatabaseTarget

CREATE_TABLES = (
    "run the API server's migrations, or `peekaping-producer migrate` where no API server uses this database"
)
"""The remedy for missing tables. The API server comes first: its migrations fail on tables that `migrate` made."""


READ_TIMED_OUT = "no answer in time, although connected: look for a lock or a long transaction"
"""Why a statement was canceled at its limit: the connection itself works."""


class LoginRefusedError(StoreRefusedError):
    """The server refuses the user, the password or the database's name."""


class StatementTimeoutError(StoreUnavailableError):
    """A statement did not end within its limit."""


class StatementCanceledError(StatementTimeoutError):
    """The server canceled a statement at its limit."""

    connection_usable = True
    has_cause = True


class TableTimeoutError(StatementCanceledError):
    """The connection works, and a read of the table `monitors` was canceled at its limit."""


class NoTimeLeftError(StatementTimeoutError):
    """The time limit of the whole load was exceeded; the table that was next is not the cause."""


class BadRowsError(StoreUnavailableError):
    """The server failed at some of the rows that a statement selects; a statement for others may succeed.

    `keys` are those whose rows failed alone before the rest was given up.
    """

    connection_usable = True

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        self.keys = tuple(keys)
        super().__init__(message)


@contextmanager
def as_store_errors(
    target: DatabaseTarget, classify: Callable[[Exception, str], StoreError | None] = lambda _error, _prefix: None
) -> Iterator[None]:
    """Raise whatever a driver raises as a StoreError, without its text where that could contain a row or a secret.

    `classify` receives the error and the prefix of the message; it returns None for errors that all drivers share.

    Drivers raise more than their own errors (RuntimeError, AttributeError, InvalidStateError, ...) when a connection
    ends at a bad moment. A CancelledError is also one of these unless this task is being canceled; an error that
    replaces a cancellation of this task is raised as that cancellation.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except ProducerError:
        raise
    except (Exception, asyncio.CancelledError) as error:  # see above: any error is possible
        if task and task.cancelling() > before:
            if isinstance(error, asyncio.CancelledError):
                raise
            raise asyncio.CancelledError from None
        if isinstance(error, asyncio.CancelledError):
            error = ConnectionError()
        raise classify(error, error_prefix(target)) or store_error(error, error_prefix(target)) from None


def error_prefix(target: DatabaseTarget) -> str:
    """Return the beginning of an error message: the target and its user."""
    if target.dialect == "sqlite":
        return str(target)
    return f"{target}, user {target.user}" if target.user else f"{target}, without a user"


def store_error(error: Exception, prefix: str) -> StoreError:
    """Return the StoreError for an error that all drivers share."""
    match error:
        case TimeoutError():
            return StatementTimeoutError(f"{prefix}: no answer in time")
        case _ if failure := tls_failure(error):
            return StoreRefusedError(f"{prefix}: {failure}")
        case OSError() | EOFError():
            reason = first_sentence(getattr(error, "strerror", None) or "")
            failure = "cannot connect, or the connection broke"
            return StoreUnavailableError(f"{prefix}: {failure}: {reason}" if reason else f"{prefix}: {failure}")
        case _:
            return StoreUnavailableError(
                f"{prefix}: the connection broke, or the driver failed ({type(error).__name__})"
            )
