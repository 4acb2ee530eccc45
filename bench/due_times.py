"""The due times that hand-offs set: how late each was, how long monitors waited, and whether a hand-off was early."""

from collections.abc import Iterable
from itertools import pairwise

import msgspec

from bench.hand_offs import HandOff

_ROUNDING_MS = 1.0
"""Between the ns of a task and the ms of a due time."""


class DueTimes(msgspec.Struct):
    """What the hand-offs of some monitors of one interval show. The first one of each monitor only begins."""

    late: list[tuple[float, float]] = msgspec.field(default_factory=list)
    """Due time and lateness of each hand-off, in ms."""
    overlapped: set[tuple[str, float]] = msgspec.field(default_factory=set)
    """Monitors, and the due times at which their last task was in the queue: by design there is no second one."""
    early: int = 0
    """Hand-offs before the due time that the one before had set: a second one for the same due time."""
    longest_wait_ms: float = 0.0
    """From a hand-off to the due time that it set."""
    longest_gap_ms: float = 0.0
    """Between two hand-offs of a monitor: that wait, and the lateness of the second."""
    most_shorter_gaps: int = 0
    """Times between two due times of one monitor that are shorter than the interval."""

    @property
    def worst_ms(self) -> float:
        """The greatest lateness."""
        return max((late_ms for _, late_ms in self.late), default=0.0)

    def late_ms(self, start_ms: float, end_ms: float) -> list[float]:
        """The lateness of each hand-off that was due in this time."""
        return [late_ms for due_ms, late_ms in self.late if start_ms <= due_ms < end_ms]


def due_times_of(hand_offs: Iterable[HandOff], interval_s: int) -> DueTimes:
    """Judge hand-offs in their order. A due time that is not known is neither judged nor measured."""
    by_monitor: dict[str, list[HandOff]] = {}
    for hand_off in hand_offs:
        by_monitor.setdefault(hand_off.monitor, []).append(hand_off)
    found = DueTimes()
    for of_monitor in by_monitor.values():
        _add(found, of_monitor, interval_s * 1000)
    return found


def _add(found: DueTimes, hand_offs: list[HandOff], period_ms: float) -> None:
    """Add those of one monitor."""
    shorter = 0
    for before, after in pairwise(hand_offs):
        found.longest_gap_ms = max(found.longest_gap_ms, after.enqueued_ms - before.enqueued_ms)
        if (due_ms := before.next_due_ms) is None:
            continue
        wait_ms = due_ms - before.enqueued_ms
        if wait_ms > period_ms and due_ms - period_ms <= before.taken_ms:  # a later hand-off set it
            found.overlapped.add((before.monitor, due_ms - period_ms))
        else:
            found.longest_wait_ms = max(found.longest_wait_ms, wait_ms)
        late_ms = after.enqueued_ms - due_ms
        found.late.append((due_ms, late_ms))
        found.early += late_ms < -_ROUNDING_MS
        shorter += after.next_due_ms is not None and after.next_due_ms - due_ms < period_ms
    found.most_shorter_gaps = max(found.most_shorter_gaps, shorter)
