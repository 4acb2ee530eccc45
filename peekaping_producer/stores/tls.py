"""TLS to a database."""

import ssl

from peekaping_producer.service.net import ssl_context
from peekaping_producer.targets import Tls


def database_ssl_context(tls: Tls, server_name: str | None = None) -> ssl.SSLContext:
    """Return the SSL context for `tls`. Raises ConfigError, with the files, if one cannot be used.

    With `server_name`, certificates are verified by that name, although the driver connects to one of its addresses.
    """
    context = ssl_context(tls, "DB_TLS")
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
