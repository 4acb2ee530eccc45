"""Counts hand-offs and results, and derives which ticks were duplicated or lost."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from peekaping_producer.monitors.monitor import Monitor
from peekaping_producer.monitors.ticks import next_tick


class Result(msgspec.Struct, frozen=True):
    """The result of one check; `kind` is the category that is counted, such as "HTTP 200" or "timeout"."""

    up: bool
    kind: str
    took_ms: int


class Row(msgspec.Struct):
    """One monitor, as the table shows it. Times are Redis TIME in ms."""

    name: str
    interval: int
    handed_off_ms: int | None = None
    tick_ms: int | None = None
    """The due time that the last hand-off served."""
    late_ms: int | None = None
    """None for the first one: a new monitor is due at once."""
    result: Result | None = None
    checks: int = 0
    completed_ms: int = 0

    def next_due_ms(self) -> int | None:
        """Return when it is due next; None before its first hand-off."""
        return None if self.handed_off_ms is None else next_tick(self.handed_off_ms, self.interval)


class Ledger:
    """Counters. Due times follow from the rule that the next tick is the first one after a hand-off."""

    def __init__(self, monitors: Iterable[Monitor]) -> None:
        self.rows = {monitor.id: Row(monitor.name, monitor.interval) for monitor in monitors}
        self.results: Counter[str] = Counter()
        self.handed_off = 0
        self.completed = 0
        self.up = 0
        self.duplicated = 0
        self.overlapped = 0
        """Ticks that passed while the earlier check was still running."""
        self.latest_ms = 0
        """The greatest lateness."""
        self._missed: list[int] = []

    def hand_off(self, monitor_id: str, at_ms: int) -> None:
        """Record that a task was handed off at `at_ms`."""
        row = self.rows[monitor_id]
        due_ms = row.next_due_ms()
        self.handed_off += 1
        if due_ms is None:
            row.tick_ms = at_ms
        elif at_ms < due_ms:
            self.duplicated += 1
        else:
            ticks = range(due_ms, at_ms + 1, row.interval * 1000)
            served, *missed = [tick for tick in ticks if tick > row.completed_ms] or [ticks[-1]]
            self.overlapped += len(ticks) - len(missed) - 1
            row.tick_ms, row.late_ms = served, at_ms - served
            self.latest_ms = max(self.latest_ms, row.late_ms)
            self._missed += missed
        row.handed_off_ms = at_ms

    def complete(self, monitor_id: str, result: Result, at_ms: int) -> None:
        """Record that its check ended at `at_ms`."""
        row = self.rows[monitor_id]
        row.completed_ms = at_ms
        row.result = result
        row.checks += 1
        self.completed += 1
        self.up += result.up
        self.results[result.kind] += 1

    def lost(self, until_ms: int, excused: tuple[int, int] | None) -> int:
        """Count the ticks up to `until_ms` that were not served, without the `excused` ones (from, to).

        A tick that is served late is not lost; the ticks skipped before it are.
        """
        missed = list(self._missed)
        for row in self.rows.values():
            if (due_ms := row.next_due_ms()) is not None:
                ticks = range(due_ms, until_ms + 1, row.interval * 1000)
                missed += (tick for tick in ticks if tick > row.completed_ms)
        first, last = excused or (0, -1)
        return sum(not first <= tick <= last for tick in missed)

    def never_handed_off(self) -> list[str]:
        """Return the names of the monitors that were never handed off."""
        return [row.name for row in self.rows.values() if row.handed_off_ms is None]
