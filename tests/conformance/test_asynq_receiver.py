"""The asynq receiver on a real server, with a clock that the test sets: every state, and every fault."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError
from peekaping_producer.redis_client.client import Client
from peekaping_producer.transports.asynq.calls import CALL_BYTES
from peekaping_producer.transports.asynq.cancellation import CANCELED
from peekaping_producer.transports.asynq.dequeuing import DEADLINE_EXCEEDED
from peekaping_producer.transports.asynq.keys import SERVERS, WORKERS
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.recoverer import LEASE_EXPIRED
from peekaping_producer.transports.asynq.scripts import Scripts
from tests.kit.asynq_worker import KEYS, QUEUE, AsynqWorker, QueueView
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.waiting import until

LEASE_S = 30
ENDED_S = 31
"""By Redis, a lease lasts 29 to 31 s."""
RECOVERED_S = 61
"""A lease, and 30 s more."""
DAY_S = 86_400


@pytest.fixture
def queue(redis: Redis, clock: Clock) -> QueueView:
    return QueueView(redis)


@pytest.fixture
def worker(redis: Redis, clock: Clock) -> AsynqWorker:
    return AsynqWorker(redis, clock)


@pytest.fixture
def other(redis: Redis, clock: Clock) -> AsynqWorker:
    return AsynqWorker(redis, clock)


class LostReplies(Scripts):
    """The named script runs, and its reply is lost, a number of times; or it is refused."""

    def __init__(self, redis: Client, name: str, times: int, *, refused: bool = False) -> None:
        super().__init__(redis, TEST_CLOCK)
        self._name = name
        self.left = times
        self._refused = refused

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Any], *decode: Any) -> Any:
        if name != self._name or not self.left:
            return await super().run(name, keys, args, *decode)
        self.left -= 1
        if self._refused:
            raise BrokerRefusedError("Redis: OOM")
        await super().run(name, keys, args, *decode)
        raise BrokerUnavailableError("Redis: the reply was lost")


# The life of a task


async def test_tasks_are_dequeued_in_order_and_never_more_than_the_limit(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    await queue.enqueue("a", "b", "c", payload=b"body", retry=3, retried=1)
    deliveries = await worker.dequeue(2)
    assert [(each.message.id, each.message.body) for each in deliveries] == [("a", b"body"), ("b", b"body")]
    assert {(each.attempt, each.max_attempts, each.timeout_s) for each in deliveries} == {(2, 4, 60)}
    assert await queue.states() == {"pending": ["c"], "active": ["a", "b"], "lease": ["a", "b"]}
    assert await redis.hmget(queue.key("a"), "state", "pending_since") == [b"active", None]
    score = await redis.zscore(KEYS.lease, "a")
    assert score == await redis.zscore(KEYS.lease, "b")
    assert int(score or 0) == clock.now_ms // 1000 + LEASE_S
    assert (score or 0) % 1 == deliveries[0].token > 0
    assert len(await worker.dequeue(2)) == 1
    assert await worker.dequeue(2) == []


async def test_a_finished_task_is_deleted_and_counted(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    await queue.enqueue(*"abc")
    await worker.settler.finish(await worker.dequeue())
    today = f"{datetime.fromtimestamp(clock.now_ms / 1000, UTC):%Y-%m-%d}"
    assert await queue.states() == {}
    assert await queue.counters() == {"processed": 3, f"processed:{today}": 3}
    assert 90 * DAY_S - 5 < await redis.ttl(f"{KEYS.prefix}processed:{today}") <= 90 * DAY_S
    assert len(worker.held) == 0


@pytest.mark.parametrize("date", ["1972-02-29", "1999-12-31", "2000-02-29", "2000-03-01", "2026-01-01", "2100-02-28"])
async def test_the_counter_of_a_day_has_the_date_in_utc(
    queue: QueueView, worker: AsynqWorker, clock: Clock, date: str
) -> None:
    midnight = datetime.fromisoformat(date).replace(tzinfo=UTC)
    for at in (0, DAY_S * 1000 - 1):
        await clock.set(int(midnight.timestamp()) * 1000 + at)
        await queue.enqueue("a")
        await worker.settler.finish(await worker.dequeue())
    assert (await queue.counters())[f"processed:{date}"] == 2


async def test_the_total_starts_again_after_the_greatest_number(
    queue: QueueView, worker: AsynqWorker, redis: Redis
) -> None:
    await redis.set(KEYS.prefix + "processed", 2**63 - 1)
    await queue.enqueue("a")
    await worker.settler.finish(await worker.dequeue())
    assert (await queue.counters())["processed"] == 1


async def test_only_an_own_unique_lock_is_released(queue: QueueView, worker: AsynqWorker, redis: Redis) -> None:
    ours, foreign = "test:ours", "test:foreign"
    await redis.mset({ours: "a", foreign: "another"})
    await queue.enqueue("a", unique_key=ours)
    await queue.enqueue("b", unique_key=foreign, retention=5)
    await worker.settler.finish(await worker.dequeue())
    assert await redis.mget(ours, foreign) == [None, b"another"]


async def test_a_task_with_a_retention_is_kept_with_its_result_until_the_janitor_deletes_it(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    await queue.enqueue("a", "b", retention=100)
    await clock.advance(3)
    first, second = await worker.dequeue()
    first.result = b"42"
    await clock.advance(2)
    await worker.settler.finish([first, second])
    now_s = clock.now_ms // 1000
    assert await queue.states() == {"completed": ["a", "b"]}
    assert await redis.zscore(KEYS.completed, "a") == now_s + 100
    assert (await queue.message("a")).completed_at == now_s
    assert await redis.hmget(queue.key("a"), "state", "result") == [b"completed", b"42"]
    assert await redis.hget(queue.key("b"), "result") is None
    assert (await queue.counters())["processed"] == 2
    await clock.advance(99)
    await worker.janitor.run_once()
    assert await queue.states() == {"completed": ["a", "b"]}
    await clock.advance(1)
    await worker.janitor.run_once()
    assert (await queue.states(), await redis.exists(queue.key("a"))) == ({}, 0)


async def test_the_janitor_keeps_a_new_task_of_the_same_id(queue: QueueView, worker: AsynqWorker, redis: Redis) -> None:
    await queue.enqueue("a")
    await redis.zadd(KEYS.completed, {"a": 1})
    await worker.janitor.run_once()
    assert await queue.states() == {"pending": ["a"]}
    assert (await worker.dequeue_one()).message.id == "a"


async def test_a_retry_waits_in_its_set_and_the_forwarder_makes_it_pending(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    await queue.enqueue("a", retry=2)
    await worker.settler.fail(await worker.dequeue_one(), "no answer", 20)
    message = await queue.message("a")
    assert (message.retried, message.error_msg, message.last_failed_at) == (1, "no answer", clock.now_ms // 1000)
    assert await queue.states() == {"retry": ["a"]}
    assert await redis.hget(queue.key("a"), "state") == b"retry"
    counters = await queue.counters()
    assert (counters["processed"], counters["failed"], len(counters)) == (1, 1, 4)
    await clock.advance(19)
    await worker.forwarder.run_once()
    assert await queue.states() == {"retry": ["a"]}
    await clock.advance(1)
    await worker.forwarder.run_once()
    assert await queue.states() == {"pending": ["a"]}
    assert await redis.hmget(queue.key("a"), "state", "pending_since") == [
        b"pending",
        f"{clock.now_ms}000000".encode(),
    ]
    assert (await worker.dequeue_one()).attempt == 2


async def test_the_forwarder_moves_all_that_are_due_and_respects_groups(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    ids = [f"s{n:03d}" for n in range(250)]
    for task_id in ids:
        await redis.hset(queue.key(task_id), mapping={"msg": b"", "state": "scheduled"})
    await redis.zadd(KEYS.scheduled, dict.fromkeys(ids, clock.now_ms // 1000) | {"without a task": 1, "later": 2**40})
    await redis.hset(queue.key(ids[0]), "group", "g1")
    await worker.forwarder.run_once()
    assert await queue.states() == {"pending": ids[1:], "scheduled": ["later"]}
    assert await redis.zrange(f"{KEYS.prefix}g:g1", 0, -1) == [ids[0].encode()]
    assert await redis.hget(queue.key(ids[0]), "state") == b"aggregating"
    assert not await redis.exists(queue.key("without a task"))


async def test_a_dead_letter_is_archived(queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock) -> None:
    await queue.enqueue("a")
    await worker.settler.fail(await worker.dequeue_one(), "of no use\ud800", None)
    message = await queue.message("a")
    assert (message.retried, message.error_msg, message.last_failed_at) == (0, "of no use?", clock.now_ms // 1000)
    assert await queue.states() == {"archived": ["a"]}
    assert await redis.hget(queue.key("a"), "state") == b"archived"
    assert (await queue.counters())["failed"] == 1


async def test_the_archive_is_trimmed_but_not_a_new_task_of_the_same_id(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peekaping_producer.transports.asynq.settling.MAX_ARCHIVED", 3)
    now_s = clock.now_ms // 1000
    await queue.enqueue("new", "old", "first", "second", "third", "failing")
    await redis.lrem(KEYS.pending, 0, "old")
    for archived in ("old", "first", "second", "third"):
        await redis.hset(queue.key(archived), "state", "archived")
        await redis.lrem(KEYS.pending, 0, archived)
    scores = {"new": now_s - 91 * DAY_S, "old": now_s - 90 * DAY_S, "first": now_s - 3, "second": now_s - 2}
    await redis.zadd(KEYS.archived, scores | {"third": now_s - 1})
    new, failing = await worker.dequeue()
    await worker.settler.fail(failing, "", None)
    assert (await queue.states())["archived"] == ["second", "third", "failing"]
    assert [await redis.exists(queue.key(each)) for each in ("new", "old", "first", "second")] == [1, 0, 0, 1]
    await worker.settler.finish([new])


async def test_released_tasks_are_at_the_front_in_their_order(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue(*"abcd", retried=1, retry=3)
    deliveries = await worker.dequeue(3)
    await worker.settler.finish(deliveries[1:2])
    await worker.settler.requeue([deliveries[0], deliveries[2]])
    assert await queue.states() == {"pending": ["a", "c", "d"]}
    assert await redis.hget(queue.key("a"), "state") == b"pending"
    assert [(each.message.id, each.attempt) for each in await other.dequeue()] == [("a", 2), ("c", 2), ("d", 2)]


# Queues


async def test_a_paused_queue_is_not_served(queue: QueueView, worker: AsynqWorker, redis: Redis) -> None:
    await queue.enqueue("a")
    await redis.set(KEYS.paused, 1)
    assert await worker.dequeue() == []
    await redis.delete(KEYS.paused)
    assert len(await worker.dequeue()) == 1


async def test_strict_queues_are_served_in_order(redis: Redis, clock: Clock) -> None:
    worker = AsynqWorker(redis, clock, {"low": 1, "high": 3, "middle": 2}, strict=True)
    for name in ("low", "middle", "high"):
        await QueueView(redis, name).enqueue("1", "2")
    assert [(each.queue, each.message.id) for each in await worker.dequeue(5)] == [
        *(("high", "1"), ("high", "2"), ("middle", "1"), ("middle", "2"), ("low", "1")),
    ]


async def test_weighted_queues_are_served_in_proportion_and_fill_up_for_empty_ones(redis: Redis, clock: Clock) -> None:
    for name in "abc":
        await QueueView(redis, name).enqueue(*map(str, range(200)))
    worker = AsynqWorker(redis, clock, {"a": 6, "b": 3, "c": 1})
    batches = [await worker.dequeue(60) for _ in range(5)]
    shares = Counter(delivery.queue for batch in batches for delivery in batch)
    assert shares.total() == 300
    assert 140 <= shares["a"] <= 200
    assert 55 <= shares["b"] <= 125
    assert 8 <= shares["c"] <= 60
    worker = AsynqWorker(redis, clock, {"a": 6, "b": 3, "c": 1, "empty": 90})
    assert len(await worker.dequeue(300)) == 300


@pytest.mark.parametrize("queues", [{}, {"a": 0}, {" ": 1}])
def test_queues_without_names_or_priorities_are_refused(queues: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="queues: expected names with priorities of 1 or more"):
        Priorities(queues)


# Faults


async def test_a_lease_is_extended_as_long_as_it_holds(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, clock: Clock
) -> None:
    await queue.enqueue("a")
    delivery = await worker.dequeue_one()
    for _ in range(20):
        await clock.advance(25)
        await worker.leases.run_once()
        await other.recoverer.run_once()
    await worker.settler.finish([delivery])
    assert await queue.states() == {}


async def test_a_lease_that_has_ended_is_not_extended_and_its_handler_is_canceled(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    await queue.enqueue("a", "b")
    slow, frozen = await worker.dequeue(2)
    canceled: list[str] = []
    slow.cancel = lambda: canceled.append("slow")
    frozen.cancel = lambda: canceled.append("frozen")
    worker.freeze()
    await clock.advance(ENDED_S)
    before = await redis.zscore(KEYS.lease, "a")
    await worker.leases.run_once()
    assert canceled == ["slow", "frozen"]
    assert await redis.zscore(KEYS.lease, "a") == before
    assert len(worker.held) == 0


async def test_the_own_clock_cancels_a_handler_also_if_redis_does_not_answer(
    queue: QueueView, redis: Redis, clock: Clock
) -> None:
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "extend", 100))
    await queue.enqueue("a")
    delivery = await worker.dequeue_one()
    canceled: list[bool] = []
    delivery.cancel = lambda: canceled.append(True)
    with pytest.raises(BrokerUnavailableError):
        await worker.leases.run_once()
    await clock.advance(29)
    await worker.leases.run_once()
    assert canceled == [True]


@pytest.mark.parametrize("end", ["finish", "complete", "retry", "archive", "requeue"])
async def test_a_frozen_worker_cannot_end_the_run_of_another(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis, clock: Clock, end: str
) -> None:
    await queue.enqueue("a", retry=5, retention=60 if end == "complete" else 0)
    frozen = await worker.dequeue_one()
    worker.freeze()
    await clock.advance(RECOVERED_S)
    await other.recoverer.run_once()
    await clock.advance(60)
    await other.forwarder.run_once()
    second = await other.dequeue_one()
    assert (frozen.attempt, second.attempt) == (1, 2)
    before = [await redis.zscore(KEYS.lease, "a"), await redis.hgetall(queue.key("a"))]
    assert worker.held.is_valid(frozen)
    match end:
        case "finish" | "complete":
            await worker.settler.finish([frozen])
        case "retry":
            await worker.settler.fail(frozen, "", 1)
        case "archive":
            await worker.settler.fail(frozen, "", None)
        case "requeue":
            await worker.settler.requeue([frozen])
    assert [await redis.zscore(KEYS.lease, "a"), await redis.hgetall(queue.key("a"))] == before
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}
    await other.settler.finish([second])
    assert (await queue.states()).keys() <= {"completed"}


async def test_nothing_is_written_after_the_end_of_a_lease(queue: QueueView, worker: AsynqWorker, clock: Clock) -> None:
    await queue.enqueue("a", "b")
    by_own_clock, by_redis = await worker.dequeue(2)
    await clock.advance(ENDED_S)
    await worker.settler.finish([by_own_clock])
    worker.held.add(by_redis)
    by_redis.leased_until = 2**40
    await worker.settler.finish([by_redis])
    assert await queue.states() == {"active": ["a", "b"], "lease": ["a", "b"]}


@pytest.mark.parametrize("retry", [0, 3])
async def test_the_task_of_a_worker_that_was_killed_is_retried_or_archived_30_s_after_its_lease(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, clock: Clock, retry: int
) -> None:
    await queue.enqueue("a", "b", retry=retry)
    await worker.dequeue()
    await clock.advance(59)
    await other.recoverer.run_once()
    assert await queue.states() == {"active": ["a", "b"], "lease": ["a", "b"]}
    await clock.advance(1.5)
    await other.recoverer.run_once()
    assert (await queue.states()).keys() == {"retry" if retry else "archived"}
    message = await queue.message("a")
    assert (message.error_msg, message.retried) == (LEASE_EXPIRED, 1 if retry else 0)
    assert message.last_failed_at == clock.now_ms // 1000


async def test_an_active_task_without_a_lease_is_repaired(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("held", "a", retry=1)
    await worker.dequeue()
    await redis.zrem(KEYS.lease, "a")
    await redis.lpush(KEYS.active, "without a task")
    await redis.zadd(KEYS.lease, {"stale": 1})
    await other.recoverer.run_once()
    assert await queue.states() == {"active": ["held"], "lease": ["held"], "retry": ["a"]}


async def test_many_are_recovered_in_several_calls_and_a_bad_one_does_not_stop_the_others(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    ids = [f"t{n:03d}" for n in range(230)]
    await queue.enqueue(*ids)
    await worker.dequeue(1000)
    await redis.hset(queue.key("t005"), "msg", b"\xff")
    await redis.set(KEYS.retry, "of another type")
    await queue.enqueue("refused", retry=1)
    await worker.dequeue()
    await clock.advance(RECOVERED_S)
    with pytest.raises(BrokerRefusedError):
        await other.recoverer.run_once()
    await redis.delete(KEYS.retry)
    states = await queue.states()
    assert states["active"] == ["refused"]
    assert sorted(states["archived"]) == ids


async def test_an_undecodable_message_is_archived_with_the_reason_and_its_bytes(
    queue: QueueView, worker: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("a")
    await queue.enqueue_raw("bad", b"\xff\xff")
    await queue.enqueue("b")
    assert [each.message.id for each in await worker.dequeue()] == ["a", "b"]
    assert (await queue.states())["archived"] == ["bad"]
    message = await queue.message("bad")
    assert (message.payload, message.id, message.queue, message.type) == (b"\xff\xff", "bad", QUEUE, "undecodable")
    assert message.error_msg.startswith("task message: expected protobuf, got ")


async def test_an_id_without_a_task_is_dropped_and_makes_none(
    queue: QueueView, worker: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("a")
    await redis.rpush(KEYS.pending, "no hash", "wrong type")
    await redis.set(queue.key("wrong type"), "text")
    assert [each.message.id for each in await worker.dequeue()] == ["a"]
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}
    assert not await redis.exists(queue.key("no hash"))


async def test_an_id_that_is_twice_in_the_list_runs_once(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("a")
    await redis.lpush(KEYS.pending, "a", "a")
    assert len(await worker.dequeue(2)) == 1
    assert await other.dequeue() == []
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}


@pytest.mark.parametrize("key", [KEYS.active, KEYS.lease])
async def test_a_key_of_another_type_loses_no_task(
    queue: QueueView, worker: AsynqWorker, redis: Redis, key: str
) -> None:
    await queue.enqueue("a")
    await redis.set(key, "text")
    with pytest.raises(BrokerRefusedError):
        await worker.dequeue()
    await redis.delete(key)
    assert await queue.states() == {"pending": ["a"]}
    assert len(await worker.dequeue()) == 1


async def test_a_deadline_that_is_over_fails_before_the_start_and_the_others_limit_the_time(
    queue: QueueView, worker: AsynqWorker, clock: Clock
) -> None:
    now_s = clock.now_ms // 1000
    await queue.enqueue("over", deadline=now_s, timeout=0)
    await queue.enqueue("soon", deadline=now_s + 10, timeout=60)
    await queue.enqueue("timeout", deadline=now_s + 90, timeout=60)
    await queue.enqueue("neither", deadline=0, timeout=0)
    seconds = {each.message.id: round(each.timeout_s or 0, 2) for each in await worker.dequeue()}
    assert seconds == {"soon": 9.45, "timeout": 60, "neither": 1800}
    assert (await queue.states())["archived"] == ["over"]
    assert (await queue.message("over")).error_msg == DEADLINE_EXCEEDED


async def test_after_a_lost_reply_the_same_tasks_are_returned_and_no_others(
    queue: QueueView, redis: Redis, clock: Clock, other: AsynqWorker
) -> None:
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "dequeue", 2))
    await queue.enqueue("foreign", *"abcd")
    await other.dequeue(1)
    for _ in range(2):
        with pytest.raises(BrokerUnavailableError):
            await worker.dequeue(3)
        await clock.advance(20)
    assert [each.message.id for each in await worker.dequeue(2)] == ["a", "b"]
    assert [each.message.id for each in await worker.dequeue(2)] == ["c"]
    assert [each.message.id for each in await worker.dequeue(2)] == ["d"]
    await clock.advance(15)
    await worker.leases.run_once()
    assert len(worker.held) == 4


async def test_after_a_lost_reply_a_holder_with_the_same_token_keeps_its_tasks(
    queue: QueueView, redis: Redis, clock: Clock, other: AsynqWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet may have a thousand tokens, of a million."""
    monkeypatch.setattr("peekaping_producer.transports.asynq.dequeuing.new_token", lambda: 0.5)
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "dequeue", 1))
    await queue.enqueue("foreign", "own")
    await other.dequeue(1)
    with pytest.raises(BrokerUnavailableError):
        await worker.dequeue(5)
    assert [each.message.id for each in await worker.dequeue(5)] == ["own"]


async def test_the_bytes_of_a_batch_are_limited_but_not_those_of_a_single_task(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    ids = [f"{n}" for n in range(8)]
    await queue.enqueue(*ids[:4], payload=bytes(CALL_BYTES * 2 // 5), retention=60)
    await queue.enqueue("4", payload=bytes(CALL_BYTES + 1), retention=60)
    await queue.enqueue(*ids[5:], payload=b"", retention=60)
    batches = [await worker.dequeue() for _ in range(4)]
    assert [[each.message.id for each in batch] for batch in batches] == [
        ["0", "1"],
        ["2", "3"],
        ["4"],
        ["5", "6", "7"],
    ]
    await clock.advance(RECOVERED_S)
    await other.recoverer.run_once()
    assert sorted((await queue.states())["archived"]) == ids


async def test_large_tasks_are_completed_in_several_calls(queue: QueueView, worker: AsynqWorker) -> None:
    await queue.enqueue(*"abc", payload=bytes(CALL_BYTES * 2 // 3), retention=60)
    deliveries = [delivery for _ in range(3) for delivery in await worker.dequeue()]
    await worker.settler.finish(deliveries)
    assert await queue.states() == {"completed": ["a", "b", "c"]}
    assert (await queue.counters())["processed"] == 3


async def test_a_queue_that_redis_refuses_does_not_stop_the_others(redis: Redis, clock: Clock) -> None:
    worker = AsynqWorker(redis, clock, {"good": 1, "bad": 1})
    good, bad = QueueView(redis, "good"), QueueView(redis, "bad")
    await good.enqueue("a")
    await good.enqueue("b", retention=60)
    await bad.enqueue("c")
    deliveries = await worker.dequeue()
    await redis.set(bad.keys.active, "text")
    settling = asyncio.create_task(worker.settler.finish(sorted(deliveries, key=lambda each: each.queue)))

    async def others_ended() -> bool:
        return await good.states() == {"completed": ["b"]}

    await until(others_ended)
    await clock.advance(29)
    with pytest.raises(BrokerRefusedError):
        await settling


@pytest.mark.parametrize("end", ["finish", "complete", "retry", "archive", "requeue"])
async def test_a_lost_reply_of_an_end_is_repeated_and_counts_once(
    queue: QueueView, redis: Redis, clock: Clock, end: str
) -> None:
    scripts = LostReplies(redis, end, 2)
    worker = AsynqWorker(redis, clock, scripts=scripts)
    await queue.enqueue("a", retention=60 if end == "complete" else 0)
    delivery = await worker.dequeue_one()
    match end:
        case "finish" | "complete":
            await worker.settler.finish([delivery])
        case "retry":
            await worker.settler.fail(delivery, "", 1)
        case "archive":
            await worker.settler.fail(delivery, "", None)
        case "requeue":
            await worker.settler.requeue([delivery])
    state = {"finish": {}, "complete": {"completed": ["a"]}, "requeue": {"pending": ["a"]}}
    other = {"retry": "retry", "archive": "archived"}
    assert await queue.states() == (state[end] if end in state else {other[end]: ["a"]})
    assert (await queue.counters()).get("processed", 0) == (end != "requeue")
    assert scripts.left == 0


async def test_an_end_is_repeated_until_the_lease_ends_and_is_then_not_written(
    queue: QueueView, redis: Redis, clock: Clock
) -> None:
    scripts = LostReplies(redis, "finish", 1000, refused=True)
    worker = AsynqWorker(redis, clock, scripts=scripts)
    await queue.enqueue("a")
    delivery = await worker.dequeue_one()
    finishing = asyncio.create_task(worker.settler.finish([delivery]))
    await until(lambda: scripts.left <= 998)
    await worker.leases.run_once()
    await clock.advance(29)
    with pytest.raises(BrokerRefusedError):
        await finishing
    left, scripts.left = scripts.left, 0
    assert left > 900
    await worker.settler.finish([delivery])
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}


async def test_one_task_that_redis_refuses_does_not_stop_the_others_of_a_batch(
    queue: QueueView, worker: AsynqWorker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.enqueue(*"abcdefgh")
    deliveries = await worker.dequeue()
    deliveries[3].task = msgspec.structs.replace(deliveries[3].task, unique_key=[])  # no argument of a command
    settling = asyncio.create_task(worker.settler.finish(deliveries))

    async def others_ended() -> bool:
        return await queue.states() == {"active": ["d"], "lease": ["d"]}

    await until(others_ended)
    await clock.advance(29)
    with pytest.raises(BrokerRefusedError):
        await settling


async def test_a_process_that_was_frozen_while_it_dequeued_does_not_start_what_others_may_have(
    queue: QueueView, redis: Redis, clock: Clock
) -> None:
    class Frozen(Scripts):
        async def run(self, name: str, *call: Any) -> Any:
            reply = await super().run(name, *call)
            if name == "dequeue":
                await clock.advance(ENDED_S)
            return reply

    worker = AsynqWorker(redis, clock, scripts=Frozen(redis, TEST_CLOCK))
    await queue.enqueue("a")
    assert await worker.dequeue() == []
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}


async def test_what_was_dequeued_and_not_received_is_put_back(queue: QueueView, redis: Redis, clock: Clock) -> None:
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "dequeue", 1))
    await queue.enqueue("a", "b")
    with pytest.raises(BrokerUnavailableError):
        await worker.dequeue(1)
    await worker.dequeuer.put_back()
    assert await queue.states() == {"pending": ["a", "b"]}


async def test_tasks_of_a_call_that_was_canceled_are_put_back(queue: QueueView, redis: Redis, clock: Clock) -> None:
    began = asyncio.Event()

    class Slow(Scripts):
        async def run(self, name: str, *call: Any) -> Any:
            reply = await super().run(name, *call)
            if not began.is_set():
                began.set()
                await asyncio.sleep(60)
            return reply

    worker = AsynqWorker(redis, clock, scripts=Slow(redis, TEST_CLOCK))
    await queue.enqueue("a", "b")
    receiving = asyncio.create_task(worker.dequeue(2))
    await began.wait()
    receiving.cancel()
    await asyncio.wait([receiving])
    assert await queue.states() == {"active": ["a", "b"], "lease": ["a", "b"]}
    await worker.dequeuer.put_back()
    assert await queue.states() == {"pending": ["a", "b"]}


# Tools


async def test_a_canceled_task_fails_and_its_handler_is_canceled(
    queue: QueueView, worker: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("a", retry=1)
    await queue.enqueue("b")
    canceled: list[str] = []
    for delivery in await worker.dequeue():
        delivery.cancel = lambda task_id=delivery.message.id: canceled.append(task_id)
    for task_id in ("a", "b", "unknown"):
        await worker.cancellation.cancel(task_id)
    assert canceled == ["a", "b"]
    assert await queue.states() == {"retry": ["a"], "archived": ["b"]}
    assert (await queue.message("a")).error_msg == CANCELED
    assert len(worker.held) == 0


async def test_the_registration_lasts_10_s_and_is_removed_at_the_end(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    await queue.enqueue("a")
    await worker.dequeue()
    await worker.registration.run_once()
    (server,), (workers,) = await redis.zrange(SERVERS, 0, -1), await redis.zrange(WORKERS, 0, -1)
    assert await redis.zscore(SERVERS, server) == clock.now_ms // 1000 + 10
    assert 0 < await redis.ttl(server) <= 10
    assert 0 < await redis.ttl(workers) <= 10
    assert await redis.hkeys(workers) == [b"a"]
    await worker.registration.clear()
    assert await redis.exists(server, workers, SERVERS, WORKERS) == 0
