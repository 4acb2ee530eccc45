"""What a history has told so far: rows, members, the fault, Redis' clock and memory. The rules ask it."""

import math
from dataclasses import dataclass, field

from tests.chaos import history
from tests.chaos.history import AnyLine, Excuse, Fault, Looked

BEFORE_ANY = "before any fault"
ORDER_S = 2.0
"""Two lines that were written at about one moment may stand in either order."""
ON_TIME_S = 1.0
BLIND_S = 3.0
"""Who has not looked for so long has not seen that all was well."""


@dataclass(frozen=True)
class Row:
    """One monitor's row, as it was last committed."""

    interval: int
    runs: bool
    changed_at: float
    became_at: float
    """When it came to have this interval, or to run: from then on it may be due anew in a tick that it has had."""
    stopped_at: float | None


@dataclass
class Window:
    """For how long an excuse holds."""

    fault: str
    ended_at: float = math.inf
    """When the fault ended."""
    until: float = math.inf
    """When what it left must have healed."""


@dataclass
class Facts:
    """One world."""

    sync_s: float
    lease_ttl_s: float
    at: float = 0.0
    rows: dict[str, Row] = field(default_factory=dict)
    absent: dict[str, float] = field(default_factory=dict)
    """Who runs and is not in the schedule, and since when; the longest first."""
    zombies: dict[str, float] = field(default_factory=dict)
    """Who is in the schedule and does not run, and since when; the longest first."""
    well_since: float | None = None
    """The look from which on somebody led, nobody was late and nobody missing; None while a fault lasts."""
    recovered_at: float | None = None
    """When all was well again after the latest fault. A relapse within a lease counts, a later one does not."""
    fault: Fault | None = None
    """The latest one, over or not."""
    ended_at: float | None = None
    """When the latest fault ended; None while it lasts."""
    memory_lost_at: float | None = None
    memory_lost_in: str = BEFORE_ANY
    """The fault in which it was lost."""
    redis_ahead_ms: float | None = None
    """Redis' clock less the history's own."""
    _members: set[str] = field(default_factory=set)
    _looked_at: float = 0.0
    _healed_by: float = -math.inf
    _excuses: dict[Excuse, Window] = field(default_factory=dict)

    @property
    def settles_s(self) -> float:
        """I1: for how long a monitor may be absent, or an edit without effect."""
        return 35.0 + self.sync_s

    @property
    def fault_name(self) -> str:
        return self.fault.name if self.fault else BEFORE_ANY

    @property
    def lasts(self) -> bool:
        """Whether a fault has begun and not ended."""
        return self.fault is not None and self.ended_at is None

    @property
    def healed_by(self) -> float:
        """When no fault may have left a trace; infinite while one lasts."""
        return math.inf if self.lasts else self._healed_by

    @property
    def disturbed(self) -> bool:
        """Whether a fault lasts, or what one left may still have to heal."""
        return self.at <= self.healed_by

    def calm_since(self, moment: float) -> bool:
        """Whether no fault excuses what happened from then until now: the time to heal was over, or all was seen to be
        well, and had been for a lease, so that no claim was left of a fault.
        """
        seen = self.well_since is not None and moment > self.well_since + self.lease_ttl_s
        return seen or moment > self.healed_by

    def excused(self, what: Excuse) -> Window | None:
        """The latest window of this excuse, where it is open."""
        window = self._excuses.get(what)
        return window if window is not None and self.at <= window.until else None

    def settled(self, row: Row) -> bool:
        """Whether the schedule must agree with it by now."""
        return self.at - row.changed_at > self.settles_s

    def missing(self) -> list[str]:
        """Who is absent though there was time to come."""
        return [each for each in self.absent if self.settled(self.rows[each])]

    def learn(self, line: AnyLine) -> None:
        """Take in one line, before the rules judge it."""
        self.at = line.at
        match line:
            case history.Row():
                for each in line.monitors:
                    self.rows[each] = self._row(self.rows.get(each), line)
                    self._compare(each)
            case Fault(phase="begins"):
                self._begin(line)
            case Fault():
                self._end(line)
            case history.MemoryLost():
                self.memory_lost_at, self.memory_lost_in = line.at, self.fault_name
            case Looked():
                self.redis_ahead_ms = line.redis_ms - line.at * 1000
                self._look(line)

    def _row(self, before: Row | None, line: history.Row) -> Row:
        runs = line.runs and line.interval > 0
        same = before is not None and (before.runs, before.interval) == (runs, line.interval)
        stopped_at = before.stopped_at if before and not before.runs else line.at
        return Row(
            interval=line.interval,
            runs=runs,
            changed_at=line.at,
            became_at=before.became_at if before and same else line.at,
            stopped_at=None if runs else stopped_at,
        )

    def _begin(self, fault: Fault) -> None:
        self.fault, self.ended_at, self.well_since, self.recovered_at = fault, None, None, None
        self._excuses.update((each, Window(fault.name)) for each in fault.excuses)

    def _end(self, fault: Fault) -> None:
        self.ended_at = fault.at
        until = fault.at + fault.heals_within_s
        self._healed_by = max(self._healed_by, until)
        self._excuses.update((each, Window(fault.name, fault.at, until)) for each in fault.excuses)

    def _look(self, look: Looked) -> None:
        self._members.update(look.entered)
        self._members.difference_update(look.left)
        for each in (*look.entered, *look.left):
            self._compare(each)
        blind = look.at - self._looked_at > BLIND_S
        self._looked_at = look.at
        ails = look.leader is None or look.overdue_s >= ON_TIME_S or bool(self.missing())
        if self.lasts or ails:
            self.well_since = None
        elif self.well_since is None or blind:
            self.well_since = look.at
        if self.recovered_at is None or look.at <= self.recovered_at + self.lease_ttl_s:
            self.recovered_at = self.well_since

    def _compare(self, monitor: str) -> None:
        row, present = self.rows.get(monitor), monitor in self._members
        runs = row is not None and row.runs
        for who, differs in ((self.absent, runs and not present), (self.zombies, present and not runs)):
            if differs:
                who.setdefault(monitor, self.at)
            else:
                who.pop(monitor, None)
