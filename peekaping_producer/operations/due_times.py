"""When monitors will be due: counts by time, and what they suggest.

The schedule contains the next due time of each monitor and no intervals: a monitor counts once, at its next due time.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec

from peekaping_producer.schedule import Schedule, Slots
from peekaping_producer.service.text import clock_time, counted, duration

MAX_SPAN_S = 86_400
_WIDTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Of slots and rows; each wide one is a multiple of the narrow ones that it is used with."""
_MAX_SLOTS = 600
_MAX_ROWS = 30
_MAX_BAR = 40
_MINUTE_S = 60
_CROWDED_FACTOR = 10
_CROWDED_FROM = 1000


def spread_hint(due: Sequence[int]) -> str:
    """Return advice if one of the next 60 seconds is crowded, else ''.

    `due`: monitors due in each of these seconds, without those that are overdue.
    """
    most, total = max(due, default=0), sum(due)
    if most <= _CROWDED_FROM or most * len(due) <= _CROWDED_FACTOR * total:
        return ""
    times = most * len(due) / total
    return (
        f"{most:,} monitors are due in one second, {times:.0f} times the mean of this minute. "
        "Set SPREAD_TICKS=true to spread the checks over their intervals."
    )


class DueTimes(msgspec.Struct, frozen=True):
    """Monitors that will be due, by slots of time; times are Redis TIME."""

    now_ms: int
    span_s: int
    from_ms: int
    """Beginning of the first slot: the next full second, or the multiple of a longer `slot_s` before now."""
    slot_s: int
    counts: tuple[int, ...]
    """In each slot; a monitor that is due before the next full second is in none."""
    hint: str

    @property
    def fullest(self) -> tuple[int, int] | None:
        """The beginning of the fullest slot in ms, and its monitors; None if no monitor is due."""
        most = max(self.counts, default=0)
        return (self.from_ms + 1000 * self.slot_s * self.counts.index(most), most) if most else None

    def lines(self, overdue: int = 0) -> list[str]:
        """Return a histogram as text, and the hint. `overdue`: such monitors that it does not contain."""
        if overdue:
            they = "it" if overdue == 1 else "they"
            return [f"{counted(overdue, 'monitor')} overdue: due as soon as {they} can be handed off.", *self.lines()]
        total = f"{counted(sum(self.counts), 'monitor')} due within {_whole(self.span_s)}"
        if self.fullest is None:
            return [f"{total}."]
        at_ms, most = self.fullest
        slot, at = ("second", "at") if self.slot_s == 1 else (_whole(self.slot_s), "from")
        left = f"in {duration(max(0, at_ms - self.now_ms) / 1000)}"
        lines = [f"{total}; the fullest {slot}: {most:,} {at} {self._clock(at_ms)}, {left}."]
        rows = self._rows()
        longest = max(count for _, count in rows)
        width = len(f"{longest:,}")
        for begin_ms, count in rows:
            bar = "#" * max(round(_MAX_BAR * count / longest), 1 if count else 0)
            lines.append(f"{self._clock(begin_ms)} {count:>{width},} {bar}".rstrip())
        lines.append("Each monitor counts once, at its next due time.")
        return [*lines, self.hint] if self.hint else lines

    def _rows(self) -> list[tuple[int, int]]:
        """The beginning of each row in ms and its monitors; up to the last row that is not empty."""
        row_ms = 1000 * _width_s(self.span_s, _MAX_ROWS)
        slots = ((self.from_ms + 1000 * self.slot_s * n, count) for n, count in enumerate(self.counts))
        rows = [
            (row * row_ms, sum(count for _, count in of_row))
            for row, of_row in groupby(slots, lambda slot: slot[0] // row_ms)
        ]
        while rows and not rows[-1][1]:
            rows.pop()
        return rows

    def _clock(self, at_ms: int) -> str:
        return clock_time(at_ms, self.now_ms)

    def as_json(self) -> dict[str, Any]:
        """Return the documented form of `next` in `status --json`."""
        fullest = self.fullest and {"at_ms": self.fullest[0], "monitors": self.fullest[1]}
        return {
            "span_s": self.span_s,
            "from_ms": self.from_ms,
            "slot_s": self.slot_s,
            "counts": list(self.counts),
            "fullest": fullest,
            "hint": self.hint or None,
        }


async def read_due_times(schedule: Schedule, span_s: int, now_ms: int) -> DueTimes:
    """Count the monitors that will be due within `span_s` seconds, at most MAX_SPAN_S. Raises RedisError."""
    second_ms = now_ms // 1000 * 1000
    slot_s = _width_s(span_s, _MAX_SLOTS)
    seconds = max(span_s if slot_s == 1 else 0, _MINUTE_S)
    before, *by_second = await _counts(schedule, second_ms, 1, seconds + 1)
    hint = spread_hint(by_second[:_MINUTE_S])
    if slot_s == 1:
        return DueTimes(now_ms, span_s, second_ms + 1000, 1, tuple(by_second[:span_s]), hint)
    from_ms = now_ms // (1000 * slot_s) * 1000 * slot_s
    first, *others = await _counts(schedule, from_ms, slot_s, span_s // slot_s + 1)
    return DueTimes(now_ms, span_s, from_ms, slot_s, (max(0, first - before), *others), hint)


async def _counts(schedule: Schedule, first_ms: int, slot_s: int, count: int) -> tuple[int, ...]:
    """The monitors that are due in each slot, in the first one also those that are overdue."""
    return (await schedule.look(members=0, slots=Slots(first_ms, 1000 * slot_s, count))).due_counts


def _width_s(span_s: int, most: int) -> int:
    """Return the width of at most `most` parts of the span."""
    return next((width for width in _WIDTHS_S if width * most >= span_s), _WIDTHS_S[-1])


def _whole(seconds: int) -> str:
    """Return a duration without a fraction: `90 s`, `10 min`, `1 h`."""
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
