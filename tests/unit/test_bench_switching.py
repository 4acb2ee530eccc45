"""What the bench of switching concludes from hand-offs: lateness, gaps, and hand-offs that are early."""

import asyncio
from collections.abc import Iterable

import pytest
from redis.asyncio import Redis

from bench.due_times import DueTimes, due_times_of
from bench.hand_offs import HandOff, HandOffRecord, recorded
from bench.scenarios.switching import without_overlaps
from peekaping_producer.brokers.asynq_keys import PENDING, TASK_KEY_PREFIX
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.checker import Result
from tests.chaos.checker import check as judge
from tests.chaos.fixtures import look, tick
from tests.chaos.history import Looked
from tests.kit.asynq_peer import task_id
from tests.kit.waiting import until

START_MS = 1_800_000_000_000
INTERVAL_S = 10


def hand_off(second: float, next_due: float, monitor: str = "a", *, taken: float | None = None) -> HandOff:
    taken = second if taken is None else taken
    return HandOff(taken, monitor, START_MS + second * 1000, START_MS + taken * 1000, START_MS + next_due * 1000)


def test_the_due_times_of_hand_offs_on_both_grids() -> None:
    """Plain at 10 and 20, spread from the hand-off at 20 on, plain again from that at 43 on."""
    found = due_times_of(
        [hand_off(*times) for times in ((0.5, 10), (10.2, 20), (20.4, 23), (23, 33), (33.1, 43), (43, 50), (50.6, 60))],
        INTERVAL_S,
    )
    assert [round(late_ms) for _, late_ms in found.late] == [200, 400, 0, 100, 0, 600]
    assert (found.early, found.most_shorter_gaps) == (0, 2)
    assert (found.longest_wait_ms, found.longest_gap_ms) == (10_000, 10_200)
    assert [round(late) for late in found.late_ms(START_MS + 20_000, START_MS + 33_000)] == [400, 0]


def test_a_hand_off_before_its_due_time_is_early() -> None:
    twice = [hand_off(0, 10), hand_off(10, 20), hand_off(10.1, 20)]
    assert due_times_of(twice, INTERVAL_S).early == 1
    assert due_times_of([*twice[:2], hand_off(10.1, 20, "b")], INTERVAL_S).early == 0


def test_a_wait_longer_than_the_interval_is_reported() -> None:
    assert due_times_of([hand_off(0.5, 20), hand_off(20, 30)], INTERVAL_S).longest_wait_ms == 19_500


def judged(redis: Redis, hand_offs: Iterable[HandOff], looks: Iterable[Looked] = ()) -> Result:
    record = HandOffRecord(redis, ["a"], INTERVAL_S)
    record.hand_offs += hand_offs
    record.looks += looks
    return judge(record.lines(), lease_ttl_s=10, sync_s=30)


def test_a_monitor_whose_task_is_still_in_the_queue_gets_no_second_one() -> None:
    """The task of 20 is taken after the monitor was due at 20.1 and 30.1 had become its next due time."""
    found = due_times_of([hand_off(9.9, 20), hand_off(20, 30.1, taken=20.2), hand_off(30.1, 40.1)], INTERVAL_S)
    assert found.overlapped == {("a", START_MS + 20_100)}
    assert (found.longest_wait_ms, found.early) == (10_100, 0)


async def test_the_checker_finds_a_check_that_was_handed_off_twice(redis: Redis) -> None:
    once = [hand_off(second, second + 10) for second in range(100, 200, 10)]
    assert judged(redis, once).violations == []
    (broken,) = judged(redis, [*once, hand_off(191, 200)]).violations
    assert broken.broken.kind == "duplicated"


async def test_the_checker_finds_a_tick_that_was_left_out(redis: Redis) -> None:
    checks = [hand_off(second, second + 10) for second in range(10, 200, 10)]
    looks = [look(0.25, entered=["a"]), *(look(n / 2) for n in range(1, 400))]
    assert judged(redis, checks, looks).violations == []
    (broken,) = judged(redis, [check for check in checks if check.at != 150], looks).violations
    assert (broken.broken.kind, broken.broken.tick) == ("lost", tick(150))
    overlapped = DueTimes(overlapped={("a", START_MS + 150_000)})
    assert without_overlaps([broken], overlapped, INTERVAL_S) == []
    assert without_overlaps([broken], DueTimes(), INTERVAL_S) == [broken]


async def test_the_record_contains_each_task_and_the_due_time_that_its_hand_off_set(redis: Redis) -> None:
    async with recorded(redis, ["a", "b"], INTERVAL_S) as record:
        await redis.zadd(KEYS.due, {"a": START_MS})
        await redis.zadd(KEYS.lease, {"b": START_MS})
        for monitor, since_ms in (("a", START_MS - 10), ("b", START_MS - 5)):
            await redis.hset(TASK_KEY_PREFIX + task_id(monitor), "pending_since", str(since_ms * 1_000_000))
            await redis.lpush(PENDING, task_id(monitor))
        await until(lambda: len(record.hand_offs) == 2 and record.looks[-1].leased == 1, within_s=10)
    found = [(taken.monitor, taken.enqueued_ms, taken.next_due_ms) for taken in record.hand_offs]
    assert found == [("a", START_MS - 10, START_MS), ("b", START_MS - 5, None)]
    assert [look.entered for look in record.looks if look.entered] == [["a", "b"]]
    assert not await redis.exists(PENDING, TASK_KEY_PREFIX + task_id("a"))


async def test_a_record_that_loses_monitors_is_not_whole(redis: Redis) -> None:
    async def lose() -> None:
        async with recorded(redis, ["a"], INTERVAL_S) as record:
            await redis.zadd(KEYS.due, {"a": START_MS})
            await until(lambda: any(look.entered for look in record.looks))
            await redis.delete(KEYS.due)
            await asyncio.wait(record.tasks, return_when=asyncio.FIRST_COMPLETED)

    with pytest.raises(AssertionError, match="0 of 1 monitors are scheduled"):
        await lose()
