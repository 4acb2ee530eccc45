"""Host names with several addresses: all are tried, the one that served first, those that failed last."""

import asyncio
import ipaddress
import socket
from typing import Any

from redis import exceptions as driver

from peekaping_producer.redis_client.failures import HostNameError


class Addresses:
    """Looks host names up. One object for all connections of a client, so that one learns from the other."""

    def __init__(self) -> None:
        self._trust: dict[str, dict[str, int]] = {}
        """By host and address: 1 where it served last, -1 where it failed, 0 where nothing is known."""

    async def of(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, in the order in which to try them. Raises driver.ConnectionError."""
        if _is_address(host):
            return [host]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            unknown = error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
            why = "no such host name (yet)" if unknown else "the host name cannot be looked up now"
            raise driver.ConnectionError(f"{host!r}: {why}: {error.strerror}") from error
        except ValueError:  # an empty label, one that is too long, a zero byte
            raise HostNameError(f"expected a host name, got {host!r}") from None
        known = self._trust.get(host, {})
        trust = self._trust[host] = {address: known.get(address, 0) for address in map(_text, found)}
        return sorted(trust, key=lambda address: -trust[address])

    def served(self, host: str, address: str) -> None:
        """A connection to `address` works: try it first."""
        self._trust.setdefault(host, {})[address] = 1

    def failed(self, host: str, address: str) -> None:
        """It does not, or is a replica: try it last."""
        self._trust.setdefault(host, {})[address] = -1


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _text(found: tuple[Any, ...]) -> str:
    """An entry of getaddrinfo as text; a link-local address with its zone, without which it cannot be reached."""
    address, _, *more = found[-1]
    zone = more[1] if len(more) == 2 else 0
    return f"{address}%{zone}" if zone and "%" not in address else str(address)
