"""The ticks of a monitor as a drawing: results at their times, ticks without one, ticks to come, and maintenance.

Places are percentages of the width, which only the browser knows: texts keep their size.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec

from peekaping_producer.service.text import clock_time
from peekaping_producer.ui.rendering.nodes import Node, at

_PAST, _COMING = 15, 5
"""Intervals before and after now."""
_MARGIN = 3.0
"""Percent of the width on each side."""
_HEIGHT, _TOP, _MIDDLE, _BOTTOM = 88, 20, 48, 64
_WIDE_PX, _NARROW_PX = 680, 258
"""The width of the drawing in windows of 761 and of 320 px."""
_CHARACTER_PX, _GAP_PX = 7, 7
"""Of a label, and between two."""
_RESULT_WITHIN_MS = 5000
"""A tick is not missing before: its check may still run."""
_NO_RESULT = "tick without a stored result"
_TO_COME = "to come"
KINDS = {
    "up": "up",
    "down": "down",
    "other": "pending, running or maintenance",
    "none": _NO_RESULT,
    "next": _TO_COME,
}
"""Classes of points, and what they mean."""


class Point(msgspec.Struct, frozen=True):
    """A tick, a result or a running check, in ms since the Unix epoch."""

    at_ms: float
    kind: str
    """A key of KINDS."""
    name: str


class Axis(msgspec.Struct, frozen=True):
    """From 15 intervals ago to 5 intervals ahead."""

    now_ms: float
    step_ms: float
    """The interval; above 0."""

    def contains(self, at_ms: float) -> bool:
        """Whether the time is within the axis."""
        return self._from_ms < at_ms < self.now_ms + _COMING * self.step_ms

    def place(self, at_ms: float) -> float:
        """Return the place of the time, or of the nearest end of the axis, in percent of the width."""
        steps = min(max((at_ms - self._from_ms) / self.step_ms, 0), _PAST + _COMING)
        return _MARGIN + (100 - 2 * _MARGIN) * steps / (_PAST + _COMING)

    def missing(self, results: Sequence[float], next_ms: float | None) -> Iterator[Point]:
        """Yield the ticks before `next_ms` without a result, as far back as the axis and the results reach."""
        if next_ms is None or not results:
            return
        oldest_ms = max(min(results), self._from_ms)
        tick_ms = next_ms - self.step_ms * math.ceil((next_ms - self.now_ms + _RESULT_WITHIN_MS) / self.step_ms)
        while tick_ms > oldest_ms:
            if not any(tick_ms <= result_ms < tick_ms + self.step_ms for result_ms in results):
                yield Point(tick_ms, "none", _NO_RESULT)
            tick_ms -= self.step_ms

    @property
    def _from_ms(self) -> float:
        return self.now_ms - _PAST * self.step_ms


def coming(ticks_ms: Sequence[float]) -> Iterator[Point]:
    """Yield ticks to come."""
    for tick_ms in ticks_ms:
        yield Point(tick_ms, "next", _TO_COME)


def drawing(axis: Axis, points: Sequence[Point], period_ms: tuple[float, float] | None) -> Node:
    """Return the drawing. `period_ms`: when maintenance begins and ends."""
    seen = sorted((point for point in points if axis.contains(point.at_ms)), key=lambda point: point.at_ms)
    name = ", ".join(f"{clock_time(point.at_ms, axis.now_ms)} {point.name}" for point in seen)
    now = _percent(axis.place(axis.now_ms))
    return [
        "svg",
        {"height": _HEIGHT, "role": "img", "aria-label": name},
        *(_maintenance(axis, *period_ms) if period_ms else ()),
        ["line.grid", {"x1": 0, "x2": "100%", "y1": _MIDDLE, "y2": _MIDDLE}],
        *(_circle(axis, point) for point in seen),
        *_labels(axis, seen),
        ["line.now", {"x1": now, "x2": now, "y1": _TOP, "y2": _BOTTOM}],
        ["text.peak", {"x": now, "y": 14, "text-anchor": "middle"}, "now"],
    ]


def key() -> Node:
    """Return what the points mean."""
    return ["p.key", *([f"span.{kind}", name] for kind, name in KINDS.items())]


def _maintenance(axis: Axis, begins_ms: float, ends_ms: float) -> Iterator[Node]:
    begins, ends = axis.place(begins_ms), axis.place(ends_ms)
    if ends <= begins:
        return
    size = {"width": _percent(ends - begins), "height": _BOTTOM - _TOP}
    yield ["rect.period", {"x": _percent(begins), "y": _TOP, **size}]
    is_left = begins < 75  # the word has room to the right of the beginning
    place = {"x": _percent(begins), "dx": 6} if is_left else {"x": _percent(ends), "dx": -6, "text-anchor": "end"}
    yield ["text", {**place, "y": 33}, "maintenance"]


def _circle(axis: Axis, point: Point) -> Node:
    place = {"cx": _percent(axis.place(point.at_ms)), "cy": _MIDDLE, "r": 6.5}
    return [f"circle.{point.kind}", place, ["title", f"{at(point.at_ms, axis.now_ms)}: {point.name}"]]


def _labels(axis: Axis, points: Sequence[Point]) -> Iterator[Node]:
    """Yield the times that have room in a wide window; those that have none in a narrow one get the class `wide`."""
    free_px = {_WIDE_PX: 0.0, _NARROW_PX: 0.0}  # from here on no label is written
    for point in points:
        text, place = clock_time(point.at_ms, axis.now_ms), axis.place(point.at_ms)
        half_px = len(text) * _CHARACTER_PX / 2
        fitting = [width for width, free in free_px.items() if free <= place * width / 100 - half_px]
        fitting = [width for width in fitting if place * width / 100 + half_px <= width]
        if _WIDE_PX in fitting:
            free_px |= {width: place * width / 100 + half_px + _GAP_PX for width in fitting}
            css = "" if _NARROW_PX in fitting else ".wide"
            yield [f"text{css}", {"x": _percent(place), "y": 82, "text-anchor": "middle"}, text]


def _percent(place: float) -> str:
    return f"{place:.1f}%"
