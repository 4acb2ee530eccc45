"""What the chart around now shows: counts by slot, and their texts. The browser draws it, as wide as it is there."""

import msgspec

from peekaping_producer.operations.heartbeat import SLOTS
from peekaping_producer.service.text import clock_time, counted
from peekaping_producer.ui.frame import Frame, Series
from peekaping_producer.ui.rendering.facts import LATE_S
from peekaping_producer.ui.rendering.nodes import count, span
from peekaping_producer.ui.rendering.overdue import are_in_claims


class Chart(msgspec.Struct, frozen=True):
    """The chart with slots of one width; the fields that `Series` has, too, are as there."""

    at_s: int
    handed_off: list[int]
    late: list[int]
    """Empty if none was late."""
    due: list[int]
    waits: list[float | None]
    """The longest wait in each slot of the past, in s."""
    label: str
    """All of it in words, for screen readers."""
    longest: str
    """The latest known longest wait."""
    claims: list[str]
    """Lines that explain why few due times are coming; empty if more are coming than monitors are claimed."""


class Around(msgspec.Struct, frozen=True):
    """The charts."""

    since_ms: float | None
    """Since when the verdict is not good."""
    is_late: bool
    """Whether the longest wait is red."""
    units: dict[int, Chart]
    """By the width of the slots in s."""


def around(frame: Frame) -> Around:
    """Return the charts with slots of 1 s and of 10 s."""
    found = frame.verdict
    return Around(
        None if found.level == "good" else found.since_ms,
        frame.longest_wait_s > LATE_S,
        {unit_s: _chart(series, unit_s, frame) for unit_s, series in ((1, frame.seconds), (10, frame.ten_seconds))},
    )


def _chart(series: Series, unit_s: int, frame: Frame) -> Chart:
    latest = next((wait for wait in reversed(series.longest_wait_s) if wait is not None), None)
    longest = "none" if latest == 0 else span(latest)
    claims = []
    if frame.leased > sum(series.due):
        claims = [counted(frame.leased, "monitor"), f"{are_in_claims(frame.leased)}:", "due again once handed off"]
    label = (
        f"Last {SLOTS * unit_s // 60} min: {count(sum(series.handed_off))} handed off, "
        f"{count(sum(series.late))} of them late. Next {SLOTS * unit_s // 60} min: "
        f"{' '.join(claims) or _coming(series, unit_s, frame.now_ms)}. Longest wait for a hand-off: {longest}."
    )
    late = series.late if any(series.late) else []
    waits = [_rounded(wait) for wait in series.longest_wait_s]
    return Chart(series.at_s, series.handed_off, late, series.due, waits, label, longest, claims)


def _rounded(wait_s: float | None) -> float | None:
    """Round to 0.1 s; to an integer where that is as exact, which is shorter in JSON."""
    if wait_s is None:
        return None
    tenths = round(wait_s * 10)
    return tenths / 10 if tenths % 10 else tenths // 10


def _coming(series: Series, unit_s: int, now_ms: int) -> str:
    most = max(series.due, default=0)
    peak_s = series.at_s + (series.due.index(most) + 1 if series.due else 0) * unit_s
    return f"{count(sum(series.due))} due, at most {count(most)}, at {clock_time(peak_s * 1000, now_ms)}"
