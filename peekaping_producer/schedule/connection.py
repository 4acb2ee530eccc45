"""The connections themselves: how commands are packed, and when a connection is of no more use."""

from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError


class _PackedByHiredis:
    """hiredis packs a batch of 1,500 arguments in two thirds of the time that the client's own Python takes."""

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        words = name.split() if isinstance(name, str) else (name,)  # "CLIENT KILL" is two
        try:
            return [pack_command((*words, *rest))]
        except UnicodeEncodeError:  # a stray member that is no text: the client's own way knows what to do
            return list(super().pack_command(*args))  # type: ignore[misc]


class _LeavesReplicas(Connection):
    """Closes when the server answers as a replica does.

    Behind a name or an address that moves at a failover, and behind Sentinel, a new connection finds the new master;
    one that stays would be refused for as long as the old one lives.
    """

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """As always, but a write that a replica refuses is a broken connection: nothing was written."""
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            if not _is_read_only(error):
                raise
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"{self.host}:{self.port} is a replica, not the master: {error}") from None


class PlainConnection(_PackedByHiredis, _LeavesReplicas):
    """In clear."""


class TlsConnection(_PackedByHiredis, SSLConnection, _LeavesReplicas):
    """Encrypted."""


def _is_read_only(error: ResponseError) -> bool:
    """Before version 7 the error of a command in a script is within the script's: "ERR Error running ... -READONLY"."""
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)
