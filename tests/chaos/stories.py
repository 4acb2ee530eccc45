"""Histories made by hand: a life in which all is well, and single lines that break it."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tests.chaos import history
from tests.chaos.checker import Result, check
from tests.chaos.history import AnyLine, Fault, Looked, Row, Taken

LEASE_TTL_S = 10.0
SYNC_S = 5.0
SETTLES_S = 35.0 + SYNC_S
"""After so long a row's edit has to show."""
EPOCH_S = 1_200_000_000
"""Redis' clock when a story begins: a tick of every interval."""
LOOKS_EVERY_S = 0.5

Span = tuple[float, float]
NEVER: Span = (-1.0, -1.0)


def tick(at: float, interval: int = 10) -> int:
    """The number of the tick at this time of the story, or of the latest before it."""
    return int((EPOCH_S + at) // interval)


def row(at: float, monitor: str = "m", interval: int = 10, *, runs: bool = True) -> Row:
    return Row(at=at, monitors=[monitor], interval=interval, runs=runs)


def taken(at: float, monitor: str = "m", interval: int = 10, **changes: Any) -> Taken:
    """Of the tick that it was at this time; enqueued just before."""
    fields: dict[str, Any] = {
        "tick": tick(at, interval),
        "scheduled_at_ms": (EPOCH_S + int(at) // interval * interval) * 1000,
        "enqueued_at_ms": round((EPOCH_S + at) * 1000) - 20,
    }
    return Taken(at=at, monitor=monitor, interval=interval, **fields | changes)


def look(at: float, *, entered: Iterable[str] = (), left: Iterable[str] = (), **changes: Any) -> Looked:
    fields: dict[str, Any] = {
        "overdue_s": 0.0,
        "leased": 0,
        "pending": 0,
        "redis_ms": round((EPOCH_S + at) * 1000),
        "leader": "replica-1:term",
        "next_back": [],
    }
    return Looked(at=at, entered=list(entered), left=list(left), **fields | changes)


def looks(until: float, *, blind: Span = NEVER, overdue: Span = NEVER, leaderless: Span = NEVER) -> list[Looked]:
    """What the sampler sees where all are there all the while."""
    seen = []
    for number in range(1, int(until / LOOKS_EVERY_S)):
        at = number * LOOKS_EVERY_S
        if not blind[0] <= at < blind[1]:
            late_s = 3.0 if overdue[0] <= at < overdue[1] else 0.0
            leader = None if leaderless[0] <= at < leaderless[1] else "replica-1:term"
            seen.append(look(at, overdue_s=late_s, leader=leader))
    return seen


def life(
    until: float, *, but: Collection[float] = (), silent: Span = NEVER, intervals: Mapping[str, int] | None = None
) -> list[AnyLine]:
    """Monitors whose every tick is taken; but for those of "m" at these times, and for all in the silent time."""
    intervals = intervals or {"m": 10}
    lines: list[AnyLine] = [row(0.0, monitor, interval) for monitor, interval in intervals.items()]
    lines.append(look(0.1, entered=intervals))
    for monitor, interval in intervals.items():
        for at in range(interval, int(until), interval):
            if not silent[0] <= at < silent[1] and not (monitor == "m" and at in but):
                lines.append(taken(at + 0.05, monitor, interval))
    return lines


def fault(name: str, begins: float, ends: float, heals_within_s: float = 20.0, *excuses: history.Excuse) -> list[Fault]:
    def line(phase: Any, at: float) -> Fault:
        return Fault(at=at, name=name, phase=phase, heals_within_s=heals_within_s, excuses=list(excuses))

    return [line("begins", begins), line("ends", ends)]


def judged(*parts: AnyLine | Iterable[AnyLine], ended: bool = True) -> Result:
    """What the checker says of these lines, in the order of their times."""
    lines = [line for part in parts for line in ([part] if isinstance(part, history.Line) else part)]
    lines.sort(key=lambda line: line.at)
    if ended:
        lines.append(history.Ended(at=lines[-1].at))
    return check(lines, lease_ttl_s=LEASE_TTL_S, sync_s=SYNC_S)


def named(result: Result) -> list[tuple[str, str, str | None, int | None]]:
    """Invariant, kind, monitor and tick of each violation."""
    return [
        (each.broken.invariant, each.broken.kind, each.broken.monitor, each.broken.tick) for each in result.violations
    ]
