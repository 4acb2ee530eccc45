"""What a history has told so far: the rows, the fault, Redis' clock and memory. The rules ask it."""

from dataclasses import dataclass, field

from tests.chaos import history
from tests.chaos.history import AnyLine, Fault

BEFORE_ANY = "before any fault"
ORDER_S = 2.0
"""Two lines that were written at about one moment may stand in either order."""


@dataclass
class Row:
    """One monitor's row, as it was last committed."""

    interval: int
    runs: bool
    changed_at: float
    resumed_at: float | None
    """When it last began to run; it is due at once then."""
    stopped_at: float | None


@dataclass
class Facts:
    """One world."""

    sync_s: float
    lease_ttl_s: float
    at: float = 0.0
    rows: dict[str, Row] = field(default_factory=dict)
    fault: Fault | None = None
    """The latest one, over or not."""
    began_at: float = 0.0
    ended_at: float | None = None
    """When the latest fault ended; None while it lasts."""
    memory_lost_at: float | None = None
    redis_ahead_ms: float | None = None
    """Redis' clock less the history's own."""

    @property
    def settles_s(self) -> float:
        """I1: for how long a monitor may be absent, or an edit without effect."""
        return 35.0 + self.sync_s

    @property
    def fault_name(self) -> str:
        return self.fault.name if self.fault else BEFORE_ANY

    @property
    def healed_by(self) -> float | None:
        """When the latest fault must have left no trace; None while it lasts."""
        if self.fault is None:
            return 0.0
        return None if self.ended_at is None else self.ended_at + self.fault.heals_within_s

    @property
    def disturbed(self) -> bool:
        """Whether a fault lasts, or has only just ended."""
        return self.healed_by is None or self.at <= self.healed_by

    def disturbed_since(self, moment: float) -> bool:
        """Whether a fault, or what was left of one, has touched the time from then until now."""
        return self.healed_by is None or self.healed_by >= moment

    def excuses(self, what: history.Excuse) -> bool:
        return self.disturbed and self.fault is not None and what in self.fault.excuses

    def settled(self, row: Row) -> bool:
        """Whether the schedule must agree with it by now."""
        return self.at - row.changed_at > self.settles_s

    def learn(self, line: AnyLine) -> None:
        """Take in one line, before the rules judge it."""
        self.at = line.at
        match line:
            case history.Row():
                for each in line.monitors:
                    self.rows[each] = self._row(self.rows.get(each), line)
            case Fault(phase="begins"):
                self.fault, self.began_at, self.ended_at = line, line.at, None
            case Fault():
                self.ended_at = line.at
            case history.MemoryLost():
                self.memory_lost_at = line.at
            case history.Looked():
                self.redis_ahead_ms = line.redis_ms - line.at * 1000

    def _row(self, before: Row | None, line: history.Row) -> Row:
        ran = before is not None and before.runs
        return Row(
            interval=line.interval,
            runs=line.runs,
            changed_at=line.at,
            resumed_at=line.at if line.runs and not ran else before and before.resumed_at,
            stopped_at=None if line.runs else before.stopped_at if before and not ran else line.at,
        )
