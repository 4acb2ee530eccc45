"""The ticks of a monitor as a drawing."""

import math
from itertools import pairwise
from typing import Any

import pytest

from peekaping_producer.ui.rendering.ticks import KINDS, Axis, Point, coming, drawing, key
from tests.kit.nodes import attributes, named, text_of

NOW_MS = 1_795_662_619_000
"""03:10:19 on 2026-11-26."""
MINUTE_MS = 60_000
TICK_MS = 1_795_662_600_000
AXIS = Axis(NOW_MS, MINUTE_MS)


def percent(value: str) -> float:
    return float(value.removesuffix("%"))


def test_missing_ticks_follow_the_phase_and_end_at_the_axis() -> None:
    now_ms = 1_800_000_000_000
    next_ms = now_ms + 17_000
    results = [now_ms - 103_000 + 300, now_ms - 223_000 + 400]
    axis = Axis(now_ms, MINUTE_MS)
    assert [point.at_ms for point in axis.missing(results, next_ms)] == [now_ms - 43_000, now_ms - 163_000]
    assert len(list(Axis(now_ms, 20_000).missing([0], next_ms))) == 14
    assert list(axis.missing(results, None)) == list(axis.missing([], next_ms)) == []


def test_a_tick_is_not_missing_before_its_check_has_had_time() -> None:
    for age_ms, missing in ((4999, []), (5000, [TICK_MS])):
        axis = Axis(TICK_MS + age_ms, MINUTE_MS)
        found = axis.missing([TICK_MS - MINUTE_MS + 300], TICK_MS + MINUTE_MS)
        assert [point.at_ms for point in found] == missing


def test_missing_ticks_of_a_monitor_that_is_due_much_later() -> None:
    """As while it is held."""
    results = [TICK_MS - 3 * MINUTE_MS + 300]
    assert [point.at_ms for point in AXIS.missing(results, TICK_MS + 600 * MINUTE_MS)] == [
        TICK_MS,
        TICK_MS - MINUTE_MS,
        TICK_MS - 2 * MINUTE_MS,
    ]


def test_what_is_drawn_and_its_name() -> None:
    points = [
        *coming([TICK_MS + MINUTE_MS, TICK_MS + 6 * MINUTE_MS]),
        Point(TICK_MS + 300, "up", "up, 12 ms"),
        Point(TICK_MS - MINUTE_MS, "none", KINDS["none"]),
        Point(TICK_MS - 16 * MINUTE_MS, "down", "down, 9 ms"),
    ]
    drawn: Any = drawing(AXIS, points, None)
    assert attributes(drawn) == {
        "height": 88,
        "role": "img",
        "aria-label": "03:09:00 tick without a stored result, 03:10:00 up, 12 ms, 03:11:00 to come",
    }
    circles = [found for found in drawn[2:] if found[0].startswith("circle.")]
    assert [(found[0], text_of(found)) for found in circles] == [
        ("circle.none", "03:09:00 (79.0 s ago): tick without a stored result"),
        ("circle.up", "03:10:00 (18.7 s ago): up, 12 ms"),
        ("circle.next", "03:11:00 (in 41.0 s): to come"),
    ]
    assert [attributes(found)["cx"] for found in circles] == ["67.3%", "72.0%", "76.7%"]
    assert (attributes(named(drawn, "line.now")[0])["x1"], text_of(named(drawn, "text.peak")[0])) == ("73.5%", "now")
    assert text_of(key()) == "".join(KINDS.values())


@pytest.mark.parametrize(
    ("period", "rect", "label"),
    [
        (None, None, None),
        ((NOW_MS, NOW_MS + MINUTE_MS), ("73.5%", "4.7%"), ("73.5%", None)),
        ((0, NOW_MS), ("3.0%", "70.5%"), ("3.0%", None)),
        ((0, math.inf), ("3.0%", "94.0%"), ("3.0%", None)),
        ((NOW_MS + 2 * MINUTE_MS, math.inf), ("82.9%", "14.1%"), ("97.0%", "end")),
        ((NOW_MS + 90 * MINUTE_MS, math.inf), None, None),
        ((0, NOW_MS - 90 * MINUTE_MS), None, None),
    ],
)
def test_maintenance_is_drawn_within_the_axis(
    period: tuple[float, float] | None, rect: tuple[str, str] | None, label: tuple[str, str | None] | None
) -> None:
    drawn = drawing(AXIS, [], period)
    rects = [attributes(found) for found in named(drawn, "rect.period")]
    labels = [attributes(found) for found in named(drawn, "text")]
    assert [(found["x"], found["width"]) for found in rects] == ([rect] if rect else [])
    assert [(found["x"], found.get("text-anchor")) for found in labels] == ([label] if label else [])


@pytest.mark.parametrize("width_px", [258, 328, 680, 1180])
@pytest.mark.parametrize("step_s", [20, 60, 86_400])
@pytest.mark.parametrize("jitter_ms", [0, 300, 7000])
def test_labels_that_are_shown_at_a_width_do_not_overlap(width_px: int, step_s: int, jitter_ms: int) -> None:
    """In wide fonts (DejaVu Sans). A window of less than 761 px hides those with the class `wide`."""
    axis = Axis(NOW_MS, 1000 * step_s)
    points = [Point(NOW_MS + n * axis.step_ms + n * n * jitter_ms % 9000, "up", "up") for n in range(-15, 5)]
    drawn = drawing(axis, points, None)
    shown = named(drawn, "text") + (named(drawn, "text.wide") if width_px >= 680 else [])
    places = sorted((percent(attributes(found)["x"]) * width_px / 100, len(text_of(found))) for found in shown)
    ends = [(place - 6.8 * length / 2, place + 6.8 * length / 2) for place, length in places]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    assert ends[0][0] > -14
    assert ends[-1][1] < width_px + 14, "a card has a padding of 14 px"
    assert len(ends) >= (1 if step_s == 86_400 else 3), "a day ago, labels contain the date"


def test_wide_labels_are_those_that_a_narrow_window_has_no_room_for() -> None:
    drawn = drawing(AXIS, list(coming([TICK_MS + n * MINUTE_MS for n in range(-14, 6)])), None)
    always, wide = ([text_of(found)[:5] for found in named(drawn, name)] for name in ("text", "text.wide"))
    assert always == ["02:58", "03:04", "03:10"]
    assert wide == ["02:56", "03:00", "03:02", "03:06", "03:08", "03:12", "03:14"]


def test_times_beyond_every_calendar_are_drawn() -> None:
    drawn: Any = drawing(Axis(NOW_MS, 1e18), [Point(NOW_MS - 1e18, "up", "up")], None)
    assert attributes(drawn)["aria-label"] == "an invalid time up"
