"""Connections: which address they go to, how commands are packed, and when a connection is closed."""

import asyncio
import math
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from hiredis import pack_command
from redis import exceptions as driver
from redis.asyncio.connection import Connection

from peekaping_producer.redis_client.addresses import Addresses
from peekaping_producer.redis_client.failures import in_words, normalized, not_allowed, refusal
from peekaping_producer.service.net import shares

CLIENT_NAME = "peekaping-producer"
_PIECE = 256 * 1024
"""Bytes: less than 0.1 ms of work."""


class RedisConnection(Connection):
    """A connection to the first address of its host that works, encrypted if there is a `tls`.

    It closes when the server answers as a replica: behind a name or an address that moves at a failover, and behind
    Sentinel, a new connection reaches the new master; this one would be refused as long as the old one runs.
    `named`: set CLIENT_NAME as the connection's name. `connect_within_s`: the time that all addresses share.
    """

    def __init__(
        self,
        *,
        addresses: Addresses,
        tls: ssl.SSLContext | None,
        named: bool,
        connect_within_s: float,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._connect_within_s = connect_within_s
        self._addresses = addresses
        self._tls = tls
        self._named = named
        self._address = ""

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect to each address in turn, for its share of the time and at most the socket's timeout.

        Raises driver.RedisError or OSError. If a server answers and refuses us, no other address is tried.
        """
        if self.is_connected:
            return
        longest_s = self.socket_connect_timeout or math.inf
        ends_at = time.monotonic() + self._connect_within_s
        failures: dict[str, Exception] = {}
        for address, share_s in shares(await self._look_up(), ends_at):
            self._address = address
            try:
                async with asyncio.timeout(min(share_s, longest_s)):
                    await self._greet_or_close(check_health, retry_socket_connect)
            except (driver.ResponseError, driver.AuthenticationError):
                raise
            except (driver.RedisError, OSError) as error:
                self._addresses.failed(self.host, address)
                failures[address] = error
            else:
                self._addresses.served(self.host, address)
                return
        raise self._why_not(failures)

    async def _look_up(self) -> list[str]:
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                return await self._addresses.of(self.host, self.port)
        except TimeoutError:
            raise driver.TimeoutError(f"{self.host!r}: the host name was not resolved in time") from None

    async def _greet_or_close(self, *args: Any) -> None:
        """Close a connection that failed half-way: the pool would treat it as logged in."""
        try:
            with normalized():
                await super().connect_check_health(*args)
        except BaseException:  # also if it is canceled
            await self.disconnect(nowait=True)
            raise

    def _why_not(self, failures: dict[str, Exception]) -> driver.RedisError:
        """Return one error for all addresses. Its cause is an error that may be temporary, if there is one."""
        cause = next((error for error in failures.values() if refusal(error) is None), next(iter(failures.values())))
        if isinstance(cause, driver.RedisError) and (len(failures) == 1 or refusal(cause)):
            return cause
        texts = "; ".join(f"{address}: {in_words(error)}" for address, error in failures.items())
        error = driver.ConnectionError(f"{self.host}:{self.port}: {texts}")
        error.__cause__ = cause
        return error

    def _connection_arguments(self) -> dict[str, Any]:
        where = {"host": self._address, "port": self.port}
        return where | {"ssl": self._tls, "server_hostname": self.host.rstrip(".")} if self._tls else where

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Log in, and check that the server answers; a refusal of the command is an answer too."""
        await super().on_connect_check_health(check_health)
        try:
            await self.ask(*(("CLIENT", "SETNAME", CLIENT_NAME) if self._named else ("PING",)))
        except driver.ResponseError as error:
            if not not_allowed(error):
                raise

    async def ask(self, *words: str | int) -> Any:
        """Return the reply to one command, on a connection that is not shared yet. Raises driver.RedisError."""
        await self.send_command(*words, check_health=False)
        return await self.read_response()

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """Disconnect, and raise nothing: an error would occupy the connection's place in the pool forever."""
        writer = self._writer
        try:
            await super().disconnect(*args, **options)
        except Exception:  # the transport's own errors; see above
            self._reader = self._writer = None
            if writer is not None:
                with suppress(Exception):  # the transport may be broken
                    writer.transport.abort()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply; a write that a replica refuses raises ConnectionError: nothing was written."""
        try:
            return await super().read_response(*args, **options)
        except driver.ResponseError as error:
            if str(error).startswith("Protocol error"):  # an argument that is too large, for one: the server closes
                await self.disconnect(nowait=True)
            if not _is_read_only(error):
                raise
            self._addresses.failed(self.host, self._address)
            await self.disconnect(nowait=True)
            raise driver.ConnectionError(f"{self.host}:{self.port} is a replica, not the master: {error}") from None

    def pack_command(self, *args: Any) -> list[bytes]:
        """Pack a command in two thirds of the time that redis-py needs. Raises DataError: nothing was sent."""
        name, *rest = args
        if rest and type(rest[-1]) is bytes and len(rest[-1]) > _PIECE:  # a large task, not copied
            return self._packed_slowly(*args)
        words = name.split() if isinstance(name, str) else (name,)  # "CLIENT KILL" is two words
        try:
            return [pack_command((*words, *rest))]
        except UnicodeEncodeError:  # a member that is not UTF-8: redis-py encodes it
            return self._packed_slowly(*args)
        except Exception as error:  # hiredis raises several kinds; only this command is bad
            raise driver.DataError(f"command cannot be packed: {type(error).__name__}: {in_words(error)}") from error

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send what `pack_command` returned, within the socket's timeout; disconnect if that fails.

        As the library does, but without asyncio.wait_for: before Python 3.12 that is a new task, and three turns of the
        event loop, for each command. Raises driver.RedisError.
        """
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if isinstance(command, str):
            command = command.encode()
        parts = [command] if isinstance(command, bytes) else command
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(parts)
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise driver.TimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise driver.ConnectionError(f"error while writing to socket: {error}") from error
        except BaseException:  # a part of the command may have been sent
            await self.disconnect(nowait=True)
            raise

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        """Send a command, a large one in pieces: other tasks run in between, and a server may refuse it early."""
        if (writer := self._writer) is None:
            raise driver.ConnectionError("the connection was closed")
        for part in command:
            for start in range(0, len(part), _PIECE):
                writer.write(part if len(part) <= _PIECE else memoryview(part)[start : start + _PIECE])
                await writer.drain()

    def _packed_slowly(self, *args: Any) -> list[bytes]:
        try:
            return list(super().pack_command(*args))
        except ValueError as error:
            raise driver.DataError(f"command cannot be packed: {in_words(error)}") from error


def _is_read_only(error: driver.ResponseError) -> bool:
    """Before version 7, the error of a script contains that of the command: "ERR Error running ... -READONLY"."""
    return isinstance(error, driver.ReadOnlyError) or "-READONLY" in str(error)
