"""What the schedule reports: statistics, reports of replicas, replies and values of other programs, keys of a tag."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import RedisUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.redis_client.script import Script
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS, Keys
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.schedule import TERM, make_due


async def test_stats_report_keys_that_cannot_be_read(redis: Redis, schedule: Schedule) -> None:
    await redis.set(KEYS.due, "not a sorted set")
    stats = await schedule.stats()
    assert stats.due == 0
    assert len(stats.problems) == 1
    assert KEYS.due in stats.problems[0]
    assert "WRONGTYPE" in stats.problems[0]


async def test_stats_report_that_writes_are_refused(redis: Redis, schedule: Schedule) -> None:
    assert (await schedule.stats()).write_refused is None
    await redis.config_set("maxmemory", 1)
    try:
        of_status, of_replica = await schedule.stats(), await schedule.stats(node="n", report=b"{}")
    finally:
        await redis.config_set("maxmemory", 0)
    for stats in (of_status, of_replica):
        assert stats.write_refused is not None
        assert "OOM" in stats.write_refused


async def test_reports_are_returned_while_their_replica_runs(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await schedule.stats(node="a", report=b'{"x": 1}')
    await clock.advance(10)
    stats = await schedule.stats(node="b", report=b"{}")
    assert {report.node: report.text for report in stats.reports} == {"a": b'{"x": 1}', "b": b"{}"}
    await clock.advance(10)
    stats = await schedule.stats(node="b", report=b"{}")
    assert ([report.node for report in stats.reports], [report.node for report in stats.silent]) == (["b"], ["a"])
    await clock.advance(50)
    assert (await schedule.stats(node="b", report=b"{}")).silent == ()
    assert await redis.hkeys(KEYS.replicas) == [b"b"]
    await schedule.forget_report("b")
    assert not await redis.exists(KEYS.replicas)


async def test_stats_report_depths_and_age(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    empty = await schedule.stats()
    assert (empty.due, empty.leased, empty.oldest_due_age_s, empty.leader) == (0, 0, 0.0, None)
    await make_due(redis, a=clock.now_ms - 1500, b=clock.now_ms - 1, c=clock.now_ms + 1)
    await schedule.claim(1)
    await make_due(redis, a=clock.now_ms - 1500)
    await schedule.campaign("", "a/1", 10)
    stats = await schedule.stats()
    assert (stats.due, stats.leased, stats.overdue, stats.oldest_due_age_s) == (3, 1, 2, 1.5)
    assert (stats.unclaimed, stats.postponed) == (2, 0)
    assert stats.leader == "a/1"
    assert stats.lease_excess_ms == 0

    ends_ms = clock.now_ms + 1000 * schedule.lease_ttl_s
    await redis.zadd(KEYS.lease, {"ahead": ends_ms + 90_000})
    assert (await schedule.stats()).lease_excess_ms == 90_000
    await redis.zadd(KEYS.lease, {"without end": "inf"})
    assert (await schedule.stats()).lease_excess_ms > 2**52


async def test_every_monitor_past_its_tick_is_overdue_once(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """To be claimed, in a claim that lasts, set aside; not one that is claimed again after a failure, twice."""
    past, ahead = clock.now_ms - 3000, clock.now_ms + 60_000
    await make_due(redis, aside=past)
    await schedule.give_back(await schedule.claim(10), ["aside"], delay_s=30)
    await make_due(redis, again=past)
    await schedule.give_back(await schedule.claim(10))
    await make_due(redis, a=past, b=past)
    await schedule.claim(10)
    await make_due(redis, c=past, ahead=ahead)
    stats = await schedule.stats()
    assert (stats.unclaimed, stats.claimed_late, stats.postponed) == (1, 3, 1)
    assert (stats.overdue, stats.scheduled) == (5, 6)


@pytest.mark.parametrize("reply", [b"OK", 7, None, [], [1, 2], [b"x"] * 12, [[[]]], {}])
async def test_a_reply_of_another_form_is_an_error_of_redis(
    schedule: Schedule, broker: AsynqBroker, monkeypatch: pytest.MonkeyPatch, reply: object
) -> None:
    """A proxy, or another program at the address, must not end a loop."""

    async def run(*_: object) -> object:
        return reply

    monkeypatch.setattr(Script, "run", run)
    claim = schedule.claim(1)
    for call in (claim, schedule.campaign("", "a/1", 10), schedule.stats(), broker.inspect(), broker.sweep()):
        with pytest.raises(RedisUnavailableError, match="unexpected reply"):
            await call


async def test_an_error_of_our_own_is_not_one_of_redis(
    schedule: Schedule, broker: AsynqBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry helps against an error of Redis, and hides a bug."""
    claim = await schedule.claim(1)
    plan = Plan("a", None)
    with pytest.raises(TypeError):
        await schedule.reschedule(claim, [plan])
    with pytest.raises(TypeError):
        await schedule.place("a/1", [plan])

    async def run(*_: object) -> object:
        raise TypeError("an argument that cannot be built")

    monkeypatch.setattr(Script, "run", run)
    for call in (schedule.claim(1), schedule.reclaim(), schedule.stats(), broker.inspect(), broker.sweep()):
        with pytest.raises(TypeError, match="cannot be built"):
            await call


async def test_values_that_no_producer_wrote_are_cut_or_omitted(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.set(KEYS.leader, "x" * 1_000_000, px=9000)
    await redis.hset(
        KEYS.replicas, mapping={"large": f"{clock.now_ms} " + "y" * 200_000, "z" * 300: f"{clock.now_ms} {{}}"}
    )
    stats = await schedule.stats()
    assert (stats.leader, stats.reports) == ("x" * 200, ())
    assert (await schedule.campaign("", "a/1", 10)).holder == "x" * 200


async def test_schedules_of_two_tags_share_nothing_and_each_tag_is_one_slot(redis: Redis, clock: Clock) -> None:
    upstream, tagged = (Schedule(redis, keys=Keys(tag), clock=TEST_CLOCK) for tag in ("", "other"))
    await tagged.campaign("", TERM, 10)
    await tagged.place(TERM, [Plan("a", 60)])
    await tagged.stats(node="n", report=b"{}")
    assert (await upstream.claim(1)).due == {}
    assert (await tagged.claim(1)).due == {"a": clock.now_ms}
    names = sorted(key.decode() for key in await redis.keys() if key != b"test:clock")
    assert names == sorted([tagged.keys.lease, tagged.keys.leader, tagged.keys.replicas])
    assert all(name.startswith("{other}:peekaping:") for name in names)
    await redis.delete(*names)


def test_a_tag_that_would_not_decide_the_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="tag: expected text without braces, got '}'"):
        Keys("}")
