"""Host names with several addresses: all are tried, the last one that worked first, those that failed last."""

import socket

from redis import exceptions as driver

from peekaping_producer.redis_client.failures import HostNameError
from peekaping_producer.service.net import resolve


class Addresses:
    """Resolves host names. All connections of a client share one object, and so what it has learned."""

    def __init__(self) -> None:
        self._trust: dict[str, dict[str, int]] = {}
        """By host and address: 1 if the last connection worked, -1 if it failed, 0 if there was none."""

    async def of(self, host: str, port: int) -> list[str]:
        """Return the addresses of `host`, in the order in which to try them. Raises driver.ConnectionError."""
        try:
            found = await resolve(host, port)
        except socket.gaierror as error:
            unknown = error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
            why = "unknown host name" if unknown else "the host name cannot be resolved now"
            raise driver.ConnectionError(f"{host!r}: {why}: {error.strerror}") from error
        except ValueError:
            raise HostNameError(f"expected a host name, got {host!r}") from None
        known = self._trust.get(host, {})
        trust = self._trust[host] = {address: known.get(address, 0) for address in found}
        return sorted(trust, key=lambda address: -trust[address])

    def served(self, host: str, address: str) -> None:
        """Try this address first: a connection to it works."""
        self._trust.setdefault(host, {})[address] = 1

    def failed(self, host: str, address: str) -> None:
        """Try this address last: a connection failed, or the server is a replica."""
        self._trust.setdefault(host, {})[address] = -1
