"""The errors that stores raise, and how errors of drivers become these."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from peekaping_producer.errors import ProducerError, StoreError, StoreUnavailableError
from peekaping_producer.stores.tls import tls_failure
from peekaping_producer.targets import DatabaseTarget

CREATE_TABLES = (
    "run the API server's migrations, or `peekaping-producer migrate` where no API server uses this database"
)
"""The remedy for missing tables. The API server comes first: its migrations fail on tables that `migrate` made."""
_LONGEST_QUOTE = 200


class LoginRefusedError(StoreError):
    """The server refuses the user, the password or the database's name."""


class AnsweredError(StoreError):
    """An error that is an answer like any other: the connection can be used again."""


class LateError(StoreUnavailableError):
    """A statement was not answered within its limit."""


class CanceledError(LateError, AnsweredError):
    """The server canceled a statement at its limit."""


class NoTimeLeftError(LateError):
    """The time for the whole load is over; this is no fault of the table that is next."""


class BadRowsError(AnsweredError, StoreUnavailableError):
    """The database answers, but cannot return some of the rows that a statement selects."""


@contextmanager
def as_store_errors(
    target: DatabaseTarget, describe: Callable[[Exception, str], StoreError | None] = lambda _error, _where: None
) -> Iterator[None]:
    """Raise whatever a driver raises as a StoreError, without its text where that could contain a row or a secret.

    `describe` is given the error and the beginning of the message; it returns None for errors that all drivers share.

    Drivers raise more than their own errors (RuntimeError, AttributeError, InvalidStateError, ...) when a connection
    ends at a bad moment. A CancelledError is one of these too unless this task is being canceled; and an error that
    hides a cancellation of this task becomes that cancellation again.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except ProducerError:
        raise
    except (Exception, asyncio.CancelledError) as error:
        if task and task.cancelling() > before:
            if isinstance(error, asyncio.CancelledError):
                raise
            raise asyncio.CancelledError from None
        if isinstance(error, asyncio.CancelledError):
            error = ConnectionError()
        raise describe(error, where(target)) or store_error(error, where(target)) from None


def where(target: DatabaseTarget) -> str:
    """The beginning of an error message."""
    if target.dialect == "sqlite":
        return str(target)
    return f"{target}, user {target.user}" if target.user else f"{target}, without a user"


def quoted(text: str) -> str:
    """The first sentence of a server's message: at most 200 characters, none of them a control character."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    sentence = re.split(r"(?<=[.!?;])\s", line.strip(), maxsplit=1)[0].rstrip(".;")
    printable = "".join(each if each.isprintable() else " " for each in sentence)
    return printable if len(printable) <= _LONGEST_QUOTE else f"{printable[:_LONGEST_QUOTE]}…"


def store_error(error: Exception, where: str) -> StoreError:
    """The StoreError for an error that all drivers share."""
    match error:
        case TimeoutError():
            return LateError(f"{where}: no answer in time")
        case _ if failure := tls_failure(error):
            return StoreError(f"{where}: {failure}")
        case OSError():
            reason = quoted(error.strerror or "") or type(error).__name__
            return StoreUnavailableError(f"{where}: cannot connect, or the connection broke: {reason}")
        case _:
            return StoreUnavailableError(
                f"{where}: the connection broke, or the driver failed ({type(error).__name__})"
            )
