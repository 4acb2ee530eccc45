"""What the connections to any database have in common: limits, encryption, and how errors of drivers are translated.

Stores read the limits at the moment of use, as `connections.ACQUIRE_TIMEOUT`.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from peekaping_producer.errors import ConfigError, ProducerError, StoreError
from peekaping_producer.targets import DatabaseTarget, Tls

ACQUIRE_TIMEOUT = 5.0
"""Seconds that a session waits for its connection, and a connection for the server (sqlite: for a lock)."""
COMMAND_TIMEOUT = 8.0
"""Seconds that one statement may take: less than the default lease, so that an answer later than that is of no use."""
CHECK_TIMEOUT = 2.0
"""Seconds that a connection which was idle may take to show that it works; then it is replaced."""
CLOSE_TIMEOUT = 2.0
"""Seconds that close() leaves to the sessions still open."""
CREATE_TABLES = (
    "run the API server's migrations, or `peekaping-producer migrate` where no API server uses this database"
)
"""The remedy for missing tables. The API server comes first: its migrations fail on tables that `migrate` made."""
_LONGEST_QUOTE = 200


def ssl_context(tls: Tls, server_name: str | None = None) -> ssl.SSLContext:
    """What the drivers take for `tls`. Raises ConfigError, which names the files, where one cannot be used.

    With `server_name` certificates are verified by that name, although the driver is given one of its addresses.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        files = [name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name]
        raise ConfigError([f"TLS of the database: {', '.join(files)}: {error.strerror or 'unusable'}"]) from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if server_name is not None:
        _verify_by(context, server_name)
    return context


def _verify_by(context: ssl.SSLContext, server_name: str) -> None:
    wrap_bio = context.wrap_bio

    def wrap_with_name(
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return wrap_bio(incoming, outgoing, server_side, server_name, session)

    context.wrap_bio = wrap_with_name  # type: ignore[method-assign]


@contextmanager
def translated(describe: Callable[[Exception], StoreError]) -> Iterator[None]:
    """Raise whatever a driver raises as the StoreError that `describe` makes of it.

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
        raise describe(error) from None


def where(target: DatabaseTarget) -> str:
    """How the messages of errors begin."""
    return f"{target}, user {target.user}" if target.user else f"{target}, without a user"


def quoted(text: str) -> str:
    """The first sentence of what a server reports: at most 200 characters, none of them a control character."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    sentence = re.split(r"(?<=[.!?;])\s", line.strip(), maxsplit=1)[0].rstrip(".;")
    printable = "".join(each if each.isprintable() else " " for each in sentence)
    return printable if len(printable) <= _LONGEST_QUOTE else f"{printable[:_LONGEST_QUOTE]}…"


def tls_failure(error: Exception) -> str | None:
    """What is wrong between the two TLS configurations; None where it is another error, or one that may pass."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {error.verify_message}"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ssl.SSLSyscallError():
            return None
        case ssl.SSLError():
            return f"the TLS handshake failed: {(error.reason or 'unknown reason').lower().replace('_', ' ')}"
        case _:
            return None
