"""Whole replicas on a Redis that fails over."""

import json
import uuid
from collections import Counter
from pathlib import Path

import pytest

from peekaping_producer.monitors.events import CHANNEL_PREFIX, TYPES
from peekaping_producer.redis_client.client import redis_for
from tests.kit.databases import SqlDatabase
from tests.kit.replicas import Consumer, Replica, at_work, environment, replicas, row
from tests.kit.sentinel import NAME, WatchedRedis
from tests.kit.waiting import until

COUNT = 100


async def all_go_on(consumer: Consumer, ids: list[str]) -> None:
    """Wait until each of these monitors was handed off for three more ticks."""

    def seen() -> Counter[str]:
        return Counter(monitor_id for monitor_id, _ in consumer.ticks)

    before = seen()
    await until(lambda: all(seen()[each] >= before[each] + 3 for each in ids), "every monitor goes on", within_s=60)


@pytest.mark.parametrize("how", ["killed", "asked"])
async def test_every_monitor_goes_on_after_a_failover_and_no_tick_is_handed_off_twice(
    watched_redis: WatchedRedis, postgres_only: SqlDatabase, tmp_path: Path, how: str
) -> None:
    """What the consumer finished is on the replica before the failover: asynchronous replication loses none of it."""
    ids = [str(uuid.uuid4()) for _ in range(COUNT)]
    await postgres_only.insert("monitors", *(row(each, interval=1) for each in ids))
    env = environment(1, postgres_only.target, SYNC_INTERVAL="3600", **watched_redis.settings)
    with replicas(tmp_path, env, count=2) as both:
        async with redis_for(watched_redis.target(), connections=20) as client, at_work(Consumer(client)) as consumer:
            await all_go_on(consumer, ids)
        await watched_redis.in_step()

        new = await watched_redis.fail_over(how)

        async with redis_for(watched_redis.target(), connections=20) as client:
            consumer.move_to(client)
            async with at_work(consumer):
                await all_go_on(consumer, ids)

                async def heard() -> bool:
                    return bool(dict(await client.pubsub_numsub(CHANNEL_PREFIX + TYPES[0])).popitem()[1])

                await until(heard, "the leader listens to events at the new master", within_s=60)
                late = str(uuid.uuid4())
                await postgres_only.insert("monitors", row(late, interval=1))
                event = {"type": TYPES[0], "payload": {"id": late}}
                await client.publish(CHANNEL_PREFIX + TYPES[0], json.dumps(event))
                await all_go_on(consumer, [*ids, late])
            assert (await client.info("server"))["tcp_port"] == new.port
        assert consumer.doubled() == []
        assert [replica.terminate() for replica in both] == [0, 0]
    if how == "killed":
        assert all({"dependency.failing", "dependency.recovered"} <= set(replica.events()) for replica in both)


async def test_sentinels_of_no_use_end_the_start_with_a_clear_line(
    watched_redis: WatchedRedis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    env = environment(1, postgres_only.target, STARTUP_TIMEOUT="2", **watched_redis.settings)
    wrong_name = env | {"REDIS_URL": env["REDIS_URL"].replace(f"/{NAME}/", "/another/")}
    wrong_password = env | {"REDIS_SENTINEL_PASSWORD": "wrong-canary", "STARTUP_TIMEOUT": "3600"}
    with replicas(tmp_path, {}, count=0) as running:
        running += [Replica(tmp_path, each) for each in (wrong_name, wrong_password)]
        for replica in running:
            await until(lambda replica=replica: replica.process.poll() is not None, "it ends", within_s=60)
    unknown, refused = (replica.log_file.read_text() for replica in running)
    assert [replica.process.returncode for replica in running] == [3, 1]
    assert "unknown master 'another' (REDIS_SENTINEL_MASTER)" in unknown.splitlines()[-1]
    assert "every sentinel refuses the password (REDIS_SENTINEL_PASSWORD)" in refused.splitlines()[-1]
    assert "canary" not in unknown + refused
    assert "Traceback" not in unknown + refused
