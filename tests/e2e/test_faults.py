"""Servers and replicas that stop, freeze and die under load: nothing is lost, nothing is duplicated."""

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
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.schedule.keys import KEYS
from tests.kit import databases, postgres
from tests.kit.asynq_peer import ACTIVE, ARCHIVED, LEASE, PENDING, task_id, task_key
from tests.kit.consumer import at_work
from tests.kit.databases import Database, SqlDatabase
from tests.kit.fault_proxy import fault_proxy
from tests.kit.fleet import Fleet, fleet_of
from tests.kit.pgbouncer import pgbouncer
from tests.kit.postgres import PostgresServer
from tests.kit.processes import HOST
from tests.kit.replicas import ReplicaProcess, members
from tests.kit.waiting import until

WITH_METRICS = {"METRICS_ADDR": f"{HOST}:0"}
WORKERS = 10
"""Of a replica."""


async def counted(replica: ReplicaProcess, name: str) -> float:
    """The sum of a counter over its labels, as /metrics serves it."""
    _, text = await replica.get("/metrics")
    return sum(float(each) for each in re.findall(rf"^peekaping_producer_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


async def stays_the_same(replica: ReplicaProcess, name: str, *, for_s: float) -> bool:
    """Whether a counter has one value for so long."""
    before = await counted(replica, name)
    await asyncio.sleep(for_s)
    return await counted(replica, name) == before


@asynccontextmanager
async def reads_blocked(database: Database) -> AsyncIterator[None]:
    """Lock the table of monitors: a worker that claims some stays with them in hand."""
    connection = await postgres.connect(database.target)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE monitors IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def a_batch_is_being_read(database: Database) -> bool:
    """Whether a worker waits for the lock: its claim has arrived, and is in its hand."""
    assert isinstance(database, SqlDatabase)
    reads = "%FROM monitors m%ANY(%"  # not the ping, which reads one
    waiting = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{reads}'"
    return bool(await database.execute(waiting))


async def test_a_database_that_is_away_pauses_claims_and_keeps_the_schedule(
    server: Redis, private_postgres: PostgresServer, tmp_path: Path
) -> None:
    await migrate(private_postgres.target)
    with fleet_of(server, await databases.connect_sql(private_postgres.target), tmp_path) as fleet:
        ids = set(await fleet.monitors(200))
        replica = fleet.start(SYNC_INTERVAL="1", **WITH_METRICS)
        async with at_work(fleet.consumer):
            await fleet.all_ran()
            private_postgres.stop()
            await until(lambda: "dependency.failing" in replica.events())
            # Workers with an open connection may claim once more, and give it back.
            await until(lambda: stays_the_same(replica, "claimed_total", for_s=1.5), "no worker claims")
            before = await counted(replica, "claimed_total")
            for _ in range(15):
                assert await members(server) == ids
                await asyncio.sleep(0.2)  # nothing must happen in these 3 s
            assert await counted(replica, "claimed_total") == before, "nothing is claimed that could not be read"
            assert await server.zcard(KEYS.lease) == 0
            assert 0 < await counted(replica, "store_errors_total") < 20 * WORKERS, "no hot loop"
            assert len(replica.events()) < 500
            private_postgres.start()
            await fleet.goes_on()
        await fleet.require_whole()
        fleet.terminate()
    logged = [each for each in replica.events() if each.startswith("dependency.")]
    assert logged[-1] == "dependency.recovered"
    # One, and few more: a reminder after 30 s, and where a connection outlives the first refusal.
    assert logged.count("dependency.failing") < WORKERS, "not a line for each worker"


async def test_a_redis_that_freezes_loses_and_doubles_nothing(private_redis: RedisServer, fleet: Fleet) -> None:
    await fleet.monitors(50)
    both = [fleet.start(LEASE_TTL="2") for _ in range(2)]
    async with at_work(fleet.consumer):
        await fleet.all_ran()
    runs = {"leader.won", "leader.followed"}
    await until(lambda: all(runs & set(replica.events()) for replica in both), "neither is still starting")
    os.kill(private_redis.pid, signal.SIGSTOP)
    frozen_at = time.monotonic()
    await until(lambda: all("dependency.failing" in replica.events() for replica in both), "both notice it")
    await until(lambda: time.monotonic() > frozen_at + 3, "leases have ended")
    os.kill(private_redis.pid, signal.SIGCONT)
    async with at_work(fleet.consumer):
        await fleet.goes_on()
    await fleet.require_whole()
    fleet.terminate()


async def test_a_replica_that_freezes_with_a_claim_in_hand_has_lost_it_when_it_wakes(fleet: Fleet) -> None:
    await fleet.monitors(50)
    frozen = fleet.start(LEASE_TTL="2")
    async with at_work(fleet.consumer):
        await fleet.all_ran()
        async with reads_blocked(fleet.database):
            await until(lambda: a_batch_is_being_read(fleet.database))
            frozen.process.send_signal(signal.SIGSTOP)
        other = fleet.start(LEASE_TTL="2")
        await until(lambda: "lease.reclaimed" in other.events())
        await fleet.goes_on()
        frozen.process.send_signal(signal.SIGCONT)
        # On a slow machine the freeze outlasts the time limit of the read, which then ends the claim.
        await until(lambda: lost(frozen) > 0 or "dependency.failing" in frozen.events())
        await fleet.goes_on()
        fleet.terminate()
    await fleet.require_whole()


def lost(replica: ReplicaProcess) -> int:
    return sum(int(str(line.get("lost", 0))) for line in replica.lines())


@pytest.mark.parametrize("empty_database", ["postgres", "mongo"], indirect=True)
async def test_a_stop_ends_in_time_while_the_database_hangs(server: Redis, database: Database, tmp_path: Path) -> None:
    """I6. Threads and tasks of the driver must not hold the process up; what was claimed is due again."""
    async with fault_proxy(database.target.port or 0) as proxy:
        with fleet_of(server, database, tmp_path) as fleet:
            await fleet.monitors(50)
            fleet.target = msgspec.structs.replace(database.target, port=proxy.port)
            replica = fleet.start(SHUTDOWN_GRACE="4")
            await until(lambda: "claim.handed_off" in replica.events())
            proxy.hold_replies()
            await until(lambda: proxy.requests > 0)
            asked_at = time.monotonic()
            replica.process.send_signal(signal.SIGTERM)
            await until(lambda: not replica.runs, within_s=20)
            assert replica.process.returncode == 0
            assert time.monotonic() - asked_at < 12, "the drivers' own waits are 5 and 8 seconds, and more in a row"
    assert await members(server) == set(fleet.ids)


async def test_a_whole_replica_behind_a_pooler_in_transaction_mode(fleet: Fleet) -> None:
    await fleet.monitors(300)
    with pgbouncer(fleet.target) as fleet.target:
        replica = fleet.start(CLAIM_BATCH="50", SYNC_INTERVAL="1")
        async with at_work(fleet.consumer):
            await fleet.goes_on()
            (created,) = await fleet.monitors(1)
            await until(lambda: created in fleet.consumer.monitors(), "a sync finds it")
        fleet.terminate()
    await fleet.require_whole()
    assert "dependency.failing" not in replica.events()


async def test_tasks_that_are_stuck_are_repaired_and_their_monitors_run(fleet: Fleet) -> None:
    """I8. Each kind is made by hand out of a task that waits; each runs again after the next tick and sync."""
    server = fleet.redis
    kinds = (archived, active_without_lease, active_long_over, unlisted, without_hash, listed_twice)
    ids = await fleet.monitors(len(kinds), interval=2)
    replica = fleet.start(SYNC_INTERVAL="2")

    async def all_wait() -> bool:
        return set(await server.lrange(PENDING, 0, -1)) == {task_id(each).encode() for each in ids}

    await until(all_wait)
    for break_it, monitor_id in zip(kinds, ids, strict=True):
        await break_it(server, monitor_id)

    await until(lambda: "queue.repaired" in replica.events(), "the sweep finds the double entry")
    async with at_work(fleet.consumer):
        await until(lambda: fleet.consumer.monitors() == set(ids), "each monitor runs again")
        await fleet.goes_on()
    assert fleet.consumer.duplicated() == []
    assert await server.zcard(ARCHIVED) == 0
    fleet.terminate()


async def archived(server: Redis, monitor_id: str) -> None:
    """A worker died with it, or its retries are over."""
    async with server.pipeline(transaction=True) as pipe:
        pipe.lrem(PENDING, 0, task_id(monitor_id))
        pipe.zadd(ARCHIVED, {task_id(monitor_id): time.time()})
        pipe.hset(task_key(monitor_id), "state", "archived")
        await pipe.execute()


async def active_without_lease(server: Redis, monitor_id: str, lease: dict[str, float] | None = None) -> None:
    """What upstream calls an orphan."""
    async with server.pipeline(transaction=True) as pipe:
        pipe.lrem(PENDING, 0, task_id(monitor_id))
        pipe.lpush(ACTIVE, task_id(monitor_id))
        if lease:
            pipe.zadd(LEASE, lease)
        pipe.hset(task_key(monitor_id), "state", "active")
        await pipe.execute()


async def active_long_over(server: Redis, monitor_id: str) -> None:
    """Its consumer is gone, and no other ever recovered it."""
    await active_without_lease(server, monitor_id, {task_id(monitor_id): time.time() - 31})


async def unlisted(server: Redis, monitor_id: str) -> None:
    """Its hash says pending, and no list holds it."""
    await server.lrem(PENDING, 0, task_id(monitor_id))


async def without_hash(server: Redis, monitor_id: str) -> None:
    """In the list, and nothing behind it."""
    await server.delete(task_key(monitor_id))


async def listed_twice(server: Redis, monitor_id: str) -> None:
    await server.rpush(PENDING, task_id(monitor_id))


async def answers(replica: ReplicaProcess, path: str, status: int, words: str) -> bool:
    found, text = await replica.get(path)
    return found == status and words in text


async def test_a_lost_redis_shows_in_readiness_and_not_in_liveness(private_redis: RedisServer, fleet: Fleet) -> None:
    await fleet.monitors(5)
    replica = fleet.start(**WITH_METRICS)
    await until(lambda: "health.listening" in replica.events())
    await until(lambda: answers(replica, "/readyz", 200, '"ready": true'))
    await until(lambda: answers(replica, "/metrics", 200, "peekaping_producer_is_leader 1.0"))
    await private_redis.stop()
    await until(lambda: answers(replica, "/readyz", 503, '"redis_unavailable": "'))
    await until(lambda: answers(replica, "/metrics", 200, "peekaping_producer_oldest_due_age_seconds NaN"))
    assert await answers(replica, "/livez", 200, "")


async def test_a_draining_replica_is_alive_and_not_ready(fleet: Fleet) -> None:
    await fleet.monitors(5)
    replica = fleet.start(**WITH_METRICS)
    await until(lambda: "claim.handed_off" in replica.events())
    async with reads_blocked(fleet.database):
        await until(lambda: a_batch_is_being_read(fleet.database))
        replica.process.send_signal(signal.SIGTERM)
        await until(lambda: answers(replica, "/readyz", 503, json.dumps({"draining": "The replica is stopping."})))
        assert await answers(replica, "/livez", 200, "")
    await until(lambda: replica.process.poll() == 0, "what was in hand is finished, and it ends")
    (drained,) = replica.lines("producer.drained")
    assert (drained["unfinished_workers"], drained["given_back"]) == (0, 0)


async def test_the_lock_of_these_tests_blocks_readers(postgres_only: SqlDatabase) -> None:
    async with reads_blocked(postgres_only):
        other = await postgres.connect(postgres_only.target)
        await other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await other.fetch("SELECT 1 FROM monitors")
        await other.close()


async def test_a_leader_that_alone_cannot_read_the_database_yields(fleet: Fleet) -> None:
    """Otherwise new monitors would wait for as long as its way to the database is cut, and a lost schedule too."""
    await fleet.monitors(20)
    async with fault_proxy(fleet.target.port or 0) as proxy:
        leader = fleet.start(DB_PORT=str(proxy.port), SYNC_INTERVAL="1")
        async with at_work(fleet.consumer):
            await fleet.all_ran()
            other = fleet.start(SYNC_INTERVAL="1")
            await until(lambda: "leader.followed" in other.events(), "the other follows")
            await proxy.down()
            await fleet.monitors(1)
            await until(lambda: "leader.won" in other.events(), "the other leads", within_s=60)
            await fleet.all_ran()
            await proxy.up()
            await fleet.goes_on()
        assert "leader.ended" in leader.events()
        assert fleet.consumer.duplicated() == []
        await fleet.stop()
