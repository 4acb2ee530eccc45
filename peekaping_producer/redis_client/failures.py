"""What goes wrong with Redis: as which errors it is raised, in which words it is shown, and whether time may mend it.

The client library lets through whatever its parser, its callbacks and asyncio raise. Here that becomes one kind of
error, RedisError or OSError, which every loop waits out.
"""

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_WORDS = 200
_LONGEST_LIST = 1000
"""Of what is made of the words of several sentinels or addresses."""
_REPLIES = (ResponseError, AuthenticationError, BusyLoadingError)
"""What a server said, as opposed to what happened to a connection."""
_NOT_ALLOWED = re.compile(
    r"ACL failure|The user executing the script can't|unknown (?:redis )?(?:sub)?command", re.IGNORECASE
)
_NO_DATABASE = re.compile(r"DB index|SELECT is not allowed", re.IGNORECASE)


class GarbledReplyError(RedisConnectionError):
    """What came back is no reply, or not one to what was asked. The connection is closed; nobody knows what ran."""


class HostNameError(RedisConnectionError):
    """The text is no host name, so that no time will make it one."""


@contextmanager
def translated() -> Iterator[None]:
    """Let the block raise RedisError and OSError alone, in bounded words, whatever the library raises in it."""
    try:
        yield
    except InvalidResponse as error:
        raise GarbledReplyError(in_words(error)) from error
    except _REPLIES as error:
        error.args = (in_words(error),)
        raise
    except (RedisError, OSError):
        raise
    except Exception as error:
        raise GarbledReplyError(f"{type(error).__name__}: {in_words(error)}") from error


def translating(call: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same method, `translated`."""

    @wraps(call)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with translated():
            return await call(*args, **kwargs)

    return wrapper


def unpacking(call: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same method; a reply that it cannot unpack (a proxy's, perhaps) raises GarbledReplyError."""

    @wraps(call)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await call(*args, **kwargs)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise GarbledReplyError(f"a script's reply has another form ({type(error).__name__})") from error

    return wrapper


def in_words(error: BaseException) -> str:
    """One bounded line without control characters; of what a server says its first sentence.

    What a server quotes of an unknown command may be a password (AUTH renamed away), so it is cut off.
    """
    if type(error) is RedisConnectionError and (number := _number(error.__context__)) > 1:
        error = OSError(os.strerror(number))  # instead of what asyncio makes of it
    text = str(error).partition(", with args beginning with")[0].partition(" (_ssl.c:")[0].strip()
    if isinstance(error, _REPLIES):
        text = re.split(r"(?<=[.!?])\s|[\r\n]", text, maxsplit=1)[0]
    text = text or (type(error).__name__ if not isinstance(error, TimeoutError) else "no answer in time")
    made_of_words = isinstance(error, RedisConnectionError) and not isinstance(error, _REPLIES)
    longest = _LONGEST_LIST if made_of_words else _LONGEST_WORDS
    text = text if len(text) <= longest else text[:longest] + "…"
    return text if text.isprintable() else repr(text)


def _number(error: BaseException | None) -> int:
    return (error.errno or 0) if isinstance(error, OSError) else 0


def not_allowed(error: BaseException) -> bool:
    """Whether the server refuses this one command, by ACL or by `rename-command`, and may allow others."""
    return isinstance(error, NoPermissionError) or (
        isinstance(error, ResponseError) and bool(_NOT_ALLOWED.search(str(error)))
    )


def refusal(error: BaseException) -> str | None:
    """Why waiting will not help, naming the setting; None where it may help."""
    words = in_words(error)
    match error:
        case HostNameError():
            return f"REDIS_HOST: {words}"
        case AuthenticationError():
            return f"refuses the user or password (REDIS_USERNAME, REDIS_PASSWORD): {words}"
        case AskError() | ClusterCrossSlotError():
            return "is a cluster, and a single server is needed (upstream's keys span slots)"
        case GarbledReplyError():
            return f"does not answer as Redis does: {words}"
        case ResponseError() if words.startswith("DENIED"):
            return f"refuses connections from here: {words}"
        case ResponseError() if _NO_DATABASE.search(words):
            return f"has no such database (REDIS_DB): {words}"
        case ResponseError() if not_allowed(error):
            return f"does not permit what is needed, see Rights in docs/operations.md: {words}"
    return _tls_refusal(error)


def _tls_refusal(error: BaseException) -> str | None:
    """The same for TLS; a connection that only ended during the handshake may do better next time."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted (REDIS_TLS_CA_FILE): {in_words(each)}"
        if isinstance(each, ssl.SSLError) and not isinstance(each, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return f"TLS is refused (REDIS_TLS, REDIS_TLS_CERT_FILE): {in_words(each)}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was made of."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
