"""When monitors will be due: the histogram as text, and the hint."""

from typing import Any

import pytest

from peekaping_producer.operations.due_times import _WIDTHS_S, MAX_SPAN_S, DueTimes, _width_s, spread_hint

NOW_MS = 1_795_351_066_550
"""12:37:46.550 UTC."""


def due_times(counts: dict[int, int], **changes: Any) -> DueTimes:
    """`counts`: by the number of the slot."""
    span_s = changes.get("span_s", 60)
    slot_s = changes.get("slot_s", 1)
    first = -(-NOW_MS // (1000 * slot_s)) * 1000 * slot_s
    series = tuple(counts.get(n, 0) for n in range(span_s // slot_s))
    return DueTimes(NOW_MS, span_s, first, slot_s, series, changes.get("hint", ""))


def test_the_histogram_ends_with_its_last_row_and_names_the_fullest_slot() -> None:
    lines = due_times({3: 10, 13: 14_090, 14: 20, 59: 1}, hint="Advice.").lines()
    assert lines == [
        "14,121 monitors due within 1 min; the fullest second: 14,090 at 12:38:00, in 13.4 s.",
        "12:37:46      0",
        "12:37:48      0",
        "12:37:50     10 #",
        *(f"12:37:{second}      0" for second in (52, 54, 56, 58)),
        f"12:38:00 14,110 {'#' * 40}",
        *(f"12:38:{second:02}      0" for second in range(2, 46, 2)),
        "12:38:46      1 #",
        "Each monitor counts once, at its next due time.",
        "Advice.",
    ]


def test_slots_of_more_than_a_second_are_spans() -> None:
    lines = due_times({7: 5}, span_s=3600, slot_s=10).lines()
    assert lines[0] == "5 monitors due within 1 h; the fullest 10 s: 5 from 12:39:00, in 73.5 s."
    assert lines[1:-1] == ["12:36:00 0", f"12:38:00 5 {'#' * 40}"]


def test_nothing_is_due() -> None:
    nothing = due_times({}, span_s=90)
    assert nothing.lines() == ["0 monitors due within 90 s."]
    assert nothing.as_json() == {
        "span_s": 90,
        "from_ms": 1_795_351_067_000,
        "slot_s": 1,
        "counts": [0] * 90,
        "fullest": None,
        "hint": None,
    }


@pytest.mark.parametrize("span_s", [1, 59, 90, 600, 601, 1500, 3600, 9000, 30_000, MAX_SPAN_S])
def test_each_row_consists_of_whole_slots(span_s: int) -> None:
    slot_s, row_s = _width_s(span_s, 600), _width_s(span_s, 30)
    assert row_s % slot_s == 0
    assert span_s <= 600 * slot_s
    assert span_s <= 30 * row_s
    assert {slot_s, row_s} <= set(_WIDTHS_S)


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        ([], ""),
        ([0] * 60, ""),
        ([1001, *[0] * 59], "1,001 monitors are due in one second, 60 times the mean of this minute. Set SPREAD_TICKS"),
        ([1000, *[0] * 59], ""),
        ([10_000, *[1000] * 59], ""),
        ([14_090, *[1000] * 59], "14,090 monitors are due in one second, 12 times the mean of this minute."),
        ([100_000] * 60, ""),
    ],
)
def test_the_hint_is_given_for_a_crowded_second_only(due: list[int], expected: str) -> None:
    hint = spread_hint(due)
    assert hint.startswith(expected)
    assert bool(hint) is bool(expected)
