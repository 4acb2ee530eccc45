"""Ours beside upstream's producers, which write without a fence: ours break nothing, and go on.

A stand-in does what upstream's producer does (go_producer.py). Every write to the schedule is recorded by MONITOR and
judged, so that a tick handed off twice or a due time moved back is attributed to ours or theirs.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from tests.e2e.test_faults import a_batch_is_being_read, lost, reads_blocked
from tests.kit.consumer import Consumer, at_work
from tests.kit.databases import SqlDatabase
from tests.kit.fleet import Fleet
from tests.kit.monitored_writes import MonitoredWrites, WriteJudge, WriteVerdict, monitored_writes
from tests.kit.processes import HOST
from tests.kit.redis import target_of
from tests.kit.replicas import ReplicaProcess, leader_pid, members, replicas
from tests.kit.waiting import until

MONITORS = 200
INTERVAL_S = 2
AHEAD_S = 20
"""Enough that every lease of ours is over to it."""
BEHIND_S = 300
SLOW = {"CLAIM_BATCH": "5", "PRODUCER_CONCURRENCY": "1"}
"""For ours: they are awake at the very instant of a tick and would leave nothing to a peer that looks every 50 ms."""


class GoProducerProcess(ReplicaProcess):
    """The stand-in as a process; its log has the same form."""

    @property
    def has_claims_in_hand(self) -> bool:
        events = self.events()
        return events.count("claimed") > events.count("rescheduled")

    def freeze_with_claims_in_hand(self) -> bool:
        """Whether it was frozen while it had some; otherwise it goes on."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        if self.has_claims_in_hand:
            return True
        self.process.send_signal(signal.SIGCONT)
        return False


class MixedFleet(Fleet):
    """Replicas of ours and stand-ins."""

    def ours(self, **settings: str) -> ReplicaProcess:
        return self.start(SYNC_INTERVAL="1", **SLOW, **settings)

    def theirs(self, **settings: str) -> GoProducerProcess:
        argv = (sys.executable, "-m", "tests.kit.go_producer")
        go = GoProducerProcess(self.folder, self.environment(**settings), argv=argv)
        self.started.append(go)
        return go

    async def leads(self, *whose: ReplicaProcess, within_s: float = 60.0) -> None:
        """Wait until one of these leads. Upstream's id ends with the process, ours goes on."""

        async def one_leads() -> bool:
            holder = await self.redis.get(KEYS.leader) or b""
            pid = await leader_pid(self.redis) if b"/" in holder else int(holder.rpartition(b"-")[2] or 0)
            return pid in [each.process.pid for each in whose]

        await until(one_leads, "another leads", within_s=within_s)

    def ran_by(self, producer: str) -> int:
        return sum(makers.count(producer) for makers in self.consumer.made_by.values())


@pytest.fixture
async def record(private_redis: RedisServer) -> AsyncIterator[MonitoredWrites]:
    async with monitored_writes(HOST, private_redis.port) as found:
        yield found


@pytest.fixture
async def fleet(
    private_redis: RedisServer,
    record: MonitoredWrites,
    postgres_only: SqlDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[MixedFleet]:
    monkeypatch.setattr("peekaping_producer.redis_client.client.SOCKET_TIMEOUT_S", 30.0)  # the consumer gives up later
    async with redis_for(target_of(private_redis), connections=50) as redis:
        with replicas(tmp_path) as started:
            mixed = MixedFleet(redis, postgres_only, tmp_path, started)
            await mixed.monitors(MONITORS, interval=INTERVAL_S)
            async with at_work(mixed.consumer):
                yield mixed


def verdict(record: MonitoredWrites) -> WriteVerdict:
    """Of all writes so far; ours must be right, whatever theirs did."""
    found = WriteJudge().judge(record.writes())
    found.require_ours_are_right()
    return found


def duplicated_by_ours(consumer: Consumer) -> set[str]:
    """Monitors of which two of our tasks were for one tick."""
    return {each for (each, _), makers in consumer.made_by.items() if makers.count("python") > 1}


async def test_a_peer_that_is_killed_with_claims_in_hand_leaves_them_to_ours(
    fleet: MixedFleet, record: MonitoredWrites
) -> None:
    """Two peers beside two of ours. What the killed one held runs again once its lease is over, and nothing twice; the
    other is gone by then, for it would reclaim too.
    """
    ours = [fleet.ours(), fleet.ours()]
    await fleet.leads(*ours)
    slow, other = fleet.theirs(TAKES_MS="50"), fleet.theirs()
    await fleet.goes_on(ticks=4)

    assert other.terminate() == 0
    await until(slow.freeze_with_claims_in_hand)
    slow.kill()

    await until(lambda: any("lease.reclaimed" in each.events() for each in ours), "ours take back what it held")
    await fleet.goes_on(ticks=4)
    assert fleet.ran_by("go") > 0
    assert fleet.ran_by("python") > 0
    assert [each.terminate() for each in ours] == [0, 0]
    found = verdict(record)
    assert found.reopened == set(), "no replica was late"
    assert fleet.consumer.duplicated() == []
    assert await members(fleet.redis) == set(fleet.ids)


async def test_ours_have_lost_what_a_peer_with_a_clock_ahead_took_from_them_and_go_on(
    fleet: MixedFleet, record: MonitoredWrites
) -> None:
    """I9. To its clock each lease is over; ours come back from the database with claims that are no longer theirs."""
    ours = [fleet.ours(), fleet.ours()]
    await fleet.leads(*ours)
    await fleet.goes_on(ticks=3)
    ahead = fleet.theirs(CLOCK_OFF_MS=str(AHEAD_S * 1000), WAITS_FOR_SIGUSR1="")
    await until(lambda: "waits" in ahead.events(), "it is ready: ours read for 10 s at most")
    async with reads_blocked(fleet.database):
        await until(lambda: a_batch_is_being_read(fleet.database))
        ahead.process.send_signal(signal.SIGUSR1)
        await until(lambda: {"reclaimed", "claimed"} <= set(ahead.events()), "it reclaims, and claims")
    await until(lambda: sum(map(lost, ours)) > 0, "ours report that they have lost it")

    await fleet.goes_on(ticks=5)
    assert fleet.ran_by("go") > 0
    assert ahead.terminate() == 0
    ran = fleet.ran_by("python")
    await fleet.goes_on(ticks=3)
    assert fleet.ran_by("python") >= ran + MONITORS, "what it put off was moved to its tick"
    assert [each.terminate() for each in ours] == [0, 0]
    found = verdict(record)
    assert found.taken_away
    assert duplicated_by_ours(fleet.consumer) <= found.reopened
    assert await members(fleet.redis) == set(fleet.ids)


async def test_a_peer_with_a_clock_behind_harms_no_monitor_though_it_leads(
    fleet: MixedFleet, record: MonitoredWrites
) -> None:
    """I9. Whatever it claims is over at once to ours."""
    behind = fleet.theirs(CLOCK_OFF_MS=str(-BEHIND_S * 1000))
    await fleet.leads(behind)
    await until(lambda: "claimed" in behind.events())
    ours = [fleet.ours(), fleet.ours()]
    await fleet.goes_on(ticks=5)
    assert not any("leader.won" in each.events() for each in ours)
    assert behind.terminate() == 0
    await fleet.leads(*ours)
    await fleet.goes_on(ticks=3)
    assert [each.terminate() for each in ours] == [0, 0]
    assert duplicated_by_ours(fleet.consumer) <= verdict(record).reopened
    assert await members(fleet.redis) == set(fleet.ids)


async def test_leadership_goes_from_theirs_to_ours_and_back(fleet: MixedFleet, record: MonitoredWrites) -> None:
    """Killed and stopped; every monitor runs, whichever kind leads."""
    first = fleet.theirs()
    await fleet.leads(first)
    ours = fleet.ours(), fleet.ours()
    await fleet.goes_on(ticks=4)
    first.kill()
    await fleet.leads(*ours)  # its key must run out

    second = fleet.theirs()
    await fleet.goes_on(ticks=4)
    assert "leads" not in second.events()
    for each in ours:
        assert each.terminate() == 0
    await fleet.leads(second)  # it asks every 5 s
    await fleet.goes_on(ticks=3)

    second.process.send_signal(signal.SIGTERM)
    third = fleet.ours()
    await fleet.leads(third)
    (created,) = await fleet.monitors(1, interval=INTERVAL_S)
    await until(lambda: created in fleet.consumer.monitors(), "a sync of ours finds it")
    await fleet.goes_on(ticks=3)
    assert third.terminate() == 0
    assert duplicated_by_ours(fleet.consumer) <= verdict(record).reopened
    assert await members(fleet.redis) == set(fleet.ids)
