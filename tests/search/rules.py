"""The invariants: what one call may do to a state, and what every state must become after the faults end."""

import math
from typing import Any, NamedTuple

from peekaping_producer.brokers import Outcome
from peekaping_producer.monitors.ticks import next_tick, phase_s
from peekaping_producer.schedule import ALL_MONITORS, CampaignOutcome
from peekaping_producer.schedule.keys import KEYS
from tests.kit.invariants import InvariantError
from tests.search.world import CYCLE_MS, ENDED_MS, GRID_MS, LONG_AGO_MS, TTL_MS, Redis, Sid, View, due_later, message

ABSENT, PAUSED = -1, 0
"""Rows other than an interval in seconds."""
Interval = int
Intervals = tuple[Interval, ...]


class Past(NamedTuple):
    """The past of one monitor, as far as the future depends on it."""

    not_before: float | None = None
    """ms: the due time written by the last hand-off, placing or move; None if it is not in the schedule."""
    stopped_at: int | None = None
    """ms: when its row was paused or deleted; None while it runs."""
    stood_still: bool = False
    """Its row did not run at some moment since it entered the schedule."""
    ran_in_term: bool = True
    """Its row ran at some moment of the term that is in Redis."""
    intervals: frozenset[int] = frozenset()
    """Seconds: the intervals of its row since its due time was last written."""

    def forgotten(self, row: Interval, member: bool) -> "Past":
        """Without the fields that matter only to a process that has read an older row."""
        return self._replace(
            stopped_at=None, stood_still=member and row <= 0, ran_in_term=True, intervals=_intervals(row)
        )

    def later(self, now_ms: int, back_ms: int) -> "Past":
        """The same at `now_ms`, with all times then set back by `back_ms`."""
        return self._replace(
            not_before=None if self.not_before is None else due_later(self.not_before, now_ms, back_ms),
            stopped_at=None if self.stopped_at is None else max(self.stopped_at, now_ms - CYCLE_MS) - back_ms,
        )


Pasts = tuple[Past, ...]


def edited(history: Past, row: Interval, view: View, monitor_id: str) -> Past:
    """After a commit of the monitor's row."""
    if row > 0:
        return history._replace(stopped_at=None, ran_in_term=True, intervals=history.intervals | {row})
    stopped_at = view.now_ms if history.stopped_at is None else history.stopped_at
    return history._replace(stopped_at=stopped_at, stood_still=monitor_id in view.members)


class StepJudge:
    """Checks what each call did to each monitor; raises InvariantError."""

    def __init__(self, redis: Redis, ids: tuple[str, ...]) -> None:
        self._views = redis.views
        self._ids = ids

    def after(self, name: str, before: Sid, after: Sid, rows: Intervals, histories: Pasts) -> Pasts:
        """The histories after the call `name`."""
        was, now = self._views[before], self._views[after]
        if was.leader != now.leader and now.leader:
            histories = tuple(each._replace(ran_in_term=row > 0) for each, row in zip(histories, rows, strict=True))
        return tuple(
            self._monitor(name, each, was, now, row, history)
            for each, row, history in zip(self._ids, rows, histories, strict=True)
        )

    def _monitor(self, name: str, each: str, was: View, now: View, row: Interval, history: Past) -> Past:
        if name == "hand_off":
            _check_queue(each, was, now, history)
        if each in now.due and each in now.lease:
            raise InvariantError("I1", each, f"{name} left it in both due and lease")
        if each in now.late and (each not in now.members or now.late[each] > was.late.get(each, math.inf)):
            raise InvariantError("late", each, f"{name} left {now.late[each]:.0f} as the intended due time")
        _check_hold(name, each, was, now)
        if name == "hand_off" and each in now.late and each in was.lease and each not in now.lease:
            raise InvariantError("late", each, f"{name} rescheduled it, and it still counts as late")
        if now.due.get(each, 0) % 1 and each not in now.late:
            raise InvariantError("late", each, f"{name} postponed it without keeping the intended due time")
        if each in was.members and each not in now.members:
            if not history.stood_still:
                raise InvariantError("I1", each, f"{name} removed it, though its row has always run")
            return history._replace(not_before=None, stood_still=False, intervals=frozenset())
        due = now.due.get(each)
        if each in now.members and each not in was.members:
            if name != "place":
                raise InvariantError("I4", each, f"{name} added it after it had left the schedule")
            if not history.ran_in_term:
                raise InvariantError("I4", each, "placed, though its row has not run at any moment of this term")
            return history._replace(not_before=due, stood_still=row <= 0, intervals=_intervals(row))
        if due is None or due == was.due.get(each):
            return history
        return self._due(name, each, due, now, row, history)

    def _due(self, name: str, each: str, due: float, now: View, row: Interval, history: Past) -> Past:
        if name in ("move", "hand_off"):
            ticks = {next_tick(now.now_ms, one, phase_s(each, one) * now.spread) for one in history.intervals}
            if name == "move" and due not in ticks:
                raise InvariantError("due", each, f"moved to {due:.0f}, which is no tick of any interval since")
            if name == "hand_off" and history.not_before is not None and due < history.not_before:
                raise InvariantError("due", each, f"rescheduled for {due:.0f}, before {history.not_before:.0f}")
            return history._replace(not_before=due, intervals=_intervals(row))
        if name in ("run_now", "hold", "release"):
            latest = {"run_now": now.now_ms, "hold": now.held.get(each, 0) + 20_000, "release": now.now_ms + 20_000}
            if due > latest[name] or due < now.now_ms - 1:
                raise InvariantError("due", each, f"{name} set it to {due:.0f}, not to a tick")
            if name == "run_now" and history.not_before is not None:
                due = min(due, history.not_before)  # of a postponed one, the intended due time is restored
            return history._replace(not_before=due, intervals=_intervals(row))
        if name not in ("give_back", "reclaim", "postpone", "place"):
            raise InvariantError("due", each, f"{name} set it to {due:.0f}")
        if history.not_before is not None and due < history.not_before - 1:
            raise InvariantError("due", each, f"{name} moved it back from {history.not_before:.0f} to {due:.0f}")
        return history._replace(intervals=_intervals(row))


def _intervals(row: Interval) -> frozenset[int]:
    return frozenset({row} if row > 0 else ())


def _check_hold(name: str, each: str, was: View, now: View) -> None:
    """What is held is neither claimed nor due; it is not late, and its hold ends with it."""
    ends = max(now.held.get(each, 0), now.held.get(ALL_MONITORS, 0))
    if each in now.lease and each not in was.lease and ends > now.now_ms:
        raise InvariantError("hold", each, f"{name} took it, though it is held until {ends}")
    if now.due.get(each, math.inf) < now.held.get(each, 0):
        raise InvariantError("hold", each, f"{name} left it due at {now.due[each]:.0f}, though it is held")
    if each in was.members and each not in now.members and each in now.held:
        raise InvariantError("hold", each, f"{name} removed it, and its hold remains")
    if name == "hold" and each in now.held and each in now.late:
        raise InvariantError("late", each, "it is held, and counts as late")
    if name == "run_now" and was.due.get(each, 0) % 1 and not now.due[each] % 1:
        raise InvariantError("late", each, "run now, and its intended due time is lost")


def _check_queue(each: str, was: View, now: View, history: Past) -> None:
    """I2 and I3 for monitors that were enqueued; I8 for those that were handed off and not enqueued."""
    more = now.pending.count(each) - was.pending.count(each)
    if more > 0:
        if history.not_before is None or now.now_ms < history.not_before:
            raise InvariantError("I2", each, f"enqueued at {now.now_ms}, though not due before {history.not_before}")
        if now.pending.count(each) > 1:
            raise InvariantError("I2", each, "its task is in the queue twice")
        if each in now.ended or each in now.active or each in now.asynq_lease:
            raise InvariantError("I8", each, "enqueued, though asynq still has its earlier task in another state")
        if was.works(each):
            raise InvariantError("I2", each, "enqueued, though a consumer is running its task")
        if history.stopped_at is not None and now.now_ms > history.stopped_at + TTL_MS:
            raise InvariantError(
                "I3",
                each,
                f"enqueued {(now.now_ms - history.stopped_at) / 1000:g} s after its row was paused or deleted",
            )
    if each in was.lease and each not in now.lease:
        state = now.tasks.get(each, {}).get(b"state")
        if state == b"pending" and now.pending:  # whether it is in the list shows when its turn comes
            return
        if not now.works(each):
            raise InvariantError("I8", each, f"handed off, but no consumer will take its task: its state is {state!r}")


class Fences:
    """Calls that every state must refuse. They are tried in every state, even if no process could make them: so the
    search need not keep claims that no longer hold anything, nor terms that are over.
    """

    def __init__(self, redis: Redis, ids: tuple[str, ...]) -> None:
        self._redis = redis
        self._ids = ids
        self._checked: set[Any] = set()

    def check(self, sid: Sid) -> None:
        """Raises InvariantError. States that differ only in the queue are checked once."""
        if (schedule := self._redis.views[sid].schedule) in self._checked:
            return
        self._checked.add(schedule)
        for each in self._ids:
            self._check_lost_claims(sid, each)
            self._check_peers(sid, each)
            self._check_changed_scores(sid, each)
            self._check_acts(sid, each)
        self._check_terms(sid)
        self._check_claim(sid)

    def _refused(self, sid: Sid, invariant: str, who: str, refusal: Any, name: str, *args: Any) -> None:
        after, answer = self._redis.do(sid, name, *args)
        if after != sid or answer != refusal:
            raise InvariantError(invariant, "-", f"{name} {args} by {who} was not refused: {answer}")

    def _check_lost_claims(self, sid: Sid, each: str) -> None:
        """I2 and I3: a claim that has ended or does not hold the monitor writes nothing."""
        view = self._redis.views[sid]
        lease = view.lease.get(each)
        ended = lease if lease is not None and lease <= view.now_ms else view.now_ms - ENDED_MS + 0.5
        another = view.now_ms + TTL_MS + 0.5 if lease is None else lease + (0.25 if lease % 1 < 0.5 else -0.25)
        for token, invariant, who in ((ended, "I3", "a claim that has ended"), (another, "I2", "another claim")):
            claim = (f"{token:.17g}", ((each, view.now_ms - float(LONG_AGO_MS)),))
            self._refused(sid, invariant, who, ((each, Outcome.LOST),), "hand_off", *claim, ((each, 20),))
            self._refused(sid, invariant, who, 0, "drop", *claim, (each,))
            self._refused(sid, invariant, who, 0, "reschedule", *claim, ((each, 20),))
            self._refused(sid, invariant, who, 0, "give_back", *claim)
            self._refused(sid, invariant, who, 0, "postpone", *claim)

    def _check_peers(self, sid: Sid, each: str) -> None:
        """An earlier due time set by a peer without fences remains; a lease that is too long is reclaimed."""
        view = self._redis.views[sid]
        earlier = float(view.now_ms - LONG_AGO_MS)
        if each in view.lease:
            claim = (f"{view.lease[each]:.17g}", ((each, float(view.now_ms)),))
            both, _ = self._redis.do(sid, "put", KEYS.due, each, earlier)
            self._stands(both, each, earlier, "give_back", *claim)
            self._stands(both, each, earlier, "postpone", *claim)
        elif each not in view.members and each not in view.late:
            too_long, _ = self._redis.do(sid, "put", KEYS.lease, each, view.now_ms + 1e8)
            self._stands(too_long, each, float(view.now_ms), "reclaim")
            for key in (KEYS.due, KEYS.late):  # the first intended time remains, too
                both, _ = self._redis.do(too_long, "put", key, each, earlier)
                self._stands(both, each, earlier, "reclaim")

    def _stands(self, sid: Sid, each: str, due: float, name: str, *args: Any) -> None:
        after, _ = self._redis.do(sid, name, *args)
        found = self._redis.views[after].due.get(each)
        if found != due:
            raise InvariantError("due", each, f"{name} left it due at {found}, though a peer had set {due}")

    def _check_changed_scores(self, sid: Sid, each: str) -> None:
        """I1: a member whose score has changed since the leader read it is neither moved nor removed."""
        view = self._redis.views[sid]
        if view.leader is None:
            return
        for key, members in ((KEYS.due, view.due), (KEYS.lease, view.lease)):
            if each in members:
                seen = ((each, members[each] - 1000.0),)
                self._refused(sid, "I1", "a leader that saw another score", 0, "remove", view.leader, key, seen)
                if key == KEYS.due:
                    for interval in (10, 20):
                        args = (view.leader, seen, ((each, interval),))
                        self._refused(sid, "I1", "a leader that saw another score", 0, "move", *args)

    def _check_acts(self, sid: Sid, each: str) -> None:
        """A person moves nothing that is claimed, absent or overdue; a held monitor stays held whatever a peer did."""
        view, do = self._redis.views[sid], self._redis.do
        if each not in view.due:
            outcome = "leased" if each in view.lease else "absent"
            self._refused(sid, "I1", "a person", outcome, "hold", each, 20, 10)
            self._refused(sid, "I1", "a person", "held_all" if ALL_MONITORS in view.held else outcome, "run_now", each)
        elif view.due[each] <= view.now_ms or ALL_MONITORS in view.held or each in view.held:
            outcome = "held" if each in view.held else "already_due"
            outcome = "held_all" if ALL_MONITORS in view.held else outcome
            self._refused(sid, "hold" if view.held else "late", "a person", outcome, "run_now", each)
        if each not in view.held or each not in view.due:
            return
        gone, _ = do(sid, "lose", "ZREM", KEYS.due, each)
        released, _ = do(gone, "release", each, 20)
        if each in self._redis.views[released].members:
            raise InvariantError("I4", each, "its release brought it back into the schedule")
        if view.leader is None:
            return
        for interval in (5, 10, 20):
            seen = ((each, view.due[each]),)
            self._refused(sid, "hold", "a leader", 0, "move", view.leader, seen, ((each, interval),))
        moved, _ = do(sid, "put", KEYS.due, each, float(view.now_ms + 1))
        for before in (sid, gone, moved):
            placed, misaligned = do(before, "place", view.leader, ((each, 20),))
            due = self._redis.views[placed].due[each]
            if misaligned or due < view.held[each] or due >= view.held[each] + 20_000:
                raise InvariantError("hold", each, f"placed, and due at {due:.0f}, though it is held")

    def _check_terms(self, sid: Sid) -> None:
        """I5: no replica renews, ends or takes over another's term; a campaign whose reply was lost can be repeated."""
        leader = self._redis.views[sid].leader
        if leader is None:
            return
        for end in (("PX", 3_600_000), ()):
            gone, _ = self._redis.do(sid, "lose", "SET", KEYS.leader, "gone", *end)
            if self._redis.do(gone, "campaign", "", "another")[1] is not CampaignOutcome.WON:
                raise InvariantError("I1", "-", f"a leader key with a TTL that is too long is accepted: {end}")
        self._refused(sid, "I5", "a follower", CampaignOutcome.HELD, "campaign", "", "another")
        self._refused(sid, "I5", "a former leader", CampaignOutcome.HELD, "campaign", "former", "another")
        self._refused(sid, "I5", "a former leader", False, "resign", "former")
        if self._redis.do(sid, "campaign", "", leader)[1] is not CampaignOutcome.WON:
            raise InvariantError("I5", "-", "a campaign whose reply was lost cannot be repeated")

    def _check_claim(self, sid: Sid) -> None:
        """A claim takes the longest overdue, and nothing once its sender has stopped waiting."""
        view = self._redis.views[sid]
        self._refused(sid, "I1", "a replica that has stopped waiting", ("", (), False), "claim", 9, 1000, GRID_MS)
        _, (_, claimed, _) = self._redis.do(sid, "claim", 9, 1)
        for each, _ in claimed:
            if view.due[each] > min(view.due.values()):
                raise InvariantError("due", each, "claimed, though another is overdue for longer")


class Healing:
    """What every state must become after the faults end: I1, I4 and I8 in their bounded forms."""

    def __init__(self, redis: Redis, ids: tuple[str, ...]) -> None:
        self._redis = redis
        self._ids = ids

    def check(self, sid: Sid, rows: Intervals) -> None:
        """Lose all claims and running tasks, let a new leader sync, and run each monitor once."""
        do = self._redis.do
        for each in self._ids:
            if self._redis.views[sid].works(each):
                sid, _ = do(sid, "die", each, "dead")
        for _ in range(2 * TTL_MS // GRID_MS):
            sid, _ = do(sid, "pass_time")
        sid, _ = do(sid, "reclaim")
        sid = self._sync(sid, rows)
        view = self._redis.views[sid]
        for each, row in zip(self._ids, rows, strict=True):
            self._check_place(view, each, row)
        sid = self._run(sid, rows)
        view = self._redis.views[sid]
        for each, row in zip(self._ids, rows, strict=True):
            if row > 0 and each in view.pending and message(row) not in view.tasks[each][b"msg"]:
                raise InvariantError("I8", each, "its tick came, but the task in the queue is an old one")
        while self._redis.views[sid].pending:
            sid, _ = do(sid, "work")
        self._check_queue(self._run(sid, rows), rows)

    def _sync(self, sid: Sid, rows: Intervals) -> Sid:
        do = self._redis.do
        term = "healing"
        sid, _ = do(sid, "campaign", "", term)
        plans = tuple((each, row) for each, row in zip(self._ids, rows, strict=True) if row > 0)
        sid, misaligned = do(sid, "place", term, plans)
        if misaligned:
            sid, _ = do(sid, "move", term, misaligned, plans)
        for key in (KEYS.due, KEYS.lease):
            sid, seen = do(sid, "walk", key)
            gone = tuple(one for one in seen if one[0] not in dict(plans))
            if gone:
                sid, _ = do(sid, "remove", term, key, gone)
        return sid

    @staticmethod
    def _check_place(view: View, each: str, row: Interval) -> None:
        if row > 0 and (each in view.due) == (each in view.lease):
            raise InvariantError("I1", each, "its row runs, and after a sync it is in neither or both of due and lease")
        if row > 0 and view.due[each] > max(next_tick(view.now_ms, row, phase) for phase in (0, phase_s(each, row))):
            raise InvariantError("I1", each, f"after a sync it is due at {view.due[each]:.0f}, after its next tick")
        if row <= 0 and each in view.members:
            raise InvariantError("I4", each, "its row does not run, and after a sync it is in the schedule")

    def _run(self, sid: Sid, rows: Intervals) -> Sid:
        """The next tick of every monitor."""
        for _ in range(CYCLE_MS // GRID_MS):
            sid, _ = self._redis.do(sid, "pass_time")
        sid, (token, due, spread) = self._redis.do(sid, "claim", 9)
        plans = tuple((each, row) for each, row in zip(self._ids, rows, strict=True) if row > 0)
        return self._redis.do(sid, "hand_off", token, due, plans, spread)[0] if plans else sid

    def _check_queue(self, sid: Sid, rows: Intervals) -> None:
        view = self._redis.views[sid]
        for each, row in zip(self._ids, rows, strict=True):
            state = view.tasks.get(each, {}).get(b"state")
            if row > 0 and (view.pending.count(each) != 1 or state != b"pending"):
                raise InvariantError("I8", each, f"its tick came, and its task is {state!r}, not in the queue once")
