"""What must hold, one rule a class. Each sees every line once, in order, and says what it finds broken."""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from tests.chaos import history
from tests.chaos.facts import ON_TIME_S, ORDER_S, Facts
from tests.chaos.history import AnyLine, Fault, Led, Looked, Stopped, Taken

LATE_S = 5.0
"""How late a task may be on a busy machine and still be no lost tick."""
TICKS_REMEMBERED = 16
ZOMBIE_S = 60.0
TERM_ORDER_S = 0.5
"""Two replicas' writes are seen by two proxies, so they may be written down in either order."""


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
    fault: str | None = None
    """Whose doing it is, where that is not the latest one."""


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
        self._prolonged: dict[str, list[Fault]] = {}
        """By which faults."""
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
        if taken.tick <= last.tick + 1 or not facts.settled(row) or not facts.calm_since(last.at):
            return
        if not _out_of_the_way(last, facts):
            return
        what = f"tick {last.tick} was followed by {taken.tick}, interval {taken.interval} s"
        yield Broken("I1", "lost", what, taken.monitor, last.tick + 1)

    def _silent(self, facts: Facts) -> Iterator[Broken]:
        while self._queue and self._queue[0][0] < facts.at:
            due_by, monitor = heapq.heappop(self._queue)
            if self._due_by.get(monitor) != due_by:
                continue  # it was heard, or edited, since
            if self._prolong(monitor, due_by, facts):
                continue
            last = self._last.pop(monitor, None)
            since = f"since tick {last.tick} at {last.at:.1f} s" if last else "since its row was last edited"
            del self._due_by[monitor]
            faults = self._prolonged.pop(monitor)
            tick = last.tick + 1 if last else None
            yield Broken("I1", "lost", f"no task {since}", monitor, tick, faults[0].name if faults else None)

    def _prolong(self, monitor: str, due_by: float, facts: Facts) -> bool:
        """Wait longer, where the fault excuses it. While one lasts this is asked again and again, and counts once."""
        faults = self._prolonged.setdefault(monitor, [])
        until = (facts.at if facts.lasts else facts.healed_by) + facts.rows[monitor].interval + LATE_S
        if facts.fault is None or until <= due_by:
            return False
        if facts.fault not in faults:
            if len(faults) == self.PROLONGED_AT_MOST:
                return False
            faults.append(facts.fault)
        self._wait_until(monitor, until)
        return True


def _out_of_the_way(taken: Taken, facts: Facts) -> bool:
    """Whether the consumer had it well before its successor was due, which is else an overlap, and not lost."""
    ahead_ms = facts.redis_ahead_ms or 0.0
    successor_s = ((taken.tick + 1) * taken.interval * 1000 - ahead_ms) / 1000
    return taken.at < successor_s - ON_TIME_S


class NoTickIsDoubled:
    """I2: one task for a tick, but for one extra where Redis lost its memory, or its clock stepped back."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[Taken]] = {}

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Taken):
            return
        seen = self._seen.setdefault(line.monitor, deque(maxlen=TICKS_REMEMBERED))
        first = next((each for each in seen if (each.interval, each.tick) == (line.interval, line.tick)), None)
        if first is not None:
            seen.remove(first)
        seen.append(line)
        if first is not None and not _edited_since(first, facts):
            excused_by = _may_repeat(first, line, facts)
            what = f"taken at {first.at:.3f} s and {line.at:.3f} s, made by {first.made_by} and {line.made_by}"
            yield Broken("I2", "extra" if excused_by else "doubled", what, line.monitor, line.tick, excused_by)


def _edited_since(first: Taken, facts: Facts) -> bool:
    """A monitor that is resumed, or gets its old interval back, is due anew in a tick that it has had."""
    row = facts.rows.get(first.monitor)
    return row is not None and row.became_at > first.at - ORDER_S


def _may_repeat(first: Taken, again: Taken, facts: Facts) -> str | None:
    """The fault after which nobody could know of the first."""
    if facts.memory_lost_at is not None and facts.memory_lost_at > first.at - ORDER_S:
        return facts.memory_lost_in
    step, go = facts.excused("clock_step"), facts.excused("doubled_by_go")
    if step and first.at < step.ended_at + ORDER_S:
        return step.fault
    return go.fault if go and "go" in (first.made_by, again.made_by) else None


class NothingStartsAfterItsStop:
    """I3: none of our tasks is enqueued more than a lease after its row ceased to run."""

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Taken) or line.enqueued_at_ms is None or facts.redis_ahead_ms is None:
            return
        row = facts.rows.get(line.monitor)
        if row is None or row.stopped_at is None or line.made_by == "go" or facts.excused("clock_step"):
            return
        late_s = (line.enqueued_at_ms - facts.redis_ahead_ms) / 1000 - row.stopped_at
        if late_s > facts.lease_ttl_s + ORDER_S:
            yield Broken("I3", "enqueued late", f"{late_s:.1f} s after its row stopped", line.monitor, line.tick)


class TheScheduleAgreesWithTheRows:
    """I1, I4: who runs is in the schedule, and nobody else, after a while."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Looked):
            return
        self._told = {each for each in self._told if each in facts.absent or each in facts.zombies}
        if facts.disturbed:
            return
        for monitor, since in self._too_long(facts.absent, facts.settles_s, facts.at):
            yield Broken("I1", "lost", f"absent from the schedule since {since:.1f} s", monitor)
        for monitor, since in self._too_long(facts.zombies, ZOMBIE_S + facts.sync_s, facts.at):
            yield Broken("I4", "zombie", f"in the schedule since {since:.1f} s, and does not run", monitor)

    def _too_long(self, who: dict[str, float], limit_s: float, now: float) -> list[tuple[str, float]]:
        longest_first = takewhile(lambda item: now - item[1] > limit_s, who.items())
        found = [(each, since) for each, since in longest_first if each not in self._told]
        self._told.update(each for each, _ in found)
        return found


class OneLeaderWrites:
    """I5: once a later term's write was accepted, none of an earlier one is."""

    def __init__(self) -> None:
        self._term: str | None = None
        self._over: dict[str, float] = {}

    def see(self, line: AnyLine, facts: Facts) -> Iterator[Broken]:
        if not isinstance(line, Led) or not line.accepted or line.term == self._term:
            return
        if line.term not in self._over:
            if self._term is not None:
                self._over[self._term] = line.at
            self._term = line.term
        elif line.at - self._over[line.term] > TERM_ORDER_S:
            what = f"{line.producer}: {line.script} of term {line.term} accepted, {self._term} leads"
            yield Broken("I5", "stale write", what)


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
        if not isinstance(line, Looked) or facts.excused("clock_step") or facts.excused("next_back"):
            return
        forgot = facts.memory_lost_at is not None and line.at - facts.memory_lost_at < facts.settles_s
        for monitor in () if forgot else line.next_back:
            yield Broken("I2", "next moved back", "its due time is earlier than at the last look", monitor)
