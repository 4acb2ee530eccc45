"""One bad item does not stop the others: halving finds it, and a dependency that fails is recognized."""

import pytest

from peekaping_producer.errors import (
    BatchError,
    RedisArgumentError,
    RedisRefusedError,
    RedisUnavailableError,
    StaleTermError,
    StoreRefusedError,
    StoreUnavailableError,
    UnreadableMonitorError,
)
from peekaping_producer.service.isolation import is_of_dependency, isolate


class Attempts:
    """Refuses batches that hold a bad item, and counts the calls."""

    def __init__(self, *bad: int, error: Exception | None = None) -> None:
        self.bad = set(bad)
        self.error = error or RedisArgumentError("Protocol error: invalid bulk length")
        self.done: list[int] = []
        self.aside: list[int] = []
        self.calls = 0

    async def __call__(self, items: list[int]) -> None:
        self.calls += 1
        if self.bad & set(items):
            raise self.error
        self.done += items

    async def run(self, count: int) -> None:
        await isolate(range(count), self, lambda item, _error: self.aside.append(item))


async def test_a_good_batch_takes_one_call() -> None:
    attempts = Attempts()
    await attempts.run(500)
    assert (attempts.calls, attempts.aside, len(attempts.done)) == (1, [], 500)


@pytest.mark.parametrize(
    "bad", [(0,), (499,), (250,), (3, 4, 400), tuple(range(20)), tuple(range(470, 500)), tuple(range(0, 500, 25))]
)
async def test_bad_items_are_set_aside_and_all_others_processed(bad: tuple[int, ...]) -> None:
    attempts = Attempts(*bad)
    await attempts.run(500)
    assert sorted(attempts.aside) == list(bad)
    assert sorted(attempts.done) == sorted(set(range(500)) - set(bad))
    assert attempts.calls <= 1 + 2 * 9 * len(bad)


@pytest.mark.parametrize("first_bad", [0, 1, 7, 100])
async def test_bad_items_at_both_ends_are_not_taken_for_a_whole_batch(first_bad: int) -> None:
    attempts = Attempts(first_bad, *range(300, 500))
    await attempts.run(500)
    assert sorted(attempts.aside) == [first_bad, *range(300, 500)]
    assert sorted(attempts.done) == sorted(set(range(300)) - {first_bad})


async def test_a_single_item_is_set_aside_after_one_call() -> None:
    attempts = Attempts(0)
    await attempts.run(1)
    assert (attempts.aside, attempts.calls) == ([0], 1)


async def test_no_call_is_made_without_items() -> None:
    attempts = Attempts()
    await attempts.run(0)
    assert attempts.calls == 0


@pytest.mark.parametrize(
    ("error", "dependency"),
    [
        (RedisArgumentError("something of the script"), "redis"),
        (UnreadableMonitorError("not these"), "database"),
        (KeyError("bug"), "producer"),
    ],
)
async def test_a_batch_error_is_raised_if_every_item_fails(error: Exception, dependency: str) -> None:
    attempts = Attempts(*range(500), error=error)
    with pytest.raises(BatchError) as raised:
        await attempts.run(500)
    assert raised.value.dependency == dependency
    assert attempts.calls < 40
    assert len(attempts.aside) == 8  # known before the error was raised


@pytest.mark.parametrize(
    "error",
    [
        RedisUnavailableError("Connection closed by server."),
        RedisRefusedError("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        StoreUnavailableError("away"),
        StoreRefusedError("no such table"),
        StaleTermError("over"),
        BatchError("none works", "redis"),
    ],
)
async def test_errors_that_concern_every_item_are_raised_at_once(error: Exception) -> None:
    attempts = Attempts(7, error=error)
    with pytest.raises(type(error)):
        await attempts.run(500)
    assert (attempts.calls, attempts.aside) == (1, [])


@pytest.mark.parametrize(
    "error",
    [
        RedisArgumentError("Protocol error: invalid bulk length"),
        RedisArgumentError("command cannot be packed"),
        UnreadableMonitorError("a text"),
        RecursionError("deep"),
        KeyError("x"),
        OSError("an unforeseen one"),
    ],
)
def test_errors_that_one_item_may_cause(error: Exception) -> None:
    assert not is_of_dependency(error)
