"""Ticks, against upstream's function and against the same formula in Go."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peekaping_producer.monitors.ticks import is_tick, is_unphased, missed_ticks, next_tick, phase_s
from tests.kit.vectors import vectors

ALIGNED, PHASED = vectors("next_aligned"), vectors("next_phased")
"""The second is the output of tests/golden/next_phased.go."""
INTERVALS = st.integers(1, 2**31 - 1)
IDS = st.one_of(st.uuids().map(str), st.text(max_size=70))
NOW_MS = st.integers(0, 2**42)


def test_golden_vectors() -> None:
    assert len(ALIGNED) == 116
    assert any(vector["now_ms"] < 0 for vector in ALIGNED)
    for vector in ALIGNED:
        assert next_tick(vector["now_ms"], vector["interval_s"]) == vector["next_ms"], vector


def test_golden_vectors_with_phases() -> None:
    assert len(PHASED) == 280
    for vector in PHASED:
        phase = phase_s(vector["id"], vector["interval_s"])
        assert phase == vector["phase_s"], vector
        assert next_tick(vector["now_ms"], vector["interval_s"], phase) == vector["next_ms"], vector


@pytest.mark.parametrize(
    ("monitor_id", "interval", "phase"),
    [("3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04", 60, 48), ("507f1f77bcf86cd799439011", 60, 7)],
)
def test_the_phase_of_a_monitor_never_changes(monitor_id: str, interval: int, phase: int) -> None:
    assert phase_s(monitor_id, interval) == phase


@given(IDS, INTERVALS, NOW_MS)
def test_the_next_tick_is_within_one_interval(monitor_id: str, interval: int, now_ms: int) -> None:
    phase = phase_s(monitor_id, interval)
    assert 0 <= phase < interval
    following = next_tick(now_ms, interval, phase)
    assert now_ms < following <= now_ms + interval * 1000
    assert is_tick(following, interval, phase)
    assert not is_unphased(following, interval, phase)
    assert missed_ticks(following, following, interval, phase) == 0
    assert next_tick(following, interval, phase) == following + interval * 1000


@given(IDS, INTERVALS, NOW_MS, NOW_MS)
def test_missed_ticks_are_those_between_due_time_and_now(monitor_id: str, interval: int, due_ms: int, ago: int) -> None:
    now_ms, phase = due_ms + ago % (50 * interval * 1000), phase_s(monitor_id, interval)
    first = next_tick(due_ms, interval, phase)
    expected = 0 if first > now_ms else (now_ms - first) // (interval * 1000) + 1
    assert missed_ticks(due_ms, now_ms, interval, phase) == expected


@given(IDS, INTERVALS, NOW_MS)
def test_a_tick_without_the_phase_stays_a_tick(monitor_id: str, interval: int, now_ms: int) -> None:
    phase, plain = phase_s(monitor_id, interval), next_tick(now_ms, interval)
    assert is_tick(plain, interval, phase)
    assert is_unphased(plain, interval, phase) == (phase != 0)
    assert is_tick(plain + 1, interval, phase) is False


@pytest.mark.parametrize("monitor_ids", [[f"{n:024x}" for n in range(30_000)], [f"m{n}" for n in range(30_000)]])
def test_phases_are_spread_evenly(monitor_ids: list[str]) -> None:
    """Also those of consecutive ids: each second of 60 gets 500 of 30,000 monitors, give or take six deviations."""
    counts = [0] * 60
    for monitor_id in monitor_ids:
        counts[phase_s(monitor_id, 60)] += 1
    assert max(abs(count - 500) for count in counts) < 6 * math.sqrt(500)


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_must_be_positive(interval: int) -> None:
    with pytest.raises(ValueError, match=f"got {interval}"):
        next_tick(0, interval)


@pytest.mark.parametrize(
    ("due_ms", "now_ms", "interval", "missed"),
    [
        (60_000, 60_005, 60, 0),
        (60_000, 119_999, 60, 0),
        (60_000, 120_001, 60, 1),  # due at 1:00, handed off after 2:00: the tick of 2:00 never runs
        (60_000, 300_001, 60, 4),
        (61_234, 119_000, 60, 0),  # a new monitor, due at once
    ],
)
def test_missed_ticks(due_ms: float, now_ms: int, interval: int, missed: int) -> None:
    assert missed_ticks(due_ms, now_ms, interval) == missed
