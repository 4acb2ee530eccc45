"""Whole replicas on real servers: what the service promises, seen from outside."""

import asyncio
import json
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.monitors.monitor import next_aligned
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import PENDING, decode, task_key
from tests.kit.databases import Database, SqlDatabase
from tests.kit.redis import target_of
from tests.kit.replicas import Consumer, Replica, at_work, environment, leader_pid, members, replicas, row
from tests.kit.waiting import until


@pytest.fixture
async def server(private_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client of the replicas' own Redis."""
    async with redis_for(target_of(private_redis), connections=50) as client:
        yield client


def new_ids(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def led(replica: Replica) -> bool:
    return "leader.won" in replica.events()


async def test_every_active_monitor_is_handed_off_with_nothing_but_the_seeds_variables(
    private_redis: RedisServer, server: Redis, database: Database, tmp_path: Path
) -> None:
    active, paused = [database.new_id() for _ in range(300)], [database.new_id() for _ in range(5)]
    await database.insert("monitors", *(row(each, interval=3600) for each in active))
    await database.insert("monitors", *(row(each, active=False) for each in paused))
    env = environment(private_redis.port, database.target)
    with replicas(tmp_path, env) as (replica,):
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: consumer.monitors() == set(active))
        assert await members(server) == set(active)
        assert replica.terminate() == 0
    messages = [line["message"] for line in replica.lines()]
    assert "Shutdown signal received, stopping producer..." in messages
    assert messages[-1] == "Producer stopped gracefully"
    assert {line["service"] for line in replica.lines()} == {"peekaping:producer"}
    assert consumer.doubled() == []


async def test_a_hundred_thousand_due_monitors_end_as_as_many_tasks(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    count = 100_000
    await postgres_only.execute(
        "INSERT INTO monitors (id, type, name, interval, timeout, max_retries, retry_interval, resend_interval, config)"
        f" SELECT gen_random_uuid(), 'http', 'm ' || n, 3600, 16, 0, 60, 0, '{{}}' FROM generate_series(1, {count}) n"
    )
    env = environment(private_redis.port, postgres_only.target, LOG_LEVEL="info")
    with replicas(tmp_path, env) as (replica,):

        async def all_are_handed_off() -> bool:
            return await server.llen(PENDING) >= count and not await server.zcard(KEYS.lease)

        await until(all_are_handed_off, within_s=60)
        assert replica.terminate() == 0
    pending = await server.lrange(PENDING, 0, -1)
    assert len(pending) == len(set(pending)) == count
    due = await server.zrange(KEYS.due, 0, -1, withscores=True)
    assert len(due) == count
    assert all(score % 3_600_000 == 0 for _, score in due)
    assert {score for _, score in due} <= {
        next_aligned(int(time.time() * 1000) - 60_000, 3600),
        next_aligned(int(time.time() * 1000), 3600),
    }
    for task_id in pending[::9973]:
        monitor_id = task_id.decode().removeprefix("healthcheck:")
        message = decode(await server.hget(task_key(monitor_id), "msg") or b"")
        assert json.loads(message.payload)["monitor_id"] == monitor_id


@pytest.mark.parametrize(("how", "within_s"), [(signal.SIGKILL, 11.0), (signal.SIGTERM, 2.0), (signal.SIGINT, 2.0)])
async def test_another_replica_leads_and_no_tick_is_handed_off_twice(
    private_redis: RedisServer,
    server: Redis,
    postgres_only: SqlDatabase,
    tmp_path: Path,
    how: signal.Signals,
    within_s: float,
) -> None:
    ids = new_ids(200)
    await postgres_only.insert("monitors", *(row(each, interval=1 + n % 3) for n, each in enumerate(ids)))
    with replicas(tmp_path, environment(private_redis.port, postgres_only.target), count=2) as both:
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: consumer.monitors() == set(ids), within_s=60)
            await until(lambda: any(map(led, both)))
            pid = await leader_pid(server)
            leading, following = sorted(both, key=lambda each: each.process.pid != pid)
            leading.process.send_signal(how)
            ended_at = time.monotonic()
            await until(lambda: led(following), within_s=within_s)
            assert time.monotonic() - ended_at < within_s
            seen = len(consumer.ticks)
            await until(lambda: len(consumer.ticks) > seen + 2 * len(ids), "the survivor goes on", within_s=60)
            assert consumer.doubled() == []
            assert await members(server) == set(ids)


async def test_a_rolling_restart_under_load_loses_and_doubles_nothing(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    ids = new_ids(500)
    await postgres_only.insert("monitors", *(row(each, interval=1) for each in ids))
    env = environment(private_redis.port, postgres_only.target)
    with replicas(tmp_path, env, count=2) as both:
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: consumer.monitors() == set(ids))
            for replica in list(both):
                assert replica.terminate() == 0
                drained = next(line for line in replica.lines() if line["event"] == "producer.drained")
                assert drained["unfinished_workers"] == 0
                both.append(Replica(tmp_path, env))
                await until(lambda: "producer.started" in both[-1].events())
            seen = len(consumer.ticks)
            await until(lambda: len(consumer.ticks) > seen + 2 * len(ids))
            assert consumer.doubled() == []
        assert await members(server) == set(ids)
        for replica in both[:2]:
            assert "Producer stopped gracefully" in [line["message"] for line in replica.lines()]


async def due_in_s(server: Redis, monitor_id: str) -> float | None:
    score = await server.zscore(KEYS.due, monitor_id)
    return None if score is None else score / 1000 - time.time()


async def edit(database: Database, monitor_id: str, interval: int) -> None:
    await database.update("monitors", monitor_id, interval=interval)


async def publish_edit(server: Redis, monitor_id: str) -> None:
    event = {"type": "monitor.updated", "payload": {"id": monitor_id, "interval": "the row counts, not this"}}
    assert await server.publish("peekaping:events:monitor.updated", json.dumps(event)) == 1


@pytest.mark.parametrize("by_event", [True, False])
async def test_an_interval_edit_and_its_way_back_take_effect(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path, by_event: bool
) -> None:
    """By event within 2 s; without one at the next sync (here every 2 s)."""
    (monitor_id,) = new_ids(1)
    await postgres_only.insert("monitors", row(monitor_id, interval=86400))
    env = environment(private_redis.port, postgres_only.target, SYNC_INTERVAL="3600" if by_event else "2")
    within_s = 2.0 if by_event else 5.0
    with replicas(tmp_path, env) as (replica,):

        async def rescheduled(low: float, high: float) -> bool:
            left = await due_in_s(server, monitor_id)
            return left is not None and low < left <= high

        await until(lambda: "events.subscribed" in replica.events())
        await until(lambda: rescheduled(31, 86400), "the first run is over, and the next is far")
        await edit(postgres_only, monitor_id, 30)
        if by_event:
            await publish_edit(server, monitor_id)
        await until(lambda: rescheduled(-1, 31), within_s=within_s)
        # Nearer than the slack for clock steps it would first run once more.
        await until(lambda: rescheduled(8, 31))
        await edit(postgres_only, monitor_id, 86400)
        if by_event:
            await publish_edit(server, monitor_id)
        await until(lambda: rescheduled(31, 86400), within_s=within_s)


async def test_an_edit_during_a_failover_takes_effect(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    (monitor_id,) = new_ids(1)
    await postgres_only.insert("monitors", row(monitor_id, interval=86400))
    env = environment(private_redis.port, postgres_only.target, SYNC_INTERVAL="3600")
    with replicas(tmp_path, env) as (first,):

        async def far() -> bool:
            left = await due_in_s(server, monitor_id)
            return left is not None and left > 31

        await until(far)
        first.kill()
        await edit(postgres_only, monitor_id, 30)
        await server.publish("peekaping:events:monitor.updated", "nobody hears this")
        with replicas(tmp_path, env):

            async def near() -> bool:
                left = await due_in_s(server, monitor_id)
                return left is not None and left <= 31

            await until(near, within_s=15)


async def test_create_pause_and_delete_by_event(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    first, second = new_ids(2)
    await postgres_only.insert("monitors", row(first, interval=3600))
    env = environment(private_redis.port, postgres_only.target, SYNC_INTERVAL="3600")
    with replicas(tmp_path, env) as (replica,):
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: "events.subscribed" in replica.events())
            await until(lambda: consumer.monitors() == {first})
            await postgres_only.insert("monitors", row(second, interval=3600))
            await server.publish(
                "peekaping:events:monitor.created", json.dumps({"type": "monitor.created", "payload": {"id": second}})
            )
            await until(lambda: consumer.monitors() == {first, second}, within_s=2)
            await postgres_only.update("monitors", first, active=False)
            await publish_edit(server, first)
            await postgres_only.delete("monitors", second)
            await server.publish(
                "peekaping:events:monitor.deleted", json.dumps({"type": "monitor.deleted", "payload": second})
            )

            async def both_are_gone() -> bool:
                return await members(server) == set()

            await until(both_are_gone, within_s=2)


@pytest.mark.parametrize("fault", ["flush", "restart", "script flush"])
async def test_the_schedule_comes_back_after_redis_lost_it(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path, fault: str
) -> None:
    ids = new_ids(100)
    await postgres_only.insert("monitors", *(row(each, interval=1) for each in ids))
    with replicas(tmp_path, environment(private_redis.port, postgres_only.target)) as (replica,):
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: consumer.monitors() == set(ids))
        if fault == "flush":
            await server.flushall()
        elif fault == "restart":
            await private_redis.stop()
            await private_redis.start()
        else:
            await server.script_flush()
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: consumer.monitors() == set(ids), within_s=35)
        assert replica.process.poll() is None
        assert replica.terminate() == 0


async def test_an_idle_replica_is_quiet(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    """At most 12 commands a second from the client, with 1,000 monitors and 10 workers."""
    await postgres_only.insert("monitors", *(row(each, interval=86400) for each in new_ids(1000)))
    with replicas(tmp_path, environment(private_redis.port, postgres_only.target)):

        async def all_are_rescheduled() -> bool:
            return await server.llen(PENDING) == 1000 and not await server.zcard(KEYS.lease)

        await until(all_are_rescheduled)
        seconds = 6.0
        commands = []
        async with server.monitor() as monitor:
            try:
                async with asyncio.timeout(seconds):
                    async for command in monitor.listen():
                        if command["client_type"] != "lua":
                            commands.append(command["command"])
            except TimeoutError:
                pass
        assert commands
        assert len(commands) / seconds <= 12, commands


async def test_one_odd_monitor_touches_only_itself(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    good, cron, cert, huge, deep, nines = new_ids(6)
    window = str(uuid.uuid4())
    levels, number = "[" * 1200 + "]" * 1200, "9" * 5000
    await postgres_only.insert(
        "monitors",
        row(deep, interval=1, config=f'{{"url": "http://x.example", "a": {levels}, "check_cert_expiry": true}}'),
        row(nines, interval=1, config=f'{{"note": "\\u00e9", "n": {number}, "check_cert_expiry": true}}'),
        row(good, interval=1),
        row(cron, interval=1),
        row(cert, interval=1, config='{"check_cert_expiry": "perhaps"}'),
        row(huge, interval=2_147_483_647),
    )
    await postgres_only.insert(
        "maintenances",
        {
            "id": window,
            "title": "t",
            "active": True,
            "strategy": "cron",
            "cron": "61 * * * *",
            "duration": 5,
            "timezone": "Mars/Olympus",
            "start_date_time": "2020-01-01T00:00",
            "end_date_time": "2100-01-01T00:00",
        },
    )
    await postgres_only.insert(
        "monitor_maintenances", {"id": str(uuid.uuid4()), "monitor_id": cron, "maintenance_id": window}
    )
    await server.zadd(KEYS.due, {"not-a-uuid": 1, "\udcff": 1})
    with replicas(tmp_path, environment(private_redis.port, postgres_only.target)) as (replica,):
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: sum(count for (each, _), count in consumer.ticks.items() if each == good) >= 4)
            await until(lambda: consumer.monitors() == {good, cron, cert, huge, deep, nines})
        assert await members(server) == {good, cron, cert, huge, deep, nines}
        assert replica.terminate() == 0
    kinds = Counter(event for event in replica.events() if event.startswith("monitor."))
    assert kinds == {"monitor.bad_config": 1, "monitor.bad_maintenance": 2}  # its cron, and its time zone
    assert consumer.payloads[cron]["is_under_maintenance"] is False
    assert consumer.payloads[deep]["check_cert_expiry"] is True
    assert consumer.payloads[nines]["check_cert_expiry"] is True
