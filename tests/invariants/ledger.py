"""What must hold, checked from outside: the keys before and after each call, and what the rows were meanwhile.

Two forms of each invariant. The form for every step (here) says what a single call of ours may do to the keys. The
form after settling (settled.py) says what must have become true once the faults are over.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from peekaping_producer.monitors.monitor import Monitor
from peekaping_producer.monitors.ticks import is_tick, next_tick, phase_s
from peekaping_producer.schedule import ALL_MONITORS
from tests.kit.invariants import InvariantError

LEASE_TTL_MS = 10_000
ASYNQ_ALLOWANCE_S = 30
MAX_ASYNQ_LEASE_S = 30 + ASYNQ_ALLOWANCE_S + 6
"""A longer one was written by a clock far ahead."""


@dataclass(frozen=True)
class TaskHash:
    """asynq's hash of one task; a key of another type has no state."""

    state: str | None
    since: str | None
    has_message: bool


@dataclass(frozen=True)
class Keys:
    """Everything that replicas and consumers share, at one instant. Ids are monitors'."""

    due: dict[str, float] = field(default_factory=dict)
    lease: dict[str, float] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    leader: str | None = None
    spread: bool = False
    """Whether ticks are spread."""
    pending: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    asynq_lease: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, TaskHash] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    """By id, or ALL_MONITORS: when the hold ends, in ms."""

    @property
    def members(self) -> set[str]:
        return self.due.keys() | self.lease.keys()

    def stuck(self, monitor_id: str, now_ms: int) -> str | None:
        """Why the task will never end, if that is certain and may be seen by a hand-off at once."""
        task = self.tasks.get(monitor_id)
        if task is None:
            return None
        if task.state == "pending":
            # With other tasks in the list, it is looked for only once its place at the end would have come.
            return "pending, and the list is empty" if not self.pending else None
        if task.state == "active":
            ends = self.asynq_lease.get(monitor_id)
            if ends is None or not task.has_message:
                return "active without lease or message"
            if ends - now_ms / 1000 > MAX_ASYNQ_LEASE_S:
                return "active, its lease written by a clock far ahead"
            return "active, its lease long over" if ends + ASYNQ_ALLOWANCE_S <= now_ms / 1000 else None
        return f"in state {task.state}"


@dataclass
class MonitorRecord:
    """What happened to one monitor, as far as it matters for what may happen next."""

    not_before: float | None = None
    """ms: the due time that the last hand-off, placing or move wrote. No task is enqueued before it (I2)."""
    stood_still: bool = True
    """Since it entered the schedule its row did not run at some moment, or the database said so."""
    ran_in_term: bool = False
    """Its row ran at some moment of the term that is in Redis now."""
    stopped_at: int | None = None
    """ms: when its row ceased to run, by the furthest that Redis TIME had come; None while it runs."""
    intervals: set[int] = field(default_factory=set)
    """What its row said since its due time was last written."""
    claimed_spread: bool = False
    """Whether ticks were spread when ours last claimed it."""


class Ledger:
    """Looks at every call of ours. `watch` limits it to some invariants (None: all)."""

    def __init__(self, rows: dict[str, Monitor], watch: Iterable[str] | None = None) -> None:
        self.enqueued: list[tuple[str, int]] = []
        """Every task of ours: monitor id, Redis TIME in ms."""
        self.furthest_ms = 0
        """The furthest that Redis TIME has come; it may step back."""
        self._rows = rows
        self._monitors: set[str] = set()
        """The ids that ever had a row; all other members of the schedule are foreign."""
        self._strays: set[str] = set()
        """Entries of the queue whose hash a fault took: asynq and the sweep see to them, not the hand-off."""
        self._watch = None if watch is None else frozenset(watch)
        self._histories: dict[str, MonitorRecord] = {}
        self._hold_ends_ms = 0
        self.keys = Keys()

    def _of(self, monitor_id: str) -> MonitorRecord:
        return self._histories.setdefault(monitor_id, MonitorRecord())

    def fail(self, invariant: str, monitor_id: str, what: str) -> None:
        if self._watch is None or invariant in self._watch:
            raise InvariantError(invariant, monitor_id, what)

    def _runs(self, monitor_id: str) -> bool:
        return monitor_id in self._rows and self._rows[monitor_id].runs

    def row_changed(self, monitor_id: str) -> None:
        """After each commit."""
        self._monitors.add(monitor_id)
        history = self._of(monitor_id)
        if self._runs(monitor_id):
            history.ran_in_term, history.stopped_at = True, None
            history.intervals.add(self._rows[monitor_id].interval)
        else:
            history.stood_still = True
            if history.stopped_at is None:
                history.stopped_at = self.furthest_ms

    def answered_empty(self) -> None:
        """The database returned no rows: a removal that follows from it is correct."""
        for history in self._histories.values():
            history.stood_still = True

    def faulted(self, after: Keys) -> None:
        """A foreign process wrote to the keys: its values are the new starting point."""
        self._see_term(after)
        for monitor_id in self.keys.members | after.members:
            due = after.due.get(monitor_id)
            if monitor_id not in after.members or monitor_id not in self.keys.members:
                self._enter(monitor_id, due)
                self._of(monitor_id).stood_still = True
            elif due is not None and due != self.keys.due.get(monitor_id):
                self._not_before(monitor_id, due)
                self._written(monitor_id)
            if after.lease.get(monitor_id, 0.0) > self.furthest_ms + 10 * LEASE_TTL_MS:
                self._not_before(monitor_id, self.furthest_ms)  # it says that it was claimed, and is taken back at once
        hashes = {each for each, task in after.tasks.items() if task.state is not None}
        self._strays = {each for each in after.pending if each not in hashes or each in self._strays}
        self.keys = after

    def _not_before(self, monitor_id: str, at_ms: float) -> None:
        history = self._of(monitor_id)
        history.not_before = at_ms if history.not_before is None else min(at_ms, history.not_before)

    def acted(self, act: str, monitor_id: str, outcome: str, after: Keys, now_ms: int, ends_ms: int) -> None:
        """After a person has run a monitor now, held or released it. `ends_ms`: of the hold."""
        self._hold_ends_ms = ends_ms
        if outcome == "held" and act == "hold" and monitor_id not in after.held:
            self.fail("hold", monitor_id, "held, and Redis does not contain the hold")
        self.called(act, after, now_ms)

    def called(self, name: str, after: Keys, now_ms: int) -> None:
        """After each call of ours: raises InvariantError, naming the invariant."""
        self.furthest_ms = max(self.furthest_ms, now_ms)
        before = self.keys
        self._see_term(after)
        if name == "hand_off":
            self._check_enqueued(before, after, now_ms)
        for monitor_id in after.lease.keys() - before.lease.keys() if name == "claim" else ():
            self._of(monitor_id).claimed_spread = before.spread
        for monitor_id in before.members | after.members:
            self._check_place(name, monitor_id, before, after, now_ms)
        self._check_holds(name, before, after, now_ms)
        if name == "reclaim":
            for monitor_id in before.late.keys() & after.late.keys():
                if after.late[monitor_id] > before.late[monitor_id]:
                    self.fail("lateness", monitor_id, "reclaimed, and how long it has waited for is forgotten")
        self.keys = after

    def _check_holds(self, name: str, before: Keys, after: Keys, now_ms: int) -> None:
        """A peer may move or claim a held monitor; ours may not, and put it back."""
        claimed = after.lease.keys() - before.lease.keys() if name == "claim" else set()
        for monitor_id, ends_ms in before.held.items():
            if monitor_id not in after.held and name != "release":
                left = monitor_id in before.members and monitor_id not in after.members
                if not left and self.furthest_ms < ends_ms:
                    self.fail("hold", monitor_id, f"{name} ended its hold")
            elif monitor_id in before.members - after.members and name in ("place", "remove"):
                self.fail("hold", monitor_id, f"{name} took it out, and its hold remains")
            if ends_ms <= now_ms:
                continue
            if monitor_id == ALL_MONITORS and claimed:
                self.fail("hold", min(claimed), "claimed while all are held")
            due = after.due.get(monitor_id)
            if name in ("place", "move", "run_now") and due != before.due.get(monitor_id) and (due or 0) < ends_ms:
                self.fail("hold", monitor_id, f"{name} made it due at {due}, though it is held until {ends_ms}")

    def _see_term(self, after: Keys) -> None:
        if after.leader != self.keys.leader:
            for monitor_id, history in self._histories.items():
                history.ran_in_term = self._runs(monitor_id)

    def _enter(self, monitor_id: str, due: float | None) -> None:
        history = self._of(monitor_id)
        history.not_before, history.stood_still = due, not self._runs(monitor_id)
        self._written(monitor_id)

    def _written(self, monitor_id: str) -> None:
        row = self._rows.get(monitor_id)
        self._of(monitor_id).intervals = {row.interval} if row and row.runs else set()

    # I1 (no monitor in two places, none thrown out), I4 (none brought in that does not run), and due times.

    def _check_place(self, name: str, monitor_id: str, before: Keys, after: Keys, now_ms: int) -> None:
        was, is_ = monitor_id in before.members, monitor_id in after.members
        history = self._of(monitor_id)
        if monitor_id in after.due and monitor_id in after.lease:
            self.fail("I1", monitor_id, f"{name} left it in both due and lease")
        if was and not is_ and not history.stood_still:
            self.fail("I1", monitor_id, f"{name} took it out, and its row has run all the time that it was in")
        if is_ and not was:
            if name != "place":
                self.fail("I4", monitor_id, f"{name} brought it back after it had left the schedule")
            elif not history.ran_in_term:
                self.fail("I4", monitor_id, "placed, and its row has not run at any moment of this term")
            self._enter(monitor_id, after.due.get(monitor_id))
        elif was and not is_:
            history.not_before = None
        elif (due := after.due.get(monitor_id)) is not None and due != before.due.get(monitor_id):
            postponed = before.due.get(monitor_id, 0.0) % 1 != 0
            again = name == "place" and postponed and due < now_ms  # tried again now, since an event told of its row
            # A peer that knows of no late entries leaves one behind: lateness is overstated once, nothing runs early.
            left_behind = name == "reclaim" and due == before.late.get(monitor_id)
            if monitor_id in self._monitors and not again and not left_behind:
                self._check_due(name, monitor_id, before, due, now_ms)

    def _check_due(self, name: str, monitor_id: str, before: Keys, due: float, now_ms: int) -> None:
        """A due time only moves on, but for Redis TIME stepping back, and an edit of the interval."""
        history = self._of(monitor_id)
        earliest = -math.inf if history.not_before is None else history.not_before - (self.furthest_ms - now_ms)
        if name in ("run_now", "hold", "release") or (name == "place" and monitor_id in before.held):
            self._check_act(name, monitor_id, before, due, now_ms)
            return
        if name not in ("move", "hand_off", "give_back", "reclaim"):
            self.fail("next due", monitor_id, f"{name} set it to {due:.0f}")
        if name != "move" and due < earliest:
            self.fail("next due", monitor_id, f"{name} moved it back from {history.not_before:.0f} to {due:.0f}")
        if name in ("move", "hand_off"):
            self._check_next_tick(name, monitor_id, before, due, now_ms)
            history.not_before = due
        self._written(monitor_id)

    def _check_act(self, name: str, monitor_id: str, before: Keys, due: float, now_ms: int) -> None:
        """Run now is the one step that may make a monitor due before the last hand-off's tick: an extra check."""
        history = self._of(monitor_id)
        phases = {each: phase_s(monitor_id, each) for each in history.intervals}
        if name == "run_now":
            fits = due in (now_ms, now_ms - 0.5)
            due = due if history.not_before is None else min(due, history.not_before)
        elif name == "release":
            fits = due == now_ms or due in {next_tick(now_ms, *each) for each in phases.items()}
            fits = fits or due in {next_tick(now_ms, each) for each in phases}
        else:
            ends_ms = before.held[monitor_id] if name == "place" else self._hold_ends_ms
            fits = any(
                due in (next_tick(ends_ms - 1, *each), next_tick(ends_ms - 1, each[0])) for each in phases.items()
            )
            fits = fits or (name == "place" and due >= ends_ms)  # it has read the row before an edit
        if not fits:
            self.fail("next due", monitor_id, f"{name} set it to {due:.0f}")
        history.not_before = due
        self._written(monitor_id)

    def _check_next_tick(self, name: str, monitor_id: str, before: Keys, due: float, now_ms: int) -> None:
        """By the switch, at the claim or at the move. What fits either grid of all intervals since is not moved."""
        history = self._of(monitor_id)
        spread = before.spread if name == "move" else history.claimed_spread
        phases = {interval: phase_s(monitor_id, interval) for interval in history.intervals}
        if due not in {next_tick(now_ms, interval, phase * spread) for interval, phase in phases.items()}:
            self.fail("next due", monitor_id, f"{name} set it to {due:.0f}, no next tick of what its row said since")
        was = before.due.get(monitor_id, 0.0)
        fits = [is_tick(was, each, phase) and was <= now_ms + each * 1000 for each, phase in phases.items()]
        if name == "move" and all(fits):
            self.fail("next due", monitor_id, f"moved from {was:.0f}, which is a tick of its interval")

    # I2, I3, I8: what a hand-off enqueued, or did not.

    def _check_enqueued(self, before: Keys, after: Keys, now_ms: int) -> None:
        for monitor_id in set(after.pending):
            more = after.pending.count(monitor_id) - before.pending.count(monitor_id)
            if more <= 0:
                continue
            self.enqueued.append((monitor_id, now_ms))
            self._check_tick(monitor_id, now_ms)
            if more > 1 or (monitor_id in before.pending and monitor_id not in self._strays):
                self.fail("I2", monitor_id, "its task stands in the queue twice")
            stopped_at = self._of(monitor_id).stopped_at
            if stopped_at is not None and now_ms > stopped_at + LEASE_TTL_MS:
                self.fail("I3", monitor_id, f"enqueued {(now_ms - stopped_at) / 1000:g} s after its row ceased to run")
        for monitor_id in before.lease.keys() - after.lease.keys():  # handed off
            if (why := before.stuck(monitor_id, now_ms)) and monitor_id not in after.pending:
                self.fail("I8", monitor_id, f"handed off, and its task is still stuck: {why}")

    def _check_tick(self, monitor_id: str, now_ms: int) -> None:
        not_before = self._of(monitor_id).not_before
        if not_before is None or self.furthest_ms < not_before:
            when = "is in no schedule" if not_before is None else f"is not due before {not_before:.0f}"
            self.fail("I2", monitor_id, f"enqueued at {now_ms}, and it {when}")
