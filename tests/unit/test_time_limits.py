"""Time limits of many calls with one timer: as asyncio.timeout, also where a task is canceled from outside."""

import asyncio
from contextlib import suppress

import pytest

from peekaping_producer.service.time_limits import TimeLimits
from tests.kit.waiting import until

FOREVER_S = 3600.0


async def limited(limits: TimeLimits, seconds: float, sleep_s: float = FOREVER_S) -> float:
    """Sleep within a limit; returns when it ended. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    try:
        with limits.of(seconds):
            await asyncio.sleep(sleep_s)
    except TimeoutError as error:
        error.add_note(str(loop.time()))
        raise
    return loop.time()


async def test_each_limit_ends_its_own_call_and_in_time() -> None:
    limits, loop = TimeLimits(), asyncio.get_running_loop()
    began_at = loop.time()
    seconds = [0.06, FOREVER_S, 0.02, 0.04, 0.02, 0.0, -1.0]
    tasks = [asyncio.create_task(limited(limits, each)) for each in seconds]
    await until(lambda: sum(task.done() for task in tasks) == len(tasks) - 1)
    assert not tasks[1].done()
    for task, limit_s in zip(tasks, seconds, strict=True):
        if task.done():
            error = task.exception()
            assert isinstance(error, TimeoutError)
            assert float(error.__notes__[0]) - began_at >= limit_s
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def test_a_call_that_ends_in_time_is_not_canceled_later() -> None:
    limits = TimeLimits()
    await limited(limits, 0.5, 0.0)
    await limited(limits, FOREVER_S, 0.6)
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def test_calls_one_after_another_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, loop = TimeLimits(), asyncio.get_running_loop()
    call_at, timers = loop.call_at, 0

    def counted(when: float, *arguments: object) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(when, *arguments)

    monkeypatch.setattr(loop, "call_at", counted)
    for _ in range(100):
        with limits.of(FOREVER_S):
            pass
    assert timers == 1


async def test_a_cancellation_from_outside_goes_on() -> None:
    limits = TimeLimits()
    task = asyncio.create_task(limited(limits, FOREVER_S))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_moment_of_the_end_goes_on() -> None:
    limit, loop = TimeLimits().of(0.01), asyncio.get_running_loop()

    async def call() -> None:
        with limit:
            loop.call_at(limit.ends_at, task.cancel)
            await asyncio.sleep(FOREVER_S)

    task = asyncio.create_task(call())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_and_a_result_in_spite_of_the_end_stay() -> None:
    limits = TimeLimits()
    with pytest.raises(ValueError, match="own"), limits.of(FOREVER_S):
        raise ValueError("own")
    with limits.of(0.01):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER_S)
        kept = "result"
    assert kept == "result"


async def test_limits_can_be_nested() -> None:
    limits = TimeLimits()
    with limits.of(FOREVER_S):
        with pytest.raises(TimeoutError), limits.of(0.01):
            await asyncio.sleep(FOREVER_S)
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), limits.of(0.01), limits.of(FOREVER_S):
        await asyncio.sleep(FOREVER_S)
