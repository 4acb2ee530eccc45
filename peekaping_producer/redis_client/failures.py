"""Errors of Redis: their translation into ours, their text, and whether a later attempt may succeed.

The client library also lets through what its parser, its callbacks and asyncio raise. Within a connection, all of that
becomes the library's RedisError or OSError (`normalized`), which its pool expects; Client raises ours (`translated`).
"""

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from redis import exceptions as driver

from peekaping_producer.errors import (
    ProducerError,
    RedisArgumentError,
    RedisError,
    RedisRefusedError,
    RedisUnavailableError,
)
from peekaping_producer.service.causes import causes
from peekaping_producer.service.text import first_sentence, one_line

P = ParamSpec("P")
T = TypeVar("T")

CLUSTER = "expected a single server, got a cluster (Peekaping's keys are in several slots)"
_MAX_LIST_LENGTH = 1000
"""For a text made of those of several sentinels or addresses."""
_REPLIES = (driver.ResponseError, driver.AuthenticationError, driver.BusyLoadingError)
"""What a server replied, as opposed to what happened to a connection."""
_NOT_ALLOWED = re.compile(
    r"^NOPERM|ACL failure|The user executing the script can't|unknown (?:redis )?(?:sub)?command", re.IGNORECASE
)
_NO_DATABASE = re.compile(r"DB index|SELECT is not allowed", re.IGNORECASE)
_SERVER_WIDE = re.compile(
    r"\b(LOADING|BUSY|READONLY|MISCONF|NOREPLICAS|OOM|CLUSTERDOWN|MASTERDOWN|NOAUTH|NOPERM|WRONGPASS|NOSCRIPT|UNKILLABLE"
    r"|WRONGTYPE|EXECABORT)\b|ACL failure|can't (?:run|access)|unknown command|Unknown Redis command"
)
"""Errors that concern every call. Searched in the whole text, since before version 7 the error of a script contains
that of the command."""


class GarbledReplyError(driver.ConnectionError):
    """The reply is not from Redis, or not to this command. The connection is closed; what was executed is unknown."""


class HostNameError(driver.ConnectionError):
    """The text is not a host name, so waiting will not help."""


@contextmanager
def normalized() -> Iterator[None]:
    """Raise whatever the library raises in the block as its own RedisError or as OSError."""
    try:
        yield
    except Exception as error:  # the library raises more than its own errors
        raise _normal(error)  # noqa: B904 - it has its cause


def translated(call: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same method; whatever the library raises in it becomes one of our errors, with the library's as its cause."""

    @wraps(call)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await call(*args, **kwargs)
        except ProducerError:
            raise
        except Exception as error:  # as above
            cause = _normal(error)
            raise as_ours(cause) from cause

    return wrapper


def _normal(error: Exception) -> driver.RedisError | OSError:
    if isinstance(error, driver.RedisError | OSError) and not isinstance(error, driver.InvalidResponse):
        return error
    prefix = "" if isinstance(error, driver.InvalidResponse) else "unexpected reply: "
    garbled = GarbledReplyError(f"{prefix}{in_words(error)}")
    garbled.__cause__ = error
    return garbled


def as_ours(error: driver.RedisError | OSError) -> RedisError:
    """The error of the client library as one of ours, in bounded words."""
    words = in_words(error)
    code = getattr(error, "status_code", None)  # the library removes its own codes
    if code not in {None, "ERR"}:
        words = f"{code} {words}"
    match error:
        case driver.ResponseError():
            server_wide = type(error) is not driver.ResponseError or _SERVER_WIDE.search(str(error))
            kind = RedisRefusedError if server_wide else RedisArgumentError
            return kind(words, code or words.partition(" ")[0])
        case driver.DataError():  # an argument that cannot be sent
            return RedisArgumentError(words)
    return RedisUnavailableError(words)


@contextmanager
def decoding() -> Iterator[None]:
    """Raise RedisUnavailableError if the block cannot decode a reply: it is from a proxy or another program.

    The block contains nothing else, so that an error of the program remains one.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise RedisUnavailableError("unexpected reply to a script") from error


def in_words(error: BaseException) -> str:
    """The error as one bounded line without control characters; of a server's reply, its first sentence.

    The arguments of an unknown command may hold a password (AUTH renamed away), so they are cut off.
    """
    if type(error) is driver.ConnectionError and (number := _number(error.__context__)) > 1:
        error = OSError(os.strerror(number))  # asyncio makes one text of all its errors
    text = str(error).partition(", with args beginning with")[0].partition(" (_ssl.c:")[0].strip()
    if isinstance(error, _REPLIES):
        text = first_sentence(text)
    text = text or ("no answer in time" if isinstance(error, TimeoutError) else "no reason")
    made_of_words = isinstance(error, driver.ConnectionError) and not isinstance(error, _REPLIES)
    return one_line(text, _MAX_LIST_LENGTH) if made_of_words else one_line(text)


def _number(error: BaseException | None) -> int:
    return (error.errno or 0) if isinstance(error, OSError) else 0


def not_allowed(error: BaseException) -> bool:
    """Whether the server refuses this command (ACL, `rename-command`) and may allow others."""
    return isinstance(error, driver.NoPermissionError) or (
        isinstance(error, driver.ResponseError | RedisRefusedError) and bool(_NOT_ALLOWED.search(str(error)))
    )


def refusal(error: BaseException) -> str | None:
    """Return why waiting will not help, with the setting; None if it may help."""
    words = in_words(error)
    match error:
        case HostNameError():
            return f"REDIS_HOST: {words}"
        case driver.AuthenticationError():
            return f"refuses the user or password (REDIS_USERNAME, REDIS_PASSWORD): {words}"
        case driver.AskError() | driver.ClusterCrossSlotError():
            return CLUSTER
        case GarbledReplyError():
            return f"expected a Redis server, got the reply {words}"
        case driver.ResponseError() if words.startswith("DENIED"):
            return f"refuses connections from this host: {words}"
        case driver.ResponseError() if _NO_DATABASE.search(words):
            return f"no such database (REDIS_DB): {words}"
        case driver.ResponseError() if not_allowed(error):
            return f"missing permissions, see Permissions in docs/operations.md: {words}"
    return _tls_refusal(error)


def _tls_refusal(error: BaseException) -> str | None:
    """Return the same for TLS; None if the connection only ended during the handshake."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted (REDIS_TLS_CA_FILE): {in_words(cause)}"
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return f"TLS is refused (REDIS_TLS, REDIS_TLS_CERT_FILE): {in_words(cause)}"
    return None
