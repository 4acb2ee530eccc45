"""The Redis of a demo: an embedded server, or an existing one that is empty."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import EmbeddedServerError
from peekaping_producer.demo.view import counted
from peekaping_producer.errors import ConfigError, RedisError, UnreachableError
from peekaping_producer.redis_client.client import Client, redis_for
from peekaping_producer.settings import Settings

_MAX_CONNECTIONS = 100


def origin(given: Settings | None, settings: Settings) -> str:
    """Return the address and the kind of the Redis server, for the output."""
    kind = "embedded" if given is None else "from the settings; emptied at the end"
    return f"Redis: {settings.redis_target()} ({kind})"


@asynccontextmanager
async def open_redis(directory: Path, given: Settings | None) -> AsyncIterator[Settings]:
    """Start an embedded server in `directory`, or use that of the `given` settings; yields its settings.

    An existing database must be empty, and is empty again at the end. Raises ProducerError.
    """
    if given is not None:
        async with _existing(given):
            yield given
        return
    try:
        embedded.find_binary()
    except EmbeddedServerError as error:
        raise EmbeddedServerError(f"{error}; or set REDIS_URL to a Redis with an empty database") from None
    async with embedded.redis_server(directory) as server:
        yield Settings(redis_url=SecretStr(server.url))


def client(settings: Settings) -> Client:
    """Return a client of this Redis."""
    return redis_for(settings.redis_target(), connections=_MAX_CONNECTIONS)


@asynccontextmanager
async def _existing(given: Settings) -> AsyncIterator[None]:
    """Use an existing Redis, whose database must be empty and is empty again at the end."""
    async with client(given) as redis:
        try:
            keys = await redis.dbsize()
        except RedisError as error:
            raise UnreachableError(f"Redis at REDIS_URL does not answer: {type(error).__name__}") from None
        if keys:
            raise ConfigError([f"REDIS_URL: expected an empty database, got {counted(keys, 'key')}"])
        try:
            yield
        finally:
            for pattern in ("peekaping:*", "asynq:*"):
                if found := await redis.keys(pattern):
                    await redis.delete(*found)
