"""Monitors whose work failed: the size of their batches, and the delay before the next attempt."""

from types import SimpleNamespace

import pytest

from peekaping_producer.producer.suspects import FORGET_AFTER_S, Suspects


def test_failed_monitors_come_after_the_others_and_alone() -> None:
    suspects = Suspects()
    assert list(suspects.groups("abcd")) == [["a", "b", "c", "d"]]
    suspects.record_failure("b")
    assert list(suspects.groups("abcd")) == [["a", "c", "d"], ["b"]]
    assert list(suspects.groups("b")) == [["b"]]
    suspects.record_success(["b"])
    assert list(suspects.groups("abcd")) == [["a", "b", "c", "d"]]


def test_a_batch_that_cannot_be_read_is_split_until_its_monitors_are_alone() -> None:
    suspects = Suspects()
    ids = [f"m{n}" for n in range(500)]
    sizes = []
    for _ in range(4):
        groups = list(suspects.groups(ids))
        assert sorted(each for group in groups for each in group) == sorted(ids)
        sizes.append(len(groups[0]))
        suspects.record_unread(groups[0])
        ids = groups[0]
    assert sizes == [500, 31, 1, 1]


def test_the_delay_grows_with_each_failure_until_a_success() -> None:
    suspects = Suspects()
    assert [suspects.record_failure("a") for _ in range(5)] == [10, 20, 40, 60, 60]
    assert len(suspects) == 1
    suspects.record_success(["a"])
    assert len(suspects) == 0
    assert suspects.record_failure("a") == 10


def test_the_first_delay_is_long_for_a_large_task() -> None:
    assert Suspects().record_failure("a", size=4_000_000) == 10
    assert Suspects().record_failure("a", size=50_000_000) == 60


def test_a_failure_that_stops_no_other_delays_without_separating() -> None:
    suspects = Suspects()
    assert suspects.record_failure("b", alone=False) == 10
    assert list(suspects.groups("abc")) == [["a", "b", "c"]]
    assert (len(suspects), suspects.record_failure("b", alone=False)) == (1, 20)


def test_a_record_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("peekaping_producer.producer.suspects.time", SimpleNamespace(monotonic=lambda: now[0]))
    suspects = Suspects()
    suspects.record_failure("gone")
    now[0] += FORGET_AFTER_S - 1
    suspects.record_failure("stays")
    assert len(suspects) == 2
    now[0] += 2
    assert len(suspects) == 1
    assert suspects.is_alone(["stays"])
    assert not suspects.is_alone(["gone"])
