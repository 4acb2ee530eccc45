"""A Redis at a fixed address that becomes a replica: its connections end, so that new ones may find the new master."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import RedisUnavailableError
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Schedule
from tests.kit.processes import HOST, free_port
from tests.kit.redis import target_of

Write = Callable[[Redis], Awaitable[None]]


async def write_by_a_command(client: Redis) -> None:
    await client.set("test:a", 1)


async def write_by_a_script(client: Redis) -> None:
    await Schedule(client).campaign("", "node/1", 9.0)


@pytest.mark.parametrize("write", [write_by_a_command, write_by_a_script])
async def test_a_connection_to_a_server_that_became_a_replica_ends(private_redis: RedisServer, write: Write) -> None:
    async with redis_for(target_of(private_redis), connections=1) as client:
        await write(client)
        before = await client.client_id()
        assert await client.client_id() == before
        await client.replicaof(HOST, free_port())
        with pytest.raises(RedisUnavailableError, match=f"{private_redis.port} is a replica, not the master"):
            await write(client)
        after = await client.client_id()
        assert after != before
        await client.replicaof("NO", "ONE")
        await write(client)
        assert await client.client_id() == after


async def test_a_replica_may_be_read(private_redis: RedisServer) -> None:
    async with redis_for(target_of(private_redis), connections=1) as client:
        await client.replicaof(HOST, free_port())
        before = await client.client_id()
        assert (await Schedule(client).stats()).due == 0
        assert await client.client_id() == before
