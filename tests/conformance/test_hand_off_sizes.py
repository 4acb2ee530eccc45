"""Tasks that are large, or larger than Redis accepts."""

import asyncio

import pytest
from redis.asyncio import Redis

from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_harness import INTERVAL, AsynqHarness


@pytest.mark.usefixtures("small_arguments")
@pytest.mark.parametrize("size", [1_300_000, 20_000_000])
async def test_a_task_that_redis_refuses_stops_no_other(redis: Redis, asynq: AsynqHarness, size: int) -> None:
    claim = await asynq.claim("big", *(f"m{n}" for n in range(5)))
    tasks = [HealthCheckTask(id_, INTERVAL, 16, b"x" * (size if id_ == "big" else 2)) for id_ in claim.due]
    handed = await asynq.broker.hand_off(claim, tasks)
    assert list(handed.refused) == ["big"]
    assert f"{size:_}"[:2].strip("_") in handed.refused["big"]
    assert sorted(await asynq.pending()) == [f"m{n}" for n in range(5)]
    assert await redis.zscore(KEYS.lease, "big") == float(claim.token)  # for the caller to give back


@pytest.mark.usefixtures("small_arguments")
async def test_a_refusal_has_the_same_reason_at_each_attempt(asynq: AsynqHarness) -> None:
    """Redis replies and closes the connection: whichever is seen first, the log has one line."""
    claim = await asynq.claim("big")
    words = set()
    for size in range(1_300_001, 1_300_030):
        handed = await asynq.broker.hand_off(claim, [HealthCheckTask("big", INTERVAL, 16, b"x" * size)])
        words.add(handed.refused["big"])
    assert words == {"1301 kB is more than Redis or a proxy accepts; raise proto-max-bulk-len"}


async def test_other_loops_run_while_a_large_task_is_sent(asynq: AsynqHarness) -> None:
    """It is neither copied nor sent at once, which would block the event loop."""
    claim = await asynq.claim("big")
    task = HealthCheckTask("big", INTERVAL, 16, b"x" * 100_000_000)
    sending = asyncio.create_task(asynq.broker.hand_off(claim, [task]))
    turns = 0
    while not sending.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await sending).refused == {}
    assert await asynq.pending() == ["big"]
    assert turns > 100, "one for each time that the socket was full"


async def test_large_tasks_are_sent_alone_and_all_arrive(asynq: AsynqHarness) -> None:
    claim = await asynq.claim(*(f"m{n}" for n in range(40)))
    tasks = [
        HealthCheckTask(id_, INTERVAL, 16, b"x" * (300_000 if number % 2 else 200_000))
        for number, id_ in enumerate(claim.due)
    ]
    handed = await asynq.broker.hand_off(claim, tasks)
    assert (handed.not_enqueued, handed.refused) == ({}, {})
    assert len(await asynq.pending()) == 40
