"""TLS to a database."""

import ssl
from typing import Any

from peekaping_producer.service.net import ssl_context
from peekaping_producer.targets import Tls


def database_ssl_context(tls: Tls, server_name: str | None = None) -> ssl.SSLContext:
    """Return the SSL context for `tls`. Raises ConfigError, with the files, if one cannot be used.

    With `server_name`, certificates are verified by that name, although the driver connects to one of its addresses.
    """
    context = ssl_context(tls, "DB_TLS")
    if server_name is not None:
        wrap_bio: Any = context.wrap_bio

        def wrap_with_name(*buffers: ssl.MemoryBIO, **options: Any) -> Any:
            return wrap_bio(*buffers, **options | {"server_hostname": server_name})

        context.wrap_bio = wrap_with_name  # type: ignore[assignment, method-assign]
    return context


def tls_failure(error: Exception) -> str | None:
    """Why the two TLS configurations do not match; None for other errors, and for temporary ones."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {error.verify_message}"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ssl.SSLSyscallError():
            return None
        case ssl.SSLError():
            return f"the TLS handshake failed: {(error.reason or 'unknown reason').lower().replace('_', ' ')}"
        case _:
            return None
