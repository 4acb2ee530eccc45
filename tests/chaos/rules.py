"""The invariants, one rule a class. Each sees every line once, in order, and reports violations."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tests.chaos import history
from tests.chaos.acts import RELEASED, RELEASED_NOW, OpenActs
from tests.chaos.history import Acted, AnyLine, Led, Looked, Stopped, Taken
from tests.chaos.model import ORDER_S, Model

TICKS_REMEMBERED = 16
ZOMBIE_S = 60.0
CLOCKS_AGREE_S = 5.0


@dataclass(frozen=True)
class Breach:
    """An invariant does not hold."""

    invariant: str
    """Its number in docs/reliability.md."""
    kind: str
    """lost, duplicated, or what else; `extra` breaks nothing and is counted."""
    what: str
    monitor: str | None = None
    tick: int | None = None
    fault: str | None = None
    """Where it is not the one of this moment."""


class Rule(Protocol):
    """One invariant, or a part of one."""

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        """What `line` breaks, after `model` has learnt it."""
        ...


class NoTickIsDoubled:
    """I2: one task for a tick, and one extra for each act that made the monitor due at once, each time that Redis lost
    its memory, or where its clock stepped.
    """

    def __init__(self) -> None:
        self._seen: dict[str, deque[Taken]] = {}
        self._due_now = OpenActs()

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if isinstance(line, Acted):
            self._due_now.note(line, "due_now", RELEASED_NOW)
        if not isinstance(line, Taken):
            return
        asked_ms = self._due_now.take(line.monitor, _enqueued_ms(line))
        seen = self._seen.setdefault(line.monitor, deque(maxlen=TICKS_REMEMBERED))
        first = next((each for each in seen if self._is_same_tick(each, line, model)), None)
        seen.append(line)
        if first is None:
            return
        seen.remove(first)
        row = model.rows.get(line.monitor)
        if row and row.runs and row.interval == line.interval and row.began_at > first.at - ORDER_S:
            return  # resumed, or edited and edited back, in this tick: it was due anew
        what = f"taken at {first.at:.3f} s and {line.at:.3f} s, made by {first.made_by} and {line.made_by}"
        if asked_ms >= _enqueued_ms(first):
            yield Breach("I2", "extra", what, line.monitor, line.tick)
            return
        forgotten = model.memories_lost[bisect_left(model.memories_lost, (first.at - ORDER_S, "")) :]
        if forgotten:
            yield Breach("I2", "extra", what, line.monitor, line.tick, forgotten[0][1])
            return
        by_go = "go" in (first.made_by, line.made_by) and model.excuse("duplicated_by_go")
        kind = "extra" if by_go or model.excuse("clock_step") else "duplicated"
        yield Breach("I2", kind, what, line.monitor, line.tick)

    @staticmethod
    def _is_same_tick(first: Taken, second: Taken, model: Model) -> bool:
        """By each grid that the ticks may be of."""
        if first.interval != second.interval:
            return False
        phases = model.phases(second.monitor, second.interval, first.at)
        return all(first.tick_with(phase) == second.tick_with(phase) for phase in phases)


def _enqueued_ms(taken: Taken) -> int:
    return taken.scheduled_at_ms if taken.enqueued_at_ms is None else taken.enqueued_at_ms


class NothingStartsAfterItsStop:
    """I3: no task is enqueued more than a lease after its row ceased to run."""

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if not isinstance(line, Taken) or line.enqueued_at_ms is None or model.ahead_ms is None:
            return
        row = model.rows.get(line.monitor)
        if row is None or row.runs or model.excuse("clock_step"):
            return
        late_s = (line.enqueued_at_ms - model.ahead_ms) / 1000 - row.stopped_at
        if late_s > model.lease_ttl_s + ORDER_S:
            yield Breach("I3", "enqueued late", f"{late_s:.1f} s after its row stopped", line.monitor, line.tick)


class TicksFollowRedisClock:
    """I9: no task is of the future, and the ticks of a monitor only grow."""

    def __init__(self) -> None:
        self._last: dict[str, Taken] = {}

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if not isinstance(line, Taken):
            return
        last = self._last.get(line.monitor)
        self._last[line.monitor] = line
        if model.ahead_ms is None or model.excuse("clock_step"):
            return
        early_s = (line.scheduled_at_ms - model.ahead_ms) / 1000 - line.at
        if early_s > CLOCKS_AGREE_S:
            yield Breach("I9", "of the future", f"its clock is {early_s:.1f} s ahead", line.monitor, line.tick)
        elif last and last.interval == line.interval and line.tick < last.tick:
            yield Breach("I9", "ticks went back", f"taken after tick {last.tick}", line.monitor, line.tick)


@dataclass
class _Mismatch:
    """In the schedule and should not be, or the other way round."""

    since: float
    steady_at: float
    reported: bool = False


class TheScheduleAgreesWithTheRows:
    """I1, I4: after a while the schedule holds the running monitors and no others.

    `settled_absent` counts those that are missing although they have had time to enter.
    """

    def __init__(self) -> None:
        self._members: set[str] = set()
        self._absent: dict[str, _Mismatch] = {}
        self._zombies: dict[str, _Mismatch] = {}

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        match line:
            case history.RowLine():
                for each in line.monitors:
                    self._file(each, model)
            case Looked():
                self._members.update(line.entered)
                self._members.difference_update(line.left)
                for each in (*line.entered, *line.left):
                    self._file(each, model)
                if not model.closing:
                    yield from self._report("I1", "lost", "absent", self._absent, model.settles_s, model)
                    limit_s = ZOMBIE_S + model.sync_s
                    yield from self._report("I4", "zombie", "in the schedule", self._zombies, limit_s, model)

    def settled_absent(self, model: Model) -> int:
        settled_before = model.at - model.settles_s
        return sum(model.rows[each].changed_at < settled_before for each in self._absent)

    def _file(self, monitor: str, model: Model) -> None:
        row, member = model.rows.get(monitor), monitor in self._members
        runs = row is not None and row.runs
        for odd, file in ((runs and not member, self._absent), (member and not runs, self._zombies)):
            if not odd:
                file.pop(monitor, None)
            elif monitor not in file:
                file[monitor] = _Mismatch(model.at, model.steady_s)

    def _report(
        self, invariant: str, kind: str, where: str, file: dict[str, _Mismatch], limit_s: float, model: Model
    ) -> Iterator[Breach]:
        for monitor, odd in file.items():
            if not odd.reported and not model.unsettled(odd.steady_at, odd.since, limit_s):
                odd.reported = True
                what = f"{where} for {model.at - odd.since:.1f} s"
                yield Breach(invariant, kind, what, monitor, None, model.fault_at(odd.since))


class OneLeaderWrites:
    """I5: once a later term's write was accepted, none of an earlier one is."""

    def __init__(self) -> None:
        self._term: str | None = None
        self._over: dict[str, float] = {}

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if not isinstance(line, Led) or not line.accepted or line.term == self._term:
            return
        if line.term in self._over:
            if line.at - self._over[line.term] > ORDER_S:
                what = f"{line.producer}: {line.script} of term {line.term} accepted, {self._term} leads"
                yield Breach("I5", "stale write", what)
            return
        if self._term is not None:
            self._over[self._term] = line.at
        self._term = line.term


class StopsAreClean:
    """I6: a replica that is asked to stop does so in time; no replica stops by itself."""

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if not isinstance(line, Stopped):
            return
        if not line.signal:
            yield Breach("I6", "ended by itself", f"{line.producer} ended by itself, exit code {line.exit}")
        elif line.exit != 0 or line.took_s > line.grace_s:
            what = f"{line.producer} left {line.took_s:.1f} s after {line.signal} with exit code {line.exit}"
            yield Breach("I6", "bad stop", f"{what} (allowed: {line.grace_s:g} s, 0)")


class FiguresStayInTheirLimits:
    """I7, I10: what a fault measured itself; and the queue is never longer than there are monitors."""

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if isinstance(line, history.Measured) and not line.value <= line.limit:
            yield Breach(line.invariant, "limit", f"{line.what}: {line.value:.1f}, allowed {line.limit:.1f}")
        if isinstance(line, Looked) and line.pending > model.queue_limit:
            yield Breach("I2", "queue", f"{line.pending} pending tasks for {model.queue_limit} monitors")


class DueTimesOnlyGrow:
    """A due time never moves back, unless the monitor is edited, Redis loses its memory or its clock steps.

    A run-now, and a release, may move it back once.
    """

    def __init__(self) -> None:
        self._acts = OpenActs()

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if isinstance(line, Acted):
            self._acts.note(line, "due_now", *RELEASED)
        if not isinstance(line, Looked) or model.excuse("clock_step") or model.excuse("next_back"):
            return
        forgot = model.memories_lost and line.at - model.memories_lost[-1][0] < model.settles_s
        for monitor in () if forgot else line.next_back:
            if line.redis_ms - self._acts.take(monitor, line.redis_ms) <= model.lease_ttl_s * 1000:
                continue  # a person asked for it; the claim that followed has ended by now
            yield Breach("I2", "next moved back", "its due time is earlier than at the last look", monitor)
