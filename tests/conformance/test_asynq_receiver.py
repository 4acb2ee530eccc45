"""The asynq receiver on a real server, with a clock that the test sets: the life of a task, and queues."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from peekaping_producer.transports.asynq.cancellation import CANCELED
from peekaping_producer.transports.asynq.keys import SERVERS, WORKERS
from peekaping_producer.transports.asynq.priorities import Priorities
from tests.kit.asynq_worker import DAY_S, KEYS, LEASE_S, AsynqWorker, QueueView
from tests.kit.clock import Clock


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
