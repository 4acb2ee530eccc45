"""Redis behind Sentinel: finds the master, and keeps connections to it and to no other server.

redis-py's Sentinel client is not used: it keeps asking a sentinel first that is cut off from the others; one that
refuses the client ends the search; a wrong password is reported as an unknown master; and connections stay at the old
master until it closes them, 8 s after SENTINEL FAILOVER.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from redis import exceptions as driver

from peekaping_producer.redis_client.connection import RedisConnection
from peekaping_producer.redis_client.failures import GarbledReplyError, in_words, not_allowed, refusal
from peekaping_producer.redis_client.server import facts_of
from peekaping_producer.targets import Sentinels, host_port_text

log = structlog.stdlib.get_logger()

ASK_TIMEOUT_S = 1.0
"""For one sentinel, from the first packet to its reply."""

CHECK_EVERY_S = 1.0
"""Interval at which the sentinels are asked for a new master while connections are in use."""

Address = tuple[str, int]


class NoMasterError(driver.ConnectionError):
    """No sentinel returned a master; one may do so later."""


class SentinelRefusalError(driver.AuthenticationError):
    """Every sentinel that answers refuses us; waiting will not help."""


class MasterFinder:
    """Asks the sentinels in turn, the last one that answered first.

    `connection_to` creates a connection to the sentinel at host, port; it is used for one command and closed.
    """

    def __init__(self, sentinels: Sentinels, connection_to: Callable[[str, int], RedisConnection]) -> None:
        self._sentinels = sentinels
        self._connection_to = connection_to
        self._order = list(sentinels.addresses)
        self._master: Address | None = None
        self._followed: Address | None = None
        self._checked_at = -math.inf
        self._checking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"MasterFinder({self._sentinels}, {self._sentinels.master})"

    async def find(self) -> tuple[Address, Address]:
        """Return the addresses of the master and of the sentinel that reported it, within ASK_TIMEOUT_S a sentinel.

        Raises SentinelRefusalError if all that answer refuse us, otherwise NoMasterError.
        """
        failures: dict[Address, Exception] = {}
        for sentinel in list(self._order):
            try:
                master = await self._ask(sentinel)
            except Exception as error:  # whatever one sentinel does, ask the others
                failures[sentinel] = error
            else:
                self._move(sentinel, 0)
                self._master = master
                self._checked_at = time.monotonic()
                return master, sentinel
        raise _why(failures)

    def demote(self, sentinel: Address) -> None:
        """Ask this sentinel last: the master that it reported failed. It may be cut off from the others."""
        self._move(sentinel, len(self._order))

    def follow(self, master: Address) -> None:
        """Record that a connection to this master works, and log a change of master."""
        before, self._followed = self._followed, master
        if before not in {None, master}:
            log.warning(
                "redis.master_changed",
                message=f"Redis has a new master: {host_port_text(*master)}.",
                master=host_port_text(*master),
                before=host_port_text(*(before or master)),
            )

    def has_left(self, server: Address) -> bool:
        """Whether the sentinels report another master. Asks them again in the background, without waiting."""
        idle = self._checking is None or self._checking.done()
        if idle and time.monotonic() - self._checked_at > CHECK_EVERY_S:
            self._checking = asyncio.create_task(self._check(), name="sentinels")
        return self._master not in {None, server}

    async def _check(self) -> None:
        try:
            await self.find()
        except driver.RedisError:  # no news: the connections stay
            self._checked_at = time.monotonic()

    async def _ask(self, sentinel: Address) -> Address:
        connection = self._connection_to(*sentinel)
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
                reply = await connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._sentinels.master)
        finally:
            await connection.disconnect(nowait=True)
        if reply is None:
            raise NoMasterError(f"unknown master {self._sentinels.master!r} (REDIS_SENTINEL_MASTER)")
        return _address(reply)

    def _move(self, sentinel: Address, index: int) -> None:
        self._order.remove(sentinel)
        self._order.insert(index, sentinel)


class MasterConnection(RedisConnection):
    """A connection to the current master. It closes when the sentinels report another."""

    def __init__(self, *, finder: MasterFinder, **options: Any) -> None:
        super().__init__(**options)
        self._finder = finder
        self._greeting = False

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Find the master and connect to it. Raises driver.RedisError or OSError; a later attempt asks again."""
        if self.is_connected:
            return
        (self.host, self.port), source = await self._finder.find()
        self._greeting = True
        try:
            await super().connect_check_health(check_health, retry_socket_connect)
        except Exception:  # whatever the reason: ask another sentinel next
            self._finder.demote(source)
            raise
        finally:
            self._greeting = False
        self._finder.follow((self.host, self.port))

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Log in, and check that the server is the master: a sentinel may be out of date."""
        await super().on_connect_check_health(check_health)
        if await self._role() not in {None, "master"}:
            raise driver.ConnectionError(
                f"{self.host}:{self.port} is not a master, although a sentinel returned its address"
            )

    async def _role(self) -> str | None:
        """Return the server's role; None without the permission to ask: a replica then refuses the first write."""
        for question in (("HELLO", "2"), ("ROLE",)):
            try:
                reply = await self.ask(*question)
            except driver.ResponseError as error:
                if not not_allowed(error):
                    raise
                continue
            role = facts_of(reply).get("role") if question[0] == "HELLO" else _first(reply)
            if role is not None:
                return role
        return None

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send, to the new master if there is one; nothing is sent twice."""
        if self.is_connected and not self._greeting and self._finder.has_left((self.host, self.port)):
            await self.disconnect(nowait=True)
        await super().send_packed_command(*args, **options)


def _why(failures: Mapping[Address, Exception]) -> driver.RedisError:
    """Return one error for all sentinels: one that accepts us without a master may have one later."""
    texts = "; ".join(f"{host_port_text(*sentinel)}: {_words(error)}" for sentinel, error in failures.items())
    if not any(isinstance(error, NoMasterError) for error in failures.values()):
        if any(isinstance(error, driver.AuthenticationError | driver.NoPermissionError) for error in failures.values()):
            return SentinelRefusalError(f"every sentinel refuses the password (REDIS_SENTINEL_PASSWORD): {texts}")
        for error in failures.values():
            if (why := refusal(error)) and not isinstance(error, GarbledReplyError) and not not_allowed(error):
                return SentinelRefusalError(f"every sentinel refused the connection ({why}): {texts}")
    return NoMasterError(f"no sentinel returned a master: {texts}")


def _words(error: Exception) -> str:
    return f"no answer within {ASK_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else in_words(error)


def _first(reply: Any) -> str | None:
    """Return the role in a reply to ROLE; "" if there is none."""
    first = reply[0] if isinstance(reply, list) and reply else b""
    return first.decode(errors="replace") if isinstance(first, bytes) else ""


def _address(reply: Any) -> Address:
    try:
        host, port = reply
        host, port = host.decode(), int(port)
    except (TypeError, ValueError, AttributeError):
        raise driver.ResponseError("unexpected reply from the sentinel") from None
    if not (re.fullmatch(r"[\w.:%-]+", host) and 1 <= port <= 65535):
        raise driver.ResponseError("malformed address from the sentinel")
    return host, port
