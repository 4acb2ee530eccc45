"""Binding a port."""

import errno
import os
import socket

from peekaping_producer.targets import host_port_text


def listen(host: str, port: int) -> socket.socket:
    """Bind `host`:`port`; "" and :: mean all interfaces, IPv4 and IPv6. Raises OSError."""
    both = host in {"", "::"} and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=both)


def refusal(host: str, port: int, error: OSError) -> str:
    """The address, and why it cannot be bound."""
    known = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror).partition(" (while")[0]
    failure = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({known})"
    return f"{host_port_text(host, port)}, which {failure}"
