"""The Lua scripts of this package, on one client."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from peekaping_producer.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    RedisError,
    RedisUnavailableError,
    RedisUnusableError,
    UnreachableError,
)
from peekaping_producer.redis_client.client import Client, check_server, redis_for
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK, Script, lua
from peekaping_producer.targets import RedisTarget

T = TypeVar("T")
PRELUDE = lua(__package__, "prelude")
"""Follows the clock in every script of this package."""
NAMES = (
    *("enqueue", "dequeue", "extend", "finish", "complete", "retry", "archive", "requeue"),
    *("find_expired", "forward", "delete_expired", "register"),
)


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raise the errors of Redis in the block as errors of a broker."""
    try:
        yield
    except RedisUnavailableError as error:
        raise BrokerUnavailableError(f"Redis: {error}") from error
    except RedisError as error:
        raise BrokerRefusedError(f"Redis: {error}") from error
    except UnreachableError as error:
        raise BrokerUnavailableError(str(error)) from error
    except RedisUnusableError as error:
        raise BrokerRefusedError(str(error)) from error


def tasks_of(reply: Any) -> tuple[float, list[tuple[str, bytes]], int]:
    """Decode the reply of a script that returns tasks: the time in s, ids and messages, the number of ids dropped."""
    now_ms, flat, dropped = reply
    ids = [task_id.decode(errors="surrogateescape") for task_id in flat[::2]]
    return now_ms / 1000, list(zip(ids, flat[1::2], strict=True)), dropped


async def connect(target: RedisTarget, *, connections: int, clock: str = CLOCK) -> "Scripts":
    """Connect to a server, and check its version. Raises BrokerError."""
    with broker_errors():
        redis = redis_for(target, connections=connections)
        try:
            await check_server(redis, target)
        except BaseException:  # also if it is canceled
            await redis.aclose()
            raise
        return Scripts(redis, clock)


class Scripts:
    """Runs the scripts by name."""

    def __init__(self, redis: Client, clock: str = CLOCK) -> None:
        self.redis = redis
        self._scripts = {name: Script(__package__, name, prelude=clock + PRELUDE) for name in NAMES}

    async def run(
        self, name: str, keys: Sequence[str], args: Sequence[Any], decode: Callable[[Any], T] = lambda reply: reply
    ) -> T:
        """Run a script; return its reply after `decode`, which may raise as for the reply of another program.

        Raises BrokerUnavailableError if it is unknown whether the script ran, else BrokerRefusedError.
        """
        with broker_errors():
            reply = await self._scripts[name].run(self.redis, keys, args)
            with decoding():
                return decode(reply)

    async def ping(self) -> None:
        """Check that Redis answers. Raises BrokerUnavailableError."""
        with broker_errors():
            await self.redis.ping()

    async def close(self) -> None:
        """Close the connections; never raises."""
        with suppress(RedisError):
            await self.redis.aclose()
