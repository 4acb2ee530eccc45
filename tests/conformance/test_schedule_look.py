"""The look: single monitors, the distribution of due times, and events, without reading a whole set."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.operations.due_times import read_due_times
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import ClaimedMember, Member, Schedule, Slots, StoredEvent
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.rights import documented, user_with
from tests.kit.schedule import make_due


async def test_an_empty_schedule(schedule: Schedule, clock: Clock) -> None:
    details = await schedule.look(slots=Slots(clock.now_ms, 1000, 3), events=10)
    assert (details.overdue, details.leases, details.due_counts, details.events) == ((), (), (0, 0, 0), ())
    assert (details.now_ms, details.events_refused) == (clock.now_ms, None)


async def test_the_longest_overdue_and_the_leases_that_end_first(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await make_due(redis, m1=clock.now_ms - 3000, m2=clock.now_ms - 2000)
    claim = await schedule.claim(2)
    await make_due(redis, a=clock.now_ms - 10, b=clock.now_ms - 5000, c=clock.now_ms, d=clock.now_ms + 1)
    details = await schedule.look(members=2)
    assert details.overdue == (Member("b", str(clock.now_ms - 5000)), Member("a", str(clock.now_ms - 10)))
    assert details.leases == (Member("m1", claim.token), Member("m2", claim.token))
    assert details.due_counts == ()
    assert len((await schedule.look()).overdue) == 3
    none = await schedule.look(members=0)
    assert (none.overdue, none.leases, none.claimed) == ((), (), ())


async def test_claimed_again(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """The lease of a claim begins when it is made: the intended due time is in the set late."""
    first_ms = clock.now_ms
    await make_due(redis, m1=first_ms - 3000, m2=first_ms - 2000)
    await schedule.give_back(await schedule.claim(2))
    await clock.advance(60)
    claim = await schedule.claim(1)
    assert (await schedule.look()).claimed == (ClaimedMember("m1", claim.token, first_ms - 3000),)
    claim_of_others = await schedule.claim(1)
    claimed = [(found.id, found.token) for found in (await schedule.look()).claimed]
    assert claimed == [("m1", claim.token), ("m2", claim_of_others.token)]


async def test_members_that_are_no_ids_are_left_out(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.zadd(KEYS.due, {"x" * 65: clock.now_ms - 5, "m1": clock.now_ms - 4})
    assert [member.id for member in (await schedule.look()).overdue] == ["m1"]


async def test_due_times_are_counted_by_slot(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    first = clock.now_ms
    due_ms = {"past": -5000, "a": 0, "b": 999, "c": 1000, "d": 2999, "later": 3000}
    await make_due(redis, **{name: first + ms for name, ms in due_ms.items()})
    details = await schedule.look(slots=Slots(first, 1000, 3))
    assert details.due_counts == (3, 1, 1)


async def test_coming_due_times_do_not_include_the_overdue(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """Slots begin at the next full second."""
    now = clock.now_ms
    next_second = now // 1000 * 1000 + 1000
    due_ms = {"overdue": now - 5000, "now": now, "a": next_second, "b": next_second + 999, "c": next_second + 89_999}
    await make_due(redis, **due_ms, later=next_second + 90_000)
    found = await read_due_times(schedule, 90, now)
    assert (found.from_ms, found.slot_s, len(found.counts), found.counts[0], found.counts[89]) == (
        next_second,
        1,
        90,
        2,
        1,
    )
    assert found.fullest == (next_second, 2)
    assert sum((await read_due_times(schedule, 3600, now)).counts) == 4, "slots of 10 s"


async def test_the_hint_regards_the_next_minute_whatever_the_span(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await redis.zadd(KEYS.due, {f"m{n}": clock.now_ms + 40_000 for n in range(1001)})
    for span_s in (1, 90, 3600):
        assert (await read_due_times(schedule, span_s, clock.now_ms)).hint.startswith("1,001 monitors are due in one")
    await clock.advance(41)
    assert (await read_due_times(schedule, 90, clock.now_ms)).hint == "", "they are overdue"


async def test_events_are_read_from_the_last_one_seen_or_the_latest(redis: Redis, schedule: Schedule) -> None:
    for number in range(5):
        await schedule.stats(node="n", report=b"{}", events=[b"%d" % number])
    latest = (await schedule.look(events=3)).events
    assert [event.text for event in latest] == [b"2", b"3", b"4"]
    after = (await schedule.look(events=1, events_after=latest[0].id)).events
    assert after == latest[1:2]
    assert (await schedule.look(events=10, events_after=latest[-1].id)).events == ()
    assert (await schedule.look()).events == ()
    oversized = await redis.xadd(KEYS.events, {"event": "x" * 10_000})
    assert (await schedule.look(events=1)).events == (StoredEvent(oversized.decode(), b""),)


async def test_replicas_are_told_that_a_page_is_open(redis: Redis, schedule: Schedule) -> None:
    await schedule.look()
    assert not (await schedule.stats()).is_watched
    await schedule.look(watch=True)
    assert (await schedule.stats()).is_watched
    assert 5000 < await redis.pttl(KEYS.watched) <= 10_000


@pytest.mark.usefixtures("clock")
async def test_without_the_right_to_the_stream_the_rest_is_read(redis: Redis, redis_server: RedisTarget) -> None:
    rules = [rule for rule in documented("peekaping-producer") if not rule.startswith("+x")]
    target = await user_with(redis, redis_server, *rules, "~test:clock")
    async with redis_for(target, connections=1) as limited:
        for after in ("", "1-0"):
            details = await Schedule(limited, clock=TEST_CLOCK).look(events=5, events_after=after)
            assert details.events == ()
            assert details.events_refused


async def test_keys_of_another_type_are_no_error(redis: Redis, schedule: Schedule) -> None:
    for key in (KEYS.due, KEYS.lease, KEYS.events):
        await redis.set(key, "x")
    details = await schedule.look(slots=Slots(0, 1000, 2), events=3, watch=True)
    assert (details.overdue, details.leases, details.due_counts, details.events) == ((), (), (0, 0), ())
    assert "WRONGTYPE" in (details.events_refused or "")
