"""Servers and replicas that stop, freeze and die under load: nothing is lost, nothing is doubled."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest
from aiohttp import ClientSession
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from tests.kit import databases, postgres
from tests.kit.asynq_peer import ACTIVE, ARCHIVED, LEASE, PENDING, task_id, task_key
from tests.kit.databases import Database, SqlDatabase, new_id
from tests.kit.fault_proxy import fault_proxy
from tests.kit.pgbouncer import pgbouncer
from tests.kit.postgres import PostgresServer
from tests.kit.processes import HOST, free_port
from tests.kit.redis import target_of
from tests.kit.replicas import Consumer, Replica, at_work, environment, members, replicas, row
from tests.kit.waiting import until


@pytest.fixture
async def server(private_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client of the replicas' own Redis."""
    async with redis_for(target_of(private_redis), connections=50) as client:
        yield client


async def goes_on(consumer: Consumer, ids: list[str], *, within_s: float = 60.0) -> None:
    """Each monitor runs twice more: the tick that was in hand, and one that is surely new."""
    seen = {each: ticks(consumer, each) for each in ids}
    await until(
        lambda: all(ticks(consumer, each) >= seen[each] + 2 for each in ids), "each monitor runs", within_s=within_s
    )


def ticks(consumer: Consumer, monitor_id: str) -> int:
    return sum(1 for each, _ in consumer.ticks if each == monitor_id)


async def monitors(database: SqlDatabase, count: int, *, interval: int = 1) -> list[str]:
    ids = [new_id() for _ in range(count)]
    await database.insert("monitors", *(row(each, interval=interval) for each in ids))
    return ids


async def counted(port: int, name: str) -> float:
    """The sum of a counter over its labels, as /metrics serves it."""
    async with ClientSession() as session, session.get(f"http://{HOST}:{port}/metrics") as response:
        text = await response.text()
    return sum(float(each) for each in re.findall(rf"^peekaping_producer_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


@asynccontextmanager
async def reads_blocked(database: SqlDatabase) -> AsyncIterator[None]:
    """Nobody can read the monitors: whoever claims some stays with them in hand."""
    connection = await postgres.connect(database.target)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE monitors IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def a_batch_is_being_read(database: SqlDatabase) -> bool:
    """Whether a worker waits for the lock: its claim has arrived, and is in its hand."""
    reads = "%FROM monitors m%ANY(%"  # not the ping, which reads one
    waiting = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{reads}'"
    return bool(await database.execute(waiting))


async def test_a_database_that_is_away_pauses_claims_and_keeps_the_schedule(
    private_redis: RedisServer, server: Redis, private_postgres: PostgresServer, tmp_path: Path
) -> None:
    await migrate(private_postgres.target)
    database = await databases.connect_sql(private_postgres.target)
    ids = await monitors(database, 200)
    port, consumer = free_port(), Consumer(server)
    env = environment(private_redis.port, private_postgres.target, METRICS_ADDR=f"{HOST}:{port}", SYNC_INTERVAL="1")
    with replicas(tmp_path, env) as (replica,):
        async with at_work(consumer):
            await until(lambda: consumer.monitors() == set(ids))
            private_postgres.stop()
            await until(lambda: "dependency.failing" in replica.events())
            # Those that held a connection, and did not know yet, may claim once more and give it back.
            stopped_at = time.monotonic()
            await until(lambda: time.monotonic() > stopped_at + 1.5)
            before = await counted(port, "claimed_total")
            while time.monotonic() < stopped_at + 5:
                assert await members(server) == set(ids)
                await asyncio.sleep(0.2)
            assert await counted(port, "claimed_total") == before, "nothing is claimed that could not be read"
            assert await server.zcard(KEYS.lease) == 0
            assert 0 < await counted(port, "store_errors_total") < 200, "10 workers, and no hot loop"
            assert len(replica.events()) < 500
            private_postgres.start()
            await goes_on(consumer, ids)
        assert consumer.doubled() == []
        assert await members(server) == set(ids)
        assert replica.terminate() == 0
    said = [each for each in replica.events() if each.startswith("dependency.")]
    assert said[-1] == "dependency.recovered"
    assert len(said) <= 4, "not a line for each loop; two pairs where a connection outlived the first refusal"


async def test_a_redis_that_freezes_loses_and_doubles_nothing(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    ids = await monitors(postgres_only, 50)
    consumer = Consumer(server)
    env = environment(private_redis.port, postgres_only.target, LEASE_TTL="2")
    with replicas(tmp_path, env, count=2) as both:
        async with at_work(consumer):
            await until(lambda: consumer.monitors() == set(ids))
        os.kill(private_redis.pid, signal.SIGSTOP)
        frozen_at = time.monotonic()
        await until(lambda: time.monotonic() > frozen_at + 3)  # longer than the clients wait for a reply
        os.kill(private_redis.pid, signal.SIGCONT)
        async with at_work(consumer):
            await goes_on(consumer, ids, within_s=40)
        assert consumer.doubled() == []
        assert await members(server) == set(ids)
        assert [replica.terminate() for replica in both] == [0, 0]
    assert any("dependency.failing" in replica.events() for replica in both), "they did notice"


async def test_a_replica_that_freezes_with_a_claim_in_hand_has_lost_it_when_it_wakes(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    ids = await monitors(postgres_only, 50)
    consumer = Consumer(server)
    env = environment(private_redis.port, postgres_only.target, LEASE_TTL="2")
    async with at_work(consumer):
        with replicas(tmp_path, env) as both:
            (frozen,) = both
            await until(lambda: consumer.monitors() == set(ids))
            async with reads_blocked(postgres_only):
                await until(lambda: a_batch_is_being_read(postgres_only))
                frozen.process.send_signal(signal.SIGSTOP)
            both.append(Replica(tmp_path, env))
            await until(lambda: "lease.reclaimed" in both[1].events())
            await goes_on(consumer, ids)
            frozen.process.send_signal(signal.SIGCONT)
            await until(lambda: lost(frozen) > 0)
            await goes_on(consumer, ids)
            assert [replica.terminate() for replica in both] == [0, 0]
    assert consumer.doubled() == []
    assert await members(server) == set(ids)


def lost(replica: Replica) -> int:
    return sum(int(str(line.get("lost", 0))) for line in replica.lines())


@pytest.mark.parametrize("empty_database", ["postgres", "mongo"], indirect=True)
async def test_a_stop_ends_in_time_while_the_database_hangs(
    private_redis: RedisServer, server: Redis, database: Database, tmp_path: Path
) -> None:
    """I6. Threads and tasks of the driver must not hold the process up; what was claimed is due again."""
    ids = [database.new_id() for _ in range(50)]
    await database.insert("monitors", *(row(each, interval=1) for each in ids))
    async with fault_proxy(database.target.port or 0) as proxy:
        target = msgspec.structs.replace(database.target, port=proxy.port)
        env = environment(private_redis.port, target, SHUTDOWN_GRACE="4")
        with replicas(tmp_path, env) as (replica,):
            await until(lambda: "claim.handed_off" in replica.events())
            proxy.hold_replies()
            await until(lambda: proxy.requests > 0)
            asked_at = time.monotonic()
            replica.process.send_signal(signal.SIGTERM)
            await until(lambda: replica.process.poll() is not None, within_s=20)
            assert replica.process.returncode == 0
            assert time.monotonic() - asked_at < 10, "the drivers' own waits are 5 and 8 seconds, and more in a row"
    assert await members(server) == set(ids)


async def test_a_replica_that_is_killed_with_a_claim_in_hand_leaves_it_to_another(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    ids = await monitors(postgres_only, 50)
    consumer = Consumer(server)
    env = environment(private_redis.port, postgres_only.target, LEASE_TTL="2")
    async with at_work(consumer):
        with replicas(tmp_path, env) as both:
            await until(lambda: consumer.monitors() == set(ids))
            async with reads_blocked(postgres_only):
                await until(lambda: a_batch_is_being_read(postgres_only))
                both[0].kill()
            both.append(Replica(tmp_path, env))
            await until(lambda: "lease.reclaimed" in both[1].events())
            await goes_on(consumer, ids)
            assert both[1].terminate() == 0
    assert consumer.doubled() == []
    assert await members(server) == set(ids)


async def test_a_whole_replica_behind_a_pooler_in_transaction_mode(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    ids = await monitors(postgres_only, 300)
    consumer = Consumer(server)
    with pgbouncer(postgres_only.target) as target:
        env = environment(private_redis.port, target, CLAIM_BATCH="50", SYNC_INTERVAL="1")
        with replicas(tmp_path, env) as (replica,):
            async with at_work(consumer):
                await goes_on(consumer, ids)
                created = await monitors(postgres_only, 1)
                await until(lambda: created[0] in consumer.monitors(), "a sync finds it")
            assert replica.terminate() == 0
    assert consumer.doubled() == []
    assert await members(server) == {*ids, *created}
    assert "dependency.failing" not in replica.events()


async def test_tasks_that_are_stuck_are_repaired_and_their_monitors_run(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    """I8. Each kind is made by hand out of a task that waits; within an interval (2 s) and a sync each runs again."""
    kinds = (archived, active_without_lease, active_long_over, unlisted, without_hash, listed_twice)
    ids = await monitors(postgres_only, len(kinds), interval=2)
    env = environment(private_redis.port, postgres_only.target, SYNC_INTERVAL="2")
    with replicas(tmp_path, env) as (replica,):

        async def all_wait() -> bool:
            return set(await server.lrange(PENDING, 0, -1)) == {task_id(each).encode() for each in ids}

        await until(all_wait)
        for break_it, monitor_id in zip(kinds, ids, strict=True):
            await break_it(server, monitor_id)

        await until(lambda: "queue.repaired" in replica.events(), "the sweep finds the double entry", within_s=6)
        consumer = Consumer(server)
        async with at_work(consumer):
            await until(lambda: consumer.monitors() == set(ids), "each monitor runs again", within_s=6)
            await goes_on(consumer, ids)
        assert consumer.doubled() == []
        assert await server.zcard(ARCHIVED) == 0
        assert replica.terminate() == 0


async def archived(server: Redis, monitor_id: str) -> None:
    """A worker died with it, or its retries are over."""
    async with server.pipeline(transaction=True) as pipe:
        pipe.lrem(PENDING, 0, task_id(monitor_id))
        pipe.zadd(ARCHIVED, {task_id(monitor_id): time.time()})
        pipe.hset(task_key(monitor_id), "state", "archived")
        await pipe.execute()


async def active_without_lease(server: Redis, monitor_id: str) -> None:
    """What upstream calls an orphan."""
    async with server.pipeline(transaction=True) as pipe:
        pipe.lrem(PENDING, 0, task_id(monitor_id))
        pipe.lpush(ACTIVE, task_id(monitor_id))
        pipe.hset(task_key(monitor_id), "state", "active")
        await pipe.execute()


async def active_long_over(server: Redis, monitor_id: str) -> None:
    """Its consumer is gone, and no other ever recovered it."""
    async with server.pipeline(transaction=True) as pipe:
        pipe.lrem(PENDING, 0, task_id(monitor_id))
        pipe.lpush(ACTIVE, task_id(monitor_id))
        pipe.zadd(LEASE, {task_id(monitor_id): time.time() - 31})
        pipe.hset(task_key(monitor_id), "state", "active")
        await pipe.execute()


async def unlisted(server: Redis, monitor_id: str) -> None:
    """Its hash says pending, and no list holds it."""
    await server.lrem(PENDING, 0, task_id(monitor_id))


async def without_hash(server: Redis, monitor_id: str) -> None:
    """In the list, and nothing behind it."""
    await server.delete(task_key(monitor_id))


async def listed_twice(server: Redis, monitor_id: str) -> None:
    await server.rpush(PENDING, task_id(monitor_id))


async def answers(port: int, path: str, status: int, words: str) -> bool:
    async with ClientSession() as session, session.get(f"http://{HOST}:{port}{path}") as response:
        return response.status == status and words in await response.text()


async def test_a_lost_redis_shows_in_readiness_and_not_in_liveness(
    private_redis: RedisServer, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    await monitors(postgres_only, 5)
    env = environment(private_redis.port, postgres_only.target, METRICS_ADDR=f"{HOST}:0")
    with replicas(tmp_path, env) as (replica,):
        await until(lambda: "health.listening" in replica.events())
        (port,) = [int(str(line["port"])) for line in replica.lines() if line["event"] == "health.listening"]
        await until(lambda: answers(port, "/readyz", 200, '"ready": true'))
        await until(lambda: answers(port, "/metrics", 200, "peekaping_producer_is_leader 1.0"))
        await private_redis.stop()
        await until(lambda: answers(port, "/readyz", 503, '"redis_unavailable": "RedisUnavailableError'), within_s=15)
        await until(
            lambda: answers(port, "/metrics", 200, "peekaping_producer_oldest_due_age_seconds NaN"), within_s=15
        )
        assert await answers(port, "/livez", 200, "")


async def test_who_drains_is_alive_and_not_ready(
    private_redis: RedisServer, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    await monitors(postgres_only, 5)
    port = free_port()
    env = environment(private_redis.port, postgres_only.target, METRICS_ADDR=f"{HOST}:{port}")
    with replicas(tmp_path, env) as (replica,):
        await until(lambda: "claim.handed_off" in replica.events())
        async with reads_blocked(postgres_only):
            await until(lambda: a_batch_is_being_read(postgres_only))
            replica.process.send_signal(signal.SIGTERM)
            await until(lambda: answers(port, "/readyz", 503, json.dumps({"draining": "The replica is stopping."})))
            assert await answers(port, "/livez", 200, "")
        await until(lambda: replica.process.poll() == 0, "what was in hand is finished, and it ends")
    (drained,) = [line for line in replica.lines() if line["event"] == "producer.drained"]
    assert (drained["unfinished_workers"], drained["given_back"]) == (0, 0)


async def test_the_lock_of_these_tests_does_hold_readers_up(postgres_only: SqlDatabase) -> None:
    async with reads_blocked(postgres_only):
        other = await postgres.connect(postgres_only.target)
        await other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await other.fetch("SELECT 1 FROM monitors")
        await other.close()
