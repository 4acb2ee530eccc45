"""Spreading is turned on and off under load: each monitor keeps its checks, none twice, and no gap is too long.

SPREADING_MONITORS=2000 SPREADING_INTERVAL=20 pytest tests/e2e/test_spreading.py makes it long.
"""

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.monitors.ticks import phase_s
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from tests.kit.consumer import at_work
from tests.kit.databases import SqlDatabase
from tests.kit.fleet import Fleet, fleet_of
from tests.kit.monitored_writes import MonitoredWrites, WriteJudge, monitored_writes
from tests.kit.processes import HOST
from tests.kit.redis import target_of
from tests.kit.replicas import ReplicaProcess, members
from tests.kit.waiting import until

MONITORS = int(os.environ.get("SPREADING_MONITORS", "300"))
INTERVAL_S = int(os.environ.get("SPREADING_INTERVAL", "4"))
WITHIN_S = 60.0 + 4 * INTERVAL_S
POLL_S = 0.2
SHORTEST_PHASE_MS = 1000
TURNS = (True, False)


@pytest.fixture
async def record(private_redis: RedisServer) -> AsyncIterator[MonitoredWrites]:
    async with monitored_writes(HOST, private_redis.port) as found:
        yield found


@pytest.fixture
async def fleet(private_redis: RedisServer, postgres_only: SqlDatabase, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with redis_for(target_of(private_redis), connections=20) as redis:
        with fleet_of(redis, postgres_only, tmp_path) as made:
            await made.monitors(MONITORS, interval=INTERVAL_S)
            async with at_work(made.consumer):
                yield made


def phase_ms(monitor_id: str, on: bool) -> int:
    return phase_s(monitor_id, INTERVAL_S) * 1000 * on


def due_times(record: MonitoredWrites) -> dict[str, list[int]]:
    """By monitor, the due times that hand-offs have written, in order."""
    found: dict[str, list[int]] = {}
    for write in record.writes():
        if write.by == "hand_off" and write.words[:2] == ("ZADD", KEYS.due):
            for score, monitor_id in zip(write.words[2::2], write.words[3::2], strict=True):
                found.setdefault(monitor_id, []).append(int(float(score)))
    return found


@pytest.mark.timeout(900)
async def test_no_check_is_lost_or_doubled_while_the_switch_is_turned(fleet: Fleet, record: MonitoredWrites) -> None:
    """Two replicas are restarted one after the other, first with SPREAD_TICKS=true, then without."""
    running = [fleet.start(LOG_LEVEL="debug"), fleet.start(LOG_LEVEL="debug")]
    await until(lambda: fleet.consumer.monitors() == set(fleet.ids), "every monitor runs", within_s=WITHIN_S)
    for on in TURNS:
        running = [await replaced(fleet, replica, on) for replica in running]

        async def all_follow(on: bool = on) -> bool:
            await asyncio.sleep(POLL_S)
            due = await fleet.redis.zrange(KEYS.due, 0, -1, withscores=True)
            ticks = ((float(score) - phase_ms(member.decode(), on)) % (INTERVAL_S * 1000) for member, score in due)
            return bool(await fleet.redis.exists(KEYS.spread)) is on and len(due) > 0 and not any(ticks)

        await until(all_follow, f"every due time follows the switch, {on=}", within_s=WITHIN_S)
        await all_run_twice(fleet)
    assert await members(fleet.redis) == set(fleet.ids)
    fleet.terminate()

    WriteJudge().judge(record.writes()).require_ours_are_right()
    found = due_times(record)
    assert found.keys() == set(fleet.ids)
    turns = [line["event"] for replica in fleet.started for line in replica.lines() if "spread." in str(line["event"])]
    assert turns == ["spread.enabled", "spread.disabled"]
    handed_off = [line for replica in fleet.started for line in replica.lines("claim.handed_off")]
    if any(int(str(line["max_lag_ms"])) >= SHORTEST_PHASE_MS for line in handed_off):
        return  # this machine was so late that a tick of the other grid may have passed: some gaps are longer
    period_ms = INTERVAL_S * 1000
    for monitor_id, due in found.items():
        gaps = [after - before for before, after in itertools.pairwise(due)]
        assert all(0 < gap <= period_ms for gap in gaps), f"{monitor_id}: {gaps}"
        shorter = sum(gap < period_ms for gap in gaps)
        assert shorter == (len(TURNS) if phase_ms(monitor_id, True) else 0), f"one for each turn: {monitor_id}: {gaps}"


async def all_run_twice(fleet: Fleet) -> None:
    """Wait until a consumer has taken two more tasks of each monitor."""

    def runs() -> Counter[str]:
        return Counter(monitor_id for monitor_id, _ in fleet.consumer.ticks.elements())

    seen = runs()

    async def have_run() -> bool:
        await asyncio.sleep(POLL_S)
        now = runs()
        return all(now[monitor_id] >= seen[monitor_id] + 2 for monitor_id in fleet.ids)

    await until(have_run, "each monitor runs twice", within_s=WITHIN_S)


async def replaced(fleet: Fleet, replica: ReplicaProcess, on: bool) -> ReplicaProcess:
    """Start another replica, and stop this one."""
    another = fleet.start(SPREAD_TICKS=str(on).lower(), LOG_LEVEL="debug")
    await until(lambda: "producer.started" in another.events(), "it has started")
    assert replica.terminate() == 0
    return another
