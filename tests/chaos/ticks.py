"""I1 and I8: every tick of a running monitor is taken, unless a hold, or trouble that a fault made, lies over it."""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos import history
from tests.chaos.history import AnyLine, Looked, Taken
from tests.chaos.model import Model
from tests.chaos.rules import Breach

LATE_S = 5.0
"""How late a task may be on a busy machine and still be no lost tick."""
SEEN_AFTER_S = 3.0
"""Trouble is seen within so long."""
SILENT_S = 60.0 + 30.0
"""I8: a stuck task silences its monitor for an interval and a minute; asynq's leases need half a minute more."""
MAX_MISSED = 500
"""Ticks that one gap is asked about."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Ticks of a monitor without a task taken."""

    monitor: str
    interval: int
    first: int
    last: int
    phase: int = 0
    """Seconds."""

    def __lt__(self, other: "Ticks") -> bool:
        return self.monitor < other.monitor


class NoTickIsLost:
    """A missed tick is one in which the monitor could have been handed off and was not.

    The next tick is expected after each one that was taken, and after an edit once it must have taken effect. Each tick
    of a silent monitor is checked, until one of them has no excuse; that one is reported, once.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[Taken, float]] = {}
        """With the steady time of that moment."""
        self._expected: dict[str, Ticks] = {}
        self._queue: list[tuple[float, Ticks]] = []
        self._skipped: deque[tuple[float, Ticks]] = deque()
        self._overlap_at: dict[str, float] = {}
        self._left_at: dict[str, float] = {}
        self._absent: dict[str, tuple[float, float]] = {}
        self._looked = False
        self._spread = False

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        match line:
            case history.RowLine():
                for each in line.monitors:
                    self._expect_by_row(each, model)
            case history.Handed():
                overlaps = (each for each, outcome in line.outcomes.items() if outcome == "overlap")
                self._overlap_at.update(dict.fromkeys(overlaps, line.at))
            case Taken():
                self._take(line, model)
            case Looked():
                if not self._looked:  # the rows are older than the replicas
                    self._looked = True
                    for each in model.rows:
                        self._expect_by_row(each, model)
                self._come_and_go(line)
                if model.spread != self._spread:
                    self._turn(model)
                if not model.closing:
                    yield from self._judge(model)

    def _take(self, taken: Taken, model: Model) -> None:
        row, expected = model.rows.get(taken.monitor), self._expected.get(taken.monitor)
        before = self._last.get(taken.monitor)
        if before and before[0].interval == taken.interval and before[0].tick > taken.tick:
            return  # reported by other rules
        phase = model.phase(taken.monitor, taken.interval)
        tick = taken.tick_with(phase)
        self._last[taken.monitor] = taken, model.steady_s
        if row is None or not row.runs or row.interval != taken.interval:
            return  # what an edit makes expected stays so
        if expected and expected.interval == taken.interval and expected.first < tick:
            last = min(tick - 1, expected.first + MAX_MISSED)
            missed = Ticks(taken.monitor, taken.interval, expected.first, last, phase)
            self._skipped.append((model.at + SEEN_AFTER_S, missed))
        following = taken.last_tick_with(phase) + 1
        self._expect(Ticks(taken.monitor, taken.interval, following, following, phase), model)

    def _expect_by_row(self, monitor: str, model: Model) -> None:
        """From the first tick on that begins after the edit must have had its effect."""
        self._expected.pop(monitor, None)
        row = model.rows[monitor]
        if not row.runs or model.ahead_ms is None or model.looked_at is None:
            return
        self._expect_from(monitor, row.interval, model.at + model.settles_s, model)

    def _expect_from(self, monitor: str, interval: int, start: float, model: Model) -> None:
        """The first tick that begins at `start` or later, in the history's time."""
        phase = model.phase(monitor, interval)
        tick = math.ceil((start + (model.ahead_ms or 0.0) / 1000 - phase) / interval)
        self._expect(Ticks(monitor, interval, tick, tick, phase), model)

    def _turn(self, model: Model) -> None:
        """The switch was turned: the same ticks, or later ones, by the other grid."""
        self._spread = model.spread
        for each in list(self._expected.values()):
            self._expect_from(each.monitor, each.interval, _span(each, each.first, model)[0], model)

    def _expect(self, tick: Ticks, model: Model) -> None:
        self._expected[tick.monitor] = tick
        heapq.heappush(self._queue, (_span(tick, tick.last, model)[1] + LATE_S, tick))

    def _come_and_go(self, look: Looked) -> None:
        for each in look.left:
            self._left_at[each] = look.at
        for each in look.entered:
            if each in self._left_at:
                self._absent[each] = self._left_at.pop(each), look.at

    def _judge(self, model: Model) -> Iterator[Breach]:
        while self._skipped and self._skipped[0][0] < model.at:
            _, skipped = self._skipped.popleft()
            for tick in range(skipped.first, skipped.last + 1):
                if self._could_have_run(skipped, tick, model):
                    yield self._lost(skipped, tick, f"followed by tick {skipped.last + 1}", model)
        while self._queue and self._queue[0][0] < model.at:
            _, silent = heapq.heappop(self._queue)
            if self._expected.get(silent.monitor) is not silent:
                continue  # taken or edited since
            if _span(silent, silent.last, model)[1] + LATE_S > model.at:
                self._expect(silent, model)  # Redis' clock has stepped back
                continue
            if not self._could_have_run(silent, silent.last, model):
                following = silent.last + 1
                self._expect(Ticks(silent.monitor, silent.interval, following, following, silent.phase), model)
                continue
            del self._expected[silent.monitor]
            yield self._lost(silent, silent.last, self._silence(silent.monitor), model)

    def _could_have_run(self, ticks: Ticks, tick: int, model: Model) -> bool:
        row = model.rows[ticks.monitor]
        if not row.runs or row.interval != ticks.interval:
            return False
        start, end = _span(ticks, tick, model)
        if model.unsettled(row.steady_at, row.changed_at, model.settles_s, ago_s=max(0.0, model.at - start)):
            return False
        if model.excusable and start - 1 <= self._overlap_at.get(ticks.monitor, -math.inf) <= end + LATE_S:
            return self._stuck(ticks, model)
        absent = (self._left_at[ticks.monitor], model.at) if ticks.monitor in self._left_at else None
        absent = (absent or self._absent.get(ticks.monitor)) if model.excusable else None
        excused = [*_held(ticks, tick, model), *([absent] if absent else ())]
        return model.longest_calm_s(start, end, *excused) >= min(LATE_S, end - start) - 0.001

    def _stuck(self, ticks: Ticks, model: Model) -> bool:
        """I8: whether the earlier task is in the way for longer than it may."""
        last = self._last.get(ticks.monitor)
        return last is not None and model.steady_s - last[1] > ticks.interval + SILENT_S

    def _silence(self, monitor: str) -> str:
        last = self._last.get(monitor)
        return f"no task since tick {last[0].tick} at {last[0].at:.1f} s" if last else "no task ever"

    def _lost(self, ticks: Ticks, tick: int, what: str, model: Model) -> Breach:
        fault = model.fault_at(_span(ticks, tick, model)[0])
        return Breach("I1", "lost", f"interval {ticks.interval} s, {what}", ticks.monitor, tick, fault)


def _held(ticks: Ticks, tick: int, model: Model) -> Iterator[tuple[float, float]]:
    """The parts of a tick in which holds exclude the hand-off, in the history's time."""
    start_ms = (tick * ticks.interval + ticks.phase) * 1000
    ahead_ms = model.ahead_ms or 0.0
    for low, high in model.holds.blocked_ms(ticks.monitor, start_ms, start_ms + ticks.interval * 1000):
        yield (low - ahead_ms) / 1000, (high - ahead_ms) / 1000


def _span(ticks: Ticks, tick: int, model: Model) -> tuple[float, float]:
    """When a tick begins and ends, in the history's time."""
    ahead_s = (model.ahead_ms or 0.0) / 1000
    start = tick * ticks.interval + ticks.phase - ahead_s
    return start, start + ticks.interval
