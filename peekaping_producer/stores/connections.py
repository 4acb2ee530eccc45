"""What the connections to any database have in common: how long they may take, and how they are encrypted.

Stores read the limits at the moment of use, as `connections.ACQUIRE_TIMEOUT`.
"""

import ssl

from peekaping_producer.errors import ConfigError
from peekaping_producer.targets import Tls

ACQUIRE_TIMEOUT = 5.0
"""Seconds that a session waits for its connection, and a connection for the server (sqlite: for a lock)."""
COMMAND_TIMEOUT = 8.0
"""Seconds that one statement may take: less than the default lease, so that an answer later than that is of no use."""
CLOSE_TIMEOUT = 2.0
"""Seconds that close() leaves to the sessions still open."""


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """What the drivers take for `tls`. Raises ConfigError, which names the files, where one cannot be used."""
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
    return context
