"""A model of a history up to its latest line, for the rules: rows, faults, trouble, Redis' clock and memory."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from peekaping_producer.monitors.ticks import phase_s
from tests.chaos import history
from tests.chaos.acts import Holds
from tests.chaos.history import AnyLine, Excuse, FaultLine, Looked, MemoryLost, Stopped

BETWEEN = "between faults"
ORDER_S = 0.5
"""Two lines that were written this close to each other may stand in either order."""
ON_TIME_S = 1.0
BLIND_S = 2.0
"""A longer time between two looks counts as trouble."""
STUCK_QUEUE_S = 2.0
"""A queue that was not once empty for so long has a consumer that cannot keep up."""
REMEMBERED_S = 900.0
CLOCK_MOVED_MS = 1000.0
LOOKS_FOR_CLOCK = 8
"""A look that comes late makes Redis' clock seem behind, so the highest of a few counts."""


@dataclass(frozen=True)
class RowState:
    """One monitor's row, as it was last committed."""

    interval: int
    runs: bool
    changed_at: float
    steady_at: float
    """Model.steady_s of that moment."""
    began_at: float
    """When it came to run with this interval: from then on it may be due anew in a tick that it has had."""
    stopped_at: float
    """When it ceased to run."""


@dataclass
class Window:
    """A fault, and the time in which what it did may be seen."""

    fault: FaultLine
    began_at: float
    ended_at: float = math.inf
    healed_by: float = math.inf


@dataclass
class Model:
    """One world. Trouble excuses a lost tick only while it is seen, from the begin of a fault to its latest recovery:
    no leader, an overdue monitor, a queue that does not empty, no look at the schedule, or a moving clock of Redis.
    """

    sync_s: float
    lease_ttl_s: float
    at: float = 0.0
    rows: dict[str, RowState] = field(default_factory=dict)
    running: int = 0
    windows: list[Window] = field(default_factory=list)
    excused_until: float = -math.inf
    troubles: deque[list[float]] = field(default_factory=deque)
    """From when to when, in order."""
    steady_s: float = 0.0
    """How long there was no trouble, in all; it begins with the first look."""
    looked_at: float | None = None
    closing: bool = False
    """The replicas were stopped at the end of the world: the rules expect nothing more."""
    memories_lost: list[tuple[float, str]] = field(default_factory=list)
    """When, and in which fault."""
    ahead_ms: float | None = None
    """Redis' clock less the history's."""
    holds: Holds = field(default_factory=Holds)
    spread: bool = False
    """Whether ticks are spread, at the latest look."""
    spread_turned_at: float = -math.inf
    """When that last changed."""
    _ahead: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_FOR_CLOCK))
    _queue_empty_at: float = 0.0
    _stops: deque[float] = field(default_factory=deque)

    @property
    def settles_s(self) -> float:
        """I1: for how long a monitor may be absent, or an edit without effect."""
        return 35.0 + self.sync_s

    @property
    def fault_lasts(self) -> bool:
        return bool(self.windows) and self.windows[-1].ended_at == math.inf

    @property
    def excusable(self) -> bool:
        """Whether a fault may be the cause of trouble."""
        return self.at <= self.excused_until

    @property
    def queue_limit(self) -> int:
        """One task for each that runs, or has run when the queue was last empty or could still be handed off."""
        return self.running + len(self._stops)

    def fault_at(self, moment: float) -> str:
        """The latest fault that had begun and whose recovery was not yet due."""
        for window in reversed(self.windows):
            if window.began_at <= moment:
                return window.fault.name if moment <= window.healed_by else BETWEEN
        return BETWEEN

    def excuse(self, what: Excuse) -> bool:
        """Whether any fault with this excuse lasts, or still heals."""
        return any(what in each.fault.excuses and self.at <= each.healed_by for each in self.windows)

    def fault_since(self, moment: float) -> bool:
        """Whether a fault has lasted at any time since."""
        return bool(self.windows) and self.windows[-1].ended_at >= moment

    def phase(self, monitor: str, interval: int) -> int:
        """The phase of its ticks now, in seconds."""
        return phase_s(monitor, interval) if self.spread else 0

    def phases(self, monitor: str, interval: int, since: float) -> set[int]:
        """The phases that its ticks may have had since: two while the switch takes effect, or may have been turned."""
        takes_effect_s = interval + self.lease_ttl_s + BLIND_S
        seen = self.looked_at is not None and self.at - self.looked_at <= ORDER_S
        if self.spread_turned_at == -math.inf or (seen and since > self.spread_turned_at + takes_effect_s):
            return {self.phase(monitor, interval)}
        return {0, phase_s(monitor, interval)}

    def unsettled(self, steady_at: float, since: float, limit_s: float, *, ago_s: float = 0.0) -> bool:
        """Whether what happened `since` may still be without effect, or might have been so long ago as `ago_s`.

        Only steady time counts, and a fault gives what it may take to begin anew once.
        """
        limit_s += 35.0 * self.fault_since(since)
        return self.steady_s - steady_at - ago_s <= limit_s

    def longest_calm_s(self, start: float, end: float, *but: tuple[float, float]) -> float:
        """The longest time without trouble between two moments, also leaving out `but`."""
        spans = [(low, high) for low, high in self.troubles if high > start and low < end]
        longest = 0.0
        for low, high in sorted([*spans, *but]):
            longest = max(longest, min(low, end) - start)
            start = max(start, high)
        return max(longest, end - start)

    def update(self, line: AnyLine) -> None:
        """Apply one line, before the rules see it."""
        self.at = line.at
        match line:
            case history.RowLine():
                for each in line.monitors:
                    self._commit(each, line)
                if not line.runs:
                    self.holds.stopped(line.monitors, self._redis_ms())
            case history.Acted():
                self.holds.update(line)
            case FaultLine(phase="begins"):
                self.windows.append(Window(line, line.at))
                self.excused_until, self.closing = math.inf, False
            case FaultLine():
                self.windows[-1].ended_at = line.at
                self.windows[-1].healed_by = line.at + line.heals_within_s
                self.excused_until = max(each.healed_by for each in self.windows)
            case MemoryLost():
                self.memories_lost.append((line.at, self.fault_at(line.at)))
                self.holds.memory_lost(self._redis_ms())
            case Stopped(signal=signal) if signal and not self.fault_lasts:
                self.closing = True
            case Looked():
                self._look(line)

    def _redis_ms(self) -> float:
        """Redis' clock, at the latest line."""
        return self.at * 1000 + (self.ahead_ms or 0.0)

    def _commit(self, monitor: str, line: history.RowLine) -> None:
        before = self.rows.get(monitor)
        ran = before is not None and before.runs
        same = before is not None and ran == line.runs and before.interval == line.interval
        self.running += line.runs - ran
        if ran and not line.runs:
            self._stops.append(line.at)
        self.rows[monitor] = RowState(
            interval=line.interval,
            runs=line.runs,
            changed_at=line.at,
            steady_at=self.steady_s,
            began_at=-math.inf if before is None else before.began_at if same else line.at,
            stopped_at=before.stopped_at if before and not ran else line.at,
        )

    def _look(self, look: Looked) -> None:
        last, self.looked_at = self.looked_at, look.at
        if look.spread != self.spread:
            self.spread, self.spread_turned_at = look.spread, look.at
        self._mind_the_clock(look)
        if look.pending == 0:
            self._queue_empty_at = look.at
            while self._stops and self._stops[0] < look.at - self.lease_ttl_s - BLIND_S:
                self._stops.popleft()
        if last is None:
            self._queue_empty_at = look.at
            return
        begins = [low for low in self._trouble(look, last) if self.excusable]
        if begins:
            since = max(min(begins), self.windows[-1].began_at - look.overdue_s if self.windows else last)
            self._note_trouble(max(since, self._earliest()), look.at)
        else:
            self.steady_s += look.at - last

    def _earliest(self) -> float:
        """The begin of the unbroken series of faults that may be the cause of what is seen now."""
        earliest = self.windows[-1].began_at
        for before, after in zip(reversed(self.windows[:-1]), reversed(self.windows), strict=False):
            if before.healed_by < after.began_at:
                break
            earliest = before.began_at
        return earliest - ON_TIME_S

    def _trouble(self, look: Looked, last: float) -> Iterator[float]:
        """Since when there is each kind of it."""
        if look.leader is None:
            yield last
        if look.overdue_s >= ON_TIME_S:
            yield look.at - look.overdue_s
        if look.at - self._queue_empty_at > STUCK_QUEUE_S:
            yield self._queue_empty_at
        if look.at - last > BLIND_S:
            yield last

    def _note_trouble(self, start: float, end: float) -> None:
        while self.troubles and self.troubles[-1][1] >= start:
            start = min(start, self.troubles.pop()[0])
        self.troubles.append([start, end])
        while self.troubles[0][1] < end - REMEMBERED_S:
            self.troubles.popleft()

    def _mind_the_clock(self, look: Looked) -> None:
        before = self.ahead_ms
        self._ahead.append(look.redis_ms - look.at * 1000)
        self.ahead_ms = max(self._ahead)
        if before is not None and abs(moved_ms := self.ahead_ms - before) > CLOCK_MOVED_MS and self.excusable:
            about_s = abs(moved_ms) / 1000 + LOOKS_FOR_CLOCK * ON_TIME_S
            self._note_trouble(look.at - about_s, look.at)
