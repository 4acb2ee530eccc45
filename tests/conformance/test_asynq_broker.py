"""Hand-off to asynq's queue on a real server: every state that an earlier task may be in."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import HandOff, Outcome
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import RedisRefusedError, RedisUnavailableError
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Claim, Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit.asynq_peer import ACTIVE, ARCHIVED, COMPLETED, LEASE, PENDING, AsynqPeer, decode, task_id, task_key
from tests.kit.clock import Clock
from tests.kit.vectors import vectors

INTERVAL = 60


class Bench:
    """Takes monitors from due to the queue."""

    def __init__(self, redis: Redis, schedule: Schedule, broker: AsynqBroker, clock: Clock) -> None:
        self.redis, self.schedule, self.broker, self.clock = redis, schedule, broker, clock

    async def claim(self, *ids: str) -> Claim:
        await self.redis.zadd(KEYS.due, dict.fromkeys(ids, self.clock.now_ms))
        return await self.schedule.claim(1000)

    async def hand_off(self, claim: Claim, text: str = "{}") -> HandOff:
        tasks = [HealthCheckTask(each, INTERVAL, 16, text.encode()) for each in claim.due]
        return await self.broker.hand_off(claim, tasks)

    async def run(self, *ids: str, text: str = "{}") -> HandOff:
        return await self.hand_off(await self.claim(*ids), text)

    async def pending(self) -> list[str]:
        """Monitor ids in the order in which consumers take them."""
        return [each.decode().removeprefix("healthcheck:") for each in (await self.redis.lrange(PENDING, 0, -1))[::-1]]

    async def payload(self, monitor_id: str) -> bytes:
        message = await self.redis.hget(task_key(monitor_id), "msg")
        assert message is not None
        return decode(message).payload

    async def is_rescheduled(self, *ids: str) -> bool:
        tick = (self.clock.now_ms // 60_000 + 1) * 60_000
        scores = await self.redis.zmscore(KEYS.due, list(ids))
        return scores == [tick] * len(ids) and await self.redis.zcard(KEYS.lease) == 0


@pytest.fixture
def bench(redis: Redis, schedule: Schedule, broker: AsynqBroker, clock: Clock) -> Bench:
    return Bench(redis, schedule, broker, clock)


@pytest.fixture
def peer(redis: Redis) -> AsynqPeer:
    return AsynqPeer(redis)


async def test_a_batch_is_enqueued_and_rescheduled(redis: Redis, bench: Bench, clock: Clock) -> None:
    handed = await bench.run("a", "b", text='{"n":1}')

    assert handed == HandOff(clock.now_ms, {})
    assert sorted(await bench.pending()) == ["a", "b"]
    assert await bench.is_rescheduled("a", "b")
    assert await redis.smembers("asynq:queues") == {b"healthcheck"}
    task = await redis.hgetall(task_key("a"))
    assert task[b"state"] == b"pending"
    assert task[b"pending_since"] == str(clock.now_ms * 1_000_000).encode()
    message = decode(task[b"msg"])
    assert (message.type, message.id, message.queue) == ("monitor:healthcheck", "healthcheck:a", "healthcheck")
    assert (message.payload, message.timeout, message.others) == (b'{"n":1}', 16, ())


async def test_a_timeout_of_zero_is_written_as_asynqs_default(redis: Redis, bench: Bench) -> None:
    claim = await bench.claim("a")
    await bench.broker.hand_off(claim, [HealthCheckTask("a", INTERVAL, 0, b"{}")])
    assert decode(await redis.hget(task_key("a"), "msg") or b"").timeout == 1800


async def test_a_thousand_tasks_fit_in_one_call(redis: Redis, bench: Bench) -> None:
    ids = [f"m{n}" for n in range(1000)]
    assert (await bench.run(*ids)).not_enqueued == {}
    assert await redis.llen(PENDING) == 1000
    assert await bench.is_rescheduled(*ids)
    # and where each of them conflicts
    await redis.zadd(KEYS.due, dict.fromkeys(ids, bench.clock.now_ms))
    handed = await bench.run(*ids)
    assert set(handed.not_enqueued.values()) == {Outcome.OVERLAP}


async def test_a_monitor_that_is_no_longer_held_is_lost_and_not_changed(
    redis: Redis, bench: Bench, clock: Clock
) -> None:
    """Without the comparison of tokens, "b" (deleted) and "c" (claimed anew by another) are enqueued."""
    claim = await bench.claim("a", "b", "c")
    await redis.zrem(KEYS.lease, "b")
    await redis.zadd(KEYS.lease, {"c": float(claim.token) + 1})
    handed = await bench.hand_off(claim)
    assert handed.not_enqueued == {"b": Outcome.LOST, "c": Outcome.LOST}
    assert await bench.pending() == ["a"]
    assert await redis.zrange(KEYS.lease, 0, -1) == [b"c"]
    assert await redis.zscore(KEYS.due, "b") is None


async def test_a_claim_that_has_ended_enqueues_nothing_though_it_is_not_reclaimed(
    redis: Redis, bench: Bench, clock: Clock
) -> None:
    """Without the comparison of the token with now, a paused producer enqueues after a delete."""
    claim = await bench.claim("a")
    await clock.advance(10.001)
    assert (await bench.hand_off(claim)).not_enqueued == {"a": Outcome.LOST}
    assert await bench.pending() == []


async def test_a_hand_off_whose_reply_was_lost_is_repeated_without_duplicates(
    redis: Redis, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await bench.claim("a", "b")
    evalsha = redis.evalsha

    async def lose_the_reply(*args: object) -> None:
        monkeypatch.setattr(redis, "evalsha", evalsha)
        with contextlib.suppress(RedisRefusedError):  # NOSCRIPT
            await evalsha(*args)
            raise RedisUnavailableError("cut")
        await redis.eval(*(bench.broker._hand_off._text, *args[1:]))
        raise RedisUnavailableError("cut")

    monkeypatch.setattr(redis, "evalsha", lose_the_reply)
    handed = await bench.hand_off(claim)
    assert handed.not_enqueued == {"a": Outcome.UNCONFIRMED, "b": Outcome.UNCONFIRMED}
    assert sorted(await bench.pending()) == ["a", "b"]
    assert await bench.is_rescheduled("a", "b")


async def test_a_hand_off_is_not_repeated_for_longer_than_the_claim_lasts(
    redis: Redis, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = msgspec.structs.replace(await bench.claim("a"), ends_at=time.monotonic() + 0.1)

    async def cut(*_args: object) -> None:
        raise RedisUnavailableError("cut")

    monkeypatch.setattr(redis, "evalsha", cut)
    with pytest.raises(RedisUnavailableError):
        await bench.hand_off(claim)


async def test_the_client_itself_repeats_nothing() -> None:
    """Its default would repeat a claim whose reply was lost, and no worker would handle the first batch."""
    calls = 0

    async def cut_at_each_script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while data := await reader.read(65536):
            if b"EVALSHA" in data:
                calls += 1
                break
            writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    server = await asyncio.start_server(cut_at_each_script, "127.0.0.1", 0)
    async with (
        server,
        redis_for(RedisTarget(host="127.0.0.1", port=server.sockets[0].getsockname()[1]), connections=2) as client,
    ):
        with pytest.raises(RedisUnavailableError):
            await Schedule(client).claim(10)
    assert calls == 1


async def test_next_due_equals_the_golden_vectors(redis: Redis, bench: Bench, clock: Clock) -> None:
    """The script computes the ticks. Before the epoch Go truncates towards zero, but no producer runs then."""
    golden = [each for each in vectors("next_aligned") if each["now_ms"] >= 0]
    assert len(golden) > 100
    for n, vector in enumerate(golden):
        await clock.set(vector["now_ms"])
        claim = await bench.claim(f"m{n}")
        await bench.broker.hand_off(claim, [HealthCheckTask(f"m{n}", vector["interval_s"], 16, b"{}")])
        assert await redis.zscore(KEYS.due, f"m{n}") == vector["next_ms"], vector
        await redis.delete(KEYS.due)


async def test_a_repeat_after_the_reply_finds_everything_lost(bench: Bench) -> None:
    claim = await bench.claim("a", "b")
    await bench.hand_off(claim)
    assert set((await bench.hand_off(claim)).not_enqueued.values()) == {Outcome.LOST}
    assert sorted(await bench.pending()) == ["a", "b"]


async def test_a_pending_task_keeps_its_place_and_gets_the_fresh_payload(
    redis: Redis, bench: Bench, clock: Clock
) -> None:
    await bench.run("old", text="1")
    since = await redis.hget(task_key("old"), "pending_since")
    await clock.advance(60)
    handed = await bench.run("old", "new", text="2")
    assert handed.not_enqueued == {"old": Outcome.OVERLAP}
    assert await bench.pending() == ["old", "new"]
    assert await bench.payload("old") == b"2"
    assert await redis.hget(task_key("old"), "pending_since") == since
    assert await bench.is_rescheduled("old", "new")


async def test_a_running_task_is_left_alone(bench: Bench, peer: AsynqPeer, clock: Clock) -> None:
    await bench.run("a", text="1")
    await peer.dequeue(clock.now_ms / 1000)
    await clock.advance(59)  # its lease ended 29 s ago, by a clock that may be 30 s wrong
    handed = await bench.run("a", text="2")
    assert handed.not_enqueued == {"a": Outcome.OVERLAP}
    assert await bench.pending() == []
    assert await bench.payload("a") == b"1"
    assert await bench.is_rescheduled("a")


async def test_a_finished_task_frees_its_id_for_the_next_tick(bench: Bench, peer: AsynqPeer, clock: Clock) -> None:
    await bench.run("a")
    await peer.dequeue(clock.now_ms / 1000)
    await peer.finish("a")
    await clock.advance(60)
    assert (await bench.run("a")).not_enqueued == {}
    assert await bench.pending() == ["a"]


async def assert_replaced(redis: Redis, bench: Bench, monitor_id: str = "a") -> None:
    handed = await bench.run(monitor_id, text="fresh")
    assert handed.not_enqueued == {monitor_id: Outcome.REPLACED}
    assert await bench.pending() == [monitor_id]
    assert await bench.payload(monitor_id) == b"fresh"
    task = await redis.hgetall(task_key(monitor_id))
    assert task[b"state"] == b"pending"
    assert b"pending_since" in task
    assert b"unique_key" not in task
    assert await redis.lrange(ACTIVE, 0, -1) == []
    for key in (LEASE, ARCHIVED, COMPLETED):
        assert await redis.zcard(key) == 0
    assert await bench.is_rescheduled(monitor_id)


async def test_an_archived_task_is_replaced(redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock) -> None:
    await bench.run("a")
    await redis.hset(task_key("a"), "unique_key", "a Go producer's")
    await peer.dequeue(clock.now_ms / 1000)
    await peer.fail("a", clock.now_ms / 1000)
    await clock.advance(60)
    await assert_replaced(redis, bench)


async def test_an_active_task_is_replaced_half_a_minute_after_its_lease(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    await bench.run("a")
    await peer.dequeue(clock.now_ms / 1000)
    await clock.advance(60.001)
    await assert_replaced(redis, bench)


async def test_an_active_task_without_lease_is_replaced(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    await bench.run("a")
    await peer.dequeue(clock.now_ms / 1000)
    await redis.zrem(LEASE, task_id("a"))
    await assert_replaced(redis, bench)


async def test_an_active_task_without_message_is_replaced(redis: Redis, bench: Bench, clock: Clock) -> None:
    """asynq makes this of an entry in the list that has no task."""
    await redis.hset(task_key("a"), "state", "active")
    await redis.lpush(ACTIVE, task_id("a"))
    await redis.zadd(LEASE, {task_id("a"): clock.now_ms / 1000 + 30})
    await assert_replaced(redis, bench)


@pytest.mark.parametrize("state", ["completed", "retry", "scheduled", "aggregating", "nonsense", None])
async def test_a_task_in_any_other_state_is_replaced(redis: Redis, bench: Bench, state: str | None) -> None:
    if state in ("completed", "retry", "scheduled"):
        await redis.zadd(f"asynq:{{healthcheck}}:{state}", {task_id("a"): 1})
    await redis.hset(task_key("a"), mapping={"state": state} if state else {"result": "?"})
    await assert_replaced(redis, bench)
    for name in ("retry", "scheduled"):
        assert await redis.zcard(f"asynq:{{healthcheck}}:{name}") == 0


async def test_a_key_of_another_type_in_the_tasks_place_is_replaced(redis: Redis, bench: Bench) -> None:
    await redis.set(task_key("a"), "not a hash")
    await assert_replaced(redis, bench)


async def test_a_pending_task_that_is_in_no_list_is_replaced(redis: Redis, bench: Bench, clock: Clock) -> None:
    await bench.run("a")
    await redis.delete(PENDING)
    await clock.advance(60)
    await assert_replaced(redis, bench)


async def test_many_pending_tasks_that_are_in_no_list_are_all_found(redis: Redis, bench: Bench, clock: Clock) -> None:
    lost = [f"lost{n}" for n in range(50)]
    await bench.run(*lost)
    await redis.delete(PENDING)
    await clock.advance(1)
    queued = [f"queued{n}" for n in range(50)]
    await bench.run(*queued)
    await clock.advance(60)
    await redis.zadd(KEYS.due, dict.fromkeys([*lost, *queued], clock.now_ms))
    handed = await bench.run("x")
    assert {each for each, outcome in handed.not_enqueued.items() if outcome is Outcome.REPLACED} == set(lost)
    assert {each for each, outcome in handed.not_enqueued.items() if outcome is Outcome.OVERLAP} == set(queued)
    pending = await bench.pending()
    assert sorted(pending) == sorted([*lost, *queued, "x"])


async def test_a_task_that_a_consumer_put_back_is_recognized(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    """It is at the end that is served first, without pending_since."""
    await bench.run("a")
    await peer.dequeue(clock.now_ms / 1000)
    await clock.advance(1)
    await bench.run("b")
    await peer.requeue("a")
    await clock.advance(60)
    await redis.zadd(KEYS.due, {"b": clock.now_ms})
    handed = await bench.run("a")
    assert set(handed.not_enqueued.values()) == {Outcome.OVERLAP}
    assert await bench.pending() == ["a", "b"]


async def test_a_new_task_removes_stale_entries_from_archived_and_completed(redis: Redis, bench: Bench) -> None:
    """asynq would delete the live task when it trims them."""
    await redis.zadd(ARCHIVED, {task_id("a"): 1, task_id("other"): 1})
    await redis.zadd(COMPLETED, {task_id("a"): 1})
    assert (await bench.run("a")).not_enqueued == {}
    assert await redis.zrange(ARCHIVED, 0, -1) == [task_id("other").encode()]
    assert await redis.zcard(COMPLETED) == 0


async def test_one_conflict_does_not_disturb_the_others(redis: Redis, bench: Bench, clock: Clock) -> None:
    await bench.run("busy")
    await redis.set(task_key("odd"), "not a hash")
    claim = await bench.claim("busy", "odd", "plain", "gone")
    await redis.zrem(KEYS.lease, "gone")
    handed = await bench.hand_off(claim)
    assert handed.not_enqueued == {"busy": Outcome.OVERLAP, "odd": Outcome.REPLACED, "gone": Outcome.LOST}
    assert sorted(await bench.pending()) == ["busy", "odd", "plain"]
    assert await bench.is_rescheduled("busy", "odd", "plain")


# The sweep of the pending list by the leader


async def test_the_sweep_removes_entries_without_a_task_and_second_entries(redis: Redis, bench: Bench) -> None:
    ids = [f"m{n}" for n in range(1200)]
    await redis.zadd(KEYS.due, dict.fromkeys(ids[:600], bench.clock.now_ms))
    await bench.run("first")
    await bench.run(*ids[600:])
    before = await bench.pending()
    await redis.rpush(PENDING, task_id("ghost"))
    await redis.lpush(PENDING, task_id("ghost"), task_id("m3"), task_id("m700"))
    assert await bench.broker.sweep() == (2, 2)
    assert await bench.pending() == before
    assert await bench.broker.sweep() == (0, 0)


async def test_the_sweep_of_an_empty_queue_does_nothing(bench: Bench) -> None:
    assert await bench.broker.sweep() == (0, 0)


async def test_a_full_server_refuses_the_hand_off_as_a_whole(redis: Redis, bench: Bench) -> None:
    """The first write of the script needs memory, so the script writes nothing."""
    claim = await bench.claim("a", "b")
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(RedisRefusedError, match="OOM"):
            await bench.hand_off(claim)
        assert await redis.zcard(KEYS.lease) == 2
        assert await bench.pending() == []
        assert await redis.exists(task_key("a")) == 0
    finally:
        await redis.config_set("maxmemory", 0)
    assert (await bench.hand_off(claim)).not_enqueued == {}


# Tasks that are refused, and the state of the queue


@pytest.fixture
async def small_arguments(redis: Redis) -> AsyncIterator[None]:
    """A Redis that accepts no argument above 1 MiB, as some hosted ones do."""
    before = (await redis.config_get("proto-max-bulk-len"))["proto-max-bulk-len"]
    await redis.config_set("proto-max-bulk-len", 1024 * 1024)
    yield
    await redis.config_set("proto-max-bulk-len", before)


@pytest.mark.parametrize("size", [1_300_000, 20_000_000])
async def test_a_task_that_redis_refuses_stops_no_other(
    redis: Redis, bench: Bench, small_arguments: None, size: int
) -> None:
    claim = await bench.claim("big", *(f"m{n}" for n in range(5)))
    tasks = [HealthCheckTask(each, INTERVAL, 16, b"x" * (size if each == "big" else 2)) for each in claim.due]
    handed = await bench.broker.hand_off(claim, tasks)
    assert list(handed.refused) == ["big"]
    assert f"{size:_}"[:2].strip("_") in handed.refused["big"]
    assert sorted(await bench.pending()) == [f"m{n}" for n in range(5)]
    assert await redis.zscore(KEYS.lease, "big") == float(claim.token)  # for the caller to give back


async def test_a_refusal_has_the_same_reason_at_each_attempt(bench: Bench, small_arguments: None) -> None:
    """Redis replies and closes the connection: whichever is seen first, the log has one line."""
    claim = await bench.claim("big")
    words = set()
    for size in range(1_300_001, 1_300_030):
        handed = await bench.broker.hand_off(claim, [HealthCheckTask("big", INTERVAL, 16, b"x" * size)])
        words.add(handed.refused["big"])
    assert words == {"1301 kB is more than Redis or a proxy accepts; raise proto-max-bulk-len"}


async def test_other_loops_run_while_a_large_task_is_sent(bench: Bench) -> None:
    """It is neither copied nor sent at once, which would block the event loop."""
    claim = await bench.claim("big")
    task = HealthCheckTask("big", INTERVAL, 16, b"x" * 100_000_000)
    sending = asyncio.create_task(bench.broker.hand_off(claim, [task]))
    turns = 0
    while not sending.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await sending).refused == {}
    assert await bench.pending() == ["big"]
    assert turns > 100, "one for each time that the socket was full"


async def test_large_tasks_are_sent_alone_and_all_arrive(bench: Bench) -> None:
    claim = await bench.claim(*(f"m{n}" for n in range(40)))
    tasks = [
        HealthCheckTask(each, INTERVAL, 16, b"x" * (300_000 if number % 2 else 200_000))
        for number, each in enumerate(claim.due)
    ]
    handed = await bench.broker.hand_off(claim, tasks)
    assert (handed.not_enqueued, handed.refused) == ({}, {})
    assert len(await bench.pending()) == 40


@pytest.mark.parametrize("kind", ["string", "list", "set", "zset", "stream"])
async def test_a_key_of_another_type_at_the_tasks_name_is_replaced(redis: Redis, bench: Bench, kind: str) -> None:
    make = {
        "string": ("SET", task_key("a"), "x"),
        "list": ("LPUSH", task_key("a"), "x"),
        "set": ("SADD", task_key("a"), "x"),
        "zset": ("ZADD", task_key("a"), 1, "x"),
        "stream": ("XADD", task_key("a"), "*", "f", "v"),
    }[kind]
    await redis.execute_command(*make)  # type: ignore[no-untyped-call]
    handed = await bench.run("a", "b")
    assert (handed.not_enqueued, handed.wrong_type, handed.overlaps) == ({"a": Outcome.REPLACED}, ("a",), {})
    assert sorted(await bench.pending()) == ["a", "b"]


async def test_an_entry_too_large_for_an_argument_does_not_stop_the_sweep(
    redis: Redis, bench: Bench, small_arguments: None
) -> None:
    await bench.run("a")
    await redis.lpush(PENDING, "gone")
    await redis.eval(f"redis.call('LPUSH', '{PENDING}', string.rep('x', 1200000))", 0)
    assert await bench.broker.sweep() == (1, 0)


async def test_a_lease_of_a_consumer_whose_clock_was_a_day_ahead_is_ignored(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    await bench.run("a")
    await peer.dequeue(clock.now_ms / 1000)
    await redis.zadd(LEASE, {task_id("a"): clock.now_ms / 1000 + 86_400})
    await clock.advance(60)
    assert (await bench.run("a")).not_enqueued == {"a": Outcome.REPLACED}
    assert await bench.pending() == ["a"]
    assert await redis.zcard(LEASE) == 0


@pytest.mark.parametrize("ahead_s", [-29, 0, 30, 60])
async def test_a_lease_that_a_running_task_may_have_is_respected(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock, ahead_s: int
) -> None:
    """asynq renews to 30 s ahead by the consumer's clock, which may differ by 30 s."""
    await bench.run("a")
    await peer.dequeue(clock.now_ms / 1000)
    await clock.advance(60)
    await redis.zadd(LEASE, {task_id("a"): clock.now_ms / 1000 + ahead_s})
    assert (await bench.run("a")).not_enqueued == {"a": Outcome.OVERLAP}


async def test_a_task_that_runs_for_many_ticks_is_reported(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    await bench.run("a")
    await peer.dequeue(clock.now_ms / 1000)
    reported = []
    for _ in range(6):
        await clock.advance(60)
        await redis.zadd(LEASE, {task_id("a"): clock.now_ms / 1000 + 30})
        reported.append((await bench.run("a")).overlaps)
    assert reported == [{}, {}, {}, {}, {"a": 5}, {"a": 6}]


async def test_inspect_returns_the_state_of_the_queue(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    empty = await bench.broker.inspect()
    assert (empty.depths["pending"], empty.oldest_pending_s, empty.paused, empty.servers) == (0, None, False, 0)
    await bench.run("a")
    await clock.advance(7)
    await bench.run("b", "c")
    await redis.set("asynq:{healthcheck}:paused", 1)
    await redis.zadd("asynq:servers", {"alive": clock.now_ms / 1000 + 5, "gone": clock.now_ms / 1000 - 5})
    queue = await bench.broker.inspect()
    assert (queue.depths["pending"], queue.oldest_pending_s, queue.paused, queue.servers) == (3, 7.0, True, 1)
    await peer.dequeue(clock.now_ms / 1000)
    assert (await bench.broker.inspect()).depths["active"] == 1


# The age of the oldest pending task


async def put_back(bench: Bench, peer: AsynqPeer, *ids: str) -> None:
    """Enqueue tasks; a worker takes all and puts them back when it stops."""
    await bench.run(*ids)
    for _ in ids:
        await peer.dequeue(bench.clock.now_ms / 1000)
    for each in ids:
        await peer.requeue(each)


async def test_a_task_that_a_worker_put_back_has_an_age_from_its_next_tick_on(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    """asynq pushes it to the end that is served first, without a time: more of them than the age is read from."""
    ids = [f"m{n}" for n in range(250)]
    await put_back(bench, peer, *ids)
    assert (await bench.broker.inspect()).oldest_pending_s is None
    await clock.advance(60)
    assert set((await bench.run(*ids)).not_enqueued.values()) == {Outcome.OVERLAP}
    await clock.advance(61)
    await bench.run(*ids)
    assert (await bench.broker.inspect()).oldest_pending_s == 61
    task = await redis.hgetall(task_key("m0"))
    assert set(task) == {b"msg", b"state", b"pending_since"}
    assert task[b"state"] == b"pending"


async def test_a_task_that_was_put_back_is_as_old_as_the_oldest_behind_it(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    """The order of the times stays that of the list, so that a task in it is recognized without a search."""
    await put_back(bench, peer, "a")
    await bench.run("b")
    await clock.advance(60)
    await bench.run("a")
    assert await redis.hget(task_key("a"), "pending_since") == await redis.hget(task_key("b"), "pending_since")
    assert (await bench.broker.inspect()).oldest_pending_s == 60


@pytest.mark.parametrize("since", ["1900000000000000000000", "ahead", "nan", "inf", "-1", "1e18", "", "0x10"])
async def test_a_time_that_is_none_or_lies_in_the_future_is_ignored_and_replaced(
    redis: Redis, bench: Bench, clock: Clock, since: str
) -> None:
    if since == "ahead":
        since = str((clock.now_ms + 3_600_000) * 1_000_000)
    await bench.run("a")
    await bench.run("b")
    for task in ("a", "foreign"):
        await redis.hset(task_key(task), "pending_since", since)
    await redis.rpush(PENDING, task_id("foreign"))
    await clock.advance(60)
    assert (await bench.broker.inspect()).oldest_pending_s == 60
    assert set((await bench.run("a", "b")).not_enqueued.values()) == {Outcome.OVERLAP}
    assert await redis.hget(task_key("a"), "pending_since") == await redis.hget(task_key("b"), "pending_since")
    assert await redis.hget(task_key("foreign"), "pending_since") == since.encode()


async def test_the_age_is_read_behind_many_foreign_tasks_and_else_the_next_task_is_named(
    redis: Redis, bench: Bench, clock: Clock
) -> None:
    await bench.run("a")
    await clock.advance(7)
    await redis.rpush(PENDING, *(f"foreign{n}" for n in range(199)))
    queue = await bench.broker.inspect()
    assert (queue.oldest_pending_s, queue.next_task) == (7, "foreign198")
    await redis.rpush(PENDING, "one more")
    queue = await bench.broker.inspect()
    assert (queue.oldest_pending_s, queue.next_task) == (None, "one more")


# Workers that take tasks and complete none


async def hang(bench: Bench, peer: AsynqPeer) -> None:
    """The worker renews its leases, and nothing else."""
    for each in await bench.redis.zrange(LEASE, 0, -1):
        await peer.extend(each.decode().removeprefix("healthcheck:"), bench.clock.now_ms / 1000)


async def crash(bench: Bench, peer: AsynqPeer) -> None:
    """The worker died and another one took the task. asynq's recoverer has not seen it."""


async def recover(bench: Bench, peer: AsynqPeer) -> None:
    """asynq's recoverer archives what a worker that died had taken."""
    await peer.recover(bench.clock.now_ms / 1000)


async def fail(bench: Bench, peer: AsynqPeer) -> None:
    """Each task ends with an error: a handler that fails, or runs into the timeout."""
    for each in await bench.redis.lrange(ACTIVE, 0, -1):
        await peer.fail(each.decode().removeprefix("healthcheck:"), bench.clock.now_ms / 1000)


async def take_all(bench: Bench, peer: AsynqPeer) -> None:
    while await peer.dequeue(bench.clock.now_ms / 1000):
        pass


@pytest.mark.parametrize("misbehave", [hang, crash, recover, fail])
async def test_tasks_that_workers_take_and_do_not_complete_are_counted(
    redis: Redis, bench: Bench, peer: AsynqPeer, clock: Clock, misbehave: Callable[[Bench, AsynqPeer], Awaitable[None]]
) -> None:
    ids = ["a", "b", "c"]
    await bench.run(*ids)
    counts = []
    for _ in range(6):
        await take_all(bench, peer)
        await misbehave(bench, peer)
        counts.append((await bench.broker.inspect()).uncompleted)
        await clock.advance(61)
        await misbehave(bench, peer)
        reported = (await bench.run(*ids)).overlaps
    assert counts == [0, 0, 0, 0, 0, 3]
    assert reported == dict.fromkeys(ids, 6)
    await take_all(bench, peer)
    assert (await bench.broker.inspect()).uncompleted_s > 60
    for each in await redis.lrange(ACTIVE, 0, -1):
        await peer.finish(each.decode().removeprefix("healthcheck:"))
    await bench.run(*ids)
    await take_all(bench, peer)
    queue = await bench.broker.inspect()
    assert (queue.uncompleted, queue.uncompleted_s) == (0, 0)


async def test_a_check_that_overlaps_five_short_ticks_is_not_uncompleted_yet(
    bench: Bench, peer: AsynqPeer, clock: Clock
) -> None:
    claim = await bench.claim("a")
    for _ in range(8):
        await bench.broker.hand_off(claim, [HealthCheckTask("a", 2, 16, b"{}")])
        await take_all(bench, peer)
        await clock.advance(2)
        claim = await bench.schedule.claim(1000)
    assert (await bench.broker.inspect()).uncompleted == 0


async def test_the_number_of_many_uncompleted_tasks_is_estimated_from_all_parts_of_the_list(
    redis: Redis, bench: Bench, clock: Clock
) -> None:
    since = str((clock.now_ms - 90_000) * 1_000_000)
    for n in range(1000):
        await redis.lpush(ACTIVE, task_id(f"m{n}"))
        if n < 500:
            fields = {"peekaping:overlaps": "5", "peekaping:uncompleted_since": since}
            await redis.hset(task_key(f"m{n}"), mapping=fields)
    queue = await bench.broker.inspect()
    assert (queue.uncompleted, queue.uncompleted_s) == (500, 90)


async def test_a_task_that_failed_long_ago_is_not_counted(redis: Redis, bench: Bench, clock: Clock) -> None:
    """Its monitor may have been deleted, so that no tick replaces it."""
    fields = {"peekaping:overlaps": "5", "peekaping:uncompleted_since": "1"}
    await redis.hset(task_key("a"), mapping=fields)
    await redis.zadd(ARCHIVED, {task_id("a"): clock.now_ms / 1000})
    assert (await bench.broker.inspect()).uncompleted == 1
    await clock.advance(601)
    assert (await bench.broker.inspect()).uncompleted == 0


async def test_a_key_of_the_queue_that_cannot_be_read_is_reported(
    redis: Redis, broker: AsynqBroker, clock: Clock
) -> None:
    await redis.set(PENDING, "not a list")
    queue = await broker.inspect()
    assert len(queue.problems) == 1
    assert PENDING in queue.problems[0]


async def test_a_foreign_entry_with_a_key_of_another_type_stops_no_hand_off(redis: Redis, bench: Bench) -> None:
    await bench.run("a")
    await redis.rpush(PENDING, "foreign")
    await redis.set("asynq:{healthcheck}:t:foreign", "no task")
    assert (await bench.run("a", "b")).not_enqueued == {"a": Outcome.OVERLAP}
    assert await bench.is_rescheduled("a", "b")


@pytest.mark.parametrize("key", ["asynq:queues", "asynq:{healthcheck}:lease", PENDING])
async def test_a_key_of_another_type_leaves_no_monitor_in_both_sets(redis: Redis, bench: Bench, key: str) -> None:
    claim = await bench.claim("a")
    await redis.set(key, "something else")
    with contextlib.suppress(RedisRefusedError):
        await bench.hand_off(claim)
    assert await redis.zcard(KEYS.due) + await redis.zcard(KEYS.lease) == 1
