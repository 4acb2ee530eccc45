"""Brokers that publish: the schedule's scripts on a real server, messages in memory."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import publishing
from peekaping_producer.brokers.protocol import HandOff, Outcome
from peekaping_producer.brokers.publishing import PublishingBroker
from peekaping_producer.errors import BrokerError, BrokerUnavailableError, RedisUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import Claim, Rescheduled, Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.publishers import MemoryPublisher, UnreliablePublisher

INTERVAL_S = 60
MONITORS = tuple("abcdef")


def task(monitor_id: str) -> HealthCheckTask:
    return HealthCheckTask(monitor_id, INTERVAL_S, 5, b"{}")


def tasks_of(claim: Claim) -> list[HealthCheckTask]:
    return [task(monitor_id) for monitor_id in claim.due]


@pytest.fixture
def schedule(redis: Redis, clock: Clock) -> Schedule:
    return schedule_on(redis, clock)


def schedule_on(redis: Redis, clock: Clock) -> Schedule:
    return Schedule(
        redis, lease_ttl_s=10.0, keeps_due_times=True, clock=TEST_CLOCK, monotonic=lambda: clock.now_ms / 1000
    )


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
def broker(publisher: MemoryPublisher, schedule: Schedule) -> PublishingBroker:
    return PublishingBroker(publisher, schedule)


async def claimed(redis: Redis, schedule: Schedule, clock: Clock, *ids: str) -> Claim:
    await redis.zadd(KEYS.due, dict.fromkeys(ids, clock.now_ms - 500))
    return await schedule.claim(500)


def ids_of(publisher: MemoryPublisher) -> list[str]:
    return [message.id for message in publisher.messages]


async def test_a_task_is_published_under_its_tick_and_then_rescheduled(
    redis: Redis, schedule: Schedule, clock: Clock, broker: PublishingBroker, publisher: MemoryPublisher
) -> None:
    claim = await claimed(redis, schedule, clock, "a", "b")
    assert await broker.hand_off(claim, tasks_of(claim)) == HandOff(clock.now_ms, {})
    assert ids_of(publisher) == [f"a:{clock.now_ms - 500}", f"b:{clock.now_ms - 500}"]
    next_tick = (clock.now_ms // 60_000 + 1) * 60_000
    assert await redis.zrange(KEYS.due, 0, -1, withscores=True) == [(b"a", next_tick), (b"b", next_tick)]
    assert await redis.exists(KEYS.lease, KEYS.late) == 0


async def test_a_replica_that_dies_before_it_reschedules_is_followed_by_the_same_message(
    redis: Redis, schedule: Schedule, clock: Clock, broker: PublishingBroker, publisher: MemoryPublisher
) -> None:
    claim = await claimed(redis, schedule, clock, "a")
    await publisher.publish([Message(f"a:{int(claim.due['a'])}", b"{}")])  # and then it dies
    await clock.advance(11)
    assert await schedule.reclaim() == 1
    later = await schedule.claim(500)
    assert later.due == claim.due
    await broker.hand_off(later, tasks_of(later))
    assert len(publisher.messages) == 2
    assert len(set(ids_of(publisher))) == 1
    assert await redis.exists(KEYS.late) == 0


async def test_without_kept_due_times_the_tick_would_be_lost_with_the_replica(redis: Redis, clock: Clock) -> None:
    schedule = Schedule(redis, lease_ttl_s=10.0, clock=TEST_CLOCK, monotonic=lambda: clock.now_ms / 1000)
    claim = await claimed(redis, schedule, clock, "a")
    await clock.advance(11)
    await schedule.reclaim()
    assert (await schedule.claim(500)).due != claim.due


async def test_a_refused_task_stops_no_other(
    redis: Redis, schedule: Schedule, clock: Clock, broker: PublishingBroker, publisher: MemoryPublisher
) -> None:
    claim = await claimed(redis, schedule, clock, "a", "b", "c")
    publisher.refused = {f"b:{clock.now_ms - 500}": "too large"}
    handed = await broker.hand_off(claim, tasks_of(claim))
    assert handed.refused == {"b": "too large"}
    assert await redis.zrange(KEYS.lease, 0, -1) == [b"b"]  # the worker postpones it


async def test_what_is_confirmed_is_rescheduled_though_the_rest_fails(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    class Halting(MemoryPublisher):
        async def publish(self, messages: Sequence[Message]) -> PublishResult:
            if self.messages:
                raise BrokerUnavailableError("connection lost")
            await super().publish(messages[:2])
            return PublishResult(2)

    claim = await claimed(redis, schedule, clock, "a", "b", "c")
    with pytest.raises(BrokerUnavailableError, match="connection lost"):
        await PublishingBroker(Halting(), schedule).hand_off(claim, tasks_of(claim))
    assert await redis.zrange(KEYS.lease, 0, -1) == [b"c"]
    assert await redis.zrange(KEYS.due, 0, -1) == [b"a", b"b"]


async def test_a_monitor_that_the_claim_lost_is_unconfirmed(
    redis: Redis, schedule: Schedule, clock: Clock, broker: PublishingBroker
) -> None:
    claim = await claimed(redis, schedule, clock, "a", "b")
    await redis.zrem(KEYS.lease, "b")  # deleted meanwhile
    handed = await broker.hand_off(claim, tasks_of(claim))
    assert handed.not_enqueued == {"b": Outcome.UNCONFIRMED}


async def test_an_old_claim_publishes_nothing(
    redis: Redis, schedule: Schedule, clock: Clock, broker: PublishingBroker, publisher: MemoryPublisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    claim = await claimed(redis, schedule, clock, "a")
    monkeypatch.setattr("time.monotonic", lambda: claim.ends_at - 4.9)
    handed = await broker.hand_off(claim, tasks_of(claim))
    assert handed.not_enqueued == {"a": Outcome.LOST}
    assert not publisher.messages


async def test_a_broker_that_never_confirms_does_not_outlive_the_claim(
    redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(MemoryPublisher):
        async def publish(self, messages: Sequence[Message]) -> PublishResult:
            await asyncio.Event().wait()
            raise AssertionError

    # The claim may be 5 s old before it is too old to publish; the broker is given up after 0.3 s.
    monkeypatch.setattr(publishing, "SETTLE_RESERVE_S", 9.7)
    schedule = Schedule(redis, lease_ttl_s=10.0, keeps_due_times=True)
    await redis.zadd(KEYS.due, {"a": 1})
    claim = await schedule.claim(1)
    with pytest.raises(BrokerUnavailableError, match="before the claim ended"):
        await PublishingBroker(Hanging(), schedule).hand_off(claim, tasks_of(claim))


class Reader:
    """A replica that may stop at any step."""

    def __init__(self, redis: Redis, clock: Clock, publisher: MemoryPublisher, dice: random.Random) -> None:
        self.schedule = schedule_on(redis, clock)
        self.dice = dice
        self.broker = PublishingBroker(publisher, self.schedule)
        self.settled: list[str] = []
        reschedule = self.schedule.reschedule

        async def interrupted(claim: Claim, plans: Sequence[Plan]) -> Rescheduled:
            how = dice.choice(["done", "done", "dies before", "reply lost"])
            if how == "dies before":
                raise RedisUnavailableError("killed")
            done = await reschedule(claim, plans)
            self.settled += [plan.id for plan in plans if plan.id not in done.lost]
            if how == "reply lost":
                raise RedisUnavailableError("timeout")
            return done

        self.schedule.reschedule = interrupted  # type: ignore[method-assign, assignment]

    async def turn(self) -> None:
        """Claim and hand off; sometimes die with the claim, wake up late, or give it back."""
        claim = await self.schedule.claim(self.dice.randint(1, 6))
        how = self.dice.choice(["hand off", "hand off", "hand off", "give back", "die"])
        if how == "give back":
            await self.schedule.give_back(claim)
        elif how == "hand off" and claim.due:
            try:
                await self.broker.hand_off(claim, tasks_of(claim))
            except (BrokerError, RedisUnavailableError):
                if self.dice.random() < 0.5:
                    await self.schedule.give_back(claim)


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_fails_no_tick_is_lost_and_repeats_carry_the_same_id(
    redis: Redis, clock: Clock, seed: int
) -> None:
    """Between two times that a monitor is rescheduled, all its messages have one id, and there is one at least."""
    dice = random.Random(seed)
    publisher = UnreliablePublisher(seed)
    replicas = [Reader(redis, clock, publisher, dice) for _ in range(2)]
    await redis.zadd(KEYS.due, dict.fromkeys(MONITORS, clock.now_ms))
    open_ids: dict[str, set[str]] = defaultdict(set)
    ticks = 0
    for _ in range(60):
        seen = len(publisher.messages)
        replica = dice.choice(replicas)
        await replica.turn()
        for message in publisher.messages[seen:]:
            open_ids[message.id.split(":")[0]].add(message.id)
        for ids in open_ids.values():
            assert len(ids) == 1, f"one tick was published as {ids}"
        for monitor_id in replica.settled:
            assert open_ids.pop(monitor_id, None), f"{monitor_id} was rescheduled and not published"
            ticks += 1
        replica.settled.clear()
        await clock.advance(dice.choice([0, 1, 4, 11, 61]))
        await replica.schedule.reclaim()
        assert await redis.zcard(KEYS.due) + await redis.zcard(KEYS.lease) == len(MONITORS)
    assert ticks > len(MONITORS)
