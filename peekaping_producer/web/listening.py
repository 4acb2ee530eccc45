"""Binds ports."""

import errno
import os
import socket

from peekaping_producer.errors import ConfigError
from peekaping_producer.targets import host_port_text


def listen(host: str, port: int) -> socket.socket:
    """Bind `host`:`port`; "" and :: mean all interfaces, IPv4 and IPv6. Raises OSError."""
    both = host in {"", "::"} and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=both)


def bind(setting: str, host: str, port: int, *, required: bool) -> socket.socket | str:
    """Bind `host`:`port`, see `listen`; return the socket, or why there is none.

    Raises ConfigError instead if the port is `required`. `setting`: the name of the setting that contains the address.
    """
    try:
        return listen(host, port)
    except OSError as error:
        got = refusal(host, port, error)
    if required:
        raise ConfigError([f"{setting}: expected a free host:port, or off, got {got}"])
    return f"expected a free host:port, got {got}. Set {setting}."


def refusal(host: str, port: int, error: OSError) -> str:
    """The address, and why it cannot be bound."""
    known = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror).partition(" (while")[0]
    failure = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({known})"
    return f"{host_port_text(host, port)}, which {failure}"
