"""The client behind real sentinels: it finds the master, and the new one after a failover."""

import asyncio
import contextlib

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import Outcome
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import RedisError, RedisUnusableError, UnreachableError
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.operations.status import fetch_status
from peekaping_producer.redis_client.client import check_server, redis_for
from peekaping_producer.schedule import CampaignOutcome, Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import PENDING, task_id
from tests.kit.processes import HOST, free_port
from tests.kit.sentinel import WatchedRedis
from tests.kit.waiting import until

CONNECTIONS = 8


async def ports(client: Redis) -> set[int]:
    """Return the ports of the client's connections, all in use at once."""
    answers = await asyncio.gather(*(client.info("server") for _ in range(CONNECTIONS)))
    return {answer["tcp_port"] for answer in answers}


async def all_at(client: Redis, server: RedisServer) -> bool:
    """Whether a script runs and every connection goes to this server. Raises any error but RedisError."""
    try:
        await Schedule(client).campaign("", "node/1", 9.0)
        return await ports(client) == {server.port}
    except RedisError:
        return False


@pytest.mark.parametrize("how", ["killed", "asked"])
async def test_every_connection_goes_to_the_new_master_after_a_failover(watched_redis: WatchedRedis, how: str) -> None:
    target = watched_redis.target()
    async with redis_for(target, connections=CONNECTIONS) as client:
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
    async with redis_for(target, connections=CONNECTIONS) as client:
        assert await all_at(client, watched_redis.servers[0])
        new = await watched_redis.fail_over("killed")
        await until(lambda: all_at(client, new), "commands go to the new master", within_s=40)


async def test_errors_of_the_sentinels_have_clear_texts(watched_redis: WatchedRedis) -> None:
    with pytest.raises(UnreachableError, match=r"unknown master 'another' \(REDIS_SENTINEL_MASTER\)"):
        await fetch_status(watched_redis.target(master="another"), lease_ttl_s=10)
    for wrong in ("", "wrong-canary"):
        with pytest.raises(RedisUnusableError, match="REDIS_SENTINEL_PASSWORD") as caught:
            await fetch_status(watched_redis.target(password=wrong), lease_ttl_s=10)
        assert "canary" not in str(caught.value)
    with pytest.raises(UnreachableError, match="no sentinel returned a master"):
        await fetch_status(watched_redis.target(ports=[free_port(), free_port()]), lease_ttl_s=10)
    assert (await fetch_status(watched_redis.target(), lease_ttl_s=10)).stats.due == 0


async def test_without_a_quorum_the_master_is_still_found(watched_redis: WatchedRedis) -> None:
    """One sentinel of three cannot fail over, but it reports the master, also after an absence."""
    for sentinel in watched_redis.sentinels[1:]:
        sentinel.kill()
    master = watched_redis.servers[0]
    async with redis_for(watched_redis.target(), connections=CONNECTIONS) as client:
        assert await all_at(client, master)
        await master.stop(kill=True)
        assert not await all_at(client, master)
        await master.start()
        await until(lambda: all_at(client, master), "commands go to the same master", within_s=40)


@pytest.mark.parametrize("how", ["killed", "asked"])
async def test_a_failover_during_campaigns_leaves_one_leader(watched_redis: WatchedRedis, how: str) -> None:
    async with (
        redis_for(watched_redis.target(), connections=2) as one,
        redis_for(watched_redis.target(), connections=2) as other,
    ):
        campaigns = {"a/1": Schedule(one), "b/1": Schedule(other)}
        held = dict.fromkeys(campaigns, "")

        async def campaign() -> None:
            for term, schedule in campaigns.items():
                with contextlib.suppress(RedisError):
                    answer = await schedule.campaign(held[term], term, 1.0)
                    held[term] = "" if answer.outcome is CampaignOutcome.HELD else term

        async def one_leads_at(server: RedisServer) -> bool:
            await campaign()
            async with Redis(host=HOST, port=server.port) as master:
                leader = await master.get(KEYS.leader)
            return leader is not None and sorted(held.values()) == ["", leader.decode()]

        await until(lambda: one_leads_at(watched_redis.servers[0]), "one leads")
        failing_over = asyncio.create_task(watched_redis.fail_over(how))
        while not failing_over.done():
            await campaign()
            await asyncio.sleep(0.02)
        new = await failing_over
        await until(lambda: one_leads_at(new), "one leads after the failover", within_s=40)


async def test_a_failover_in_the_middle_of_a_hand_off_loses_and_doubles_nothing(watched_redis: WatchedRedis) -> None:
    """The hand-off is repeated at the new master, which has the claim; what the old one did is lost or replicated."""
    ids = [str(number) for number in range(50)]
    async with redis_for(watched_redis.target(), connections=CONNECTIONS) as client:
        schedule, broker = Schedule(client, lease_ttl_s=300.0), AsynqBroker(client)
        await client.zadd(KEYS.due, dict.fromkeys(ids, 1.0))
        claim = await schedule.claim(len(ids))
        await watched_redis.in_step()
        await client.delete("test:in-step")
        failing_over = asyncio.create_task(watched_redis.fail_over("asked"))
        tasks = [HealthCheckTask(each, 60, 16, b"{}") for each in claim.due]

        async def handed_off() -> bool:
            """Repeat the hand-off during the whole failover; one of the calls does it."""
            with contextlib.suppress(RedisError):
                await broker.hand_off(claim, tasks)
            return failing_over.done()

        await until(handed_off, "the failover is over", within_s=90)
        new = await failing_over
        await until(lambda: all_at(client, new), "commands go to the new master", within_s=40)
        handed = await broker.hand_off(claim, tasks)
        assert set(handed.not_enqueued.values()) <= {Outcome.LOST, Outcome.UNCONFIRMED}
        pending = [each.decode() for each in await client.lrange(PENDING, 0, -1)]
        assert sorted(pending) == sorted(task_id(each) for each in ids)
        assert await client.zcard(KEYS.lease) == 0
        assert await client.zcard(KEYS.due) == len(ids)
