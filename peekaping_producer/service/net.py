"""TLS contexts and addresses, for connections to any server."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any

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


async def resolve(host: str, port: int | None) -> list[str]:
    """Return the addresses of `host`, in the resolver's order.

    Raises OSError for an unknown name, and ValueError for an invalid one: an empty or overlong label, a NUL.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(_address_text(*entry[-1]) for entry in found))
    return [host]


def _address_text(address: Any, _port: int, _flow: int = 0, zone: int = 0) -> str:
    """Return a socket address as text; a link-local one with its zone."""
    return f"{address}%{zone}" if zone and "%" not in address else str(address)


def shares(addresses: Sequence[str], ends_at: float) -> Iterator[tuple[str, float]]:
    """Yield each address with its share, in seconds, of the time left until `ends_at` (time.monotonic())."""
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        yield address, (ends_at - time.monotonic()) / left
