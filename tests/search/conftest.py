"""A real server to compare the in-memory one with."""

from collections.abc import Iterator

import pytest
from redis import Redis

from peekaping_producer.targets import RedisTarget
from tests.kit.redis import blocking_client


@pytest.fixture
def server(redis_server: RedisTarget) -> Iterator[Redis]:
    """A client of the real server; its database must be empty, for the tests flush it."""
    with blocking_client(redis_server) as client:
        yield client
