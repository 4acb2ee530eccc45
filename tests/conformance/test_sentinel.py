"""The client behind real sentinels: it finds the master, and the new one after a failover."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from peekaping_producer.embedded import RedisServer
from peekaping_producer.errors import ScheduleError, UnreachableError
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.client import check_server, connect
from peekaping_producer.status import look
from tests.servers.processes import free_port
from tests.servers.sentinel import WatchedRedis
from tests.waiting import until

CONNECTIONS = 8


async def ports(client: Redis) -> set[int]:
    """Where the client's connections go, all of them in use at once."""
    answers = await asyncio.gather(*(client.info("server") for _ in range(CONNECTIONS)))
    return {answer["tcp_port"] for answer in answers}


async def all_at(client: Redis, server: RedisServer) -> bool:
    """Whether a script runs and every connection goes to this server. No error but Redis's own is allowed meanwhile."""
    try:
        await Schedule(client).campaign("", "node/1", 9.0)
        return await ports(client) == {server.port}
    except (RedisError, OSError):
        return False


@pytest.mark.parametrize("how", ["killed", "asked"])
async def test_every_connection_goes_to_the_new_master_after_a_failover(watched_redis: WatchedRedis, how: str) -> None:
    target = watched_redis.target()
    async with connect(target, connections=CONNECTIONS) as client:
        await client.set("test:a", "kept")
        assert await all_at(client, watched_redis.servers[0])
        await watched_redis.in_step()
        new = await watched_redis.fail_over(how)
        assert new is watched_redis.servers[1]
        await until(lambda: all_at(client, new), "commands go to the new master", within_s=40)
        assert await client.get("test:a") == b"kept"
        await check_server(client, target)


async def test_a_dead_sentinel_changes_nothing(watched_redis: WatchedRedis) -> None:
    watched_redis.sentinels[0].kill()
    target = watched_redis.target()
    async with connect(target, connections=CONNECTIONS) as client:
        assert await all_at(client, watched_redis.servers[0])
        new = await watched_redis.fail_over("killed")
        await until(lambda: all_at(client, new), "commands go to the new master", within_s=40)


async def test_what_is_wrong_with_the_sentinels_is_said(watched_redis: WatchedRedis) -> None:
    with pytest.raises(UnreachableError, match=r"knows no master 'another' \(REDIS_SENTINEL_MASTER\)"):
        await look(watched_redis.target(master="another"))
    for wrong in ("", "wrong-canary"):
        with pytest.raises(ScheduleError, match="REDIS_SENTINEL_PASSWORD") as caught:
            await look(watched_redis.target(password=wrong))
        assert "canary" not in str(caught.value)
    with pytest.raises(UnreachableError, match="no sentinel names a master"):
        await look(watched_redis.target(ports=[free_port(), free_port()]))
    assert (await look(watched_redis.target())).stats.due == 0
