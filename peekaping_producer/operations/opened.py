"""The schedule, opened by a command: no replica needs to run."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from peekaping_producer.errors import RedisRefusedError, RedisUnavailableError, RedisUnusableError, UnreachableError
from peekaping_producer.redis_client.client import Client, check_server, redis_for
from peekaping_producer.schedule import Schedule
from peekaping_producer.targets import RedisTarget


@asynccontextmanager
async def opened_redis(target: RedisTarget, *, connections: int = 2) -> AsyncIterator[Client]:
    """A client of a server that can be used.

    An error of Redis, also within the context, is raised as UnreachableError if it does not answer, and as
    RedisUnusableError if it cannot be used.
    """
    redis = redis_for(target, connections=connections)
    try:
        with naming(target):
            await check_server(redis, target)
            yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def opened_schedule(target: RedisTarget, *, lease_ttl_s: float = 10.0) -> AsyncIterator[Schedule]:
    """The schedule in it; errors are those of `opened_redis`."""
    async with opened_redis(target) as redis:
        yield Schedule(redis, lease_ttl_s=lease_ttl_s)


@contextmanager
def naming(target: RedisTarget) -> Iterator[None]:
    """Replace an error of a call to Redis by one that names its address and sets the exit code of a command."""
    try:
        yield
    except RedisRefusedError as error:
        raise RedisUnusableError(f"Redis at {target} cannot be used: {error}") from None
    except RedisUnavailableError as error:
        raise UnreachableError(f"Redis at {target} does not answer: {error}") from None
