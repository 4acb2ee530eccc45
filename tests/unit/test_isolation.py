"""One bad item stops no other: found by halving, remembered, and told from a dependency that fails."""

from types import SimpleNamespace

import pytest

from peekaping_producer.errors import (
    BatchError,
    RedisArgumentError,
    RedisRefusedError,
    RedisUnavailableError,
    RowsError,
    StaleTermError,
    StoreError,
    StoreUnavailableError,
)
from peekaping_producer.service.isolation import FORGET_AFTER_S, Suspects, is_of_dependency, isolate


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
async def test_the_bad_ones_are_set_aside_and_all_others_done(bad: tuple[int, ...]) -> None:
    attempts = Attempts(*bad)
    await attempts.run(500)
    assert sorted(attempts.aside) == list(bad)
    assert sorted(attempts.done) == sorted(set(range(500)) - set(bad))
    assert attempts.calls <= 1 + 2 * 9 * len(bad)


async def test_a_single_item_is_set_aside_without_more_ado() -> None:
    attempts = Attempts(0)
    await attempts.run(1)
    assert (attempts.aside, attempts.calls) == ([0], 1)


async def test_nothing_is_tried_without_items() -> None:
    attempts = Attempts()
    await attempts.run(0)
    assert attempts.calls == 0


@pytest.mark.parametrize(
    ("error", "dependency"),
    [
        (RedisArgumentError("something of the script"), "redis"),
        (RowsError("not these"), "database"),
        (KeyError("bug"), "producer"),
    ],
)
async def test_where_no_item_works_it_is_not_the_items(error: Exception, dependency: str) -> None:
    attempts = Attempts(*range(500), error=error)
    with pytest.raises(BatchError) as raised:
        await attempts.run(500)
    assert raised.value.dependency == dependency
    assert attempts.calls < 40
    assert len(attempts.aside) == 8  # what was found out is not lost


@pytest.mark.parametrize(
    "error",
    [
        RedisUnavailableError("Connection closed by server."),
        RedisRefusedError("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        StoreUnavailableError("away"),
        StoreError("no such table"),
        StaleTermError("over"),
        BatchError("none works", "redis"),
    ],
)
async def test_what_fails_for_all_is_raised_at_once(error: Exception) -> None:
    attempts = Attempts(7, error=error)
    with pytest.raises(type(error)):
        await attempts.run(500)
    assert (attempts.calls, attempts.aside) == (1, [])


@pytest.mark.parametrize(
    "error",
    [
        RedisArgumentError("Protocol error: invalid bulk length"),
        RedisArgumentError("command cannot be packed"),
        RowsError("a text"),
        RecursionError("deep"),
        KeyError("x"),
        OSError("an unforeseen one"),
    ],
)
def test_what_may_be_one_items_fault(error: Exception) -> None:
    assert not is_of_dependency(error)


def test_those_that_failed_travel_after_the_others_and_alone() -> None:
    suspects = Suspects()
    assert list(suspects.groups("abcd")) == [["a", "b", "c", "d"]]
    suspects.failed("b")
    assert list(suspects.groups("abcd")) == [["a", "c", "d"], ["b"]]
    assert list(suspects.groups("b")) == [["b"]]
    suspects.worked(["b"])
    assert list(suspects.groups("abcd")) == [["a", "b", "c", "d"]]


def test_a_batch_that_not_read_is_read_in_smaller_parts_until_its_monitors_are_alone() -> None:
    suspects = Suspects()
    ids = [f"m{n}" for n in range(500)]
    sizes = []
    for _ in range(4):
        groups = list(suspects.groups(ids))
        assert sorted(each for group in groups for each in group) == sorted(ids)
        sizes.append(len(groups[0]))
        suspects.not_read(groups[0])
        ids = groups[0]
    assert sizes == [500, 31, 1, 1]


def test_the_wait_grows_with_each_failure_and_starts_anew_after_a_success() -> None:
    suspects = Suspects()
    assert [suspects.failed("a") for _ in range(5)] == [10, 20, 40, 60, 60]
    assert len(suspects) == 1
    suspects.worked(["a"])
    assert len(suspects) == 0
    assert suspects.failed("a") == 10


def test_the_wait_is_long_from_the_first_failure_where_an_attempt_costs_the_others_time() -> None:
    assert Suspects().failed("a", size=4_000_000) == 10
    assert Suspects().failed("a", size=50_000_000) == 60


def test_what_disturbs_no_batch_goes_on_in_it_and_waits_all_the_same() -> None:
    suspects = Suspects()
    assert suspects.failed("b", alone=False) == 10
    assert list(suspects.groups("abc")) == [["a", "b", "c"]]
    assert (len(suspects), suspects.failed("b", alone=False)) == (1, 20)


def test_a_monitor_that_does_not_come_again_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("peekaping_producer.service.isolation.time", SimpleNamespace(monotonic=lambda: now[0]))
    suspects = Suspects()
    suspects.failed("gone")
    now[0] += FORGET_AFTER_S - 1
    suspects.failed("stays")
    assert len(suspects) == 2
    now[0] += 2
    assert len(suspects) == 1
    assert suspects.is_alone(["stays"])
    assert not suspects.is_alone(["gone"])
