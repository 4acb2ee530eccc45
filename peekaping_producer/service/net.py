"""TLS contexts and addresses, for connections to any server."""

import ipaddress
import ssl

from peekaping_producer.errors import ConfigError
from peekaping_producer.targets import Tls


def ssl_context(tls: Tls, setting: str) -> ssl.SSLContext:
    """Return the SSL context for `tls`. Raises ConfigError, with `setting` and the files, if one cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")  # no prompt
    except (OSError, ValueError) as error:
        files = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        reason = str(getattr(error, "strerror", None) or error).partition(" (_ssl.c:")[0]
        raise ConfigError([f"{setting}: expected PEM files, got {files}: {reason}"]) from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
