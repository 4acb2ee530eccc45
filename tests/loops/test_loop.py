"""Loop: backoff, recovery, end and cancellation."""

import asyncio

import pytest

from peekaping_producer.errors import (
    DATABASE,
    REDIS,
    BatchError,
    RedisRefusedError,
    RedisUnavailableError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from peekaping_producer.metrics import Metrics
from peekaping_producer.service import aio as tasks_module
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop, LoopDone
from tests.kit.waiting import until


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def loop(metrics: Metrics) -> Loop:
    return Loop("some-3", Dependencies(metrics), uses=(REDIS, DATABASE), kind="some", longest_backoff_s=0.01)


@pytest.mark.parametrize(
    "error",
    [
        RedisUnavailableError("away"),
        RedisRefusedError("READONLY You can't write against a read only replica.", "READONLY"),
        StoreUnavailableError("away"),
        StoreRefusedError("the table is gone"),
    ],
)
async def test_a_failing_dependency_ends_no_loop(loop: Loop, metrics: Metrics, error: Exception) -> None:
    turns = 0

    async def turn() -> float:
        nonlocal turns
        turns += 1
        if turns < 4:
            raise error
        raise LoopDone

    await loop.run(turn)
    assert turns == 4
    kind = "store" if isinstance(error, StoreError) else "redis"
    assert metrics.registry.get_sample_value(f"peekaping_producer_{kind}_errors_total", {"where": "some"}) == 3


async def test_a_successful_turn_ends_the_trouble_of_what_the_loop_uses(metrics: Metrics) -> None:
    dependencies = Dependencies(metrics)
    loop = Loop("some", dependencies, uses=(REDIS,), longest_backoff_s=0.01)
    seen: list[list[str]] = []
    outcomes = iter([RedisRefusedError("OOM"), StoreRefusedError("no table"), None, LoopDone()])

    async def turn() -> float:
        seen.append(sorted(dependencies.troubles))
        if (outcome := next(outcomes)) is not None:
            raise outcome
        return 0.0

    await loop.run(turn)
    assert seen == [[], ["redis"], ["database", "redis"], ["database"]], "what it does not use proves nothing"
    assert not dependencies.troubles, "a loop that has ended says nothing about now"


async def test_a_turn_that_waits_after_its_work_reports_success_first(loop: Loop, metrics: Metrics) -> None:
    """A sync waits for its interval within its turn, a leader until it must renew: recovery does not wait for that."""
    dependencies = Dependencies(metrics)
    loop = Loop("some", dependencies, uses=(REDIS,), longest_backoff_s=0.01)
    turns = 0

    async def turn() -> float:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise RedisRefusedError("OOM")
        loop.turn_succeeded()
        await asyncio.Event().wait()
        return 0.0

    running = asyncio.create_task(loop.run(turn))
    await until(lambda: turns == 2 and not dependencies.troubles)
    await cancel_and_wait(running)


async def test_a_worked_call_does_not_shorten_the_backoff(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker claims, fails to load, and gives back: each claim works, and it must not try ten times a second."""
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)

    monkeypatch.setattr("peekaping_producer.service.loop.asyncio.sleep", sleep)
    loop = Loop("some", Dependencies(metrics), uses=(REDIS, DATABASE), longest_backoff_s=5.0)

    async def turn() -> float:
        loop.call_succeeded(REDIS)
        if len(delays) == 10:
            raise LoopDone
        raise StoreUnavailableError("away")

    await loop.run(turn)
    assert min(delays[-3:]) >= 2.5


@pytest.mark.parametrize("error", [KeyError("a bug"), OSError("Too many open files")])
async def test_an_unforeseen_error_ends_the_loop(loop: Loop, error: Exception) -> None:
    async def turn() -> float:
        raise error

    with pytest.raises(type(error)):
        await loop.run(turn)


async def test_a_loop_at_work_that_does_not_advance_is_stalled(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("peekaping_producer.service.loop.time.monotonic", lambda: now)
    assert loop.stalled_s == 0
    loop.progressed()
    now = 115.0
    assert loop.stalled_s == 15
    with loop.waiting():
        assert loop.stalled_s == 0
    now = 116.0
    assert loop.stalled_s == 1


async def test_a_lost_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "_CANCEL_AGAIN_AFTER_S", 0.01)
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost == 3:
                    raise
                lost += 1

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel_and_wait(task), 30)
    assert task.cancelled()


async def test_cancel_and_wait_waits_for_all_when_canceled_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "_CANCEL_AGAIN_AFTER_S", 0.01)
    released = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue

    task = asyncio.create_task(slow_to_end())
    await asyncio.sleep(0)
    ending = asyncio.create_task(cancel_and_wait(task))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.sleep(0)
    assert not ending.done()
    released.set()
    await until(ending.done)
    assert ending.cancelled()
    assert task.done()


def test_backoff_doubles_with_jitter_to_its_limit_until_reset() -> None:
    backoff = Backoff(0.1, 1.0)
    delays = [backoff.delay() for _ in range(6)]
    for delay, most in zip(delays, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0], strict=True):
        assert most / 2 <= delay <= most
    backoff.reset()
    assert backoff.delay() <= 0.1


async def test_a_batch_error_of_this_program_ends_with_the_next_successful_turn() -> None:
    metrics = Metrics()
    dependencies = Dependencies(metrics)
    loop = Loop("worker-0", dependencies, uses=())
    outcomes = iter([BatchError("no item works", "producer"), None])
    troubles: list[list[str]] = []

    async def turn() -> float:
        troubles.append(list(dependencies.troubles))
        if (error := next(outcomes, LoopDone())) is not None:
            raise error
        return 0.0

    await loop.run(turn)
    assert troubles == [[], ["producer"], []]
