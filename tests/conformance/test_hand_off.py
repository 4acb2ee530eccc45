"""Hand-off to asynq's queue: enqueue and reschedule in one script, fences, lost replies."""

import asyncio
import contextlib
import time

import msgspec
import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import HandOff, Outcome
from peekaping_producer.errors import RedisRefusedError, RedisUnavailableError
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit.asynq_harness import INTERVAL, AsynqHarness
from tests.kit.asynq_peer import PENDING, decode, task_key
from tests.kit.vectors import vectors


async def test_a_batch_is_enqueued_and_rescheduled(redis: Redis, asynq: AsynqHarness) -> None:
    handed = await asynq.run("a", "b", text='{"n":1}')

    assert handed == HandOff(asynq.clock.now_ms, {})
    assert sorted(await asynq.pending()) == ["a", "b"]
    assert await asynq.is_rescheduled("a", "b")
    assert await redis.smembers("asynq:queues") == {b"healthcheck"}
    task = await redis.hgetall(task_key("a"))
    assert task[b"state"] == b"pending"
    assert task[b"pending_since"] == str(asynq.clock.now_ms * 1_000_000).encode()
    message = decode(task[b"msg"])
    assert (message.type, message.id, message.queue) == ("monitor:healthcheck", "healthcheck:a", "healthcheck")
    assert (message.payload, message.timeout, message.others) == (b'{"n":1}', 16, ())


async def test_a_timeout_of_zero_is_written_as_asynqs_default(redis: Redis, asynq: AsynqHarness) -> None:
    claim = await asynq.claim("a")
    await asynq.broker.hand_off(claim, [HealthCheckTask("a", INTERVAL, 0, b"{}")])
    assert decode(await redis.hget(task_key("a"), "msg") or b"").timeout == 1800


async def test_a_thousand_tasks_fit_in_one_call(redis: Redis, asynq: AsynqHarness) -> None:
    ids = [f"m{n}" for n in range(1000)]
    assert (await asynq.run(*ids)).not_enqueued == {}
    assert await redis.llen(PENDING) == 1000
    assert await asynq.is_rescheduled(*ids)
    # and where each of them conflicts
    await redis.zadd(KEYS.due, dict.fromkeys(ids, asynq.clock.now_ms))
    handed = await asynq.run(*ids)
    assert set(handed.not_enqueued.values()) == {Outcome.OVERLAP}


async def test_a_monitor_that_is_no_longer_held_is_lost_and_not_changed(redis: Redis, asynq: AsynqHarness) -> None:
    """Without the comparison of tokens, "b" (deleted) and "c" (claimed anew by another) are enqueued."""
    claim = await asynq.claim("a", "b", "c")
    await redis.zrem(KEYS.lease, "b")
    await redis.zadd(KEYS.lease, {"c": float(claim.token) + 1})
    handed = await asynq.hand_off(claim)
    assert handed.not_enqueued == {"b": Outcome.LOST, "c": Outcome.LOST}
    assert await asynq.pending() == ["a"]
    assert await redis.zrange(KEYS.lease, 0, -1) == [b"c"]
    assert await redis.zscore(KEYS.due, "b") is None


async def test_a_claim_that_has_ended_enqueues_nothing_though_it_is_not_reclaimed(asynq: AsynqHarness) -> None:
    """Without the comparison of the token with now, a paused producer enqueues after a delete."""
    claim = await asynq.claim("a")
    await asynq.clock.advance(10.001)
    assert (await asynq.hand_off(claim)).not_enqueued == {"a": Outcome.LOST}
    assert await asynq.pending() == []


async def test_a_hand_off_whose_reply_was_lost_is_repeated_without_duplicates(
    redis: Redis, asynq: AsynqHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await asynq.claim("a", "b")
    evalsha = redis.evalsha

    async def lose_the_reply(*args: object) -> None:
        monkeypatch.setattr(redis, "evalsha", evalsha)
        with contextlib.suppress(RedisRefusedError):  # NOSCRIPT
            await evalsha(*args)
            raise RedisUnavailableError("cut")
        await redis.eval(*(asynq.broker._hand_off._text, *args[1:]))
        raise RedisUnavailableError("cut")

    monkeypatch.setattr(redis, "evalsha", lose_the_reply)
    handed = await asynq.hand_off(claim)
    assert handed.not_enqueued == {"a": Outcome.UNCONFIRMED, "b": Outcome.UNCONFIRMED}
    assert sorted(await asynq.pending()) == ["a", "b"]
    assert await asynq.is_rescheduled("a", "b")


async def test_a_hand_off_is_not_repeated_for_longer_than_the_claim_lasts(
    redis: Redis, asynq: AsynqHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = msgspec.structs.replace(await asynq.claim("a"), ends_at=time.monotonic() + 0.1)

    async def cut(*_args: object) -> None:
        raise RedisUnavailableError("cut")

    monkeypatch.setattr(redis, "evalsha", cut)
    with pytest.raises(RedisUnavailableError):
        await asynq.hand_off(claim)


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


async def test_next_due_equals_the_golden_vectors(redis: Redis, asynq: AsynqHarness) -> None:
    """The script computes the ticks. Before the epoch Go truncates towards zero, but no producer runs then."""
    golden = [vector for vector in vectors("next_aligned") if vector["now_ms"] >= 0]
    assert len(golden) > 100
    for n, vector in enumerate(golden):
        await asynq.clock.set(vector["now_ms"])
        claim = await asynq.claim(f"m{n}")
        await asynq.broker.hand_off(claim, [HealthCheckTask(f"m{n}", vector["interval_s"], 16, b"{}")])
        assert await redis.zscore(KEYS.due, f"m{n}") == vector["next_ms"], vector
        await redis.delete(KEYS.due)


async def test_a_repeat_after_the_reply_finds_everything_lost(asynq: AsynqHarness) -> None:
    claim = await asynq.claim("a", "b")
    await asynq.hand_off(claim)
    assert set((await asynq.hand_off(claim)).not_enqueued.values()) == {Outcome.LOST}
    assert sorted(await asynq.pending()) == ["a", "b"]


async def test_one_conflict_does_not_disturb_the_others(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("busy")
    await redis.set(task_key("odd"), "not a hash")
    claim = await asynq.claim("busy", "odd", "plain", "gone")
    await redis.zrem(KEYS.lease, "gone")
    handed = await asynq.hand_off(claim)
    assert handed.not_enqueued == {"busy": Outcome.OVERLAP, "odd": Outcome.REPLACED, "gone": Outcome.LOST}
    assert sorted(await asynq.pending()) == ["busy", "odd", "plain"]
    assert await asynq.is_rescheduled("busy", "odd", "plain")


async def test_a_full_server_refuses_the_hand_off_as_a_whole(redis: Redis, asynq: AsynqHarness) -> None:
    """The first write of the script needs memory, so the script writes nothing."""
    claim = await asynq.claim("a", "b")
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(RedisRefusedError, match="OOM"):
            await asynq.hand_off(claim)
        assert await redis.zcard(KEYS.lease) == 2
        assert await asynq.pending() == []
        assert await redis.exists(task_key("a")) == 0
    finally:
        await redis.config_set("maxmemory", 0)
    assert (await asynq.hand_off(claim)).not_enqueued == {}


@pytest.mark.parametrize("key", ["asynq:queues", "asynq:{healthcheck}:lease", PENDING])
async def test_a_key_of_another_type_leaves_the_monitor_in_one_set(redis: Redis, asynq: AsynqHarness, key: str) -> None:
    claim = await asynq.claim("a")
    await redis.set(key, "something else")
    with contextlib.suppress(RedisRefusedError):
        await asynq.hand_off(claim)
    assert await redis.zcard(KEYS.due) + await redis.zcard(KEYS.lease) == 1
