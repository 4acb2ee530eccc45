"""TLS to a database."""

import ssl

from peekaping_producer.errors import ConfigError
from peekaping_producer.targets import Tls


def ssl_context(tls: Tls, server_name: str | None = None) -> ssl.SSLContext:
    """The context for `tls`. Raises ConfigError, which names the files, where one cannot be used.

    With `server_name`, certificates are verified by that name, although the driver connects to one of its addresses.
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
