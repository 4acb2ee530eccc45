"""A real server to compare the in-memory one with."""

from collections.abc import Iterator

import pytest
from redis import Redis

from peekaping_producer.targets import RedisTarget


@pytest.fixture
def server(redis_server: RedisTarget) -> Iterator[Redis]:
    """A client of the real server; its database must be empty, for the tests flush it."""
    with Redis(
        host=redis_server.host,
        port=redis_server.port,
        db=redis_server.db,
        username=redis_server.username,
        password=redis_server.password or None,
        protocol=2,
        encoding_errors="surrogateescape",
    ) as client:
        if client.dbsize():
            pytest.fail(f"{redis_server} is not empty, and the tests would flush it", pytrace=False)
        yield client
        client.flushdb()
