"""What must hold, one rule a class. Each sees every line once, in order, and says what it finds broken."""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tests.chaos import history
from tests.chaos.facts import ORDER_S, Facts
from tests.chaos.history import AnyLine, Led, Looked, Stopped, Taken

LATE_S = 5.0
"""How late a task may be on a busy machine and still be no lost tick."""
ON_TIME_S = 1.0
TICKS_REMEMBERED = 16
ZOMBIE_S = 60.0


@dataclass(frozen=True)
class Broken:
    """An invariant does not hold."""

    invariant: str
    """Its number in docs/reliability.md."""
    kind: str
    """lost, doubled, or what else."""
    what: str
    monitor: str | None = None
    tick: int | None = None


class Rule(Protocol):
    """One invariant, or a part of one."""

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        """What `line` breaks, after `facts` has learnt it."""
        ...


class NoTickIsLost:
    """I1, I8: every tick of a running monitor is taken, but for those in a fault and while it heals.

    A monitor that a fault has silenced must be heard again an interval after the fault had to be healed. Faults may
    follow each other faster than that: so one fault after it may prolong this once more, and no other.
    """

    PROLONGED_AT_MOST = 2

    def __init__(self) -> None:
        self._last: dict[str, Taken] = {}
        self._due_by: dict[str, float] = {}
        self._prolonged: dict[str, int] = {}
        self._queue: list[tuple[float, str]] = []

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        match line:
            case history.Row():
                for each in line.monitors:
                    self._last.pop(each, None)
                    self._expect(each, facts)
            case Taken():
                yield from self._skipped(line, facts)
                self._last[line.monitor] = line
                self._expect(line.monitor, facts)
            case Looked():
                yield from self._silent(facts)

    def _expect(self, monitor: str, facts: Facts) -> None:
        row = facts.rows.get(monitor)
        self._due_by.pop(monitor, None)
        self._prolonged.pop(monitor, None)
        if row is None or not row.runs:
            return
        due_by = facts.at + row.interval + LATE_S
        if not facts.settled(row):
            due_by = max(due_by, row.changed_at + facts.settles_s + row.interval + LATE_S)
        self._wait_until(monitor, due_by)

    def _wait_until(self, monitor: str, due_by: float) -> None:
        self._due_by[monitor] = due_by
        heapq.heappush(self._queue, (due_by, monitor))

    def _skipped(self, taken: Taken, facts: Facts) -> Iterator[Broken]:
        last, row = self._last.get(taken.monitor), facts.rows.get(taken.monitor)
        if last is None or row is None or not row.runs or last.interval != taken.interval:
            return
        undisturbed = facts.settled(row) and not facts.disturbed_since(last.at)
        if undisturbed and taken.tick > last.tick + 1:
            what = f"tick {last.tick} was followed by {taken.tick}, interval {taken.interval} s"
            yield Broken("I1", "lost", what, taken.monitor, last.tick + 1)

    def _silent(self, facts: Facts) -> Iterator[Broken]:
        while self._queue and self._queue[0][0] < facts.at:
            due_by, monitor = heapq.heappop(self._queue)
            if self._due_by.get(monitor) != due_by:
                continue  # it was heard, or edited, since
            row = facts.rows[monitor]
            times = self._prolonged.get(monitor, 0)
            if facts.disturbed_since(due_by) and times < self.PROLONGED_AT_MOST:
                # While the fault lasts this is asked again and again, and counts once.
                healed_by = facts.healed_by
                self._prolonged[monitor] = times + (healed_by is not None)
                self._wait_until(monitor, (healed_by or facts.at) + row.interval + LATE_S)
                continue
            last = self._last.get(monitor)
            since = f"since tick {last.tick} at {last.at:.1f} s" if last else "since its row was last edited"
            del self._due_by[monitor]
            yield Broken("I1", "lost", f"no task {since}", monitor, last.tick + 1 if last else None)


class NoTickIsDoubled:
    """I2: one task for a tick, but for one extra where Redis lost its memory, or its clock stepped back."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[Taken]] = {}

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Taken):
            return
        seen = self._seen.setdefault(line.monitor, deque(maxlen=TICKS_REMEMBERED))
        first = next((each for each in seen if (each.interval, each.tick) == (line.interval, line.tick)), None)
        if first is None:
            seen.append(line)
        elif not _resumed_since(first, facts):
            kind = "extra" if _may_repeat(first, line, facts) else "doubled"
            seen.remove(first)
            seen.append(line)
            what = f"taken at {first.at:.3f} s and {line.at:.3f} s, made by {first.made_by} and {line.made_by}"
            yield Broken("I2", kind, what, line.monitor, line.tick)


def _resumed_since(first: Taken, facts: Facts) -> bool:
    """A monitor that is resumed is due at once, also in a tick that it was paused in."""
    row = facts.rows.get(first.monitor)
    return row is not None and row.resumed_at is not None and row.resumed_at > first.at - ORDER_S


def _may_repeat(first: Taken, again: Taken, facts: Facts) -> bool:
    if facts.memory_lost_at is not None and facts.memory_lost_at > first.at - ORDER_S:
        return True
    by_go = "go" in (first.made_by, again.made_by)
    return facts.excuses("clock_step") or (by_go and facts.excuses("doubled_by_go"))


class NothingStartsAfterItsStop:
    """I3: no task is enqueued more than a lease after its row ceased to run."""

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Taken) or line.enqueued_at_ms is None or facts.redis_ahead_ms is None:
            return
        row = facts.rows.get(line.monitor)
        if row is None or row.runs or row.stopped_at is None or facts.excuses("clock_step"):
            return
        late_s = (line.enqueued_at_ms - facts.redis_ahead_ms) / 1000 - row.stopped_at
        if late_s > facts.lease_ttl_s + ORDER_S:
            yield Broken("I3", "enqueued late", f"{late_s:.1f} s after its row stopped", line.monitor, line.tick)


class TheScheduleAgreesWithTheRows:
    """I1, I4: who runs is in the schedule, and nobody else, after a while."""

    EVERY_S = 1.0

    def __init__(self) -> None:
        self._members: dict[str, float] = {}
        self._left_at: dict[str, float] = {}
        self._told: set[str] = set()
        self._asked_at = 0.0

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Looked):
            return
        self._members.update(dict.fromkeys(line.entered, line.at))
        for each in line.left:
            self._members.pop(each, None)
            self._left_at[each] = line.at
        if facts.disturbed or line.at < self._asked_at + self.EVERY_S:
            return
        self._asked_at = line.at
        for monitor, row in facts.rows.items():
            if row.runs and monitor not in self._members:
                since = max(self._left_at.get(monitor, 0.0), row.changed_at)
                yield from self._tell("I1", "lost", monitor, since, facts.settles_s, facts)
        for monitor, entered_at in self._members.items():
            known = facts.rows.get(monitor)
            if known is None or not known.runs:
                since = max(entered_at, known.changed_at if known else 0.0)
                yield from self._tell("I4", "zombie", monitor, since, ZOMBIE_S + facts.sync_s, facts)

    def _tell(
        self, invariant: str, kind: str, monitor: str, since: float, limit_s: float, facts: Facts
    ) -> Iterator[Broken]:
        if facts.at - since <= limit_s or monitor in self._told:
            return
        self._told.add(monitor)
        where = "absent from the schedule" if kind == "lost" else "in the schedule, though it does not run,"
        yield Broken(invariant, kind, f"{where} for {facts.at - since:.1f} s", monitor)


class OneLeaderWrites:
    """I5: once a later term's write was accepted, none of an earlier one is."""

    def __init__(self) -> None:
        self._term: str | None = None
        self._over: dict[str, float] = {}

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Led) or not line.accepted or line.term == self._term:
            return
        if line.at - self._over.get(line.term, line.at) > ORDER_S:
            what = f"{line.producer}: {line.script} of term {line.term} accepted, {self._term} leads"
            yield Broken("I5", "stale write", what)
            return
        if self._term is not None:
            self._over[self._term] = line.at
        self._term = line.term


class StopsAreClean:
    """I6: whoever is asked to stop does so in time; nobody stops unasked."""

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Stopped):
            return
        if not line.signal:
            yield Broken("I6", "ended by itself", f"{line.producer} ended by itself, exit code {line.exit}")
        elif line.exit != 0 or line.took_s > line.grace_s:
            what = f"{line.producer} left {line.took_s:.1f} s after {line.signal} with exit code {line.exit}"
            yield Broken("I6", "bad stop", f"{what} (allowed: {line.grace_s:g} s, 0)")


class FiguresStayInTheirLimits:
    """I7, I10: what a fault measured itself; and the queue is never longer than there are monitors."""

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if isinstance(line, history.Measured) and line.value > line.limit:
            yield Broken(line.invariant, "limit", f"{line.what}: {line.value:.1f}, allowed {line.limit:.1f}")
        if isinstance(line, Looked) and line.pending > len(facts.rows):
            yield Broken("I2", "queue", f"{line.pending} pending tasks for {len(facts.rows)} monitors")


class DueTimesOnlyGrow:
    """Next never moves back, unless somebody edits the monitor, Redis forgets or its clock steps."""

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Looked) or facts.excuses("clock_step") or facts.excuses("next_back"):
            return
        forgot = facts.memory_lost_at is not None and line.at - facts.memory_lost_at < facts.settles_s
        for monitor in () if forgot else line.next_back:
            yield Broken("I2", "next moved back", "its due time is earlier than at the last look", monitor)
