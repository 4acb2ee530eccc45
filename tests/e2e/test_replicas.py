"""Whole replicas on real servers: what the service promises, seen from outside."""

import json
import math
import signal
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import PENDING, decode, task_key
from tests.kit.consumer import at_work
from tests.kit.databases import Database, SqlDatabase, monitor_row
from tests.kit.fleet import Fleet, fleet_of
from tests.kit.replicas import ReplicaProcess, leader_pid, members
from tests.kit.waiting import until

UPDATED = "peekaping:events:monitor.updated"


def led(replica: ReplicaProcess) -> bool:
    return "leader.won" in replica.events()


async def test_every_active_monitor_is_handed_off_with_nothing_but_the_seeds_variables(
    server: Redis, database: Database, tmp_path: Path
) -> None:
    paused = (monitor_row(database.new_id(), active=False) for _ in range(5))
    await database.insert("monitors", *paused)
    with fleet_of(server, database, tmp_path) as fleet:
        await fleet.monitors(300, interval=3600)
        replica = fleet.start()
        async with at_work(fleet.consumer):
            await fleet.all_ran()
        await fleet.require_whole()
        fleet.terminate()
    messages = [line["message"] for line in replica.lines()]
    assert "Shutdown signal received, stopping producer..." in messages
    assert messages[-1] == "Producer stopped gracefully"
    assert {line["service"] for line in replica.lines()} == {"peekaping:producer"}


async def test_a_hundred_thousand_due_monitors_end_as_as_many_tasks(fleet: Fleet) -> None:
    server, count = fleet.redis, 100_000
    assert isinstance(fleet.database, SqlDatabase)
    await fleet.database.execute(
        "INSERT INTO monitors (id, type, name, interval, timeout, max_retries, retry_interval, resend_interval, config)"
        f" SELECT gen_random_uuid(), 'http', 'm ' || n, 3600, 16, 0, 60, 0, '{{}}' FROM generate_series(1, {count}) n"
    )
    began_at = time.time()
    fleet.start(LOG_LEVEL="info")
    await until(lambda: all_are_handed_off(server, count), within_s=180)
    fleet.terminate()
    pending = await server.lrange(PENDING, 0, -1)
    assert len(pending) == len(set(pending)) == count
    due = await server.zrange(KEYS.due, 0, -1, withscores=True)
    assert len(due) == count
    assert all(score % 3_600_000 == 0 for _, score in due)
    assert {score for _, score in due} <= {next_tick(int(at * 1000), 3600) for at in (began_at, time.time())}
    for task_id in pending[::9973]:
        monitor_id = task_id.decode().removeprefix("healthcheck:")
        message = decode(await server.hget(task_key(monitor_id), "msg") or b"")
        assert json.loads(message.payload)["monitor_id"] == monitor_id


async def all_are_handed_off(server: Redis, count: int) -> bool:
    return await server.llen(PENDING) >= count and not await server.zcard(KEYS.lease)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_another_replica_leads_and_no_tick_is_handed_off_twice(fleet: Fleet, how: signal.Signals) -> None:
    """After a stop the other replica does not wait until the leader's key expires: here that would take 55 s."""
    for interval, count in ((1, 67), (2, 67), (3, 66)):
        await fleet.monitors(count, interval=interval)
    both = [fleet.start(), fleet.start()]
    async with at_work(fleet.consumer) as consumer:
        await fleet.all_ran()
        await until(lambda: any(map(led, both)))
        pid = await leader_pid(fleet.redis)
        leading, following = sorted(both, key=lambda each: each.process.pid != pid)
        if how != signal.SIGKILL:
            await fleet.redis.pexpire(KEYS.leader, 55_000)
        leading.process.send_signal(how)
        await until(lambda: led(following), within_s=45)
        seen = len(consumer.ticks)
        await until(lambda: len(consumer.ticks) > seen + 2 * len(fleet.ids), "the survivor goes on", within_s=60)
        await fleet.require_whole()


async def due_in_s(server: Redis, monitor_id: str) -> float | None:
    score = await server.zscore(KEYS.due, monitor_id)
    return None if score is None else score / 1000 - time.time()


async def is_due(server: Redis, monitor_id: str, low: float, high: float) -> bool:
    """Whether the monitor is due in more than `low` seconds, and in `high` at most."""
    left = await due_in_s(server, monitor_id)
    return left is not None and low < left <= high


async def publish_edit(server: Redis, monitor_id: str) -> None:
    event = {"type": "monitor.updated", "payload": {"id": monitor_id, "interval": "the row counts, not this"}}
    assert await server.publish(UPDATED, json.dumps(event)) == 1


@pytest.mark.parametrize("by_event", [True, False])
async def test_an_interval_edit_and_its_way_back_take_effect(fleet: Fleet, by_event: bool) -> None:
    """By event before the next sync, which comes after an hour; without one at the next sync (here every 2 s)."""
    (monitor_id,) = await fleet.monitors(1, interval=86400)
    replica = fleet.start(SYNC_INTERVAL="3600" if by_event else "2")

    async def edit(interval: int, low: float, high: float) -> None:
        await fleet.database.update("monitors", monitor_id, interval=interval)
        if by_event:
            await publish_edit(fleet.redis, monitor_id)
        await until(lambda: is_due(fleet.redis, monitor_id, low, high))

    await until(lambda: "events.subscribed" in replica.events())
    await until(lambda: is_due(fleet.redis, monitor_id, 31, 86400), "the first run is over, and the next is far")
    await edit(30, -1, 31)
    # Nearer than the slack for clock steps it would first run once more.
    await until(lambda: is_due(fleet.redis, monitor_id, 8, 31))
    await edit(86400, 31, 86400)


async def test_an_edit_during_a_failover_takes_effect(fleet: Fleet) -> None:
    (monitor_id,) = await fleet.monitors(1, interval=86400)
    first = fleet.start(SYNC_INTERVAL="3600")
    await until(lambda: is_due(fleet.redis, monitor_id, 31, math.inf))
    first.kill()
    await fleet.database.update("monitors", monitor_id, interval=30)
    await fleet.redis.publish(UPDATED, "no replica receives this")
    fleet.start(SYNC_INTERVAL="3600")
    await until(lambda: is_due(fleet.redis, monitor_id, -math.inf, 31))


async def test_create_pause_and_delete_by_event(fleet: Fleet) -> None:
    server, database, consumer = fleet.redis, fleet.database, fleet.consumer
    (first,) = await fleet.monitors(1, interval=3600)
    replica = fleet.start(SYNC_INTERVAL="3600")

    async def publish(event: str, payload: object) -> None:
        await server.publish(f"peekaping:events:{event}", json.dumps({"type": event, "payload": payload}))

    async def both_are_gone() -> bool:
        return await members(server) == set()

    async with at_work(consumer):
        await until(lambda: "events.subscribed" in replica.events())
        await fleet.all_ran()
        (second,) = await fleet.monitors(1, interval=3600)
        await publish("monitor.created", {"id": second})
        await until(lambda: consumer.monitors() == {first, second})
        await database.update("monitors", first, active=False)
        await publish_edit(server, first)
        await database.delete("monitors", second)
        await publish("monitor.deleted", second)
        await until(both_are_gone)


async def test_an_idle_replica_is_quiet(fleet: Fleet) -> None:
    """At most 12 commands a second from the client, with 1,000 monitors and 10 workers."""
    await fleet.monitors(1000, interval=86400)
    fleet.start()
    await until(lambda: all_are_handed_off(fleet.redis, 1000))
    seconds = 6.0  # by the clock of Redis: this process may read late
    commands: list[tuple[float, str]] = []
    async with fleet.redis.monitor() as monitor:
        async for command in monitor.listen():
            if command["client_type"] != "lua":
                commands.append((command["time"], command["command"]))
                if command["time"] >= commands[0][0] + seconds:
                    break
    assert len(commands) / seconds <= 12, commands
