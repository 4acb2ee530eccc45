"""Redis behind Sentinel: which server is the master now, and connections that go to it and to no other.

redis-py has a client of its own for this, which is not used: a sentinel that answers, and is cut off from the others,
stays its first choice for ever; one that refuses us ends the search; a wrong password looks like a master that nobody
knows; and connections stay at the old master until that closes them, which takes 8 s after SENTINEL FAILOVER.
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
from peekaping_producer.targets import Sentinels

log = structlog.stdlib.get_logger()

ASK_TIMEOUT_S = 1.0
"""For one sentinel, from the first packet to its answer."""

LOOK_EVERY_S = 1.0
"""How long a connection in use may take to learn that the sentinels name another master."""

Address = tuple[str, int]


class NoMasterError(driver.ConnectionError):
    """No sentinel tells where the master is (yet)."""


class SentinelRefusalError(driver.AuthenticationError):
    """The sentinels that answer do not talk to us; waiting will hardly help."""


class MasterFinder:
    """Asks the sentinels one after another; the one that answered last is asked first.

    `connection_to` makes a connection to the sentinel at host, port, which is used for one question and closed.
    """

    def __init__(self, sentinels: Sentinels, connection_to: Callable[[str, int], RedisConnection]) -> None:
        self._sentinels = sentinels
        self._connection_to = connection_to
        self._order = list(sentinels.addresses)
        self._master: Address | None = None
        self._followed: Address | None = None
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"MasterFinder({self._sentinels}, {self._sentinels.master})"

    async def find(self) -> tuple[Address, Address]:
        """The master's address, and that of the sentinel which told it, within ASK_TIMEOUT_S for each sentinel.

        Raises SentinelRefusalError where all who answer refuse us, else NoMasterError.
        """
        failures: dict[Address, Exception] = {}
        for sentinel in list(self._order):
            try:
                master = await self._ask(sentinel)
            except Exception as error:  # one sentinel's anomaly must not keep us from the others
                failures[sentinel] = error
            else:
                self._move(sentinel, 0)
                self._master = master
                self._looked_at = time.monotonic()
                return master, sentinel
        raise _why(failures)

    def demote(self, sentinel: Address) -> None:
        """What it told was of no use: ask it last. It may be cut off from the others and know only the past."""
        self._move(sentinel, len(self._order))

    def follow(self, master: Address) -> None:
        """A connection to this master works: log it where it is another than before."""
        before, self._followed = self._followed, master
        if before not in {None, master}:
            log.warning(
                "redis.master_changed",
                message=f"Redis has a new master: {_text(master)}.",
                master=_text(master),
                before=_text(before or master),
            )

    def has_left(self, server: Address) -> bool:
        """Whether the sentinels name another master by now; looks again in the background, so that nobody waits."""
        idle = self._looking is None or self._looking.done()
        if idle and time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looking = asyncio.create_task(self._look(), name="sentinels")
        return self._master not in {None, server}

    async def _look(self) -> None:
        try:
            await self.find()
        except driver.RedisError:  # nobody knows better: the connections stay where they are
            self._looked_at = time.monotonic()

    async def _ask(self, sentinel: Address) -> Address:
        connection = self._connection_to(*sentinel)
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
                reply = await connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._sentinels.master)
        finally:
            await connection.disconnect(nowait=True)
        if reply is None:
            raise NoMasterError(f"knows no master {self._sentinels.master!r} (REDIS_SENTINEL_MASTER)")
        return _address(reply)

    def _move(self, sentinel: Address, place: int) -> None:
        self._order.remove(sentinel)
        self._order.insert(place, sentinel)


class MasterConnection(RedisConnection):
    """A connection to whoever is the master when it is made. It closes when the sentinels name another."""

    def __init__(self, *, finder: MasterFinder, **options: Any) -> None:
        super().__init__(**options)
        self._finder = finder
        self._greeting = False

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Find the master and connect to it. Raises RedisError; a later attempt asks again."""
        if self.is_connected:
            return
        (self.host, self.port), source = await self._finder.find()
        self._greeting = True
        try:
            await super().connect_check_health(check_health, retry_socket_connect)
        except Exception:
            self._finder.demote(source)
            raise
        finally:
            self._greeting = False
        self._finder.follow((self.host, self.port))

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Greet the server as always, and see that it is the master: what sentinels tell may be out of date."""
        await super().on_connect_check_health(check_health)
        if await self._role() not in {None, "master"}:
            raise driver.ConnectionError(f"{self.host}:{self.port} is not the master that a sentinel calls it")

    async def _role(self) -> str | None:
        """What the server calls itself; None where it may not be asked: then its answers to writes will tell."""
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
        """As always, but to the new master where there is another one; nothing is sent twice for that."""
        if self.is_connected and not self._greeting and self._finder.has_left((self.host, self.port)):
            await self.disconnect(nowait=True)
        await super().send_packed_command(*args, **options)


def _why(failures: Mapping[Address, Exception]) -> driver.RedisError:
    """What all of it means: a sentinel that lets us ask, and knows no master, may know one later."""
    said = "; ".join(f"{_text(sentinel)}: {_words(error)}" for sentinel, error in failures.items())
    if not any(isinstance(error, NoMasterError) for error in failures.values()):
        if any(isinstance(error, driver.AuthenticationError | driver.NoPermissionError) for error in failures.values()):
            return SentinelRefusalError(f"no sentinel takes the password (REDIS_SENTINEL_PASSWORD): {said}")
        for error in failures.values():
            if (why := refusal(error)) and not isinstance(error, GarbledReplyError) and not not_allowed(error):
                return SentinelRefusalError(f"no sentinel can be used, {why}: {said}")
    return NoMasterError(f"no sentinel names a master: {said}")


def _words(error: Exception) -> str:
    return f"no answer within {ASK_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else in_words(error)


def _first(reply: Any) -> str | None:
    """The role in a reply to ROLE: "" where it is none."""
    first = reply[0] if isinstance(reply, list) and reply else b""
    return first.decode(errors="replace") if isinstance(first, bytes) else ""


def _address(reply: Any) -> Address:
    try:
        host, port = reply
        host, port = host.decode(), int(port)
    except (TypeError, ValueError, AttributeError):
        raise driver.ResponseError("answers as no sentinel does") from None
    if not (re.fullmatch(r"[\w.:%-]+", host) and 1 <= port <= 65535):
        raise driver.ResponseError("answers with an address that is none")
    return host, port


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
