"""Whole replicas on a Redis that fails over."""

import json
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.monitors.events import CHANNEL_PREFIX, TYPES
from peekaping_producer.redis_client.client import redis_for
from tests.kit.consumer import at_work
from tests.kit.databases import SqlDatabase
from tests.kit.fleet import fleet_of
from tests.kit.replicas import environment, replicas
from tests.kit.sentinel import NAME, WatchedRedis
from tests.kit.waiting import until

COUNT = 100


@pytest.mark.parametrize("how", ["killed", "asked"])
async def test_every_monitor_goes_on_after_a_failover_and_no_tick_is_handed_off_twice(
    watched_redis: WatchedRedis, postgres_only: SqlDatabase, tmp_path: Path, how: str
) -> None:
    """What the consumer finished is on the replica before the failover: asynchronous replication loses none of it."""
    async with redis_for(watched_redis.target(), connections=20) as client:
        with fleet_of(client, postgres_only, tmp_path) as fleet:
            await fleet.monitors(COUNT)
            both = [fleet.start(SYNC_INTERVAL="3600", **watched_redis.settings) for _ in range(2)]
            async with at_work(fleet.consumer):
                await fleet.goes_on(ticks=3)
            await watched_redis.in_step()

            new = await watched_redis.fail_over(how)

            async with redis_for(watched_redis.target(), connections=20) as client:
                fleet.consumer.move_to(client)
                async with at_work(fleet.consumer):
                    await fleet.goes_on(ticks=3)

                    async def subscribed(client: Redis = client) -> bool:
                        return bool(dict(await client.pubsub_numsub(CHANNEL_PREFIX + TYPES[0])).popitem()[1])

                    await until(subscribed, "the leader subscribes to events at the new master", within_s=60)
                    (late,) = await fleet.monitors(1)
                    event = {"type": TYPES[0], "payload": {"id": late}}
                    await client.publish(CHANNEL_PREFIX + TYPES[0], json.dumps(event))
                    await fleet.goes_on(ticks=3)
                assert (await client.info("server"))["tcp_port"] == new.port
            assert fleet.consumer.duplicated() == []
            fleet.terminate()
    if how == "killed":
        assert all({"dependency.failing", "dependency.recovered"} <= set(replica.events()) for replica in both)


async def test_unusable_sentinels_end_the_start_with_a_clear_line(
    watched_redis: WatchedRedis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    env = environment(1, postgres_only.target, STARTUP_TIMEOUT="2", **watched_redis.settings)
    wrong_name = env | {"REDIS_URL": env["REDIS_URL"].replace(f"/{NAME}/", "/another/")}
    wrong_password = env | {"REDIS_SENTINEL_PASSWORD": "wrong-canary", "STARTUP_TIMEOUT": "3600"}
    with replicas(tmp_path, wrong_name, wrong_password) as running:
        for replica in running:
            await until(lambda replica=replica: not replica.runs, "it ends", within_s=60)
    unknown, refused = (replica.log_file.read_text() for replica in running)
    assert [replica.process.returncode for replica in running] == [3, 1]
    assert "unknown master 'another' (REDIS_SENTINEL_MASTER)" in unknown.splitlines()[-1]
    assert "every sentinel refuses the password (REDIS_SENTINEL_PASSWORD)" in refused.splitlines()[-1]
    assert "canary" not in unknown + refused
    assert "Traceback" not in unknown + refused
