"""The judge of monitored writes: it finds each kind of wrong write in sequences made by hand."""

from collections.abc import Iterator

from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit.asynq_peer import PENDING, task_id
from tests.kit.go_peer import RESCHEDULE
from tests.kit.monitored_writes import Write, WriteJudge, WriteVerdict, monitored_writes
from tests.kit.waiting import until


def hand_off(next_due: int, by: str = "hand_off") -> list[tuple[str, ...]]:
    return [(by, "LPUSH", PENDING, task_id("m")), (by, "ZADD", KEYS.due, str(next_due), "m"), (by, *released())]


def claim(by: str = "claim") -> list[tuple[str, ...]]:
    return [(by, "ZADD", KEYS.lease, "999", "m"), (by, "ZREM", KEYS.due, "m")]


def released() -> tuple[str, ...]:
    return "ZREM", KEYS.lease, "m"


def judged(*calls: list[tuple[str, ...]]) -> WriteVerdict:
    def writes() -> Iterator[Write]:
        for number, call in enumerate(calls):
            for by, *words in call:
                yield Write(by, number, tuple(words))

    return WriteJudge().judge(writes())


def test_one_tick_after_the_other_is_right() -> None:
    verdict = judged(claim(), hand_off(2000), claim(), hand_off(4000))
    verdict.require_ours_are_right()
    assert verdict.made_by == {"m": ["ours", "ours"]}
    assert not verdict.reopened


def test_a_tick_that_ours_hand_off_twice_is_found() -> None:
    assert len(judged(claim(), hand_off(2000), hand_off(2000)).duplicated) == 1


def test_a_tick_that_a_peer_made_due_again_is_its_own_fault() -> None:
    verdict = judged(claim(), hand_off(2000), [("", "ZADD", KEYS.due, "1000", "m")], claim(), hand_off(2000))
    verdict.require_ours_are_right()
    assert verdict.reopened == {"m"}


def test_a_due_time_that_ours_move_back_is_found() -> None:
    assert len(judged(hand_off(2000), [("reclaim", "ZADD", KEYS.due, "LT", "1000", "m")]).moved_back) == 1


def test_a_later_time_that_is_not_taken_is_no_move() -> None:
    judged(hand_off(2000), [("reclaim", "ZADD", KEYS.due, "LT", "3000", "m")]).require_ours_are_right()


def test_a_monitor_that_ours_leave_out_is_found_and_one_that_a_peer_takes_out_is_not_ours() -> None:
    out: list[tuple[str, ...]] = [("ZREM", KEYS.due, "m")]
    assert len(judged(hand_off(2000), [("remove", *out[0])]).removed) == 1
    verdict = judged(hand_off(2000), [("", *out[0])], [("place", "ZADD", KEYS.due, "1500", "m")])
    verdict.require_ours_are_right()
    assert verdict.reopened == {"m"}


def test_a_lease_of_ours_that_a_peer_removes_is_found() -> None:
    assert judged(claim(), [("", *released()), ("", "ZADD", KEYS.due, "9", "m")]).taken_away == {"m"}
    assert judged(claim(), hand_off(2000)).taken_away == set()
    assert judged(claim(""), [("", *released()), ("", "ZADD", KEYS.due, "9", "m")]).taken_away == set()


async def test_our_scripts_are_recognized(redis: Redis, redis_server: RedisTarget) -> None:
    """By their text the first time, by their SHA afterwards; a peer's script is not counted as ours."""
    schedule, broker = Schedule(redis, lease_ttl_s=10.0), AsynqBroker(redis)
    await redis.script_flush()
    async with monitored_writes(redis_server.host, redis_server.port) as monitored:
        for _ in range(2):
            await redis.zadd(KEYS.due, {"m": 1})
            claimed = await schedule.claim(10)
            await broker.hand_off(claimed, [HealthCheckTask("m", 60, 16, b'{"quoted": "\\n \xff"}')])
        await redis.eval(RESCHEDULE, 2, KEYS.due, KEYS.lease, "m", 5)
        await until(lambda: any(each.words[-2:] == ("5", "m") for each in monitored.writes()))
        writes = list(monitored.writes())
    makers = [each.by for each in writes if each.words[:2] == ("ZADD", KEYS.due)]
    assert makers == ["", "hand_off", "", "hand_off", ""]
    verdict = WriteJudge().judge(writes)
    assert verdict.made_by == {"m": ["ours"]}, "the second is an overlap, replaced in its place"
    assert verdict.reopened == {"m"}
